package storetest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
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

// SearchQueries runs searches of every kind, from the newest and from a cursor, in both directions,
// and hands each query that they make of the store to check, with the index that must serve it.
// There must be a few thousand events stored, so that there is more than one window.
func SearchQueries(t *testing.T, store sqlstore.Searcher, check func(query string, args []any,
	index SearchIndex)) {
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
		witness := &witness{store, func(query string, args []any) {
			check(query, args, test.index)
			for _, bound := range []string{" id <", " id >", " request_id <", " request_id >"} {
				if n := strings.Count(query, bound); n > 1 {
					// The index is entered with one of them, and if that is the wider one each window begins where
					// the first did.
					t.Errorf("%s has%s %d times", query, bound, n)
				}
			}
		}}
		q := hookgate.EventSearch{EventFilter: test.filter, Stored: test.stored, Patience: 1}
		q.Limit = 20
		for _, newer := range []bool{false, false, true} {
			q.Newer = newer
			page, err := sqlstore.Search(t.Context(), q, witness, sqlstore.NewTurns(1))
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

// witness sees the queries of a search.
type witness struct {
	sqlstore.Searcher
	see func(query string, args []any)
}

func (w *witness) Keys(ctx context.Context, query string, args []any,
	kinds []sqlstore.Kind) ([]sqlstore.Key, error) {
	w.see(query, args)
	return w.Searcher.Keys(ctx, query, args, kinds)
}

func (w *witness) Rows(ctx context.Context, rest string, args []any) ([]hookgate.Event, error) {
	w.see("SELECT payload "+rest, args)
	return w.Searcher.Rows(ctx, rest, args)
}
