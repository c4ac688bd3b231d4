package sqlstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hookgate/hookgate/history"
	"github.com/hookgate/hookgate/store/entry"
)

var minuteColumns = []string{"at", "process", "kind", "name", "accepted", "unauthenticated",
	"refused", "unavailable", "duplicates", "delivered", "dead_lettered", "parked", "attempts",
	"failed", "stored", "latency", "duration"}

// minuteKeys is how many of minuteColumns are the key.
const minuteKeys = 4

var saveMinutes = func() string {
	columns := strings.Join(minuteColumns, ", ")
	var set []string
	for _, c := range minuteColumns[minuteKeys:] {
		set = append(set, c+" = excluded."+c)
	}
	return "INSERT INTO webhook_minutes (" + columns + ") SELECT " + columns + ` FROM r WHERE true
		ON CONFLICT (at, process, kind, name) DO UPDATE SET ` + strings.Join(set, ", ")
}()

// SaveMinutes implements history.Store.
func (t *Tables) SaveMinutes(ctx context.Context, minutes []history.Minute,
	oldest time.Time) error {
	rows := &Rows{Columns: minuteColumns, Len: len(minutes), Write: func(i int, cells entry.Cells) {
		m := &minutes[i]
		cells.Int(m.At.UnixMicro())
		cells.Text(m.Process)
		cells.Text(string(m.Kind))
		cells.Text(m.Name)
		for _, n := range m.Numbers() {
			cells.Int(*n)
		}
		cells.Text(m.Latency.String())
		cells.Text(m.Duration.String())
	}}
	err := t.db.Save(ctx, len(minutes), []Statement{
		{SQL: saveMinutes, Rows: rows},
		// The index finds the rows by the first condition. The second one is the clock of the store.
		{SQL: "DELETE FROM webhook_minutes WHERE at < ?1 AND at < " + t.Now + " - ?2",
			Args: []any{oldest.UnixMicro(), history.Keep.Microseconds()}},
	})
	if err != nil {
		return fmt.Errorf("store the history of %d subjects: %w", len(minutes), err)
	}
	return nil
}

// Minutes implements history.Reader.
func (t *Tables) Minutes(ctx context.Context, from, to time.Time, only history.Subject,
	each func(*history.Minute)) error {
	// It examines the minutes of a day, which can take as long as a search.
	if err := t.slots.acquire(ctx); err != nil {
		return fmt.Errorf("read the history: %w", err)
	}
	defer t.slots.release()
	var m history.Minute
	err := t.db.Query(ctx, Statement{
		SQL: "SELECT " + strings.Join(minuteColumns, ", ") +
			` FROM webhook_minutes WHERE at >= ?1 AND at < ?2 AND (?3 = '' OR kind = ?3)
			AND (?4 = '' OR name = ?4) ORDER BY at, process, kind, name`,
		Args: []any{from.UnixMicro(), to.UnixMicro(), string(only.Kind), t.Clean(only.Name)},
		Row: func(r Row) (err error) {
			m.At, m.Process = micros(r.Int(0)), r.Text(1)
			m.Subject = history.Subject{Kind: history.Kind(r.Text(2)), Name: r.Text(3)}
			column := minuteKeys
			for _, n := range m.Numbers() {
				*n = r.Int(column)
				column++
			}
			if m.Latency, err = history.ParseHistogram(r.Text(column)); err != nil {
				return err
			}
			if m.Duration, err = history.ParseHistogram(r.Text(column + 1)); err != nil {
				return err
			}
			each(&m)
			return nil
		},
	})
	if err != nil {
		return fmt.Errorf("read the history: %w", err)
	}
	return nil
}
