package sqlite

import (
	"errors"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/internal/sqlitedb"
	"github.com/hookgate/hookgate/store/sqlstore"
)

// errNoLog is returned if webhook_log has no row.
var errNoLog = errors.New("webhook_log has no row: the schema is damaged; restore a backup")

// logHead is the row of webhook_log as the current transaction changes it. The transaction writes
// it at its end.
type logHead struct {
	lastID   int64
	hash     [32]byte
	anchored int64
	// indexed is the last event that the late indexes must contain.
	indexed int64
	// The counters count what the transaction adds.
	events, duplicates, deadLetters, purges int64
	moved                                   bool

	// trail and trailHash describe the last row of the admin trail.
	trail     int64
	trailHash [32]byte
}

// readLog reads the head of the log at the start of a transaction.
func (s *Store) readLog() error {
	s.log = logHead{}
	row := s.stmts.log
	defer row.Reset()
	if found, err := row.Step(); err != nil {
		return fmt.Errorf("read the head of the log: %w", err)
	} else if !found {
		return errNoLog
	}
	s.log.lastID, s.log.anchored, s.log.trail = row.ColumnInt64(0), row.ColumnInt64(2),
		row.ColumnInt64(3)
	row.ColumnBytes(4, s.log.trailHash[:])
	if s.log.indexed = row.ColumnInt64(5); s.log.indexed > s.log.lastID {
		return fmt.Errorf("webhook_log is indexed up to %d but ends with %d: the schema is damaged;"+
			" restore a backup",
			s.log.indexed, s.log.lastID)
	}
	if row.ColumnLen(1) > 0 {
		row.ColumnBytes(1, s.log.hash[:])
		return nil
	}
	var err error
	s.log.hash, err = firstHash(s.conn)
	return err
}

// firstHash returns the hash that the first entry of the log follows.
func firstHash(conn *sqlite.Conn) (hash [32]byte, err error) {
	var heads []audit.ChainHead
	err = run(conn, sqlstore.Statement{SQL: sqlstore.ChainHeadsQuery, Row: func(r sqlstore.Row) error {
		heads = append(heads, sqlstore.ScanChainHead(r))
		return nil
	}})
	if err != nil {
		return hash, fmt.Errorf("read the heads of earlier chains: %w", err)
	}
	return audit.FirstHash(heads), nil
}

// writeLog writes the head of the log at the end of a transaction, if it has changed.
func (s *Store) writeLog() error {
	l := &s.log
	if !l.moved {
		return nil
	}
	u := s.stmts.advance
	u.BindInt64(1, l.lastID)
	u.BindBytes(2, l.hash[:])
	u.BindInt64(3, l.events)
	u.BindInt64(4, l.duplicates)
	u.BindInt64(5, l.deadLetters)
	u.BindInt64(6, l.purges)
	u.BindInt64(7, l.anchored)
	u.BindInt64(8, l.indexed)
	if err := sqlitedb.Run(u); err != nil {
		return fmt.Errorf("move the head of the log: %w", err)
	}
	if s.conn.Changes() != 1 {
		return errNoLog
	}
	return nil
}

// added moves the head to an entry that was added.
func (l *logHead) added(id int64, hash [32]byte) { l.lastID, l.hash, l.moved = id, hash, true }

// index records that the late indexes contain the events up to id.
func (l *logHead) index(id int64) { l.indexed, l.moved = id, true }

// anchor adds an entry that covers the admin trail, if the trail has grown since the last anchor.
// It runs before each entry that a call adds, so a call that adds nothing adds no anchor.
func (s *Store) anchor(now time.Time) error {
	l := &s.log
	if l.trail <= l.anchored {
		return nil
	}
	id := s.nextID(l.lastID, now)
	hash := s.hash.Anchor(l.hash, id, l.trail, l.trailHash)
	insert := s.stmts.anchor
	insert.BindInt64(1, id)
	insert.BindInt64(2, l.trail)
	insert.BindBytes(3, l.trailHash[:])
	insert.BindBytes(4, hash[:])
	if err := sqlitedb.Run(insert); err != nil {
		return fmt.Errorf("anchor the admin trail: %w", err)
	}
	l.added(id, hash)
	l.anchored = l.trail
	return nil
}

// ClockBehind returns how far the clock is behind the last id. New ids then no longer follow the
// clock. It returns 0 if the clock is less than a second behind.
func (s *Store) ClockBehind() time.Duration {
	behind := time.Duration(s.lastID.Load()-time.Now().UnixMicro()) * time.Microsecond
	if behind < time.Second {
		return 0
	}
	return behind
}
