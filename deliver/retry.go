package deliver

import (
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/backoff"
)

// maxRetryAfter is the longest wait for which a consumer can ask.
const maxRetryAfter = time.Hour

// Failed returns the exception that follows a failed attempt. now is the time, and clock the
// reading of the subscription's clock. The waits are exponential with full jitter, as in
// "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
//
// The result is waiting, or dead after VerdictDead, or parked if the event is out of time or the
// answer is final. The caller makes a dead letter of a parked one if the subscription says so.
func (p *Retry) Failed(e hookgate.Exception, a *hookgate.Answer, now time.Time,
	clock time.Duration) hookgate.Exception {
	if e.Attempts == 0 {
		e.Since = clock
	}
	e.Attempts++
	e.Reason, e.Status, e.Changed = a.Reason, a.Status, now
	if a.Verdict == hookgate.VerdictDead {
		e.State, e.Due = hookgate.ExceptionDead, time.Time{}
		return e
	}
	left := p.For - (clock - e.Since)
	if left <= 0 || a.Verdict == hookgate.VerdictFinal {
		e.State, e.Due = hookgate.ExceptionParked, time.Time{}
		return e
	}
	e.State = hookgate.ExceptionWaiting
	e.Wait = min(max(2*e.Wait, p.First), p.Max)
	wait := min(backoff.Random(e.Wait+1), left) // the last attempt comes when the time is up
	if a.Delay != nil {
		wait = *a.Delay
		e.Since += wait
	} else if asked := min(a.RetryAfter, maxRetryAfter); asked > 0 {
		wait = max(wait, asked)
		e.Since += wait
	}
	e.Due = now.Add(wait)
	return e
}
