package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/hookgate/hookgate"
)

// model is what a store must hold.
type model struct {
	Instance
	current    []hookgate.Epoch // by partition; 0 if it has no owner yet
	first      map[hookgate.Identity]hookgate.RequestID
	requests   map[hookgate.RequestID]bool // every request that is stored
	order      []string                    // message ids of the events
	counts     hookgate.StoreCounts
	made       []hookgate.Record // records that may come again
	n          int
	partitions int
}

// testModel drives a store with random batches (new events, repetitions known and unknown to the queue, records
// that come again, replays, dead letters), purges, changes of owner, batches of owners that were replaced, failing transactions
// and restarts, and compares it with maps. At the end the audit chain must hold.
func testModel(t *testing.T, b Backend) {
	rapid.Check(t, func(t *rapid.T) {
		const partitions = 3
		place := b.NewPlace(t)
		m := &model{
			Instance: b.Open(t, place), partitions: partitions, current: make([]hookgate.Epoch, partitions),
			first: map[hookgate.Identity]hookgate.RequestID{}, requests: map[hookgate.RequestID]bool{},
		}
		defer func() { m.Close() }()
		for p := range partitions {
			m.acquire(t, p)
		}
		t.Repeat(map[string]func(*rapid.T){
			"apply": func(t *rapid.T) { m.applied(t, m.batch(t)) },
			"applyWithFailures": func(t *rapid.T) {
				if !b.FailsWrites {
					return
				}
				batch, done := m.batch(t), rapid.Bool().Draw(t, "done")
				m.FailWrites(&done)
				if _, err := m.Apply(context.Background(), batch); err == nil {
					t.Fatalf("apply whose transaction failed returned no error")
				}
				m.FailWrites(nil)
				if done {
					m.expect(batch)
				}
				m.applied(t, batch)
			},
			"applyOfOneReplaced": func(t *rapid.T) {
				batch := m.batch(t)
				for p := range batch.Epochs {
					batch.Epochs[p]--
				}
				if _, err := m.Apply(context.Background(), batch); !errors.Is(err, hookgate.ErrFenced) && len(batch.Records)+len(batch.Dead) > 0 {
					t.Fatalf("a batch with old epochs got %v, want ErrFenced", err)
				}
			},
			"purge":   func(t *rapid.T) { m.purge(t, b.FailsWrites) },
			"acquire": func(t *rapid.T) { m.acquire(t, rapid.IntRange(0, partitions-1).Draw(t, "partition")) },
			"restart": func(t *rapid.T) {
				if err := m.Close(); err != nil {
					t.Fatalf("close: %v", err)
				}
				m.Instance = b.Open(t, place)
			},
			"": func(t *rapid.T) {
				counts, err := m.Counts(context.Background())
				if err != nil || counts != m.counts {
					t.Fatalf("counts are %+v (error %v), want %+v", counts, err, m.counts)
				}
			},
		})
		mustHave(t, m.Instance, m.counts, m.order...)
		trails := map[hookgate.RequestID]bool{}
		for _, r := range m.made {
			all, err := m.Trace(context.Background(), r.MessageID)
			if err != nil {
				t.Fatalf("trace: %v", err)
			}
			for _, trail := range all {
				trails[trail.RequestID] = true
			}
		}
		if len(trails) != len(m.requests) {
			t.Fatalf("%d requests have a trail, want %d", len(trails), len(m.requests))
		}
		for id := range m.requests {
			if !trails[id] {
				t.Fatalf("request %s has no trail", id)
			}
		}
		mustVerify(t, m.Instance)
	})
}

func (m *model) acquire(t *rapid.T, p int) {
	epoch, err := m.Acquire(context.Background(), p)
	if err != nil || epoch <= m.current[p] {
		t.Fatalf("acquire returned epoch %d after %d, and error %v", epoch, m.current[p], err)
	}
	m.current[p] = epoch
}

// batch makes a batch of its own kind of everything.
func (m *model) batch(t *rapid.T) *hookgate.Batch {
	b := &hookgate.Batch{Worker: "model", ProcessedAt: start, Attempts: 1, Epochs: map[int]hookgate.Epoch{}}
	for range rapid.IntRange(0, 6).Draw(t, "records") {
		var r hookgate.Record
		switch kind := rapid.SampledFrom([]string{"new", "repetition", "replay", "known", "redelivered", "dead"}).Draw(t, "kind"); {
		case kind == "redelivered" && len(m.made) > 0:
			r = m.made[rapid.IntRange(0, len(m.made)-1).Draw(t, "of")]
		case kind == "repetition" && len(m.made) > 0:
			r = again(m.made[rapid.IntRange(0, len(m.made)-1).Draw(t, "of")])
			r.DuplicateOf = hookgate.RequestID{}
		case kind == "replay" && len(m.made) > 0:
			r = m.made[rapid.IntRange(0, len(m.made)-1).Draw(t, "of")]
			r.DuplicateOf = hookgate.RequestID{}
			r = replayOf(r, 1)
		case kind == "known" && len(m.made) > 0:
			r = again(m.made[rapid.IntRange(0, len(m.made)-1).Draw(t, "of")])
			r.Body, r.DuplicateOf = nil, hookgate.NewRequestID(start)
		case kind == "dead":
			r = m.fresh(t)
			b.Dead = append(b.Dead, hookgate.DeadLetter{Record: r, Reason: "at fault"})
			b.Epochs[r.Partition] = m.current[r.Partition]
			continue
		default:
			r = m.fresh(t)
		}
		m.made = append(m.made, r)
		b.Records = append(b.Records, r)
		b.Epochs[r.Partition] = m.current[r.Partition]
	}
	return b
}

// purge purges a dead letter, whatever its state. Nothing that the model knows changes.
func (m *model) purge(t *rapid.T, failsWrites bool) {
	all := deadLetters(t, m, hookgate.DeadLetterFilter{})
	if len(all) == 0 {
		return
	}
	d := all[rapid.IntRange(0, len(all)-1).Draw(t, "dead letter")]
	if failsWrites && rapid.Bool().Draw(t, "fails") {
		done := rapid.Bool().Draw(t, "done")
		m.FailWrites(&done)
		if _, err := m.Purge(context.Background(), hookgate.Purge{IDs: []string{d.ID}}); err == nil && d.State != hookgate.DeadLetterPurged {
			t.Fatalf("purge whose transaction failed returned no error")
		}
		m.FailWrites(nil)
	}
	mustPurge(t, m, d.ID)
	if after, err := m.DeadLetter(context.Background(), d.ID); err != nil || after.State != hookgate.DeadLetterPurged {
		t.Fatalf("after its purge the dead letter is %+v (error %v)", after, err)
	}
}

func (m *model) fresh(t *rapid.T) hookgate.Record {
	m.n++
	r := record("k", m.n)
	r.Partition = rapid.IntRange(0, m.partitions-1).Draw(t, "partition")
	return r
}

// applied applies a batch and checks the outcome.
func (m *model) applied(t *rapid.T, b *hookgate.Batch) {
	want := m.expect(b)
	got, err := m.Apply(context.Background(), b)
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	if got.Stored != want.Stored || fmt.Sprint(got.Duplicates) != fmt.Sprint(want.Duplicates) {
		t.Fatalf("outcome is %+v, want %+v", got, want)
	}
}

// expect changes the model as the store must change. Records are stored in the order of partitions, and
// within one in the batch's.
func (m *model) expect(b *hookgate.Batch) (outcome hookgate.Outcome) {
	isDuplicate := map[int]bool{}
	for p := range m.partitions {
		for i, r := range b.Records {
			if r.Partition != p {
				continue
			}
			holder, taken := m.first[r.Identity]
			switch {
			case !r.DuplicateOf.IsZero():
				if !m.requests[r.RequestID] {
					m.counts.Duplicates++
				}
			case !taken:
				m.first[r.Identity] = r.RequestID
				m.order = append(m.order, r.MessageID)
				m.counts.Events++
				outcome.Stored++
			case holder != r.RequestID:
				if !m.requests[r.RequestID] {
					m.counts.Duplicates++
				}
				isDuplicate[i] = true
			}
			m.requests[r.RequestID] = true
		}
	}
	for i := range b.Records {
		if isDuplicate[i] {
			outcome.Duplicates = append(outcome.Duplicates, i)
		}
	}
	for _, d := range b.Dead {
		m.made = append(m.made, hookgate.Record{Delivery: d.Delivery}) // for its trail
		if !m.requests[d.RequestID] {
			m.counts.DeadLetters++
		}
		m.requests[d.RequestID] = true
	}
	return outcome
}
