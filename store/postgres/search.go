package postgres

import (
	"context"
	"fmt"
	"net/url"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/sqlstore"
)

// Search implements hookgate.Reader. Each of its reads is a statement of its own, so that the
// statement time-out bounds a read and not the search. A caller who leaves ends its connection's
// statement.
func (s *Store) Search(ctx context.Context, q hookgate.EventSearch) (hookgate.EventPage, error) {
	if !possibleEvents(q.EventFilter) {
		return hookgate.EventPage{}, nil
	}
	if text, err := url.PathUnescape(q.Cursor); err != nil || !storable(text) {
		return hookgate.EventPage{}, fmt.Errorf("cursor %.40q is of no search: %w", q.Cursor,
			hookgate.ErrNotFound)
	}
	return sqlstore.Search(ctx, q, searcher{s}, s.turns)
}

// searcher implements sqlstore.Searcher.
type searcher struct{ *Store }

func (s searcher) Keys(ctx context.Context, query string, args []any,
	kinds []sqlstore.Kind) (keys []sqlstore.Key, err error) {
	read := numbered(query, args)
	read.row = func(r row) error {
		key := make(sqlstore.Key, len(kinds))
		for i := range key {
			switch kinds[i] {
			case sqlstore.Number:
				key[i] = r.int(i)
			case sqlstore.Bytes:
				key[i] = sqlstore.Blob(r.bytes(i))
			default:
				key[i] = r.text(i)
			}
		}
		keys = append(keys, key)
		return nil
	}
	return keys, s.read(ctx, read)
}

func (s searcher) Rows(ctx context.Context, rest string, args []any) (events []hookgate.Event,
	err error) {
	read := numbered("SELECT "+eventColumns+" "+rest, args)
	read.row = func(r row) error {
		e, err := scanEvent(r)
		events = append(events, e)
		return err
	}
	return events, s.read(ctx, read)
}

// Found implements sqlstore.Searcher: webhook_events has an index of identities.
func (searcher) Found() string { return "webhook_events" }

func (searcher) Prefix(p string) (from, to, condition string) {
	from = validPrefix(p)
	if from != p {
		condition = bytesCondition("message_id", p)
	}
	return from, afterPrefix(from), condition
}

func (searcher) Contains() string { return bodyContains }

// Unindexed implements sqlstore.Searcher: the planner has statistics.
func (searcher) Unindexed(column string) string { return column }
