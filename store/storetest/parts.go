package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// several returns the records of a request whose events have these message ids and one byte each.
func several(t TB, n int, ids ...string) []hookgate.Record {
	t.Helper()
	r := record("k", n)
	r.RequestID = r.RequestID.WithoutPart()
	r.Body = []byte(strings.Repeat("b", len(ids)))
	var parts []hookgate.Part
	for i, id := range ids {
		parts = append(parts, hookgate.Part{EventType: "t", MessageID: id, OrderingKey: "k",
			Sequence: int64(i), Start: i, End: i + 1})
	}
	r.SetParts("default", parts)
	events, err := r.Split()
	if err != nil {
		t.Fatalf("split: %v", err)
	}
	return events
}

// testParts: requests with several overlapping events end as one event for each identity. The exact
// bytes of each request are stored once, even if its events are in several transactions. A request
// leads to its events, and an event to its request.
func testParts(t *testing.T, s Instance) {
	ctx := context.Background()
	o := own(t, s, 0)
	first := several(t, 1, "1", "2", "2")
	outcome := o.mustApply(t, first[0])
	outcome2 := o.mustApply(t, first[1:]...)
	if outcome.Stored+outcome2.Stored != 2 || fmt.Sprint(Duplicates(outcome2)) != "[1]" {
		t.Errorf("outcomes are %+v and %+v, want 2 stored and the second of one identity as a duplicate",
			outcome, outcome2)
	}
	o.mustApply(t, first...)
	second := several(t, 2, "1", "3")
	o.mustApply(t, second...)
	third := several(t, 3, "1", "3")
	o.mustApply(t, third...)
	mustHave(t, s, hookgate.StoreCounts{Duplicates: 4}, "1", "2", "3")

	base := first[0].Whole.RequestID
	if body, err := s.RequestBody(ctx, base); err != nil || string(body) != "bbb" {
		t.Errorf("the request's body is %q (error %v)", body, err)
	}
	if _, err := s.RequestBody(ctx, third[0].Whole.RequestID); !errors.Is(err, hookgate.ErrNotFound) {
		t.Errorf("the body of a request all of whose events are duplicates is kept (error %v)", err)
	}
	found := list(t, s, hookgate.EventFilter{RequestID: base})
	if len(found) != 2 || found[1].RequestID != base.Part(1) {
		t.Fatalf("the request leads to %d events: %+v", len(found), found)
	}
	if origin, ok := hookgate.OriginOf(found[1].Headers); !ok || origin.RequestID != base ||
		origin.Part != 2 || origin.Parts != 3 {
		t.Errorf("the second event says that its origin is %+v", origin)
	}
	page, err := s.Search(ctx, hookgate.EventSearch{EventFilter: hookgate.EventFilter{RequestID: base,
		Limit: 10}, MaxTime: time.Minute})
	if err != nil || len(page.Events) != 2 {
		t.Errorf("a search for the request has %d events (error %v), want 2", len(page.Events), err)
	}
	if trails, err := s.Parts(ctx, base, 2); err != nil || len(trails) != 2 ||
		trails[1].MessageID != "2" {
		t.Errorf("the lineage of the first 2 events is %+v (error %v)", trails, err)
	}
	if trails, err := s.Parts(ctx, base, 100); err != nil || len(trails) != 3 ||
		trails[2].Entries[3].Stage != hookgate.StageDuplicate {
		t.Errorf("the lineage of all events is %+v (error %v)", trails, err)
	}
}

// testPruneRequestBodies: the body of a request is removed with the last body of its events, not
// earlier. It stays while one of them is a dead letter.
func testPruneRequestBodies(t *testing.T, s Instance) {
	ctx := context.Background()
	o := own(t, s, 0)
	old, dead := several(t, 1, "1", "2"), several(t, 2, "3", "4")
	b := o.batch(append(old, dead[0])...)
	b.Dead = []hookgate.DeadLetter{{Record: dead[1], Reason: "at fault"}}
	mustApply(t, s, b)
	kept := func(want ...bool) {
		t.Helper()
		for i, r := range []hookgate.Record{old[0], dead[0]} {
			if _, err := s.RequestBody(ctx, r.Whole.RequestID); (err == nil) != want[i] {
				t.Errorf("request %d: kept is %v (error %v), want %v", i+1, err == nil, err, want[i])
			}
		}
		mustVerify(t, s)
	}
	c := hookgate.Cutoffs{Events: cut()}
	if _, err := s.Prune(ctx, c, 1); err != nil {
		t.Fatalf("prune: %v", err)
	}
	kept(true, true)
	mustPrune(t, s, c, 100)
	kept(false, true)
	mustPurge(t, s, deadLetters(t, s, hookgate.DeadLetterFilter{})[0].ID)
	o.mustApply(t, record("k", 9))
	mustPrune(t, s, hookgate.Cutoffs{Events: cut()}, 100)
	kept(false, false)
}
