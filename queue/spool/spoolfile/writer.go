package spoolfile

import (
	"errors"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/sqlitedb"
)

const (
	// maxGroup and maxGroupBytes bound what one transaction appends.
	maxGroup      = 512
	maxGroupBytes = 16 << 20
	// probeEvery is how often the writer checks that the file is in its place and, while writes fail,
	// tests whether they work again.
	probeEvery = time.Second
	// sparePages is the largest number of unused pages of an empty file: 8 MiB.
	sparePages = 1024
	// leastProbe is the smallest number of bytes that such a test writes.
	leastProbe = 64 << 10
)

// writer owns the connection that writes. It belongs to the goroutine of run.
type writer struct {
	q                                              *File
	conn                                           *sqlite.Conn
	insert, count, remove, keepLast, probe, unused *sqlite.Stmt

	// last is the highest id that was ever committed.
	last   int64
	health health

	calls []*call // the current group; its memory is used again
}

func newWriter(q *File, conn *sqlite.Conn) (*writer, error) {
	w := &writer{q: q, conn: conn}
	for text, s := range map[string]**sqlite.Stmt{
		"INSERT INTO records (id, partition, data) VALUES (?, 0, ?)": &w.insert,
		`SELECT (SELECT count(*) FROM records), max(coalesce((SELECT max(id) FROM records), 0),
		   coalesce((SELECT max(value) FROM settings WHERE name = 'last_id'), 0))`: &w.count,
		"DELETE FROM records WHERE id <= ?": &w.remove,
		`INSERT INTO settings VALUES ('last_id', ?)
		   ON CONFLICT DO UPDATE SET value = max(value, excluded.value)`: &w.keepLast,
		"INSERT OR REPLACE INTO settings VALUES ('probe', zeroblob(?))": &w.probe,
		"SELECT freelist_count FROM pragma_freelist_count":              &w.unused,
	} {
		var err error
		if *s, err = conn.Prepare(text); err != nil {
			return nil, err
		}
	}
	w.askFree()
	return w, w.reload()
}

// run is the writer's goroutine. It waits only in the select.
func (w *writer) run() {
	defer close(w.q.done)
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	for {
		select {
		case c := <-w.q.calls:
			w.group(c)
		case <-ticker.C:
			w.checkUp()
		case <-w.q.closing:
			for len(w.q.calls) > 0 {
				w.group(<-w.q.calls)
			}
			if err := w.conn.Close(); err != nil {
				w.q.closeErr = fmt.Errorf("close spool %s: %w", w.q.path, err)
			}
			return
		}
	}
}

// group commits c and the calls that wait after it, and answers them.
func (w *writer) group(c *call) {
	w.calls = append(w.calls[:0], c)
	size := len(c.record)
	for len(w.calls) < maxGroup && size < maxGroupBytes {
		select {
		case c := <-w.q.calls:
			w.calls = append(w.calls, c)
			size += len(c.record)
			continue
		default:
		}
		break
	}
	err := w.reload()
	if err == nil {
		err = w.write(size)
	}
	for i, c := range w.calls {
		if c != nil {
			c.answer <- err
		}
		w.calls[i] = nil
	}
}

// write writes the group in one transaction. It answers the appends that find the file full.
func (w *writer) write(size int) error {
	last, depth := w.last, w.q.depth.Load()
	err := w.tx(size, func() error {
		for i, c := range w.calls {
			switch {
			case c.released > 0:
				w.remove.BindInt64(1, c.released)
				if err := sqlitedb.Run(w.remove); err != nil {
					return fmt.Errorf("remove released records: %w", err)
				}
				depth -= int64(w.conn.Changes())
				w.keepLast.BindInt64(1, c.released)
				if err := sqlitedb.Run(w.keepLast); err != nil {
					return fmt.Errorf("note last id: %w", err)
				}
			case depth >= w.q.opts.HighWater:
				c.answer <- hookgate.ErrFull
				w.calls[i] = nil
			default:
				last++
				depth++
				c.id = last
				w.insert.BindInt64(1, c.id)
				w.insert.BindBytes(2, c.record)
				if err := sqlitedb.Run(w.insert); err != nil {
					return fmt.Errorf("append record: %w", err)
				}
			}
		}
		return nil
	})
	if err == nil {
		w.committed(last, depth)
	}
	return err
}

// committed publishes the last id and the number of records in the file.
func (w *writer) committed(last, depth int64) {
	w.last = last
	w.q.depth.Store(depth)
	w.q.mu.Lock()
	defer w.q.mu.Unlock()
	w.q.last = last
	if w.q.reader != nil {
		w.q.reader.wake()
	}
}

// tx runs f in a transaction that appends size bytes, and updates the health.
func (w *writer) tx(size int, f func() error) error {
	hook := func(at moment) error {
		if w.q.hook == nil {
			return nil
		}
		return w.q.hook(at, w.conn)
	}
	err := errors.Join(w.q.place.Check(), hook(begins))
	if err == nil {
		err = sqlitedb.Tx(w.conn, func() error {
			if err := f(); err != nil {
				return err
			}
			return hook(commits)
		})
	}
	if err == nil {
		err = hook(committed)
	}
	if err == nil {
		err = w.q.place.Check() // otherwise a restart would lose the acknowledged requests
	}
	if err != nil {
		w.health.transactionFailed(size)
		w.report(err)
	} else if w.health.committed(size) {
		w.report(nil)
	}
	return err
}

// report logs when writes begin to fail and when they work again.
func (w *writer) report(err error) {
	w.q.mu.Lock()
	before := w.q.err
	w.q.err = err
	w.q.mu.Unlock()
	switch {
	case err != nil && before == nil:
		w.q.opts.Logger.Error("cannot write the spool; requests are rejected until it works", "file",
			w.q.path,
			"error", err)
	case err == nil && before != nil:
		w.q.opts.Logger.Info("the spool can be written again", "file", w.q.path)
	}
}

// reload counts the records in the file, at the start and after a transaction of unknown outcome.
func (w *writer) reload() error {
	if w.health.phase != healthUnknown {
		return nil
	}
	defer w.count.Reset()
	if _, err := w.count.Step(); err != nil {
		err = fmt.Errorf("count records: %w", err)
		w.health.accessFailed()
		w.report(err)
		return err
	}
	// The ids of a failed transaction are used again if their records are not in the file.
	w.health.counted()
	w.committed(max(w.last, w.count.ColumnInt64(1)), w.count.ColumnInt64(0))
	return nil
}

// askFree asks for the free space.
func (w *writer) askFree() {
	q := w.q
	if q.opts.MinFree == 0 {
		return
	}
	free, err := q.opts.Free()
	full := err == nil && free < q.opts.MinFree // if Free fails, a write will tell
	switch before := q.full.Swap(full); {
	case full && !before:
		q.opts.Logger.Error("too little free space to spool; requests are rejected until there is more",
			"free_bytes", free, "min_free_bytes", q.opts.MinFree)
	case before && !full:
		q.opts.Logger.Info("there is enough free space to spool again", "free_bytes", free)
	}
}

// shrink shrinks an empty file, because the store may need the space.
func (w *writer) shrink() error {
	if w.q.depth.Load() > 0 {
		return nil
	}
	_, err := w.unused.Step()
	unused := w.unused.ColumnInt64(0)
	if err = errors.Join(err, w.unused.Reset()); err != nil || unused <= sparePages {
		return err
	}
	for _, s := range []string{"VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"} {
		if err := sqlitex.ExecuteTransient(w.conn, s, nil); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// checkUp asks for the free space and checks that the file is in its place. While writes fail, it
// writes as many bytes as the largest failed group and removes them again.
func (w *writer) checkUp() {
	w.askFree()
	if err := w.q.place.Check(); err != nil {
		w.health.accessFailed()
		w.report(err)
		return
	}
	if w.health.phase == healthWorks {
		if err := w.shrink(); err != nil { // the next checkUp retries
			w.q.opts.Logger.Warn("cannot shrink the empty spool", "file", w.q.path, "error", err)
		}
		return
	}
	if w.reload() != nil {
		return
	}
	write := func(size int) error {
		return w.tx(size, func() error {
			w.probe.BindInt64(1, int64(size))
			return sqlitedb.Run(w.probe)
		})
	}
	// A failure shows in Stats and in the log.
	if write(max(w.health.failedBytes, leastProbe)) == nil {
		_ = write(0)
	}
}
