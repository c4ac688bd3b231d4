package load

import (
	"math"
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Goal: the delay doubles from Base to Max with a random half in addition. Retry-After is obeyed up
// to its bound, and the bounds on number and time hold. Method: a few hundred runs of each case,
// because the delays are random.
func TestRetryDelay(t *testing.T) {
	const ms = time.Millisecond
	r := Retry{Attempts: 10, Time: time.Hour, Base: 100 * ms, Max: time.Second,
		MaxRetryAfter: 30 * time.Second}
	for _, test := range []struct {
		name                string
		retry               Retry
		attempts            int
		elapsed, retryAfter time.Duration
		least, most         time.Duration
		again               bool
	}{
		{"first", r, 1, 0, 0, 50 * ms, 100 * ms, true},
		{"third", r, 3, 0, 0, 200 * ms, 400 * ms, true},
		{"at the bound", r, 9, 0, 0, 500 * ms, 1000 * ms, true},
		{"last", r, 10, 0, 0, 500 * ms, 1000 * ms, true},
		{"used up", r, 11, 0, 0, 0, 0, false},
		{"none allowed", Retry{}.withDefaults(), 1, 0, 0, 0, 0, false},
		{"asked to wait", r, 1, 0, 7 * time.Second, 7 * time.Second, 7*time.Second + 50*ms, true},
		{"asked to wait too long", r, 1, 0, time.Hour, 30 * time.Second, 30*time.Second + 50*ms, true},
		{"out of time", r, 1, time.Hour, 0, 50 * ms, 100 * ms, false},
		{"out of time by the wait", r, 1, time.Hour - time.Second, 2 * time.Second, 2 * time.Second,
			2*time.Second + 50*ms, false},
		{"no bound on time", Retry{Attempts: 1, Base: ms, Max: ms}, 1, 1000 * time.Hour, 0, ms / 2, ms,
			true},
	} {
		t.Run(test.name, func(t *testing.T) {
			for range 300 {
				wait, again := test.retry.delay(test.attempts, test.elapsed, test.retryAfter)
				if wait < test.least || wait > test.most || again != test.again {
					t.Fatalf("delay %v, %v; want %v to %v, %v", wait, again, test.least, test.most, test.again)
				}
			}
		})
	}
}

// Goal: the delay does not overflow, with any settings and any number of attempts.
func TestRetryDelayNeverOverflows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.Map(rapid.Int64Range(0, math.MaxInt64/4),
			func(n int64) time.Duration { return time.Duration(n) })
		r := Retry{Attempts: math.MaxInt, Base: d.Draw(t, "base"), Max: d.Draw(t, "max"),
			MaxRetryAfter: d.Draw(t, "most")}.withDefaults()
		wait, again := r.delay(rapid.IntRange(1, 200).Draw(t, "attempts"), 0, d.Draw(t, "retryAfter"))
		if wait < 0 || wait > max(r.Max, r.MaxRetryAfter+r.Max) || !again {
			t.Fatalf("delay %v, %v", wait, again)
		}
	})
}

// Goal: both forms of Retry-After are read. A time in the past, or nonsense, asks for nothing.
func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                              0,
		"0":                             0,
		"7":                             7 * time.Second,
		"2147483647":                    2147483647 * time.Second,
		"99999999999":                   0,
		"-1":                            0,
		"1.5":                           0,
		"soon":                          0,
		"Fri, 02 Jan 2026 03:04:35 GMT": 30 * time.Second,
		"Fri, 02 Jan 2026 03:04:00 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("Retry-After %q gives %v, want %v", value, got, want)
		}
	}
}
