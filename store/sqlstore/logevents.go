package sqlstore

import (
	"context"
	"fmt"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
)

// LogColumns are the columns of webhook_events and webhook_kept_events in the order in which
// ScanLogEvent reads them.
const LogColumns = `id, message_id, event_type, source, ordering_key, keyed, request_id, headers,
	received_at, persisted_at, payload`

// ScanLogEvent reads an event from a row of LogColumns.
func ScanLogEvent(r Row) (e hookgate.Event, err error) {
	e = hookgate.Event{ID: r.Int(0),
		Identity:    hookgate.Identity{MessageID: r.Text(1), EventType: r.Text(2), Source: r.Text(3)},
		OrderingKey: r.Text(4), Keyed: r.Bool(5),
		ReceivedAt: micros(r.Int(8)), StoredAt: micros(r.Int(9)), Body: r.Bytes(10)}
	if e.RequestID, err = hookgate.ParseRequestID(r.Text(6)); err != nil {
		return e, err
	}
	e.Headers, err = audit.ParseHeaders(r.Text(7))
	return e, err
}

// InOrderOf returns the events in the order of ids.
func InOrderOf(ids []int64, events []hookgate.Event) []hookgate.Event {
	places := make(map[int64]int, len(events))
	for i := range events {
		places[events[i].ID] = i
	}
	ordered := make([]hookgate.Event, 0, len(events))
	for _, id := range ids {
		if i, found := places[id]; found {
			ordered = append(ordered, events[i])
		}
	}
	return ordered
}

// LogRange returns the highest event id that retention has removed, and the last id of the log.
func (t *Tables) LogRange(ctx context.Context) (horizon, end int64, err error) {
	_, err = t.one(ctx, "SELECT r.last_event, l.last_id FROM webhook_log l, webhook_removals r",
		func(r Row) error { horizon, end = r.Int(0), r.Int(1); return nil })
	if err != nil {
		return 0, 0, fmt.Errorf("read the range of the log: %w", err)
	}
	return horizon, end, nil
}
