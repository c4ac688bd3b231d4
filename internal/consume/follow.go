package consume

import (
	"bytes"
	"context"
	"strings"

	"github.com/hookgate/hookgate/api"
)

// Follow hands over the events that q selects as they are stored, from the end of the log or after
// q.After, until ctx ends or each returns an error. A star in q.EventType stands for any text.
func (g *Gate) Follow(ctx context.Context, q api.EventQuery,
	each func(*api.LogEvent) error) error {
	asked := api.StreamQuery{After: q.After}
	if q.Source != "" {
		asked.Sources = []string{q.Source}
	}
	if q.EventType != "" {
		asked.Types = []string{q.EventType}
	}
	var failed error
	err := g.try(ctx, func(ctx context.Context) error {
		for line, err := range g.client.Follow(ctx, asked) {
			if err != nil {
				return err
			}
			g.back()
			asked.After = line.After
			if line.Event == nil || !selects(&q, line.Event) {
				continue
			}
			if failed = each(line.Event); failed != nil {
				return nil
			}
		}
		return nil
	})
	switch {
	case failed != nil:
		return failed
	case ctx.Err() != nil:
		return nil
	}
	return err
}

// selects applies the filters that the gate does not apply to a stream.
func selects(q *api.EventQuery, e *api.LogEvent) bool {
	return (q.OrderingKey == "" || q.OrderingKey == e.OrderingKey) &&
		(q.MessageID == "" || q.MessageID == e.MessageID) &&
		strings.HasPrefix(e.MessageID, q.Prefix) &&
		(q.RequestID == "" || q.RequestID == e.WebhookID) &&
		bytes.Contains(e.Body, []byte(q.Body))
}
