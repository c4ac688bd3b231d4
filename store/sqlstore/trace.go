package sqlstore

import (
	"fmt"

	"github.com/hookgate/hookgate"
)

// Trace collects the rows of webhook_audit_trail for a message id, which come by request id, batch
// and ordinal.
type Trace struct {
	Trails []hookgate.RequestTrail
	batch  int64 // of the first row of the last trail
}

// Add adds a row.
//
// A request is in two batches if its record came again after it had become a dead letter, because
// the release was lost in a crash, and was stored then. What happened to it before it was processed
// is told once.
func (t *Trace) Add(request hookgate.RequestID, id hookgate.Identity, batch int64,
	e hookgate.TrailEntry) {
	if n := len(t.Trails); n == 0 || t.Trails[n-1].RequestID != request {
		t.Trails = append(t.Trails, hookgate.RequestTrail{Identity: id, RequestID: request})
		t.batch = batch
	}
	if batch != t.batch {
		switch e.Stage {
		case hookgate.StageReceived, hookgate.StageReplayed, hookgate.StageSpooled,
			hookgate.StageEnqueued:
			return
		}
	}
	last := &t.Trails[len(t.Trails)-1]
	last.Entries = append(last.Entries, e)
}

// Only returns the lineage of the one request that the rows are of, or ErrNotFound.
func (t *Trace) Only(id hookgate.RequestID) (hookgate.RequestTrail, error) {
	if len(t.Trails) == 0 {
		return hookgate.RequestTrail{}, fmt.Errorf("request %s: %w", id, hookgate.ErrNotFound)
	}
	return t.Trails[0], nil
}
