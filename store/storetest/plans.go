package storetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/store/sqlstore"
)

// SearchIndex is an index that must serve searches.
type SearchIndex int

// The indexes.
const (
	ByID SearchIndex = iota
	ByRequest
	ByType
	ByIdentity
)

// SearchQueries runs searches of every kind, from the newest event and from a cursor, in both
// directions. It passes each query to check, with the index that must serve it. There must be a few
// thousand events, so that searches need more than one window.
func SearchQueries(t *testing.T, db sqlstore.DB, d sqlstore.Dialect,
	check func(query sqlstore.Statement, index SearchIndex)) {
	from := time.UnixMicro(1000)
	for _, test := range []struct {
		filter hookgate.EventFilter
		stored bool
		index  SearchIndex
	}{
		{hookgate.EventFilter{}, false, ByID},
		{hookgate.EventFilter{Source: "s", OrderingKey: "k", BodyContains: "x"}, false, ByID},
		{hookgate.EventFilter{EventType: "t1", Source: "s"}, true, ByID},
		{hookgate.EventFilter{RequestID: hookgate.NewRequestID(from)}, false, ByRequest},
		{hookgate.EventFilter{From: from}, false, ByRequest},
		{hookgate.EventFilter{From: from, To: from.Add(time.Hour), OrderingKey: "k"}, false, ByRequest},
		{hookgate.EventFilter{EventType: "t1"}, false, ByType},
		{hookgate.EventFilter{EventType: "t1", Source: "s", From: from, To: from.Add(time.Hour),
			BodyContains: "x"}, false, ByType},
		{hookgate.EventFilter{MessageID: "m1"}, false, ByIdentity},
		{hookgate.EventFilter{MessageID: "m1", EventType: "t1", Source: "s"}, false, ByIdentity},
		{hookgate.EventFilter{MessageIDPrefix: "m1"}, false, ByID},
		{hookgate.EventFilter{MessageIDPrefix: "m1", EventType: "t1", Source: "s"}, false, ByType},
	} {
		tables := sqlstore.New(&witness{db, func(query sqlstore.Statement) {
			check(query, test.index)
			for _, bound := range []string{" id <", " id >", " request_id <", " request_id >"} {
				if n := strings.Count(query.SQL, bound); n > 1 {
					// SQLite uses only one bound to enter the index. If that is the wider one, each
					// window begins where the first did.
					t.Errorf("%s has%s %d times", query.SQL, bound, n)
				}
			}
		}}, d, 1)
		q := hookgate.EventSearch{EventFilter: test.filter, Stored: test.stored, MaxTime: 1}
		q.Limit = 20
		for _, newer := range []bool{false, false, true} {
			q.Newer = newer
			page, err := tables.Search(t.Context(), q)
			if err != nil {
				t.Fatalf("search %+v: %v", q, err)
			}
			q.Cursor = page.Older
			if page.Older == "" {
				q.Cursor = page.Newer
			}
		}
	}
}

// witness records the queries of a database.
type witness struct {
	sqlstore.DB
	see func(sqlstore.Statement)
}

func (w *witness) Query(ctx context.Context, s sqlstore.Statement) error {
	w.see(s)
	return w.DB.Query(ctx, s)
}

func (w *witness) Queries(ctx context.Context, statements ...sqlstore.Statement) error {
	for _, s := range statements {
		w.see(s)
	}
	return w.DB.Queries(ctx, statements...)
}

func (w *witness) Save(ctx context.Context, size int, statements []sqlstore.Statement) error {
	for _, s := range statements {
		w.see(s)
	}
	return w.DB.Save(ctx, size, statements)
}

func (w *witness) Snapshot(ctx context.Context, f func(func(sqlstore.Statement) error) error) error {
	return w.DB.Snapshot(ctx, func(query func(sqlstore.Statement) error) error {
		return f(func(s sqlstore.Statement) error {
			w.see(s)
			return query(s)
		})
	})
}

// Reads runs reads of every kind and returns the queries of each, by the kind of read. One event
// must have the message id.
func Reads(t *testing.T, db sqlstore.DB, d sqlstore.Dialect,
	messageID string) map[string][]sqlstore.Statement {
	t.Helper()
	made := map[string][]sqlstore.Statement{}
	name := ""
	w := &witness{db, func(s sqlstore.Statement) { made[name] = append(made[name], s) }}
	r, subscriptions := sqlstore.New(w, d, 1), sqlstore.NewSubscriptions(w, d)
	do := func(read string, f func() error) {
		name = read
		_ = f() // the rows need not be well formed
	}
	events := func(read string, f hookgate.EventFilter) {
		do(read, func() error {
			for _, err := range r.Events(t.Context(), f) {
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	letters := func(read string, f hookgate.DeadLetterFilter) {
		do(read, func() error {
			for _, err := range r.DeadLetters(t.Context(), f) {
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	id := hookgate.NewRequestID(time.UnixMicro(1000))
	events("listing", hookgate.EventFilter{})
	events("listing by type", hookgate.EventFilter{EventType: "t", Source: "s", OrderingKey: "k"})
	events("listing by key", hookgate.EventFilter{OrderingKey: "k1"})
	events("listing by a rare type", hookgate.EventFilter{EventType: "none"})
	events("listing by message id", hookgate.EventFilter{MessageID: "m1"})
	events("listing by prefix", hookgate.EventFilter{MessageIDPrefix: "m"})
	do("event", func() error { _, err := r.Event(t.Context(), "1"); return err })
	do("attempts", func() error {
		_, err := subscriptions.Attempts(t.Context(), 1)
		return err
	})
	do("recent attempts", func() error {
		_, err := subscriptions.RecentAttempts(t.Context(), hookgate.AttemptFilter{Subscription: "s1",
			OrderingKey: "k1", After: hookgate.AttemptPlace{At: time.UnixMicro(1000)}})
		return err
	})
	do("subscriptions", func() error {
		_, err := subscriptions.Subscriptions(t.Context())
		return err
	})
	do("pull state", func() error {
		_, err := subscriptions.PullState(t.Context(), "s1")
		return err
	})
	do("commit", func() error {
		_, _, err := subscriptions.Commit(t.Context(), "s1", 0, 0, &hookgate.Results{})
		return err
	})
	do("trace", func() error {
		_, err := r.Trace(t.Context(), messageID, hookgate.RequestID{}, 10)
		return err
	})
	do("request", func() error { _, err := r.Request(t.Context(), id); return err })
	letters("dead letters", hookgate.DeadLetterFilter{})
	letters("dead letters by state", hookgate.DeadLetterFilter{EventType: "t",
		State: hookgate.DeadLetterOpen, ReasonContains: "r"})
	letters("open dead letters", hookgate.DeadLetterFilter{State: hookgate.DeadLetterOpen})
	letters("dead letters by message id", hookgate.DeadLetterFilter{MessageID: "d31000"})
	letters("dead letters by prefix", hookgate.DeadLetterFilter{MessageIDPrefix: "d31000"})
	do("dead letter", func() error { _, err := r.DeadLetter(t.Context(), "31000"); return err })
	do("dead letter by request", func() error {
		_, err := r.DeadLetter(t.Context(), id.String())
		return err
	})
	do("token", func() error { _, err := r.Token(t.Context(), [32]byte{}); return err })
	do("actions", func() error {
		_, err := r.Actions(t.Context(), control.ActionFilter{Limit: 10})
		return err
	})
	return made
}

// AuditReads returns the queries with which an audit reads the tables page by page. There must be
// events and requests.
func AuditReads(t *testing.T, db sqlstore.DB) (made []sqlstore.Statement) {
	source := sqlstore.NewAuditSource(func(s sqlstore.Statement) error {
		made = append(made, s)
		return db.Query(t.Context(), s)
	}, true, "")
	_, _, linkErr := source.Link()
	_, _, removedErr := source.RemovedEvent()
	_, _, eventErr := source.Event()
	_, _, requestErr := source.Request()
	if err := errors.Join(linkErr, removedErr, eventErr, requestErr); err != nil {
		t.Fatal(err)
	}
	if len(made) != 6 {
		t.Fatalf("an audit makes %d queries, want 6", len(made))
	}
	return made
}
