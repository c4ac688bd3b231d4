package prune

import (
	"math"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
)

// TestStoredMeanwhile: a step leaves the entry of an event that was stored after it had read the
// events, however old the event is. It removes the entries before it.
func TestStoredMeanwhile(t *testing.T) {
	now := time.Now()
	s := NewStep(hookgate.Cutoffs{Events: now, Trail: now}, 100, audit.Removals{}, math.MaxInt64)
	old := now.Add(-time.Hour)
	if !s.Event(1, 10, old) {
		t.Fatal("the event stays")
	}
	s.BeginEntries([32]byte{})
	for _, e := range []struct {
		Entry
		removed bool
	}{
		{Entry{ID: 1, Kind: KindWithBody, PersistedAt: old}, true},
		{Entry{ID: 2, Kind: KindDuplicate, PersistedAt: old}, true},
		{Entry{ID: 3, Kind: KindEvent, PersistedAt: old}, true}, // removed before, as test traffic
		{Entry{ID: 4, Kind: KindWithBody, PersistedAt: old}, false},
	} {
		if removed := s.Entry(&e.Entry); removed != e.removed {
			t.Errorf("entry %d: removed is %t", e.ID, removed)
		}
	}
	if len(s.Gaps) != 1 || s.Gaps[0].To != 3 || s.Gaps[0].Events != 2 || s.EntryCursor != 0 {
		t.Errorf("the gaps are %+v, the cursor is %d", s.Gaps, s.EntryCursor)
	}
}
