package sqlstore

import (
	"context"

	"github.com/hookgate/hookgate"
)

// turns bounds the reads that look at events one by one, and may take long: whoever makes one has a
// turn for it. The connections that are left, and the processors, are for workers, tokens and
// whatever an index serves, however many search.
type turns chan struct{}

// newTurns returns turns for reads over so many connections: half of them.
func newTurns(connections int) turns { return make(turns, max(connections/2, 1)) }

// take waits for a turn. Whoever waits longest has the next one.
func (t turns) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turns) give() { <-t }

// TakeTurns takes all turns, so that a test sees what still runs then. giveBack ends that.
func (t *Tables) TakeTurns() (giveBack func()) {
	for range cap(t.turns) {
		t.turns <- struct{}{}
	}
	return func() {
		for range cap(t.turns) {
			t.turns.give()
		}
	}
}

// looksAtEach reports whether a listing in the order stored passes over events that do not match.
func looksAtEach(f *hookgate.EventFilter) bool {
	indexed := f.MessageID != "" || !f.RequestID.IsZero()
	return !indexed && (f.Source != "" || f.ExceptSource != "" || f.EventType != "" ||
		f.OrderingKey != "" || f.MessageIDPrefix != "" || f.BodyContains != "" || !f.From.IsZero() ||
		!f.To.IsZero())
}
