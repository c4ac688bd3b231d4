package deliver

import (
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver/internal/changes"
)

// pending collects the changes of the next Save.
type pending struct {
	*changes.Set
	// batch numbers the Save, from 1.
	batch  uint64
	pause  string
	broken *time.Time
	// expired are leases that clients had when this process became the owner.
	expired []string
	// weight counts the deliveries whose result is here.
	weight int
}

func newPending(batch uint64) *pending {
	return &pending{Set: changes.New(), batch: batch}
}

// empty reports whether there is nothing to save.
func (p *pending) empty() bool {
	return p.Set.Empty() && p.pause == "" && p.broken == nil && len(p.expired) == 0
}

// results returns what the Save stores.
func (p *pending) results(cursor int64, clock time.Duration) *hookgate.Results {
	r := p.Results(cursor, clock)
	r.Pause, r.BrokenSince, r.Expired = p.pause, p.broken, p.expired
	return r
}
