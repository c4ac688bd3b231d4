package prune

import "github.com/hookgate/hookgate"

// Tests plans one step of the removal of test traffic, of which the events are offered to it from
// the oldest on. They are moved to webhook_removed_events, where retention finds them when it comes
// to their ids. It is for one goroutine.
type Tests struct {
	hookgate.Pruned
	// IDs are the events that go.
	IDs []int64

	limit int
}

// NewTests begins a step that removes limit events at most.
func NewTests(limit int) *Tests { return &Tests{limit: max(1, limit)} }

// Limit is how many events go at most.
func (t *Tests) Limit() int { return t.limit }

// Event offers the next event. It returns false if that stays for now, and with it all that follow.
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
