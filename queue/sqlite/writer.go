package sqlite

import (
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/sqlitedb"
	"github.com/hookgate/hookgate/queue/wire"
)

const (
	// tick is how often the writer looks for work that is not an append: records to remove, claims
	// that have expired, a disk that may have recovered.
	tick = 200 * time.Millisecond
	// probeEvery is how many ticks pass between two attempts to write while writing fails.
	probeEvery = 5
	// leastProbe is the least that such an attempt writes, in bytes.
	leastProbe = 64 << 10
	// sweepRounds is the number of rounds of the sweep in one time to live of a claim.
	sweepRounds = 168
)

// writer owns the connection that writes. All of it belongs to the goroutine of run.
type writer struct {
	q      *Queue
	conn   *sqlite.Conn
	claims *claimTable
	insert, find, remove, keepLastID,
	saveSetting, probe *sqlite.Stmt

	nextID int64
	// failed is the size, in bytes, of the largest append that has failed since writing last worked. What is
	// smaller may still find room on a full disk and proves nothing.
	failed int
	// stale says that a transaction had an unknown outcome: the file may hold records from nextID on
	// that the memory lacks.
	stale   bool
	cleanup cleanup
	ticks   int
	sweepAt time.Time // when the next step of the sweep is due

	// The group at hand, kept for their memory.
	calls   []*appendCall
	entries []placed
	made    map[claimKey]claim
}

func newWriter(q *Queue, conn *sqlite.Conn) (*writer, error) {
	w := &writer{q: q, conn: conn, nextID: 1, made: map[claimKey]claim{}}
	var err error
	if w.claims, err = newClaimTable(conn, q.opts.ClaimTTL); err != nil {
		return nil, err
	}
	for text, s := range map[string]**sqlite.Stmt{
		"INSERT INTO records (id, partition, data) VALUES (?, ?, ?)":                                              &w.insert,
		"SELECT id, partition, data FROM records WHERE id >= ? ORDER BY id":                                       &w.find,
		"DELETE FROM records WHERE id BETWEEN ? AND ?":                                                            &w.remove,
		"INSERT INTO settings VALUES ('last_id', ?) ON CONFLICT DO UPDATE SET value = max(value, excluded.value)": &w.keepLastID,
		"INSERT OR REPLACE INTO settings VALUES (?, ?)":                                                           &w.saveSetting,
		"INSERT OR REPLACE INTO settings VALUES ('probe', zeroblob(?))":                                           &w.probe,
	} {
		if *s, err = conn.Prepare(text); err != nil {
			return nil, err
		}
	}
	if err := w.loadSettings(); err != nil {
		return nil, err
	}
	if err := w.load(); err != nil {
		return nil, err
	}
	lastID, err := w.number("SELECT coalesce(max(value), 0) FROM settings WHERE name = 'last_id'")
	w.nextID = max(w.nextID, lastID+1) // the highest may have been removed
	return w, err
}

// run is the writer's goroutine. Only one statement of it waits: the select.
func (w *writer) run() {
	defer close(w.q.done)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case c := <-w.q.appends:
			w.append(c)
		case c := <-w.q.settle:
			c.answered <- c.change(w)
		case <-ticker.C:
			w.tick()
		case <-w.q.closing:
			w.end()
			return
		}
	}
}

// append commits c and the calls that wait behind it, and answers them.
func (w *writer) append(c *appendCall) {
	w.calls = append(w.calls[:0], c)
	size := c.size
	for len(w.calls) < maxGroup && size < maxGroupBytes {
		select {
		case c := <-w.q.appends:
			w.calls = append(w.calls, c)
			size += c.size
			continue
		default:
		}
		break
	}
	if err := w.reload(); err != nil {
		w.answer(w.calls, err)
		return
	}
	room := max(0, w.q.opts.HighWater-w.q.lanes.depth.Load())
	calls := w.calls[:min(int64(len(w.calls)), room)]
	w.answer(w.calls[len(calls):], hookgate.ErrFull)
	if len(calls) == 0 {
		return
	}
	next := w.cleanup.begin(w.q.lanes, enoughToClean)
	err := w.tx(size, func() error {
		if err := w.appendAll(calls, time.Now()); err != nil {
			return err
		}
		return next.step(w, 2*len(calls))
	})
	if err != nil {
		w.answer(calls, err)
		return
	}
	w.q.lanes.add(w.entries)
	w.nextID += int64(len(w.entries))
	clear(w.entries) // the lanes hold them now
	w.answer(calls, nil)
	w.cleanup = next.finish(w.q.lanes)
}

func (w *writer) answer(calls []*appendCall, err error) {
	for i, c := range calls {
		c.answer(err)
		calls[i] = nil // it is its caller's again
	}
}

// appendAll inserts the records of a group and gives each call its receipt.
func (w *writer) appendAll(calls []*appendCall, now time.Time) error {
	w.entries = w.entries[:0]
	clear(w.made)
	for _, c := range calls {
		d := c.delivery
		holder, claimed, err := w.claimOf(c.key, now)
		if err != nil {
			return fmt.Errorf("look up claim: %w", err)
		}
		c.receipt = hookgate.Receipt{Partition: hookgate.Partition(d.OrderingKey, w.q.opts.Partitions)}
		if claimed && holder.requestID == d.RequestID {
			continue // this very delivery, whose first Append had an unknown outcome
		}
		if !c.of.IsZero() {
			claimed, holder = true, claim{requestID: c.of}
		}
		claimed = claimed && !d.Replay()
		e := &entry{
			id:         w.nextID + int64(len(w.entries)),
			key:        c.key,
			requestID:  d.RequestID,
			enqueuedAt: now.UnixMicro(),
			claims:     !claimed && !w.q.opts.KeepDuplicates,
		}
		if claimed {
			c.receipt.DuplicateOf = holder.requestID
		} else {
			w.made[c.key] = claim{d.RequestID, e.enqueuedAt}
		}
		c.receipt.Position = position(e.id)
		e.data = wire.Append(make([]byte, 0, c.size), d, c.receipt.DuplicateOf, now)
		w.insert.BindInt64(1, e.id)
		w.insert.BindInt64(2, int64(c.receipt.Partition))
		w.insert.BindBytes(3, e.data)
		if err := sqlitedb.Run(w.insert); err != nil {
			return fmt.Errorf("append record: %w", err)
		}
		w.entries = append(w.entries, placed{e, c.receipt.Partition})
	}
	return nil
}

// claimOf looks for a claim among those of this group, those in memory and those in the table.
func (w *writer) claimOf(key claimKey, now time.Time) (claim, bool, error) {
	if w.q.opts.KeepDuplicates {
		return claim{}, false, nil
	}
	if c, ok := w.made[key]; ok {
		return c, true, nil
	}
	if c, ok := w.q.lanes.claimOf(key, now); ok {
		return c, true, nil
	}
	return w.claims.lookup(key, now)
}

// tx runs f in a transaction that appends size bytes, and keeps the health of the queue.
func (w *writer) tx(size int, f func() error) error {
	err := w.q.place.Check()
	if err == nil {
		err = sqlitedb.Tx(w.conn, func() error {
			if err := f(); err != nil || w.q.failCommit == nil {
				return err
			}
			return w.q.failCommit(false)
		})
	}
	if err == nil && w.q.failCommit != nil {
		err = w.q.failCommit(true)
	}
	if err == nil {
		err = w.q.place.Check() // else what is acknowledged would be gone after a restart
	}
	switch {
	case err != nil:
		w.stale = true
		w.failed = max(w.failed, size, 1)
		w.report(err)
	case size >= w.failed:
		w.failed = 0
		w.report(nil)
	}
	return err
}

// report tells the log when writing begins to fail and when it works again.
func (w *writer) report(err error) {
	switch before := w.q.lanes.setErr(err); {
	case err != nil && before == nil:
		w.q.opts.Logger.Error("queue cannot write; deliveries are refused until it can", "file", w.q.path, "error", err)
	case err == nil && before != nil:
		w.q.opts.Logger.Info("queue writes again", "file", w.q.path)
	}
}

// reload brings the memory up to date after a transaction of unknown outcome.
func (w *writer) reload() error {
	if !w.stale {
		return nil
	}
	err := w.load()
	if err != nil {
		w.failed = max(w.failed, 1)
		w.report(err)
	}
	return err
}

// load takes up the records in the file from nextID on.
func (w *writer) load() error {
	defer w.find.Reset()
	w.find.BindInt64(1, w.nextID)
	for {
		found, err := w.find.Step()
		if err != nil {
			return fmt.Errorf("load records: %w", err)
		}
		if !found {
			w.stale = false
			return nil
		}
		id, partition, data := w.find.ColumnInt64(0), w.find.ColumnInt(1), columnBytes(w.find, 2)
		if partition < 0 || partition >= w.q.opts.Partitions {
			return fmt.Errorf("load record %d: partition %d is not one of the %d", id, partition, w.q.opts.Partitions)
		}
		e := &entry{id: id, data: data}
		var r hookgate.Record
		if err := wire.Decode(data, &r); err == nil {
			e.key, e.requestID, e.enqueuedAt = claimKey(r.Claim().Hash()), r.RequestID, r.EnqueuedAt.UnixMicro()
			e.claims = r.DuplicateOf.IsZero() && !w.q.opts.KeepDuplicates
		}
		w.q.lanes.add([]placed{{e, partition}})
		w.nextID = id + 1
	}
}

// tick does what has to be done when no append comes.
func (w *writer) tick() {
	w.ticks++
	w.claims.renewFilter()
	if w.stale || w.failed > 0 {
		if w.ticks%probeEvery == 0 {
			w.probeDisk()
		}
		return
	}
	if w.ticks%probeEvery == 0 {
		if err := w.q.place.Check(); err != nil {
			w.failed = max(w.failed, 1) // until probeDisk finds the file again
			w.report(err)
			return
		}
	}
	for len(w.q.appends) == 0 {
		next := w.cleanup.begin(w.q.lanes, 1)
		if next.done() {
			break
		}
		if w.tx(0, func() error { return next.step(w, quietStep) }) != nil {
			return
		}
		w.cleanup = next.finish(w.q.lanes)
	}
	if now := time.Now(); !now.Before(w.sweepAt) {
		w.sweep(now)
	}
}

// probeDisk writes as much as what has failed, and takes it away again.
func (w *writer) probeDisk() {
	if w.reload() != nil {
		return
	}
	write := func(size int) error {
		return w.tx(size, func() error {
			w.probe.BindInt64(1, int64(size))
			return sqlitedb.Run(w.probe)
		})
	}
	// A failure is in the stats and in the log; there is nobody else to tell.
	if write(max(w.failed, leastProbe)) == nil {
		_ = write(0)
	}
}

func (w *writer) sweep(now time.Time) {
	ended := false
	err := w.tx(0, func() (err error) {
		ended, err = w.claims.sweep(now)
		return err
	})
	if err == nil && ended {
		w.sweepAt = now.Add(w.q.opts.ClaimTTL / sweepRounds)
	}
}

// end commits what was taken and cleans up, so that the next start finds little to do.
func (w *writer) end() {
	for len(w.q.appends) > 0 {
		w.append(<-w.q.appends)
	}
	for {
		next := w.cleanup.begin(w.q.lanes, 1)
		if next.done() || w.tx(0, func() error { return next.step(w, quietStep) }) != nil {
			break
		}
		w.cleanup = next.finish(w.q.lanes)
	}
	if err := w.conn.Close(); err != nil {
		w.q.closeErr = fmt.Errorf("close queue %s: %w", w.q.path, err)
	}
}
