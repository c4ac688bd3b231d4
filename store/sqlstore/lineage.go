package sqlstore

import (
	"context"
	"fmt"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
)

// trailColumns selects the columns of webhook_audit_trail in the order in which add scans them.
const trailColumns = "SELECT request_id, source, event_type, message_id, stage," +
	" CAST(metadata AS text)," +
	" timestamp, batch FROM webhook_audit_trail WHERE "

// Trace implements hookgate.Lineage.
func (t *Tables) Trace(ctx context.Context, messageID string, after hookgate.RequestID,
	limit int) (trails []hookgate.RequestTrail, err error) {
	if !t.storable(messageID) {
		return nil, nil
	}
	var l lineage
	err = t.db.Snapshot(ctx, func(query func(Statement) error) error {
		low, high := audit.MessageRange(messageID)
		args := []any{messageID}
		if err := query(Statement{
			SQL:  t.TraceRequests,
			Args: []any{low[:], high[:], messageID, after.String(), limit},
			Row: func(r Row) error {
				args = append(args, r.Text(0))
				return nil
			},
		}); err != nil || len(args) == 1 {
			return err
		}
		return l.read(query, Statement{
			SQL: trailColumns + t.Unindexed + "message_id = ? AND request_id IN (" + marks(len(args)-1) +
				") ORDER BY request_id, batch, ordinal",
			Args: args,
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read trace of %q: %w", messageID, err)
	}
	return l.trails, nil
}

// Request implements hookgate.Lineage.
func (t *Tables) Request(ctx context.Context, id hookgate.RequestID) (hookgate.RequestTrail,
	error) {
	var l lineage
	err := t.db.Snapshot(ctx, func(query func(Statement) error) error {
		return l.read(query, Statement{
			SQL: trailColumns + "request_id = ? ORDER BY batch, ordinal", Args: []any{id.String()},
		})
	})
	if err != nil {
		return hookgate.RequestTrail{}, fmt.Errorf("read request %s: %w", id, err)
	}
	if len(l.trails) == 0 {
		return hookgate.RequestTrail{}, fmt.Errorf("request %s: %w", id, hookgate.ErrNotFound)
	}
	return l.trails[0], nil
}

// Parts implements hookgate.Lineage.
func (t *Tables) Parts(ctx context.Context, id hookgate.RequestID,
	max int) ([]hookgate.RequestTrail, error) {
	var l lineage
	err := t.db.Snapshot(ctx, func(query func(Statement) error) error {
		return l.read(query, Statement{
			SQL: trailColumns +
				"request_id >= ? AND request_id <= ? ORDER BY request_id, batch, ordinal",
			Args: []any{id.Part(0).String(), id.Part(max - 1).String()},
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read the events of request %s: %w", id, err)
	}
	return l.trails, nil
}

// RequestBody implements hookgate.Lineage.
func (t *Tables) RequestBody(ctx context.Context, id hookgate.RequestID) (body []byte, err error) {
	found, err := t.one(ctx, requestBodyQuery, func(r Row) error {
		body = r.Bytes(0)
		return nil
	}, id.String())
	if err != nil {
		return nil, fmt.Errorf("read the body of request %s: %w", id, err)
	}
	if !found {
		return nil, fmt.Errorf("the body of request %s: %w", id, hookgate.ErrNotFound)
	}
	return body, nil
}

// requestBodyQuery selects the body of a request that carried several events.
const requestBodyQuery = `SELECT payload FROM webhook_request_bodies WHERE request_id = ?1`

// lineage collects rows of webhook_audit_trail. They arrive ordered by request id, batch and
// ordinal.
type lineage struct {
	trails []hookgate.RequestTrail
	batch  int64 // of the first row of the last trail
	// events has the index in trails of the request that brought an event.
	events map[int64]int
}

// read reads the rows of webhook_audit_trail that a statement selects, and then the deliveries of
// their events.
func (l *lineage) read(query func(Statement) error, s Statement) error {
	s.Row = l.add
	if err := query(s); err != nil {
		return err
	}
	return l.addDeliveries(query)
}

// add adds a row.
//
// A request can be in two batches: it became a dead letter, a crash lost its release, so the record
// came again and was stored. The stages before "processed" are then the same in both batches, and
// add keeps them once.
func (l *lineage) add(r Row) error {
	request, err := hookgate.ParseRequestID(r.Text(0))
	if err != nil {
		return err
	}
	batch := r.Int(7)
	if n := len(l.trails); n == 0 || l.trails[n-1].RequestID != request {
		id := hookgate.Identity{Source: r.Text(1), EventType: r.Text(2), MessageID: r.Text(3)}
		l.trails = append(l.trails, hookgate.RequestTrail{Identity: id, RequestID: request})
		l.batch = batch
	}
	e := hookgate.TrailEntry{Stage: hookgate.Stage(r.Text(4)), Metadata: r.Bytes(5),
		Timestamp: micros(r.Int(6))}
	if batch != l.batch {
		switch e.Stage {
		case hookgate.StageReceived, hookgate.StageReplayed, hookgate.StageSpooled,
			hookgate.StageEnqueued:
			return nil
		}
	}
	last := len(l.trails) - 1
	l.trails[last].Entries = append(l.trails[last].Entries, e)
	if e.Stage == hookgate.StagePersisted {
		return l.addEvent(last, e.Metadata)
	}
	return nil
}
