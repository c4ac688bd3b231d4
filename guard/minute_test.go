package guard

import (
	"testing"
	"time"
)

// TestMinute checks that the minute forgets old webhooks, and that its quantile is close to the
// true one.
func TestMinute(t *testing.T) {
	var m minute
	slot := func(took time.Duration, n uint32, failed uint64) {
		var counts [buckets]uint32
		counts[bucketOf(took)] += n
		m.add(&counts, failed)
	}
	for range 4 * 60 {
		slot(115*time.Millisecond, 95, 1)
	}
	s := m.read()
	if s.Accepted != 95*240 || s.Failed != 240 || s.P95 < 110*time.Millisecond ||
		s.P95 > 123*time.Millisecond {
		t.Errorf("a minute of 115 ms is %+v", s)
	}
	for range 4*60 - partSlots {
		slot(0, 0, 0)
	}
	if s := m.read(); s.Accepted != 95*partSlots {
		t.Errorf("of %d slots %d webhooks are left", partSlots, s.Accepted)
	}
	for range partSlots {
		slot(0, 0, 0)
	}
	if s := m.read(); s != (Minute{}) {
		t.Errorf("after a minute %+v is left", s)
	}
	var counts [buckets]uint32 // evenly from 0 to 200 ms: P95 is 190
	for us := 0; us < 200_000; us += 10 {
		counts[bucketOf(time.Duration(us)*time.Microsecond)]++
	}
	if _, p95 := interpolated(&counts, 0.95); p95 < 188*time.Millisecond ||
		p95 > 192*time.Millisecond {
		t.Errorf("P95 is %v, want 190ms", p95)
	}
}
