package sqlite

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hookgate/hookgate/internal/sqlitedb"
	"github.com/hookgate/hookgate/store/sqlstore"
)

const (
	// maxGroup bounds the number of appends in one transaction, and groupBytes the size of their
	// bodies, unless a single body is larger.
	maxGroup   = 64
	groupBytes = 16 << 20
	// maxSaves bounds the number of saves of subscriptions in one transaction, and saveRows the rows
	// that they write, unless a single save has more. They delay the appends in the same transaction
	// by about two milliseconds.
	maxSaves = 16
	saveRows = 512
	// saveLinger is how long a save waits for appends, to share their transaction, if there was one in
	// the time before. A transaction of its own would make the next append wait for one more fsync.
	saveLinger = 5 * time.Millisecond
	// appending is how long after an append others are expected.
	appending = 10 * saveLinger
)

// writer makes calls that wait at the same time share one transaction and one fsync. The first
// caller becomes the leader, the others are followers. The leader runs all waiting calls together
// with its own, then passes the lead to the next waiting caller. A transaction has appends, saves
// of subscriptions, and at most one other call. So retention and administration make progress, and
// delay appends by only one step.
type writer struct {
	mu sync.Mutex // guards all below
	// led reports that there is a leader. The other callers wait in appends, saves and rest, oldest
	// first.
	led                  bool
	appends, saves, rest []*write
	// appended is when the last append came.
	appended time.Time
}

// write is one call that writes.
type write struct {
	// run does the work of the call. The leader calls it once, in a transaction.
	run func() error
	// append reports that the call comes from Apply. bytes is the size of its bodies.
	append bool
	bytes  int
	// save reports that the call saves results of a subscription. rows is about the number of rows
	// that it writes.
	save bool
	rows int
	// lingers reports that the save waits for appends and does not need a leader yet. writer.mu guards
	// it.
	lingers bool
	// until is when a save stops waiting for a lock of another process; zero: after BusyTimeout.
	until time.Time
	// late reports that the call fills the late indexes.
	late bool
	err  error
	// turn receives true if the caller becomes the leader, and false if its call is done.
	turn chan bool
}

// usesRecent reports whether the call reads or changes Store.recent.
func (c *write) usesRecent() bool { return c.append || c.late }

// join adds a call and reports whether its caller becomes the leader.
func (w *writer) join(c *write) (leads bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case c.append:
		w.appends = append(w.appends, c)
		w.appended = time.Now()
	case c.save:
		w.saves = append(w.saves, c)
		if time.Since(w.appended) < appending {
			c.lingers = true
			time.AfterFunc(saveLinger, func() { w.hurry(c) })
			return false
		}
	default:
		w.rest = append(w.rest, c)
	}
	if w.led {
		return false
	}
	w.led = true
	if c.save && w.saves[0] != c {
		w.saves[0].turn <- true // a leader is the oldest of its kind
		return false
	}
	return true
}

// hurry ends the wait of a save for appends.
func (w *writer) hurry(c *write) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c.lingers = false
	if !w.led && slices.Contains(w.saves, c) {
		w.led = true
		w.saves[0].turn <- true
	}
}

// take removes and returns the calls of the next transaction. The leader's own call is among them,
// because it is the oldest of its kind.
func (w *writer) take() (group []*write) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, bytes, rows := 0, 0, 0
	for n < len(w.appends) && n < maxGroup && (n == 0 || bytes+w.appends[n].bytes <= groupBytes) {
		bytes += w.appends[n].bytes
		n++
	}
	group = append(group, w.appends[:n]...)
	w.appends = w.appends[n:]
	n = 0
	for n < len(w.saves) && n < maxSaves && (n == 0 || rows+w.saves[n].rows <= saveRows) {
		rows += w.saves[n].rows
		n++
	}
	group = append(group, w.saves[:n]...)
	w.saves = w.saves[n:]
	if len(w.rest) > 0 {
		group = append(group, w.rest[0])
		w.rest = w.rest[1:]
	}
	return group
}

// pass passes the lead to a waiting caller, if there is one.
func (w *writer) pass() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case len(w.appends) > 0:
		w.appends[0].turn <- true
	case slices.ContainsFunc(w.saves, func(c *write) bool { return !c.lingers }):
		w.saves[0].turn <- true
	case len(w.rest) > 0:
		w.rest[0].turn <- true
	default:
		w.led, w.appends, w.rest = false, nil, nil
		if len(w.saves) == 0 {
			w.saves = nil
		}
	}
}

// write runs a call in a durable transaction, which other calls may share.
func (s *Store) write(c *write) error {
	c.turn = make(chan bool, 1)
	if !s.writer.join(c) && !<-c.turn {
		return c.err
	}
	defer s.writer.pass()
	group := s.writer.take()
	s.commit(group)
	for _, other := range group {
		if other != c {
			other.turn <- false
		}
	}
	return c.err
}

// change runs f in a durable transaction.
func (s *Store) change(f func() error) error { return s.write(&write{run: f}) }

// commit runs the calls of a group in one transaction and sets their errors.
func (s *Store) commit(group []*write) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if wait := lockTimeout(group); wait < sqlitedb.BusyTimeout && !s.closed {
		s.conn.SetBusyTimeout(wait)
		defer s.conn.SetBusyTimeout(sqlitedb.BusyTimeout)
	}
	recent := false // whether this transaction may use s.recent
	err := s.tx(func() error {
		if err := s.readLog(); err != nil {
			return err
		}
		if recent = s.recentIsCurrent(); !recent && slices.ContainsFunc(group, (*write).usesRecent) {
			if err := s.loadRecent(); err != nil {
				return err
			}
			recent = true
		}
		if group[0].append && s.recent.waiting() >= s.late.most {
			if err := s.indexSlice(s.recent.waiting()); err != nil {
				return err
			}
		}
		for _, c := range group {
			if len(group) == 1 {
				if err := c.run(); err != nil {
					return err
				}
			} else if err := s.guarded(c); err != nil {
				return err
			}
		}
		return s.writeLog()
	})
	for _, c := range group {
		if c.err == nil {
			c.err = err
		}
		switch {
		case c.err == nil, sqlstore.IsAnswer(c.err):
		case err == nil:
			s.lastErr.Store(&c.err)
		}
	}
	if err != nil {
		// Saves change nothing that recent depends on.
		if !group[0].save || !group[len(group)-1].save {
			s.recent.valid = false
		}
		s.growth.Wake() // events may be stored: the outcome is unknown
		return
	}
	s.lastID.Store(s.log.lastID)
	s.committed(recent)
	if s.log.events > 0 {
		s.growth.Wake()
	}
}

// lockTimeout returns how long a transaction of the group waits for a lock of another process: as
// long as the call that waits longest.
func lockTimeout(group []*write) (wait time.Duration) {
	for _, c := range group {
		if c.until.IsZero() {
			return sqlitedb.BusyTimeout
		}
		wait = max(wait, time.Until(c.until))
	}
	return wait
}

// guarded runs one call of a group in a savepoint, so that its failure does not affect the others.
// It returns an error only if the whole transaction has failed.
func (s *Store) guarded(c *write) error {
	if err := sqlitedb.Run(s.stmts.beginCall); err != nil {
		return err
	}
	before, events := s.log, len(s.recent.fresh.events)
	if c.err = c.run(); c.err == nil {
		return sqlitedb.Run(s.stmts.endCall)
	}
	if s.conn.AutocommitEnabled() {
		return fmt.Errorf("the transaction was rolled back: %w", c.err)
	}
	s.log = before
	switch {
	case c.append:
		s.recent.fresh.truncate(events)
	case !c.save:
		s.recent.valid = false // the call may have begun to index
	}
	if err := sqlitedb.Run(s.stmts.undoCall); err != nil {
		return err
	}
	return sqlitedb.Run(s.stmts.endCall)
}
