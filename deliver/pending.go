package deliver

import (
	"maps"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
)

// pending collects the changes of the next Save.
type pending struct {
	// batch numbers the Save, from 1.
	batch    uint64
	attempts []hookgate.Attempt
	created  map[hookgate.EventRedelivery]hookgate.Exception
	updated  map[hookgate.EventRedelivery]hookgate.Exception
	holds    map[string]int64 // the value is Hold.After
	freed    map[string]bool
	jobs     map[int64]hookgate.JobProgress
	pause    string
	broken   *time.Time
	// weight counts the deliveries whose result is here.
	weight int
}

func newPending(batch uint64) *pending {
	return &pending{batch: batch, created: map[hookgate.EventRedelivery]hookgate.Exception{},
		updated: map[hookgate.EventRedelivery]hookgate.Exception{}, holds: map[string]int64{},
		freed: map[string]bool{}, jobs: map[int64]hookgate.JobProgress{}}
}

// empty reports whether there is nothing to save.
func (p *pending) empty() bool {
	return len(p.attempts) == 0 && len(p.created) == 0 && len(p.updated) == 0 && len(p.holds) == 0 &&
		len(p.freed) == 0 && len(p.jobs) == 0 && p.pause == "" && p.broken == nil
}

// hold sets the After of a key's hold.
func (p *pending) hold(key string, after int64) {
	delete(p.freed, key)
	p.holds[key] = max(p.holds[key], after)
}

// free removes a key's hold.
func (p *pending) free(key string) {
	delete(p.holds, key)
	p.freed[key] = true
}

// settle removes an exception that is settled. The attempt that settles it is added apart.
func (p *pending) settle(id hookgate.EventRedelivery) {
	delete(p.created, id)
	delete(p.updated, id)
}

// except stores an exception. stored reports whether the store may have it.
func (p *pending) except(id hookgate.EventRedelivery, e hookgate.Exception, stored bool) {
	if stored {
		p.updated[id] = e
		return
	}
	p.created[id] = e
}

// nextDue returns the earliest time at which an exception is due, given that of the exceptions in
// the store that are not attempted now.
func (p *pending) nextDue(stored time.Time) time.Time {
	next := stored
	for _, exceptions := range []map[hookgate.EventRedelivery]hookgate.Exception{p.created,
		p.updated} {
		for _, e := range exceptions {
			if e.State == hookgate.ExceptionWaiting && (next.IsZero() || e.Due.Before(next)) {
				next = e.Due
			}
		}
	}
	return next
}

// results returns what the Save stores.
func (p *pending) results(cursor int64, clock time.Duration) *hookgate.Results {
	r := &hookgate.Results{Cursor: cursor, Clock: clock, Attempts: p.attempts,
		Created: slices.Collect(maps.Values(p.created)),
		Updated: slices.Collect(maps.Values(p.updated)),
		Freed:   slices.Collect(maps.Keys(p.freed)), Jobs: slices.Collect(maps.Values(p.jobs)),
		Pause: p.pause, BrokenSince: p.broken}
	for key, after := range p.holds {
		r.Holds = append(r.Holds, hookgate.Hold{OrderingKey: key, After: after})
	}
	return r
}
