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
// The caller stores the result in the Save or Commit that removes the lease.
func GiveBack(l *hookgate.Lease, max int, now time.Time, clock time.Duration) (
	created []hookgate.Exception, holds []hookgate.Hold) {
	held := map[string]bool{}
	for i := range l.Events {
		e := &l.Events[i]
		switch {
		case e.State != hookgate.LeasedOpen || e.Excepted:
		case e.OrderingKey != "" && e.Path:
			if !held[e.OrderingKey] {
				held[e.OrderingKey] = true
				holds = append(holds, hookgate.Hold{OrderingKey: e.OrderingKey, After: e.Event - 1,
					LeaseMax: max})
			}
		default:
			created = append(created, hookgate.Exception{Event: e.Event, Redelivery: e.Redelivery,
				State: hookgate.ExceptionWaiting, Due: now, Since: clock, Changed: now,
				Reason: "the lease ended without an acknowledgement", LeaseMax: max})
		}
	}
	return created, holds
}
