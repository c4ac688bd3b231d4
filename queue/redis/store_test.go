package redis

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/redistest"
)

// TestStoreIsFollowed: claims hold while the store follows its mark. They are ignored when the
// store is another one or an older copy, in every process, at the start and later. The mark has
// every released record.
func TestStoreIsFollowed(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	c := Config{URL: server.URL(), Partitions: 1}
	var store atomic.Pointer[hookgate.StoreMark] // nil: it is away
	store.Store(&hookgate.StoreMark{ID: "one", Last: 10})
	c.Mark = func(context.Context) (hookgate.StoreMark, error) {
		if m := store.Load(); m != nil {
			return *m, nil
		}
		return hookgate.StoreMark{}, errors.New("the store is away")
	}
	q := mustOpen(t, c)
	other := mustOpen(t, c)
	reader := mustOpenReader(t, q)
	n := 0
	// take stores and releases the queued records.
	take := func(records int) {
		t.Helper()
		got := mustNext(t, reader, records)
		if m := store.Load(); m != nil {
			store.Store(&hookgate.StoreMark{ID: m.ID, Last: m.Last + 1})
		}
		if err := reader.Commit(t.Context(), hookgate.LastOffsets(got)); err != nil {
			t.Fatal(err)
		}
	}
	duplicate := func(q *Queue, d *hookgate.Request) bool {
		t.Helper()
		again := *d
		n++
		again.RequestID[15] += byte(n)
		return mustAppend(t, q, &again).Duplicate()
	}
	d := testRequest("k", 1)
	mustAppend(t, q, d)
	take(1)
	q.compareStore(t.Context())
	if !duplicate(q, d) || !duplicate(other, d) {
		t.Error("a repetition is no duplicate although the store has the event")
	}
	take(2)

	store.Store(&hookgate.StoreMark{ID: "one", Last: 11}) // a copy from the time after the first release
	for i, change := range []func(){
		func() { q.compareStore(t.Context()) },
		func() {
			store.Store(&hookgate.StoreMark{ID: "two", Last: 500})
			q.compareStore(t.Context())
		},
		func() {
			store.Store(&hookgate.StoreMark{ID: "one", Last: 500})
			if err := q.readSettings(t.Context()); err != nil {
				t.Error(err)
			}
			mustOpen(t, c) // another process
		},
	} {
		change()
		if err := errors.Join(q.readSettings(t.Context()), other.readSettings(t.Context())); err != nil {
			t.Fatal(err)
		}
		if duplicate(other, d) {
			t.Errorf("change %d: a repetition is a duplicate although the store may lack the event", i)
		}
		if !duplicate(q, d) {
			t.Errorf("change %d: a repetition of what is queued is no duplicate", i)
		}
		take(2)
		other.compareStore(t.Context())
		if !duplicate(other, d) {
			t.Errorf("change %d: claims of the new generation do not count", i)
		}
		take(1)
	}

	store.Store(nil)
	q.compareStore(t.Context())
	if !duplicate(q, d) {
		t.Error("claims do not count while the store is away")
	}
	if err := reader.Commit(t.Context(),
		hookgate.LastOffsets(mustNext(t, reader, 1))); err == nil {
		t.Error("records are released although nobody can say how far the store has come")
	}
}
