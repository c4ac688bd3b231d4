package sqlite

import (
	"context"
	"fmt"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/sqlitedb"
)

type modeCall struct {
	mode     hookgate.Mode
	answered chan error // has room for the one answer
}

// Mode returns the mode that was set last, in this process or before.
func (q *Queue) Mode() hookgate.Mode { return *q.mode.Load() }

// SetMode keeps the mode in the queue's file and then lets it take effect. An error means that the
// mode is what it was.
func (q *Queue) SetMode(ctx context.Context, m hookgate.Mode) error {
	c := &modeCall{m, make(chan error, 1)}
	select {
	case q.settle <- c:
	case <-ctx.Done():
		return fmt.Errorf("set mode: %w", ctx.Err())
	case <-q.closing:
		return hookgate.ErrClosed
	}
	return <-c.answered // the writer does not end without an answer
}

func (w *writer) setMode(m hookgate.Mode) error {
	err := w.tx(0, func() error {
		w.saveMode.BindText(1, string(m))
		return sqlitedb.Run(w.saveMode)
	})
	if err != nil {
		return fmt.Errorf("keep mode %s: %w", m, err)
	}
	w.q.mode.Store(&m)
	return nil
}

// loadSettings takes up the mode and makes sure of the number of partitions.
func (w *writer) loadSettings() error {
	mode := hookgate.ModeNormal
	if text, ok, err := w.setting("mode"); err != nil {
		return err
	} else if ok {
		if mode, err = hookgate.ParseMode(text); err != nil {
			return err
		}
	}
	w.q.mode.Store(&mode)

	return w.fixPartitions()
}

// fixPartitions compares the number of partitions with that of the records in the file.
func (w *writer) fixPartitions() error {
	want := w.q.opts.Partitions
	have, err := w.number("SELECT coalesce(max(value), 0) FROM settings WHERE name = 'partitions'")
	if err != nil || have == int64(want) {
		return err
	}
	waiting, err := w.number("SELECT count(*) FROM records")
	if err != nil {
		return err
	}
	if waiting > 0 && have != 0 {
		return fmt.Errorf("it holds %d records on %d partitions, and the setting is %d:"+
			" set it back to %d until the queue is empty", waiting, have, want, have)
	}
	s, err := w.conn.Prepare("INSERT OR REPLACE INTO settings VALUES ('partitions', ?)")
	if err != nil {
		return err
	}
	s.BindInt64(1, int64(want))
	return sqlitedb.Run(s)
}

func (w *writer) setting(name string) (value string, found bool, err error) {
	s, err := w.conn.Prepare("SELECT value FROM settings WHERE name = ?")
	if err != nil {
		return "", false, err
	}
	defer s.Reset()
	s.BindText(1, name)
	if found, err = s.Step(); found {
		value = s.ColumnText(0)
	}
	return value, found, err
}

func (w *writer) number(query string) (int64, error) {
	s, err := w.conn.Prepare(query)
	if err != nil {
		return 0, err
	}
	defer s.Reset()
	if _, err := s.Step(); err != nil {
		return 0, err
	}
	return s.ColumnInt64(0), nil
}
