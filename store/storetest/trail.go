package storetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// testTrail: each acknowledged request shows its stages, with place and time.
func testTrail(t *testing.T, s Instance) {
	o := own(t, s, 2)
	first := record("k", 1)
	first.Partition = 2
	known, unknown := again(first), again(first)
	known.DuplicateOf, known.Body = first.RequestID, nil
	o.mustApply(t, first, known)
	o.mustApply(t, unknown)
	trails, err := s.Trace(t.Context(), "k-1", hookgate.RequestID{}, 1000)
	if err != nil || len(trails) != 3 {
		t.Fatalf("%d trails and error %v, want 3", len(trails), err)
	}
	if !slices.IsSortedFunc(trails, func(a, b hookgate.RequestTrail) int {
		return slices.Compare(a.RequestID[:], b.RequestID[:])
	}) {
		t.Error("the trails are not in the order of receipt")
	}
	event := list(t, s, hookgate.EventFilter{})[0]
	for _, trail := range trails {
		last, metadata := hookgate.StageDuplicate,
			map[string]any{"firstRequestId": first.RequestID.String()}
		if trail.RequestID == first.RequestID {
			last, metadata = hookgate.StagePersisted, map[string]any{"event": event.ID}
		}
		position := first.Position.String()
		if trail.RequestID != first.RequestID {
			position = known.Position.String()
		}
		if trail.Identity != first.Identity {
			t.Errorf("trail of %s, want of %s", trail.Identity, first.Identity)
		}
		for i, want := range []struct {
			stage    hookgate.Stage
			at       time.Time // zero: any
			metadata map[string]any
		}{
			{hookgate.StageReceived, first.ReceivedAt, map[string]any{"remoteAddr": first.RemoteAddr}},
			{hookgate.StageEnqueued, first.EnqueuedAt, map[string]any{"partition": 2.0,
				"position": position}},
			{hookgate.StageProcessed, start.Add(time.Hour), map[string]any{"worker": "gate/1"}},
			{last, time.Time{}, metadata},
		} {
			got := trail.Entries[i]
			if got.Stage != want.stage || !want.at.IsZero() && !got.Timestamp.Equal(want.at) {
				t.Errorf("stage %d is %s at %s, want %s at %s", i, got.Stage, got.Timestamp, want.stage,
					want.at)
			}
			var metadata map[string]any
			if err := json.Unmarshal(got.Metadata, &metadata); err != nil {
				t.Errorf("metadata of %s: %v", got.Stage, err)
			}
			if i == 3 && metadata["batch"] == nil {
				t.Errorf("stage %s does not name its batch: %s", got.Stage, got.Metadata)
			}
			for name, value := range want.metadata {
				if metadata[name] != value {
					t.Errorf("stage %s says %s, want %s to be %v", got.Stage, got.Metadata, name, value)
				}
			}
		}
	}
}

// testTracePages reads the requests of one message id page by page; the pages together are the
// whole.
func testTracePages(t *testing.T, s Instance) {
	o := own(t, s, 2)
	first := record("k", 1)
	first.Partition = 2
	batch := []hookgate.Record{first}
	for range 6 {
		batch = append(batch, again(first))
	}
	o.mustApply(t, batch...)
	whole, err := s.Trace(t.Context(), "k-1", hookgate.RequestID{}, 100)
	if err != nil || len(whole) != len(batch) {
		t.Fatalf("%d requests (error %v), want %d", len(whole), err, len(batch))
	}
	for limit := 1; limit <= len(batch)+1; limit++ {
		var pages []hookgate.RequestTrail
		for after, n := (hookgate.RequestID{}), limit; n == limit; {
			page, err := s.Trace(t.Context(), "k-1", after, limit)
			if err != nil || len(page) > limit {
				t.Fatalf("a page of %d has %d requests (error %v)", limit, len(page), err)
			}
			if n = len(page); n > 0 {
				after = page[n-1].RequestID
			}
			pages = append(pages, page...)
		}
		if fmt.Sprint(pages) != fmt.Sprint(whole) {
			t.Errorf("pages of %d are together %v, want %v", limit, pages, whole)
		}
	}
}

// testTrailRetried: the trail of an event that was stored at a later attempt shows that, with the
// error.
func testTrailRetried(t *testing.T, s Instance) {
	o := own(t, s, 0)
	b := o.batch(record("k", 1))
	b.Attempts, b.LastError = 4, "no \"route\" to store"
	mustApply(t, o, b)
	if got := stages(t, s, "k-1"); !slices.Equal(got,
		[]string{"received enqueued processed retried persisted"}) {
		t.Errorf("trail is %v", got)
	}
	trails, _ := s.Trace(t.Context(), "k-1", hookgate.RequestID{}, 1000)
	var metadata struct {
		Attempts  int
		LastError string
	}
	if err := json.Unmarshal(trails[0].Entries[3].Metadata, &metadata); err != nil ||
		metadata.Attempts != 4 || metadata.LastError != b.LastError {
		t.Errorf("metadata is %s (error %v)", trails[0].Entries[3].Metadata, err)
	}
	if trails, err := s.Trace(t.Context(), "unknown", hookgate.RequestID{}, 1000); err != nil ||
		len(trails) != 0 {
		t.Errorf("an unknown message id has the trails %v (error %v)", trails, err)
	}
}

// testTrailSpooled: the trail of an event, a duplicate or a dead letter that was in a local spool
// shows when.
func testTrailSpooled(t *testing.T, s Instance) {
	o := own(t, s, 0)
	spooled := func(r hookgate.Record) hookgate.Record {
		r.SpooledAt = r.ReceivedAt.Add(500 * time.Microsecond)
		return r
	}
	event := spooled(record("k", 1))
	b := o.batch(event, spooled(again(event)), record("k", 2))
	b.Dead = []hookgate.DeadLetter{{Record: spooled(record("dead", 1)), Reason: "at fault"}}
	mustApply(t, o, b)
	for id, want := range map[string][]string{
		"k-1": {"received spooled enqueued processed duplicate",
			"received spooled enqueued processed persisted"},
		"k-2":    {"received enqueued processed persisted"},
		"dead-1": {"received spooled enqueued processed dead_lettered"},
	} {
		got := stages(t, s, id)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("trails of %s are %v, want %v", id, got, want)
		}
	}
	trails, err := s.Trace(t.Context(), "dead-1", hookgate.RequestID{}, 1000)
	if err != nil || !trails[0].Entries[1].Timestamp.Equal(record("dead",
		1).ReceivedAt.Add(500*time.Microsecond)) || string(trails[0].Entries[1].Metadata) != "{}" {
		t.Errorf("trail is %+v (error %v)", trails, err)
	}
}

// testTrailReplayed: the trail of a retry shows when and of which request, whether it became an
// event, a duplicate or another dead letter.
func testTrailReplayed(t *testing.T, s Instance) {
	o := own(t, s, 0)
	dead := record("k", 1)
	b := o.batch()
	b.Dead = []hookgate.DeadLetter{{Record: dead, Reason: "at fault"}}
	mustApply(t, o, b)
	failed, event := replayOf(dead, 1), replayOf(dead, 2)
	b = o.batch()
	b.Dead = []hookgate.DeadLetter{{Record: failed, Reason: "still at fault"}}
	mustApply(t, o, b)
	late := replayOf(dead, 3)
	late.SpooledAt = late.RetriedAt.Add(time.Millisecond)
	o.mustApply(t, event, late)
	got := stages(t, s, "k-1")
	want := []string{"received enqueued processed dead_lettered",
		"received replayed enqueued processed dead_lettered",
		"received replayed enqueued processed persisted",
		"received replayed spooled enqueued processed duplicate"}
	if !slices.Equal(got, want) {
		t.Errorf("trails are %q, want %q", got, want)
	}
	trails, err := s.Trace(t.Context(), "k-1", hookgate.RequestID{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	entry := trails[2].Entries[1]
	if !entry.Timestamp.Equal(event.RetriedAt) || !strings.Contains(string(entry.Metadata),
		dead.RequestID.String()) {
		t.Errorf("the stage replayed is at %s as %s", entry.Timestamp, entry.Metadata)
	}
	if e := list(t, s, hookgate.EventFilter{})[0]; e.RequestID != event.RequestID ||
		!e.ReceivedAt.Equal(dead.ReceivedAt) {
		t.Errorf("the event is %+v, want that of the first replay that was stored,"+
			" received when the dead letter was", e)
	}
}
