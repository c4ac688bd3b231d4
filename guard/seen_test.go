package guard

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestSeen: what others show of latency and queue is what was seen last, and goes with the window.
func TestSeen(t *testing.T) {
	play(t, Config{}, func(s *scene) {
		if l := s.Latency(); l != (Latency{}) {
			t.Errorf("before the first webhook: %+v", l)
		}
		if _, at, err := s.LastLook(); !at.IsZero() || err != nil {
			t.Errorf("before the first look: %v, %v", at, err)
		}
		for i := range 100 {
			s.Accepted(time.Duration(i+1) * time.Millisecond)
		}
		s.depth(7)
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		l := s.Latency()
		within := func(got, want time.Duration) bool { return got >= want && got <= want+want/8 }
		if l.Count != 100 || !within(l.P50, 50*time.Millisecond) || !within(l.P95, 95*time.Millisecond) ||
			!within(l.P99, 99*time.Millisecond) {
			t.Errorf("latency is %+v", l)
		}
		if q, at, err := s.LastLook(); q.Depth != 7 || time.Since(at) > time.Second || err != nil {
			t.Errorf("seen %+v at %v, %v", q, at, err)
		}
		s.mu.Lock()
		s.err = errors.New("away")
		s.mu.Unlock()
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if _, _, err := s.LastLook(); err == nil || err.Error() != "away" {
			t.Errorf("the error of the last look is %v", err)
		}
		if l := s.Latency(); l != (Latency{}) {
			t.Errorf("after the window: %+v", l)
		}
	})
}
