package failover

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/queue/sqlite"
)

func (f *fickle) AppendDuplicate(ctx context.Context, d *hookgate.Delivery, of hookgate.RequestID) (hookgate.Receipt, error) {
	if f.mood.Load() != well {
		return hookgate.Receipt{}, errAway
	}
	return f.BufferedQueue.(duplicateTaker).AppendDuplicate(ctx, d, of)
}

// leave fills the file of a queue that made claims: n deliveries of each of three keys, and a
// duplicate of each one, whose body that queue has dropped.
func leave(t *testing.T, path string, n int) {
	t.Helper()
	q, err := sqlite.Open(t.Context(), path, sqlite.Options{Partitions: 4})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		for _, key := range []string{"a", "b", "c"} {
			mustAppend(t, q, delivery(key, i))
			if receipt := mustAppend(t, q, delivery(key, i)); !receipt.Duplicate() {
				t.Fatal("a repetition is no duplicate")
			}
		}
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
}

// unreleased returns how many records a file holds.
func unreleased(t *testing.T, path string) int64 {
	t.Helper()
	n, partitions, err := sqlite.Unreleased(t.Context(), path)
	if err != nil || partitions != 4 {
		t.Fatalf("%s has %d partitions (error %v)", path, partitions, err)
	}
	return n
}

// openLeftover opens the file at path as what is left before primary. emptied says when it is empty.
func openLeftover(t *testing.T, primary hookgate.Queue, path string, refuse bool) (q *Queue, emptied *atomic.Bool, end func()) {
	t.Helper()
	left, err := sqlite.Open(t.Context(), path, sqlite.Options{Partitions: 4, KeepDuplicates: true})
	if err != nil {
		t.Fatal(err)
	}
	emptied = &atomic.Bool{}
	q, err = New(t.Context(), primary, left, Options{
		Timeout: waitFor, RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond,
		Leftover: "queue.db", Refuse: refuse,
		Emptied: func() {
			if err := left.Close(); err != nil {
				t.Error(err)
			}
			emptied.Store(true)
		},
		Quarantine: func(r hookgate.Record) error { return errors.New("nothing is corrupt") },
	})
	if err != nil {
		t.Fatal(err)
	}
	return q, emptied, func() { q.Close(); left.Close() }
}

// TestLeftover: what an earlier configuration has left behind goes to the queue once, each key in
// order and before what comes now, duplicates without body as such, although the queue fails in all
// its ways and the process ends on the way. Then the file is empty and the queue answers for itself.
func TestLeftover(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "queue.db")
	const each = 40
	leave(t, path, each)
	inner, err := sqlite.Open(t.Context(), filepath.Join(dir, "primary.db"), sqlite.Options{Partitions: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	primary := &fickle{BufferedQueue: inner}
	depth := func() int64 {
		s, err := inner.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Depth
	}
	sent := each
	for _, mood := range []int32{refuses, lies} {
		primary.mood.Store(mood)
		q, _, end := openLeftover(t, primary, path, false)
		for _, key := range []string{"a", "b", "c"} {
			mustAppend(t, q, delivery(key, sent))
		}
		sent++
		if mood == lies {
			eventually(t, "the queue has taken something", func() bool { return depth() > 0 })
		}
		s, err := q.Stats(t.Context())
		var leftover *hookgate.LeftoverError
		if err != nil || !errors.As(s.Degraded, &leftover) || leftover.Left == 0 || leftover.File != "queue.db" || s.Err != nil || s.Spooled != leftover.Left {
			t.Errorf("stats are %+v (error %v)", s, err)
		}
		end() // nothing more is released than after a crash
	}
	if n := unreleased(t, path); n != 6*each+6 {
		t.Errorf("%d records are left, want %d: nothing was acknowledged by the queue", n, 6*each+6)
	}

	primary.mood.Store(well)
	q, emptied, end := openLeftover(t, primary, path, false)
	defer end()
	for ; sent < each+50 || !emptied.Load(); sent++ {
		for _, key := range []string{"a", "b", "c"} {
			mustAppend(t, q, delivery(key, sent))
		}
	}
	if n := unreleased(t, path); n != 0 {
		t.Errorf("%d records are left in the file", n)
	}
	firsts, duplicates, seen := map[string]int64{}, 0, map[hookgate.RequestID]bool{}
	p := pair{Queue: q, fickle: primary}
	for _, r := range p.all(t, int(depth())) {
		switch {
		case seen[r.RequestID]: // a duplicate whose first append had an unknown outcome; the store recognises it
		case !r.DuplicateOf.IsZero():
			duplicates++
			if len(r.Body) != 0 || r.Sequence >= firsts[r.OrderingKey] || r.SpooledAt.IsZero() {
				t.Errorf("duplicate %s of %s has %d bytes and comes before %d", r.MessageID, r.DuplicateOf, len(r.Body), firsts[r.OrderingKey])
			}
		case r.Sequence != firsts[r.OrderingKey] || len(r.Body) == 0:
			t.Fatalf("%s with %d bytes came where %d was due", r.MessageID, len(r.Body), firsts[r.OrderingKey])
		default:
			firsts[r.OrderingKey]++
		}
		seen[r.RequestID] = true
	}
	if want := fmt.Sprint(map[string]int{"a": sent, "b": sent, "c": sent}); fmt.Sprint(firsts) != want || duplicates != 3*each {
		t.Errorf("the queue has %v and %d duplicates, want %s and %d", firsts, duplicates, want, 3*each)
	}
	if s, err := q.Stats(t.Context()); err != nil || s.Degraded != nil || s.Spooled != 0 {
		t.Errorf("afterwards the stats are %+v (error %v)", s, err)
	}
	primary.mood.Store(refuses)
	if _, err := q.Append(t.Context(), delivery("a", sent)); !errors.Is(err, errAway) {
		t.Errorf("afterwards an append gets %v, want what the queue answers", err)
	}
	if _, err := q.Stats(t.Context()); !errors.Is(err, errAway) {
		t.Errorf("afterwards the stats get %v, want what the queue answers", err)
	}
}

// TestLeftoverRefuses: if webhooks must not wait in the file, they are refused until it is empty.
func TestLeftoverRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "queue.db")
	leave(t, path, 10)
	inner, err := sqlite.Open(t.Context(), filepath.Join(dir, "primary.db"), sqlite.Options{Partitions: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	primary := &fickle{BufferedQueue: inner}
	primary.mood.Store(refuses)
	q, emptied, end := openLeftover(t, primary, path, true)
	defer end()
	var leftover *hookgate.LeftoverError
	if _, err := q.Append(t.Context(), delivery("a", 10)); !errors.As(err, &leftover) || !leftover.Refused {
		t.Errorf("an append gets %v", err)
	}
	if s, err := q.Stats(t.Context()); err != nil || !errors.As(s.Err, &leftover) {
		t.Errorf("stats are %+v (error %v)", s, err)
	}
	primary.mood.Store(well)
	eventually(t, "the file is empty", emptied.Load)
	mustAppend(t, q, delivery("a", 10))
	if s, err := inner.Stats(t.Context()); err != nil || s.Depth != 61 {
		t.Errorf("the queue has %d records, want 61 (error %v)", s.Depth, err)
	}
}
