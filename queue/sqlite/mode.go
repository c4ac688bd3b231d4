package sqlite

import (
	"context"
	"fmt"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/sqlitedb"
)

// settleCall has the writer change a setting.
type settleCall struct {
	change   func(*writer) error
	answered chan error // has room for the one answer
}

// Mode returns the mode that was set last, in this process or before.
func (q *Queue) Mode() hookgate.Mode { return *q.mode.Load() }

// SetMode keeps the mode in the queue's file and then lets it take effect. An error means that the
// mode is what it was.
func (q *Queue) SetMode(ctx context.Context, m hookgate.Mode) error {
	return q.change(ctx, func(w *writer) error { return w.setMode(m) })
}

// Canary returns the canary that was kept last, in this process or before.
func (q *Queue) Canary() hookgate.Canary { return *q.canary.Load() }

// SetCanary keeps a canary that is newer than the one that is kept. hookgate.ErrCanaryChanged: it is not. After any other error it
// may have been kept all the same; the same call again is harmless.
func (q *Queue) SetCanary(ctx context.Context, c hookgate.Canary) error {
	return q.change(ctx, func(w *writer) error { return w.setCanary(c) })
}

// change has the writer change a setting and returns its error.
func (q *Queue) change(ctx context.Context, change func(*writer) error) error {
	c := &settleCall{change, make(chan error, 1)}
	select {
	case q.settle <- c:
	case <-ctx.Done():
		return fmt.Errorf("change a setting of the queue: %w", ctx.Err())
	case <-q.closing:
		return hookgate.ErrClosed
	}
	return <-c.answered // the writer does not end without an answer
}

func (w *writer) setMode(m hookgate.Mode) error {
	if err := w.save("mode", string(m)); err != nil {
		return fmt.Errorf("keep mode %s: %w", m, err)
	}
	w.q.mode.Store(&m)
	return nil
}

func (w *writer) setCanary(c hookgate.Canary) error {
	switch kept := w.q.canary.Load(); {
	case kept.String() == c.String():
		return nil
	case c.Version <= kept.Version:
		return hookgate.ErrCanaryChanged
	}
	if err := w.save("canary", c.String()); err != nil {
		return fmt.Errorf("keep canary of %d percent: %w", c.Percent, err)
	}
	w.q.canary.Store(&c)
	return nil
}

// save writes a setting.
func (w *writer) save(name, value string) error {
	return w.tx(0, func() error {
		w.saveSetting.BindText(1, name)
		w.saveSetting.BindText(2, value)
		return sqlitedb.Run(w.saveSetting)
	})
}

// loadSettings takes up mode and canary, and makes sure of the number of partitions.
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

	text, _, err := w.setting("canary")
	if err != nil {
		return err
	}
	canary, err := hookgate.ParseCanary(text)
	if err != nil {
		return err
	}
	w.q.canary.Store(&canary)

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
