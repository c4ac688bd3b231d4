package queuetest

import (
	"context"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/hookgate/hookgate"
)

// queueModel is the expected content of a queue.
type queueModel struct {
	q     QueueInstance
	first map[string]*hookgate.Request // by message id
	kept  []*hookgate.Request          // first requests, in order
	// appends counts the requests that were kept.
	appends int
}

// testQueueModel drives a queue with random appends, one or several at a time, repetitions, failing
// writes, restarts and crashes, and compares it with a list. After an unknown outcome it appends
// the same request again.
func testQueueModel(t *testing.T, b QueueBackend) {
	rapid.Check(t, func(t *rapid.T) {
		place := b.NewPlace(t)
		m := &queueModel{q: b.Open(t, place), first: map[string]*hookgate.Request{}}
		defer func() { m.q.End() }()
		draw := func(t *rapid.T) *hookgate.Request {
			return newRequest(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"),
				rapid.IntRange(0, 9).Draw(t, "n"))
		}
		actions := map[string]func(*rapid.T){
			"append": func(t *rapid.T) { m.append(t, draw(t)) },
			"retry": func(t *rapid.T) {
				if len(m.kept) > 0 {
					m.append(t, rapid.SampledFrom(m.kept).Draw(t, "kept"))
				}
			},
			"several": func(t *rapid.T) { m.appendAll(t, rapid.IntRange(0, 9).Draw(t, "n")) },
			"restart": func(t *rapid.T) {
				if err := m.q.End(); err != nil {
					t.Fatalf("close: %v", err)
				}
				m.q = b.Open(t, place)
			},
			"crash": func(t *rapid.T) {
				m.q.Crash()
				m.q = b.Open(t, place)
			},
		}
		if b.FailsWrites {
			actions["fail"] = func(t *rapid.T) {
				done := rapid.Bool().Draw(t, "done")
				d := draw(t)
				if m.first[d.MessageID] != nil {
					return // a buffered queue may keep the same duplicate twice; the store recognises that
				}
				m.q.FailWrites(&done)
				if _, err := m.q.Append(context.Background(), d); err == nil {
					t.Fatalf("append whose write failed returned no error")
				}
				m.q.FailWrites(nil)
				m.append(t, d)
			}
		}
		t.Repeat(actions)
		mustKeep(t, m.q, m.appends, m.kept...)
	})
}

// append appends a request, which the queue may have already.
func (m *queueModel) append(t TB, d *hookgate.Request) {
	m.check(t, d, mustAppend(t, m.q, d))
}

// appendAll appends requests of different keys at the same time.
func (m *queueModel) appendAll(t TB, n int) {
	all := make([]*hookgate.Request, 4)
	receipts := make([]hookgate.Receipt, len(all))
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i := range all {
		all[i] = newRequest(string(rune('a'+i)), n)
		wg.Go(func() { receipts[i], errs[i] = m.q.Append(context.Background(), all[i]) })
	}
	wg.Wait()
	for i, d := range all {
		if errs[i] != nil {
			t.Fatalf("append %s: %v", d.Identity, errs[i])
		}
		m.check(t, d, receipts[i])
	}
}

func (m *queueModel) check(t TB, d *hookgate.Request, receipt hookgate.Receipt) {
	t.Helper()
	first, known := m.first[d.MessageID]
	switch {
	case !known:
		m.first[d.MessageID], m.kept = d, append(m.kept, d)
		m.appends++
	case first.RequestID != d.RequestID:
		m.appends++
	}
	want := hookgate.RequestID{}
	if known && first.RequestID != d.RequestID {
		want = first.RequestID
	}
	if receipt.DuplicateOf != want {
		t.Fatalf("%s of request %s is a duplicate of %s, want %s", d.MessageID, d.RequestID,
			receipt.DuplicateOf, want)
	}
}
