package queuetest

import (
	"context"
	"testing"

	"github.com/hookgate/hookgate"
)

// testClaimSurvives: the claim of a released record survives a restart and a crash.
func testClaimSurvives(t *testing.T, b Backend) {
	place := b.NewPlace(t)
	o := Options{Partitions: 1}.withDefaults()
	q := b.Open(t, place, o)
	d := newRequest("k", 1)
	mustAppend(t, q, d)
	c := mustOpenReader(t, q)
	mustCommit(t, c, mustNext(t, c, 1))
	end := []func(){q.Crash, func() { q.End() }}
	for i := range 4 {
		if i > 0 {
			q = b.Open(t, place, o)
			end = []func(){q.Crash, func() { q.End() }}
			if receipt := mustAppend(t, q, newRequest("k", 1)); receipt.DuplicateOf != d.RequestID {
				t.Fatalf("after end %d a repetition is a duplicate of %s, want %s", i, receipt.DuplicateOf,
					d.RequestID)
			}
			c := mustOpenReader(t, q)
			mustCommit(t, c, nextNow(t, c, 100))
		}
		end[i%2]()
	}
}

// testCommitFails: the write of a release fails, before or after it took effect. Released records
// may come again, but the others are not lost, and the claims hold.
func testCommitFails(t *testing.T, b Backend, done bool) {
	place := b.NewPlace(t)
	o := Options{Partitions: 1}.withDefaults()
	q := b.Open(t, place, o)
	ids := map[string]hookgate.RequestID{}
	for n := range 10 {
		d := newRequest("k", n)
		ids[d.MessageID] = d.RequestID
		mustAppend(t, q, d)
	}
	c := mustOpenReader(t, q)
	records := mustNext(t, c, 10)
	q.FailWrites(&done)
	// Commit may return the error, or write later.
	_ = c.Commit(context.Background(), hookgate.LastOffsets(records[:6]))
	_, _ = q.Append(context.Background(), newRequest("other", 0))
	q.Crash()
	q = b.Open(t, place, o)
	defer q.End()
	for n := range 10 {
		d := newRequest("k", n)
		if receipt := mustAppend(t, q, d); receipt.DuplicateOf != ids[d.MessageID] {
			t.Fatalf("%s is a duplicate of %s, want %s", d.MessageID, receipt.DuplicateOf, ids[d.MessageID])
		}
	}
	c = mustOpenReader(t, q)
	seen := map[int64]bool{}
	for end := false; !end; {
		got := nextNow(t, c, 100)
		for _, r := range got {
			if r.OrderingKey == "k" && r.DuplicateOf.IsZero() {
				seen[r.Sequence] = true
			}
			end = end || r.MessageID == "k-9" && !r.DuplicateOf.IsZero()
		}
		mustCommit(t, c, got)
	}
	for n := int64(6); n < 10; n++ {
		if !seen[n] {
			t.Errorf("sequence %d was not released and did not come again", n)
		}
	}
}
