package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/refused"
	"github.com/hookgate/hookgate/store/entry"
)

var refusedColumns = []string{"request_id", "at", "source", "status", "reason", "address", "method",
	"path", "size", "headers", "body", "skipped"}

// SaveRefused implements refused.Store.
func (t *Tables) SaveRefused(ctx context.Context, requests []refused.Request,
	oldest time.Time) error {
	headers := make([]string, len(requests))
	sources := map[string]bool{}
	for i := range requests {
		text, err := json.Marshal(requests[i].Headers)
		if err != nil {
			return fmt.Errorf("encode the headers of a refused request: %w", err)
		}
		headers[i] = t.Clean(string(text))
		sources[requests[i].Source] = true
	}
	columns := strings.Join(refusedColumns, ", ")
	insert := Statement{
		SQL: "INSERT INTO webhook_refused (" + columns + ") SELECT " + columns +
			" FROM r WHERE true ON CONFLICT (request_id) DO NOTHING",
		Rows: &Rows{Columns: refusedColumns, Len: len(requests), Write: func(i int, cells entry.Cells) {
			r := &requests[i]
			cells.Text(r.ID.String())
			cells.Int(r.At.UnixMicro())
			cells.Text(r.Source)
			cells.Int(int64(r.Status))
			for _, text := range []string{r.Reason, r.Address, r.Method, r.Path} {
				cells.Text(t.Clean(text))
			}
			cells.Int(r.Size)
			cells.Text(headers[i])
			cells.Bytes(append([]byte{}, r.Body...)) // never null
			cells.Int(r.Skipped)
		}}}
	var statements []Statement
	if len(requests) > 0 {
		statements = append(statements, insert)
	}
	// Processes that share a database delete in the same order, so they cannot deadlock.
	for _, source := range slices.Sorted(maps.Keys(sources)) {
		statements = append(statements, Statement{
			SQL: `DELETE FROM webhook_refused WHERE source = ?1 AND request_id < (SELECT request_id
				FROM webhook_refused WHERE source = ?1 ORDER BY request_id DESC LIMIT 1 OFFSET ?2)`,
			Args: []any{source, refused.PerSource - 1}})
	}
	// The key finds the rows by the first condition. The second one is the clock of the store.
	statements = append(statements, Statement{
		SQL:  "DELETE FROM webhook_refused WHERE request_id < ?1 AND at < " + t.Now + " - ?2",
		Args: []any{hookgate.FirstRequestID(oldest).String(), refused.MaxAge.Microseconds()}})
	if err := t.db.Save(ctx, len(requests)+1, statements); err != nil {
		return fmt.Errorf("store %d refused requests: %w", len(requests), err)
	}
	return nil
}

// Refused implements refused.Store.
func (t *Tables) Refused(ctx context.Context, q refused.Query) (all []refused.Request, err error) {
	if !t.storable(q.Source, q.Reason) {
		return nil, nil
	}
	where, args := []string{"true"}, []any{}
	add := func(condition string, arg any) {
		where, args = append(where, condition), append(args, arg)
	}
	if q.Source != "" {
		add("source = ?", q.Source)
	}
	if q.Status != 0 {
		add("status = ?", q.Status)
	}
	if q.Reason != "" {
		add("reason = ?", q.Reason)
	}
	if !q.Before.IsZero() {
		add("request_id < ?", q.Before.String())
	}
	err = t.db.Query(ctx, Statement{
		SQL: "SELECT " + strings.Join(refusedColumns, ", ") + " FROM webhook_refused WHERE " +
			strings.Join(where, " AND ") + " ORDER BY request_id DESC LIMIT ?",
		Args: append(args, q.Limit),
		Row: func(r Row) (err error) {
			one := refused.Request{At: micros(r.Int(1)), Source: r.Text(2), Status: int(r.Int(3)),
				Reason: r.Text(4), Address: r.Text(5), Method: r.Text(6), Path: r.Text(7), Size: r.Int(8),
				Skipped: r.Int(11)}
			if one.ID, err = hookgate.ParseRequestID(r.Text(0)); err != nil {
				return err
			}
			if err := json.Unmarshal([]byte(r.Text(9)), &one.Headers); err != nil {
				return err
			}
			if r.Len(10) > 0 {
				one.Body = r.Bytes(10)
			}
			all = append(all, one)
			return nil
		},
	})
	if err != nil {
		return nil, fmt.Errorf("read refused requests: %w", err)
	}
	return all, nil
}
