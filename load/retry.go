package load

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// Retry bounds the retries of an event that was answered 429 or 503, or not at all. The same bytes
// are sent again after a delay that doubles from Base to Max, with jitter, or after the time that
// Retry-After asks for. The zero value retries nothing.
type Retry struct {
	// Attempts is the number of retries.
	Attempts int
	// Time is how long after its first attempt an event may be retried; 0 means unlimited.
	Time time.Duration
	// Base and Max bound the delay; 0 means 50 ms and 5 s.
	Base, Max time.Duration
	// MaxRetryAfter is the longest Retry-After that is obeyed in full; 0 means 30 s.
	MaxRetryAfter time.Duration
}

// DefaultRetry survives an outage of about a minute.
var DefaultRetry = Retry{Attempts: 20, Time: time.Minute}

func (r Retry) withDefaults() Retry {
	if r.Base == 0 {
		r.Base = 50 * time.Millisecond
	}
	if r.Max == 0 {
		r.Max = 5 * time.Second
	}
	if r.MaxRetryAfter == 0 {
		r.MaxRetryAfter = 30 * time.Second
	}
	return r
}

// retryable reports whether a retry may have another outcome.
func retryable(status int) bool {
	return status == 0 || status == http.StatusTooManyRequests ||
		status == http.StatusServiceUnavailable
}

// delay returns how long to wait before the next attempt after so many failed ones, the first of
// them elapsed ago. It returns false if there is no next one.
func (r Retry) delay(attempts int, elapsed, retryAfter time.Duration) (time.Duration, bool) {
	if attempts > r.Attempts {
		return 0, false
	}
	step := r.Max
	if shift := attempts - 1; r.Base <= r.Max>>shift {
		step = r.Base << shift
	}
	wait := step/2 + rand.N(step/2+1)
	if retryAfter > 0 {
		// With jitter, because otherwise all senders that were rejected at once would return at
		// once.
		wait = min(retryAfter, r.MaxRetryAfter) + rand.N(step/2+1)
	}
	return wait, r.Time == 0 || elapsed+wait <= r.Time
}

// retryAfter reads the header in both forms; 0 means absent, past or unreadable.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}
