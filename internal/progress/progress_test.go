package progress

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

// TestLines: without a terminal there is a line for each part that begins, and then one each
// interval, however often there is progress.
func TestLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := New(&out, 10)
		b.Set(1, "one")
		b.Begin(5, "part two")
		time.Sleep(Interval - 1)
		b.Set(2, "too early")
		time.Sleep(time.Nanosecond)
		b.Set(3, "three")
		b.Set(4, "four")
		time.Sleep(2 * Interval)
		b.Set(5, "five")
		b.Done()
		b.Done()
		if got, want := out.String(), "part two\nthree\nfive\n"; got != want {
			t.Errorf("it shows %q, want %q", got, want)
		}
	})
}
