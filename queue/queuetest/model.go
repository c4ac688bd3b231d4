package queuetest

import (
	"context"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/hookgate/hookgate"
)

// model is the expected state of the queue: for each partition the acknowledged records in order,
// and how many of them are released.
type model struct {
	q        Instance
	reader   hookgate.PartitionReader
	appended map[int][]hookgate.Record
	released map[int]int
	// next is the number of a partition's records that Next has returned. known is false until its
	// first record shows where the reader begins.
	next  map[int]int
	known map[int]bool
	first map[string]hookgate.RequestID
}

// testModel drives a queue with random appends, repetitions, reads, releases, changes of reader,
// restarts and crashes, and compares it with slices. A new reader may begin at any record up to the
// first unreleased one. From there on it must see every record in order.
func testModel(t *testing.T, b Backend) {
	rapid.Check(t, func(t *rapid.T) {
		const partitions = 3
		place := b.NewPlace(t)
		o := Options{Partitions: partitions}.withDefaults()
		m := &model{
			q: b.Open(t, place, o), appended: map[int][]hookgate.Record{}, released: map[int]int{},
			first: map[string]hookgate.RequestID{},
		}
		defer func() { m.q.End() }()
		m.newReader(t)
		var inHand []hookgate.Record
		reopen := func() {
			m.q = b.Open(t, place, o)
			m.newReader(t)
			inHand = nil
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				m.append(t, rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "key"),
					rapid.IntRange(0, 12).Draw(t, "n"))
			},
			"retry": func(t *rapid.T) {
				m.retryOf(t, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"),
					rapid.IntRange(0, 3).Draw(t, "n"))
			},
			"next": func(t *rapid.T) {
				if m.waiting() == 0 {
					return
				}
				got, err := m.reader.Next(context.Background(), rapid.IntRange(1, 6).Draw(t, "max"), 1<<20)
				if err != nil {
					t.Fatalf("next: %v", err)
				}
				m.check(t, got)
				inHand = append(inHand, got...)
			},
			"commit": func(t *rapid.T) {
				n := rapid.IntRange(0, len(inHand)).Draw(t, "n")
				mustCommit(t, m.reader, inHand[:n])
				for _, r := range inHand[:n] {
					m.release(r)
				}
				inHand = inHand[n:]
			},
			"changeReader": func(t *rapid.T) {
				m.reader.Close()
				m.newReader(t)
				inHand = nil
			},
			"restart": func(t *rapid.T) {
				if err := m.q.End(); err != nil {
					t.Fatalf("close: %v", err)
				}
				reopen()
			},
			"crash": func(*rapid.T) {
				m.q.Crash()
				reopen()
			},
		})
		for m.waiting() > 0 {
			got := mustNext(t, m.reader, 1)
			m.check(t, got)
			mustCommit(t, m.reader, got)
			m.release(got[0])
		}
	})
}

func (m *model) newReader(t TB) {
	m.reader = mustOpenReader(t, m.q)
	m.next, m.known = map[int]int{}, map[int]bool{}
}

func (m *model) append(t TB, key string, n int) {
	d := newRequest(key, n)
	receipt := mustAppend(t, m.q, d)
	if receipt.DuplicateOf != m.first[d.MessageID] {
		t.Fatalf("%s is a duplicate of %s, want %s", d.MessageID, receipt.DuplicateOf,
			m.first[d.MessageID])
	}
	r := hookgate.Record{Request: *d, Partition: receipt.Partition, Position: receipt.Position,
		DuplicateOf: receipt.DuplicateOf}
	if receipt.Duplicate() {
		r.Body = nil
	} else {
		m.first[d.MessageID] = d.RequestID
	}
	m.appended[r.Partition] = append(m.appended[r.Partition], r)
}

// retryOf appends a retry of any request. The retry takes over the claim.
func (m *model) retryOf(t TB, key string, n int) {
	d := retryOf(newRequest(key, n))
	receipt := mustAppend(t, m.q, d)
	if receipt.Duplicate() {
		t.Fatalf("the retry of %s is a duplicate of %s", d.MessageID, receipt.DuplicateOf)
	}
	m.first[d.MessageID] = d.RequestID
	r := hookgate.Record{Request: *d, Partition: receipt.Partition, Position: receipt.Position}
	m.appended[r.Partition] = append(m.appended[r.Partition], r)
}

// waiting is a lower bound of the number of records that Next has not returned.
func (m *model) waiting() int {
	n := 0
	for p, all := range m.appended {
		from := m.released[p]
		if m.known[p] {
			from = m.next[p]
		}
		n += len(all) - from
	}
	return n
}

func (m *model) check(t TB, got []hookgate.Record) {
	for _, r := range got {
		all := m.appended[r.Partition]
		if !m.known[r.Partition] {
			m.known[r.Partition] = true
			for m.next[r.Partition] < len(all) && all[m.next[r.Partition]].Position != r.Position {
				m.next[r.Partition]++
			}
			if m.next[r.Partition] > m.released[r.Partition] {
				t.Fatalf("partition %d begins with record %d, and from %d on nothing is released",
					r.Partition, m.next[r.Partition], m.released[r.Partition])
			}
		}
		i := m.next[r.Partition]
		if i >= len(all) {
			t.Fatalf("partition %d: %s at %s was never appended", r.Partition, r.Identity, r.Position)
		}
		if got, want := describe(r), describe(all[i]); got != want {
			t.Fatalf("partition %d, record %d: got %s, want %s", r.Partition, i, got, want)
		}
		m.next[r.Partition]++
	}
}

func (m *model) release(r hookgate.Record) {
	for i, have := range m.appended[r.Partition] {
		if have.Position == r.Position {
			m.released[r.Partition] = max(m.released[r.Partition], i+1)
		}
	}
}

func describe(r hookgate.Record) string {
	return fmt.Sprintf("%s %s %s %s %q of %s, retry of %s", r.Position, r.RequestID, r.Identity,
		r.OrderingKey, r.Body, r.DuplicateOf, r.RetryOf)
}
