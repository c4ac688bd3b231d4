package storetest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgate/hookgate"
)

// model describes what a store must contain.
type model struct {
	Instance
	current []hookgate.Epoch // by partition; 0 if it has no owner yet
	first   map[hookgate.Identity]hookgate.RequestID
	// stored as duplicates or dead letters
	requests   map[hookgate.RequestID]bool
	log        []*modelEntry
	made       []hookgate.Record // records that may come again
	n          int
	partitions int
	// cuts are times, each with the number of entries stored before it.
	cuts []modelCut
}

// modelEntry is an entry of the log.
type modelEntry struct {
	hookgate.Record
	outcome hookgate.Stage
	// kept reports that an event has its body, or that a dead letter was not purged.
	kept bool
	// removed reports that retention has removed the entry.
	removed bool
}

type modelCut struct {
	at      time.Time
	entries int
}

// testModel drives a store with random operations and compares it with maps. The operations are
// batches (new events, repetitions known and unknown to the queue, records that come again,
// retries, dead letters), purges, changes of owner, batches of replaced owners, failing
// transactions, retention, and restarts. At the end the audit chain must hold.
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
				if _, err := m.Apply(context.Background(), batch); !errors.Is(err, hookgate.ErrFenced) &&
					len(batch.Records)+len(batch.Dead) > 0 {
					t.Fatalf("a batch with old epochs got %v, want ErrFenced", err)
				}
			},
			"purge": func(t *rapid.T) { m.purge(t, b.FailsWrites) },
			"acquire": func(t *rapid.T) {
				m.acquire(t, rapid.IntRange(0, partitions-1).Draw(t,
					"partition"))
			},
			"restart": func(t *rapid.T) {
				if err := m.Close(); err != nil {
					t.Fatalf("close: %v", err)
				}
				m.Instance = b.Open(t, place)
			},
			"cut": func(*rapid.T) { m.cuts = append(m.cuts, modelCut{cut(), len(m.log)}) },
			"prune": func(t *rapid.T) {
				if len(m.cuts) > 0 {
					m.prune(t, b.FailsWrites)
				}
			},
			"": func(t *rapid.T) {
				counts, err := m.Counts(context.Background())
				if want, _ := m.holds(); err != nil || counts != want {
					t.Fatalf("counts are %+v (error %v), want %+v", counts, err, want)
				}
			},
		})
		counts, order := m.holds()
		mustHave(t, m.Instance, counts, order...)
		trails := map[hookgate.RequestID]bool{}
		for _, r := range m.made {
			all, err := m.Trace(context.Background(), r.MessageID, hookgate.RequestID{}, 1000)
			if err != nil {
				t.Fatalf("trace: %v", err)
			}
			for _, trail := range all {
				trails[trail.RequestID] = true
			}
		}
		want := m.trails()
		if len(trails) != len(want) {
			t.Fatalf("%d requests have a trail, want %d", len(trails), len(want))
		}
		for id := range want {
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

// batch returns a batch with random records of every kind.
func (m *model) batch(t *rapid.T) *hookgate.Batch {
	b := &hookgate.Batch{Worker: "model", ProcessedAt: start, Attempts: 1,
		Epochs: map[int]hookgate.Epoch{}}
	for range rapid.IntRange(0, 6).Draw(t, "records") {
		var r hookgate.Record
		switch kind := rapid.SampledFrom([]string{"new", "repetition", "replay", "known", "redelivered",
			"dead"}).Draw(t, "kind"); {
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

// purge purges a dead letter in any state. A purged dead letter no longer keeps anything else.
func (m *model) purge(t *rapid.T, failsWrites bool) {
	all := deadLetters(t, m, hookgate.DeadLetterFilter{})
	if len(all) == 0 {
		return
	}
	d := all[rapid.IntRange(0, len(all)-1).Draw(t, "dead letter")]
	if failsWrites && rapid.Bool().Draw(t, "fails") {
		done := rapid.Bool().Draw(t, "done")
		m.FailWrites(&done)
		if _, err := m.Purge(context.Background(), hookgate.Purge{IDs: []string{d.ID}}); err == nil &&
			d.State != hookgate.DeadLetterPurged {
			t.Fatalf("purge whose transaction failed returned no error")
		}
		m.FailWrites(nil)
	}
	mustPurge(t, m, d.ID)
	for _, e := range m.log {
		if e.outcome == hookgate.StageDeadLettered && e.RequestID == d.RequestID {
			e.kept = false
		}
	}
	if after, err := m.DeadLetter(context.Background(), d.ID); err != nil ||
		after.State != hookgate.DeadLetterPurged {
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
	stored, duplicates := m.expect(b)
	got, err := m.Apply(context.Background(), b)
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	if got.Stored != stored || !slices.Equal(Duplicates(got), duplicates) {
		t.Fatalf("outcome is %+v, want %d stored and the duplicates %v", got, stored, duplicates)
	}
}

// expect changes the model in the way the store must change.
func (m *model) expect(b *hookgate.Batch) (stored int, duplicates []int) {
	add := func(r hookgate.Record, outcome hookgate.Stage) {
		if outcome != hookgate.StagePersisted {
			if m.requests[r.RequestID] {
				return
			}
			m.requests[r.RequestID] = true
		}
		m.log = append(m.log, &modelEntry{Record: r, outcome: outcome,
			kept: outcome != hookgate.StageDuplicate})
	}
	for i, r := range b.Records {
		holder, taken := m.first[r.Identity]
		switch {
		case !r.DuplicateOf.IsZero() || taken && holder != r.RequestID:
			add(r, hookgate.StageDuplicate)
			duplicates = append(duplicates, i)
		case !taken:
			m.first[r.Identity] = r.RequestID
			add(r, hookgate.StagePersisted)
			stored++
		}
	}
	for _, d := range b.Dead {
		m.made = append(m.made, hookgate.Record{Request: d.Request}) // for its trail
		add(d.Record, hookgate.StageDeadLettered)
	}
	return stored, duplicates
}

// prune removes the bodies stored before one of the cuts, and the trail before the same or an
// earlier one.
func (m *model) prune(t *rapid.T, failsWrites bool) {
	i := rapid.IntRange(0, len(m.cuts)-1).Draw(t, "events before")
	events, trail := m.cuts[i], modelCut{}
	if rapid.Bool().Draw(t, "trail too") {
		trail = m.cuts[rapid.IntRange(0, i).Draw(t, "trail before")]
	}
	c := hookgate.Cutoffs{Events: events.at, Trail: trail.at}
	limit := rapid.IntRange(1, 20).Draw(t, "limit")
	if failsWrites && rapid.Bool().Draw(t, "fails") {
		done := rapid.Bool().Draw(t, "done")
		m.FailWrites(&done)
		_, _ = m.Prune(context.Background(), c, limit) // there may be nothing to remove
		m.FailWrites(nil)
	}
	mustPrune(t, m, c, limit)
	dead := map[hookgate.Identity]bool{}
	for _, e := range m.log {
		if e.outcome == hookgate.StageDeadLettered && e.kept {
			dead[e.Identity] = true
		}
	}
	for n, e := range m.log[:events.entries] {
		event := e.outcome == hookgate.StagePersisted
		if event && e.kept {
			delete(m.first, e.Identity)
			e.kept = false
		}
		if n >= trail.entries || e.kept || event && dead[e.Identity] || e.removed {
			continue
		}
		e.removed = true
		if !event {
			delete(m.requests, e.RequestID)
		}
	}
}

// holds returns the counts that the store must have, and the message ids of its events in order.
func (m *model) holds() (c hookgate.StoreCounts, order []string) {
	for _, e := range m.log {
		switch {
		case e.removed:
		case e.outcome == hookgate.StagePersisted:
			if e.kept {
				order = append(order, e.MessageID)
			}
		case e.outcome == hookgate.StageDuplicate:
			c.Duplicates++
		default:
			c.DeadLetters++
		}
	}
	c.Events = int64(len(order))
	return c, order
}

// trails returns the requests that must have a trail.
func (m *model) trails() map[hookgate.RequestID]bool {
	all := map[hookgate.RequestID]bool{}
	for _, e := range m.log {
		if !e.removed {
			all[e.RequestID] = true
		}
	}
	return all
}
