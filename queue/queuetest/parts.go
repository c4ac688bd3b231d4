package queuetest

import (
	"fmt"
	"testing"

	"github.com/hookgate/hookgate"
)

// severalEvents returns a request with one event for each byte of its body.
func severalEvents(body string, ids ...string) *hookgate.Request {
	d := newRequest("k", 1)
	d.RequestID = d.RequestID.WithoutPart()
	d.Body = []byte(body)
	var parts []hookgate.Part
	for i, id := range ids {
		parts = append(parts, hookgate.Part{
			EventType: "t", MessageID: id, OrderingKey: id, Keyed: true,
			Sequence: hookgate.NoSequence, Start: i, End: i + 1,
		})
	}
	d.SetParts("several", parts)
	return d
}

// testParts: a request that carries several events is one record, which comes back with its parts.
// It is a duplicate if all of its events repeat, even in other bytes. A duplicate has its parts and
// no body.
func testParts(t *testing.T, b Backend) {
	q := open(t, b, Options{Partitions: 8})
	first, other := severalEvents("12", "1", "2"), severalEvents("13", "1", "3")
	again := severalEvents("xy", "1", "2")
	for _, d := range []*hookgate.Request{first, other} {
		if r := mustAppend(t, q, d); r.Duplicate() || r.Partition != hookgate.Partition("several", 8) {
			t.Errorf("receipt is %+v, want a first request in the partition of the source", r)
		}
	}
	if r := mustAppend(t, q, again); r.DuplicateOf != first.RequestID {
		t.Errorf("a repetition of all events is a duplicate of %s, want %s", r.DuplicateOf,
			first.RequestID)
	}
	if r := mustAppend(t, q, first); r.Duplicate() {
		t.Errorf("this very request, whose first outcome was unknown, is a duplicate of %s",
			r.DuplicateOf)
	}
	var got []string
	c := mustOpenReader(t, q)
	records := mustNext(t, c, 3)
	for i := range records {
		events, err := records[i].Split()
		if err != nil {
			t.Fatalf("split record %d: %v", i, err)
		}
		for _, e := range events {
			line := fmt.Sprintf("%s %q", e.MessageID, e.Body)
			if e.DuplicateOf == first.RequestID.Part(len(got)%2) {
				line += " duplicate"
			}
			got = append(got, line)
		}
	}
	want := `[1 "1" 2 "2" 1 "1" 3 "3" 1 "" duplicate 2 "" duplicate]`
	if fmt.Sprint(got) != want {
		t.Errorf("records carry %v, want %s", got, want)
	}
	mustCommit(t, c, records)
	mustBeEmpty(t, c)
}
