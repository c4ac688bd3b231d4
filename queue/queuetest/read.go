package queuetest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// testNextLimits: Next respects both limits, but returns a record that is larger than the byte
// limit.
func testNextLimits(t *testing.T, b Backend) {
	q := open(t, b, Options{Partitions: 1})
	for n := range 10 {
		d := newRequest("k", n)
		d.Body = make([]byte, 1000)
		mustAppend(t, q, d)
	}
	c := mustOpenReader(t, q)
	ctx := context.Background()
	for _, step := range []struct{ max, maxBytes, want int }{{3, 1 << 20, 3}, {100, 2500, 2},
		{100, 10, 1}, {100, 1 << 20, 4}} {
		records, err := c.Next(ctx, step.max, step.maxBytes)
		if err != nil || len(records) != step.want {
			t.Fatalf("Next(%d, %d) returned %d records and %v, want %d", step.max, step.maxBytes,
				len(records), err, step.want)
		}
	}
}

// testNextWaits: Next waits for a record. If its context ends first, no record is lost.
func testNextWaits(t *testing.T, b Backend) {
	q := open(t, b, Options{})
	c := mustOpenReader(t, q)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if records, err := c.Next(ctx, 1, 1); !errors.Is(err, context.Canceled) || len(records) > 0 {
		t.Fatalf("next with an ended context returned %d records and %v", len(records), err)
	}
	got := make(chan []hookgate.Record)
	go func() {
		records, _ := c.Next(context.Background(), 1, 1<<20)
		got <- records
	}()
	mustAppend(t, q, newRequest("k", 1))
	select {
	case records := <-got:
		if len(records) != 1 || records[0].MessageID != "k-1" {
			t.Fatalf("next returned %v", records)
		}
	case <-time.After(waitFor):
		t.Fatal("next does not see what was appended while it waited")
	}
}

// testCommit: Commit releases everything up to its position and nothing after it.
func testCommit(t *testing.T, b Backend) {
	place := b.NewPlace(t)
	o := Options{Partitions: 1}.withDefaults()
	q := b.Open(t, place, o)
	for n := range 5 {
		mustAppend(t, q, newRequest("k", n))
	}
	c := mustOpenReader(t, q)
	mustCommit(t, c, mustNext(t, c, 5)[:3])
	mustReachDepth(t, q, 2)
	c.Close()
	if err := q.End(); err != nil {
		t.Fatalf("close: %v", err)
	}
	q = b.Open(t, place, o)
	defer q.End()
	mustReachDepth(t, q, 2)
	c = mustOpenReader(t, q)
	for i, r := range mustNext(t, c, 2) {
		if r.Sequence != int64(3+i) {
			t.Fatalf("record %d is sequence %d, want %d", i, r.Sequence, 3+i)
		}
	}
	mustBeEmpty(t, c)
}

// testUncommitted: records that were read and not released come again, in order, from the next
// reader.
func testUncommitted(t *testing.T, b Backend) {
	q := open(t, b, Options{Partitions: 1})
	for n := range 4 {
		mustAppend(t, q, newRequest("k", n))
	}
	lease := uint64(0)
	for round := range 3 {
		c := mustOpenReader(t, q)
		for i, r := range mustNext(t, c, 4) {
			if r.Sequence != int64(i) {
				t.Fatalf("round %d: record %d is sequence %d", round, i, r.Sequence)
			}
			if i == 0 {
				if r.Lease == lease {
					t.Fatalf("round %d: the partition came back under the same lease", round)
				}
				lease = r.Lease
			}
		}
		mustBeEmpty(t, c)
		c.Close()
	}
}

// testPositions: positions grow across releases and restarts, even if the queue was empty in
// between.
func testPositions(t *testing.T, b Backend) {
	place := b.NewPlace(t)
	o := Options{Partitions: 1}.withDefaults()
	var last hookgate.Position
	for n := range 6 {
		q := b.Open(t, place, o)
		receipt := mustAppend(t, q, newRequest("k", n))
		if n > 0 && receipt.Position.Compare(last) <= 0 {
			t.Fatalf("append %d is at %s, after %s", n, receipt.Position, last)
		}
		last = receipt.Position
		c := mustOpenReader(t, q)
		records := mustNext(t, c, 1)
		mustCommit(t, c, records)
		c.Close()
		if n%2 == 0 {
			q.Crash()
			continue
		}
		if err := q.End(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
}

// testRebalance: the readers hold all partitions, each partition once. A partition moves only when
// its records in hand are released. A reader that closes leaves its partitions to the others.
func testRebalance(t *testing.T, b Backend) {
	const partitions = 8
	q := open(t, b, Options{Partitions: partitions})
	fill := func(n int) {
		for p := range partitions {
			for key := 'a'; ; key++ {
				if hookgate.Partition(string(key), partitions) == p {
					mustAppend(t, q, newRequest(string(key), n))
					break
				}
			}
		}
	}
	fill(0)
	first := mustOpenReader(t, q)
	held := mustNext(t, first, partitions)
	second := mustOpenReader(t, q)
	fill(1)
	if early := nextNow(t, second, 100); len(early) > 0 {
		t.Fatalf("partition %d moved while its records were in hand", early[0].Partition)
	}
	mustCommit(t, first, held)
	// Both read until all records have come. Each partition must come from one of them only.
	holder := map[int]hookgate.PartitionReader{}
	seen := 0
	for end := time.Now().Add(waitFor); seen < partitions && time.Now().Before(end); {
		for _, c := range []hookgate.PartitionReader{first, second} {
			records := nextNow(t, c, 100)
			for _, r := range records {
				if holder[r.Partition] != nil {
					t.Fatalf("partition %d comes from both", r.Partition)
				}
				holder[r.Partition] = c
				seen++
			}
			mustCommit(t, c, records)
		}
	}
	if seen != partitions {
		t.Fatalf("%d records came, want %d", seen, partitions)
	}
	byFirst := 0
	for _, c := range holder {
		if c == first {
			byFirst++
		}
	}
	if byFirst == 0 || byFirst == partitions {
		t.Errorf("the first of two readers holds %d of %d partitions", byFirst, partitions)
	}
	// Owners is no part of the port.
	shows, ok := q.BufferedQueue.(interface{ Owners() []int })
	if ok {
		for p, owner := range shows.Owners() {
			if want := map[hookgate.PartitionReader]int{first: 1, second: 2}[holder[p]]; owner != want {
				t.Errorf("partition %d is shown as that of reader %d, want %d", p, owner, want)
			}
		}
	}
	first.Close()
	fill(2)
	mustCommit(t, second, mustNext(t, second, partitions))
	if ok && slices.Contains(shows.Owners(), 2) {
		t.Errorf("the only reader is shown as the second: %v", shows.Owners())
	}
}

// testCloseWhileNext: Close ends a Next that waits.
func testCloseWhileNext(t *testing.T, b Backend) {
	q := open(t, b, Options{})
	c := mustOpenReader(t, q)
	ended := make(chan error)
	go func() {
		_, err := c.Next(context.Background(), 1, 1)
		ended <- err
	}()
	if err := c.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, hookgate.ErrClosed) {
			t.Errorf("next of a closed reader: %v, want ErrClosed", err)
		}
	case <-time.After(waitFor):
		t.Error("next does not end when its reader is closed")
	}
	if err := c.Commit(context.Background(), nil); !errors.Is(err, hookgate.ErrClosed) {
		t.Errorf("commit of a closed reader: %v, want ErrClosed", err)
	}
}

// testStats: depth and oldest record follow the unreleased records.
func testStats(t *testing.T, b Backend) {
	q := open(t, b, Options{Partitions: 3, HighWater: 77})
	s, err := q.Stats(context.Background())
	if err != nil || s.Depth != 0 || s.HighWater != 77 || s.Partitions != 3 ||
		!s.OldestEnqueuedAt.IsZero() || s.Err != nil {
		t.Fatalf("stats of an empty queue: %+v, %v", s, err)
	}
	for n := range 5 {
		mustAppend(t, q, newRequest(string(rune('a'+n)), n))
	}
	c := mustOpenReader(t, q)
	records := mustNext(t, c, 5)
	slices.SortFunc(records, func(a,
		b hookgate.Record) int {
		return a.EnqueuedAt.Compare(b.EnqueuedAt)
	})
	if s, _ = q.Stats(context.Background()); s.Depth != 5 ||
		!s.OldestEnqueuedAt.Equal(records[0].EnqueuedAt) {
		t.Errorf("stats of five: %+v, the oldest is of %s", s, records[0].EnqueuedAt)
	}
	mustCommit(t, c, records)
	mustReachDepth(t, q, 0)
	if s, _ = q.Stats(context.Background()); !s.OldestEnqueuedAt.IsZero() {
		t.Errorf("an empty queue has an oldest record of %s", s.OldestEnqueuedAt)
	}
}

// testClosed: a closed queue returns ErrClosed.
func testClosed(t *testing.T, b Backend) {
	q := open(t, b, Options{})
	c := mustOpenReader(t, q)
	if err := q.End(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if _, err := q.Append(context.Background(), newRequest("k", 1)); !errors.Is(err,
		hookgate.ErrClosed) {
		t.Errorf("append: %v, want ErrClosed", err)
	}
	if _, err := c.Next(context.Background(), 1, 1); !errors.Is(err, hookgate.ErrClosed) {
		t.Errorf("next: %v, want ErrClosed", err)
	}
	if _, err := q.OpenReader(context.Background()); !errors.Is(err, hookgate.ErrClosed) {
		t.Errorf("open reader: %v, want ErrClosed", err)
	}
}
