package sqlstore

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/hookgate/hookgate"
)

// TestLeasedEvents: the stored form of events reads as what was written. A part of it reads as the
// events that are whole in it, or as an error.
func TestLeasedEvents(t *testing.T) {
	states := []hookgate.LeasedState{hookgate.LeasedOpen, hookgate.LeasedAcked,
		hookgate.LeasedGivenBack}
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, math.MaxInt64))
		events := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) hookgate.LeasedEvent {
			return hookgate.LeasedEvent{
				Event: number.Draw(t, "event"), Redelivery: number.Draw(t, "redelivery"),
				OrderingKey: string(rapid.SliceOf(rapid.Byte()).Draw(t, "key")),
				Attempts:    int(number.Draw(t, "attempts")), Job: number.Draw(t, "job"),
				Excepted: rapid.Bool().Draw(t, "excepted"), Path: rapid.Bool().Draw(t, "path"),
				State: rapid.SampledFrom(states).Draw(t, "state"),
			}
		}), 1, 5).Draw(t, "events")
		stored := appendLeased(nil, events)
		if got, err := parseLeased(stored); err != nil || !slices.Equal(got, events) {
			t.Fatalf("read %+v (error %v), want %+v", got, err, events)
		}
		part := stored[:rapid.IntRange(0, len(stored)-1).Draw(t, "length")]
		if got, err := parseLeased(part); err == nil && !slices.Equal(got, events[:len(got)]) ||
			len(got) == len(events) {
			t.Fatalf("a part reads as %+v (error %v)", got, err)
		}
	})
}

// FuzzLeasedEvents: what reads without an error is written as it was, or in a shorter form.
func FuzzLeasedEvents(f *testing.F) {
	f.Add(appendLeased(nil, []hookgate.LeasedEvent{{Event: 5, OrderingKey: "k"}, {Event: 9, Job: 1}}))
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, stored []byte) {
		events, err := parseLeased(stored)
		if err != nil {
			return
		}
		again, err := parseLeased(appendLeased(nil, events))
		if err != nil || !slices.Equal(again, events) {
			t.Errorf("read %+v, and written and read again %+v (error %v)", events, again, err)
		}
	})
}
