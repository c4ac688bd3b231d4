package prune

import "github.com/hookgate/hookgate"

// Tests plans one step of the removal of test traffic. Offer it the events of the test source,
// oldest first. The store moves them to webhook_removed_events, where retention removes them later.
// Only one goroutine may use it.
type Tests struct {
	hookgate.Pruned
	// IDs are the events to remove.
	IDs []int64

	limit int
}

// NewTests returns a step that removes at most limit events.
func NewTests(limit int) *Tests { return &Tests{limit: max(1, limit)} }

// Limit returns the largest number of events that the step removes.
func (t *Tests) Limit() int { return t.limit }

// Event offers the next event. It returns false if the event stays for now; then all that follow
// stay too.
func (t *Tests) Event(id, bytes int64) bool {
	if len(t.IDs) == t.limit || t.Events > 0 && t.Bytes+bytes > stepBytes {
		t.More = true
		return false
	}
	t.IDs = append(t.IDs, id)
	t.Events++
	t.Bytes += bytes
	return true
}
