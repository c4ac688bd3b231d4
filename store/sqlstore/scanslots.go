package sqlstore

import (
	"context"

	"github.com/hookgate/hookgate"
)

// scanSlots limits how many reads may examine events or minutes of the history one by one at the
// same time. Such a read can take long. The limit leaves connections and CPU time for workers,
// token checks and reads that an index serves.
type scanSlots chan struct{}

// newScanSlots returns slots for half of the connections, and at least one.
func newScanSlots(connections int) scanSlots { return make(scanSlots, max(connections/2, 1)) }

// acquire waits for a free slot. Waiting calls get slots in the order in which they came.
func (t scanSlots) acquire(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t scanSlots) release() { <-t }

// TakeScanSlots takes all slots. Tests use it to see which reads need none. giveBack frees them
// again.
func (t *Tables) TakeScanSlots() (giveBack func()) {
	for range cap(t.slots) {
		t.slots <- struct{}{}
	}
	return func() {
		for range cap(t.slots) {
			t.slots.release()
		}
	}
}

// readsEach reports whether a listing in stored order must examine every event, because no index
// serves the filter.
func readsEach(f *hookgate.EventFilter) bool {
	indexed := f.MessageID != "" || !f.RequestID.IsZero()
	return !indexed && (f.Source != "" || f.ExceptSource != "" || f.EventType != "" ||
		f.OrderingKey != "" || f.MessageIDPrefix != "" || f.BodyContains != "" || !f.From.IsZero() ||
		!f.To.IsZero())
}
