package sqlite

import (
	"context"

	"zombiezen.com/go/sqlite"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/sqlstore"
)

// Search implements hookgate.Reader. A caller who leaves interrupts its reads.
func (s *Store) Search(ctx context.Context, q hookgate.EventSearch) (hookgate.EventPage, error) {
	return sqlstore.Search(ctx, q, searcher{s}, s.turns)
}

// searcher implements sqlstore.Searcher.
type searcher struct{ *Store }

func (s searcher) Keys(ctx context.Context, query string, args []any,
	kinds []sqlstore.Kind) (keys []sqlstore.Key, err error) {
	err = s.query(ctx, query, args, func(row *sqlite.Stmt) error {
		key := make(sqlstore.Key, len(kinds))
		for i := range key {
			switch kinds[i] {
			case sqlstore.Number:
				key[i] = row.ColumnInt64(i)
			case sqlstore.Bytes:
				key[i] = sqlstore.Blob(columnBytes(row, i))
			default:
				key[i] = row.ColumnText(i)
			}
		}
		keys = append(keys, key)
		return nil
	})
	return keys, err
}

func (s searcher) Rows(ctx context.Context, rest string, args []any) (events []hookgate.Event,
	err error) {
	err = s.query(ctx, "SELECT "+eventColumns+" "+rest, args, func(row *sqlite.Stmt) error {
		e, err := scanEvent(row)
		events = append(events, e)
		return err
	})
	return events, err
}

// Found implements sqlstore.Searcher.
func (searcher) Found() string { return "webhook_found" }

func (searcher) Prefix(p string) (from, to, condition string) { return p, afterPrefix(p), "" }

func (searcher) Contains() string { return bodyContains }

// Unindexed implements sqlstore.Searcher: with a + before it no index is considered.
func (searcher) Unindexed(column string) string { return "+" + column }
