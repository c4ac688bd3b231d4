package guard

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestObserved: Latency and Observed return the last observation, and latencies end with the
// window.
func TestObserved(t *testing.T) {
	play(t, Config{}, func(s *scene) {
		if l := s.Latency(); l != (Latency{}) {
			t.Errorf("before the first webhook: %+v", l)
		}
		if o := s.Observed(); !o.At.IsZero() || o.QueueErr != nil {
			t.Errorf("before the first observation: %+v", o)
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
		if o := s.Observed(); o.Queue.Depth != 7 || time.Since(o.At) > time.Second || o.QueueErr != nil {
			t.Errorf("observed %+v", o)
		}
		s.mu.Lock()
		s.err = errors.New("away")
		s.mu.Unlock()
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if err := s.Observed().QueueErr; err == nil || err.Error() != "away" {
			t.Errorf("the error of the last observation is %v", err)
		}
		if l := s.Latency(); l != (Latency{}) {
			t.Errorf("after the window: %+v", l)
		}
	})
}
