package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/hookgate/hookgate"
)

func mustPurge(t TB, s hookgate.Purger, ids ...string) []hookgate.RequestID {
	t.Helper()
	purged, err := s.Purge(context.Background(), hookgate.Purge{IDs: ids, By: "ops",
		Reason: "test data"})
	if err != nil {
		t.Fatalf("purge: %v", err)
	}
	return purged
}

// testPurge: a purge removes the body of a dead letter and of the dead letters that it retries, and
// nothing else. The lineage shows it, and the owner of the partition continues.
func testPurge(t *testing.T, s Instance) {
	o := own(t, s, 0, 1)
	first, other, elsewhere := record("k", 1), record("k", 2), record("k", 3)
	elsewhere.Partition = 1
	o.mustDeadLetter(t, "at fault", first, other, elsewhere)
	second := replayOf(first, 1)
	o.mustDeadLetter(t, "still", second)
	third := replayOf(second, 2)
	o.mustDeadLetter(t, "for ever", third)
	ids := map[hookgate.RequestID]string{}
	for _, d := range deadLetters(t, s, hookgate.DeadLetterFilter{}) {
		ids[d.RequestID] = d.ID
	}
	purged := mustPurge(t, s, ids[second.RequestID], "x", "99999", ids[elsewhere.RequestID])
	if want := []hookgate.RequestID{first.RequestID, elsewhere.RequestID,
		second.RequestID}; !slices.Equal(purged, want) {
		t.Errorf("purged are %v, want the named ones and what the first of them replays, %v", purged,
			want)
	}
	mustBeIn(t, s, map[hookgate.RequestID]hookgate.DeadLetterState{
		first.RequestID: hookgate.DeadLetterPurged, second.RequestID: hookgate.DeadLetterPurged,
		elsewhere.RequestID: hookgate.DeadLetterPurged,
		third.RequestID:     hookgate.DeadLetterOpen, other.RequestID: hookgate.DeadLetterOpen,
	})
	d, err := s.DeadLetter(t.Context(), ids[second.RequestID])
	if err != nil || d.PurgedAt.IsZero() || d.PurgedBy != "ops" || d.PurgeReason != "test data" ||
		d.Size != 0 || d.SHA256 != sha256.Sum256(second.Body) ||
		d.Reason != "still" || d.DeadLetteredAt.IsZero() || d.MessageID != "k-1" {
		t.Errorf("the purged dead letter reads %+v (error %v)", d, err)
	}
	for request, wantBody := range map[hookgate.RequestID]bool{first.RequestID: false,
		second.RequestID: false, third.RequestID: true, other.RequestID: true} {
		if body, err := s.DeadLetterBody(t.Context(), ids[request]); wantBody != (err == nil) ||
			err != nil && !errors.Is(err, hookgate.ErrNotFound) {
			t.Errorf("the body of %s is %q (error %v), wanted: %v", ids[request], body, err, wantBody)
		}
	}
	got := stages(t, s, "k-1")
	if want := []string{"received enqueued processed dead_lettered purged",
		"received replayed enqueued processed dead_lettered purged",
		"received replayed enqueued processed dead_lettered"}; !slices.Equal(got, want) {
		t.Errorf("trails are %q, want %q", got, want)
	}
	mustVerify(t, s)
	if again := mustPurge(t, s, ids[second.RequestID], ids[elsewhere.RequestID]); len(again) != 0 {
		t.Errorf("%v were purged twice", again)
	}
	if none := mustPurge(t, s); len(none) != 0 {
		t.Errorf("%v were purged by the name of none", none)
	}
	last := replayOf(third, 3)
	o.mustApply(t, last, record("k", 4))
	mustHave(t, s, hookgate.StoreCounts{DeadLetters: 5}, "k-1", "k-4")
	mustPurge(t, s, ids[third.RequestID])
	mustHave(t, s, hookgate.StoreCounts{DeadLetters: 5}, "k-1", "k-4")
}

// testPurgeWhileWriting: purges and the owner of the partition add to one chain at the same time.
// Two concurrent purges of the same dead letters purge each of them once.
func testPurgeWhileWriting(t *testing.T, s Instance) {
	o := own(t, s, 0)
	const dead, batches = 40, 20
	var records []hookgate.Record
	for n := range dead {
		records = append(records, record("dead", n))
	}
	o.mustDeadLetter(t, "at fault", records...)
	var ids []string
	for _, d := range deadLetters(t, s, hookgate.DeadLetterFilter{}) {
		ids = append(ids, d.ID)
	}
	var all sync.WaitGroup
	purged := make([]int, 2)
	for i := range purged {
		all.Go(func() {
			for some := range slices.Chunk(ids, 4) {
				got, err := s.Purge(context.Background(), hookgate.Purge{IDs: some, By: fmt.Sprint(i)})
				if err != nil {
					t.Errorf("purge: %v", err)
				}
				purged[i] += len(got)
			}
		})
	}
	for n := range batches {
		o.mustApply(t, record("k", n))
	}
	all.Wait()
	if purged[0]+purged[1] != dead {
		t.Errorf("%v were purged, want %d together", purged, dead)
	}
	if c, err := s.Counts(t.Context()); err != nil || c.Events != batches || c.DeadLetters != dead {
		t.Errorf("counts are %+v (error %v)", c, err)
	}
}

// testPurgeFails: a purge fails before it takes effect, and another after. After it is repeated,
// everything is purged once.
func testPurgeFails(t *testing.T, b Backend, done bool) {
	place := b.NewPlace(t)
	s := b.Open(t, place)
	defer func() { s.Close() }()
	o := own(t, s, 0)
	o.mustDeadLetter(t, "at fault", record("k", 1), record("k", 2))
	id := deadLetters(t, s, hookgate.DeadLetterFilter{})[0].ID
	s.FailWrites(&done)
	if _, err := s.Purge(t.Context(), hookgate.Purge{IDs: []string{id}, By: "ops"}); err == nil {
		t.Fatal("purge whose write failed returned no error")
	}
	s.FailWrites(nil)
	if purged := mustPurge(t, s, id); len(purged) == 1 == done {
		t.Errorf("the repetition purged %v", purged)
	}
	s.Close()
	s = b.Open(t, place)
	mustVerify(t, s)
	if open := deadLetters(t, s, hookgate.DeadLetterFilter{State: hookgate.DeadLetterOpen}); len(
		open) != 1 || open[0].MessageID != "k-2" {
		t.Errorf("open are %+v, want k-2", open)
	}
}
