package sqlstore

import (
	"context"

	"github.com/hookgate/hookgate"
)

// Turns bounds the reads that look at events one by one, and may take long: whoever makes one has a
// turn for it. The connections that are left, and the processors, are for workers, tokens and
// whatever an index serves, however many search.
type Turns chan struct{}

// NewTurns returns turns for reads over so many connections: half of them.
func NewTurns(connections int) Turns { return make(Turns, max(connections/2, 1)) }

// take waits for a turn. Whoever waits longest has the next one.
func (t Turns) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t Turns) give() { <-t }

// looksAtEach reports whether a listing in the order stored passes over events that do not match.
func looksAtEach(f *hookgate.EventFilter) bool {
	indexed := f.MessageID != "" || !f.RequestID.IsZero()
	return !indexed && (f.Source != "" || f.ExceptSource != "" || f.EventType != "" ||
		f.OrderingKey != "" || f.MessageIDPrefix != "" || f.BodyContains != "" || !f.From.IsZero() ||
		!f.To.IsZero())
}
