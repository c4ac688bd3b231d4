package deliver

import (
	"time"

	"github.com/hookgate/hookgate"
)

// GiveBack returns the exceptions and holds that take the place of the open events of a lease, so
// that they are delivered again. An open event without a key becomes an exception that is due now;
// a key gets a hold before its first open event. An event that has an exception keeps it. max is
// their LeaseMax.
//
// With OrderAll the cursor is before the first open event. So nothing must take its place, except
// that it becomes an exception to carry max if max is not 0.
//
// The caller stores the result in the Save or Commit that removes the lease.
func GiveBack(l *hookgate.Lease, order hookgate.Order, max int, now time.Time,
	clock time.Duration) (created []hookgate.Exception, holds []hookgate.Hold) {
	held := map[string]bool{}
	except := func(e *hookgate.LeasedEvent) {
		created = append(created, hookgate.Exception{Event: e.Event, Redelivery: e.Redelivery,
			State: hookgate.ExceptionWaiting, Due: now, Since: clock, Changed: now,
			Reason: "the lease ended without an acknowledgement", LeaseMax: max})
	}
	first := true // the next event is the first open one with OrderAll
	for i := range l.Events {
		e := &l.Events[i]
		if e.State != hookgate.LeasedOpen {
			continue
		}
		switch {
		case order == hookgate.OrderAll && e.Path:
			if first && max > 0 && !e.Excepted {
				except(e)
			}
			first = false
		case e.Excepted:
		case e.OrderingKey != "" && e.Path:
			if !held[e.OrderingKey] {
				held[e.OrderingKey] = true
				holds = append(holds, hookgate.Hold{OrderingKey: e.OrderingKey, After: e.Event - 1,
					LeaseMax: max})
			}
		default:
			except(e)
		}
	}
	return created, holds
}
