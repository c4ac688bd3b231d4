package queuetest

import (
	"context"
	"testing"

	"github.com/hookgate/hookgate"
)

// testCrash: what was appended before a crash is there after it, in order, with its duplicates.
func testCrash(t *testing.T, b Backend) {
	place := b.NewPlace(t)
	o := Options{Partitions: 2}.withDefaults()
	q := b.Open(t, place, o)
	for n := range 50 {
		mustAppend(t, q, delivery("k", n))
	}
	first := mustNext(t, mustConsume(t, q), 50)[7].RequestID
	q.Crash()
	q = b.Open(t, place, o)
	defer q.Close()
	if receipt := mustAppend(t, q, delivery("k", 7)); receipt.DuplicateOf != first {
		t.Errorf("after the crash a repetition is a duplicate of %s, want %s", receipt.DuplicateOf, first)
	}
	for i, r := range mustNext(t, mustConsume(t, q), 51) {
		want := int64(i)
		if i == 50 {
			want = 7
		}
		if r.Sequence != want {
			t.Fatalf("record %d is sequence %d, want %d", i, r.Sequence, want)
		}
	}
}

// testClaimSurvives: the claim of a released record holds after a restart and after a crash.
func testClaimSurvives(t *testing.T, b Backend) {
	place := b.NewPlace(t)
	o := Options{Partitions: 1}.withDefaults()
	q := b.Open(t, place, o)
	d := delivery("k", 1)
	mustAppend(t, q, d)
	c := mustConsume(t, q)
	mustCommit(t, c, mustNext(t, c, 1))
	end := []func(){q.Crash, func() { q.Close() }}
	for i := range 4 {
		if i > 0 {
			q = b.Open(t, place, o)
			end = []func(){q.Crash, func() { q.Close() }}
			if receipt := mustAppend(t, q, delivery("k", 1)); receipt.DuplicateOf != d.RequestID {
				t.Fatalf("after end %d a repetition is a duplicate of %s, want %s", i, receipt.DuplicateOf, d.RequestID)
			}
			c := mustConsume(t, q)
			mustCommit(t, c, nextNow(t, c, 100))
		}
		end[i%2]()
	}
}

// testAppendFails: a write fails, once before and once after it took effect. The caller gets an error;
// its retry is safe; the event comes out once and in its place, and the health tells of it.
func testAppendFails(t *testing.T, b Backend, done bool) {
	place := b.NewPlace(t)
	o := Options{Partitions: 1}.withDefaults()
	q := b.Open(t, place, o)
	mustAppend(t, q, delivery("k", 0))
	q.FailWrites(&done)
	d := delivery("k", 1)
	if _, err := q.Append(context.Background(), d); err == nil {
		t.Fatal("append whose write failed returned no error")
	}
	if s, _ := q.Stats(context.Background()); s.Err == nil {
		t.Error("the stats do not tell that writing fails")
	}
	q.FailWrites(nil)
	retry := delivery("k", 1)
	receipt := mustAppend(t, q, retry)
	if done && receipt.DuplicateOf != d.RequestID {
		t.Errorf("the retry is a duplicate of %s, want of the request that was written, %s", receipt.DuplicateOf, d.RequestID)
	}
	if !done && receipt.Duplicate() {
		t.Errorf("the retry is a duplicate of %s, which was never written", receipt.DuplicateOf)
	}
	mustAppend(t, q, delivery("k", 2))
	if s, _ := q.Stats(context.Background()); s.Err != nil {
		t.Errorf("the stats still tell of an error: %v", s.Err)
	}
	for _, reopened := range []bool{false, true} {
		if reopened {
			q.Crash()
			q = b.Open(t, place, o)
			defer q.Close()
		}
		n := 3
		if done {
			n = 4
		}
		c := mustConsume(t, q)
		var firsts []int64
		for _, r := range mustNext(t, c, n) {
			if r.DuplicateOf.IsZero() {
				firsts = append(firsts, r.Sequence)
			}
		}
		if len(firsts) != 3 || firsts[0] != 0 || firsts[1] != 1 || firsts[2] != 2 {
			t.Errorf("reopened %v: events came in the order %v, want 0 1 2", reopened, firsts)
		}
		mustBeEmpty(t, c)
		c.Close()
	}
}

// testCommitFails: the write behind a release fails, before or after it took effect. Afterwards what was
// released may come again, but nothing else is lost, and its claims still stand.
func testCommitFails(t *testing.T, b Backend, done bool) {
	place := b.NewPlace(t)
	o := Options{Partitions: 1}.withDefaults()
	q := b.Open(t, place, o)
	ids := map[string]hookgate.RequestID{}
	for n := range 10 {
		d := delivery("k", n)
		ids[d.MessageID] = d.RequestID
		mustAppend(t, q, d)
	}
	c := mustConsume(t, q)
	records := mustNext(t, c, 10)
	q.FailWrites(&done)
	_ = c.Commit(context.Background(), hookgate.LastOffsets(records[:6])) // may report it, or write later
	_, _ = q.Append(context.Background(), delivery("other", 0))
	q.Crash()
	q = b.Open(t, place, o)
	defer q.Close()
	for n := range 10 {
		d := delivery("k", n)
		if receipt := mustAppend(t, q, d); receipt.DuplicateOf != ids[d.MessageID] {
			t.Fatalf("%s is a duplicate of %s, want %s", d.MessageID, receipt.DuplicateOf, ids[d.MessageID])
		}
	}
	c = mustConsume(t, q)
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
