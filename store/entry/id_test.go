package entry

import (
	"testing"
	"time"
)

// TestNextID: ids follow the clock, and keep growing while the clock stands still or goes back.
func TestNextID(t *testing.T) {
	now := time.UnixMicro(1_800_000_000_000_000)
	for _, test := range []struct {
		last int64
		now  time.Time
		want int64
	}{
		{0, now, now.UnixMicro()},
		{40, now, now.UnixMicro()},
		{now.UnixMicro() - 1, now, now.UnixMicro()},
		{now.UnixMicro(), now, now.UnixMicro() + 1},
		{now.UnixMicro(), now.Add(-time.Hour), now.UnixMicro() + 1},
	} {
		if got := NextID(test.last, test.now); got != test.want || got >= 1<<53 {
			t.Errorf("behind %d at %v comes %d, want %d", test.last, test.now, got, test.want)
		}
	}
}
