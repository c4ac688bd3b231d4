package tally

import (
	"fmt"
	"testing"

	"github.com/hookgate/hookgate"
)

// TestSequences: gaps and inversions are counted. Duplicates and events without a sequence are not,
// and a new lease starts fresh.
func TestSequences(t *testing.T) {
	s := newSequences()
	record := func(key string, lease uint64, sequence int64) *hookgate.Record {
		return &hookgate.Record{Request: hookgate.Request{Identity: hookgate.Identity{Source: "s"},
			OrderingKey: key, Sequence: sequence}, Lease: lease}
	}
	for i, step := range []struct {
		key      string
		lease    uint64
		sequence int64
		want     follows
	}{
		{"a", 1, 7, inOrder}, // the first is not judged
		{"a", 1, 8, inOrder},
		{"b", 1, 1, inOrder},
		{"a", 1, 10, afterGap},
		{"a", 1, 9, inverted},
		{"a", 1, 10, inOrder}, // the highest once more
		{"a", 1, 11, inOrder}, // an inversion does not take the mark back
		{"a", 1, hookgate.NoSequence, inOrder},
		{"a", 1, 12, inOrder},
		{"b", 1, 3, afterGap},
		{"a", 2, 40, inOrder}, // another worker may have had those between
		{"a", 2, 39, inverted},
		{"a", 2, 1 << 62, afterGap},
	} {
		if got := s.observe(record(step.key, step.lease, step.sequence)); got != step.want {
			t.Errorf("step %d, %+v: got %d", i, step, got)
		}
	}
	// The counter remembers recent keys during a flood of others, in bounded memory.
	for n := range 10 * sequenceKeys {
		s.observe(record(fmt.Sprint(n), 1, 1))
		if n%(sequenceKeys/2) == 0 && s.observe(record("b", 1, 3)) != inOrder {
			t.Fatalf("b is forgotten after %d other keys", n)
		}
		if len(s.young)+len(s.old) > 2*sequenceKeys+1 {
			t.Fatalf("%d keys are remembered", len(s.young)+len(s.old))
		}
	}
	if got := s.observe(record("a", 2, 5)); got != inOrder {
		t.Errorf("a key that has not been seen for long is judged %d", got)
	}
	if got := s.observe(record("b", 1, 2)); got != inverted {
		t.Errorf("b is judged %d", got)
	}
}
