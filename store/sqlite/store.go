// Package sqlite is the embedded store: one SQLite file that sqlite3 can read while the gate runs.
//
// Each batch is one transaction, which it may share with other waiting calls. Lineage is not stored
// as rows: the view webhook_audit_trail derives the stages from the events. Each row carries its
// hash in the audit chain. Earlier releases wrote a chain of links for each partition instead (see
// audit.Run).
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/internal/sqlitedb"
	"github.com/hookgate/hookgate/store/entry"
	"github.com/hookgate/hookgate/store/migrations"
	"github.com/hookgate/hookgate/store/prune"
	"github.com/hookgate/hookgate/store/sqlstore"
)

// readers is the number of connections for reading.
const readers = 4

// Store implements hookgate.Store, hookgate.Reader and hookgate.Purger in a SQLite file.
type Store struct {
	*sqlstore.Tables
	subscriptions *sqlstore.Subscriptions
	path          string
	pool          *sqlitex.Pool

	mu    sync.Mutex // guards all below; SQLite has only one writer anyway
	conn  *sqlite.Conn
	place sqlitedb.Place
	stmts statements
	hash  audit.EntryHash
	// log is the head of the log in the current transaction.
	log logHead
	// recent are the events that the late indexes lack.
	recent recent
	// pruneCursor is the link after which Prune continues.
	pruneCursor int64
	// entryCursor is the log entry after which Prune continues.
	entryCursor int64
	keptPass    prune.KeptPass
	closed      bool
	// nextID is entry.NextID, except in tests that need predictable ids.
	nextID func(last int64, now time.Time) int64

	late     lateBounds
	indexer  indexer
	keyIndex keyIndex
	growth   sqlstore.Growth

	writer writer
	// lastID is the last id of the log after the last commit.
	lastID atomic.Int64

	// lastErr is the error of the last write, or nil if that succeeded.
	lastErr atomic.Pointer[error]
	// Tests set failCommit. The store calls it before each commit (done false) and after it (done
	// true); an error replaces the result of the commit.
	failCommit func(done bool) error
}

var (
	_ hookgate.Store  = (*Store)(nil)
	_ hookgate.Reader = (*Store)(nil)
	_ hookgate.Purger = (*Store)(nil)
)

// Open opens the store in the file at path and creates the file if it does not exist.
func Open(ctx context.Context, path string) (*Store, error) { return open(ctx, path, defaultLate) }

func open(ctx context.Context, path string, late lateBounds) (*Store, error) {
	if err := checkRoom(path, sqlitedb.FreeBytes); err != nil {
		return nil, err
	}
	conn, err := sqlitedb.OpenWriter(ctx, path, migrations.SQLite())
	if err != nil {
		return nil, err
	}
	s := &Store{path: path, conn: conn, nextID: entry.NextID, late: late}
	s.Tables = sqlstore.New(db{s}, dialect, readers)
	s.subscriptions = sqlstore.NewSubscriptions(db{s}, dialect)
	if err := s.stmts.prepare(conn); err != nil {
		conn.Close()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	if err := s.readLog(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	s.lastID.Store(s.log.lastID)
	if err := s.loadRecent(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	s.indexer.waiting.Store(int64(s.recent.waiting()))
	if s.place, err = sqlitedb.Locate(path); err != nil {
		conn.Close()
		return nil, fmt.Errorf("open store: %w", err)
	}
	if s.pool, err = sqlitedb.OpenReaders(path, readers); err != nil {
		conn.Close()
		return nil, err
	}
	s.startIndexer()
	return s, nil
}

// Subscriptions returns the subscriptions in this store.
func (s *Store) Subscriptions() *sqlstore.Subscriptions { return s.subscriptions }

// Close implements hookgate.Store. Calls that come later return ErrClosed or an error of the
// database.
func (s *Store) Close() error {
	s.indexer.end()
	s.indexAtClose()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if err := errors.Join(s.pool.Close(), s.conn.Close()); err != nil {
		return fmt.Errorf("close store %s: %w", s.path, err)
	}
	return nil
}

// Acquire implements hookgate.Store.
func (s *Store) Acquire(_ context.Context, partition int) (epoch hookgate.Epoch, err error) {
	err = s.change(func() error {
		acquire := s.stmts.acquire
		defer acquire.Reset()
		acquire.BindInt64(1, int64(partition))
		if _, err := acquire.Step(); err != nil {
			return err
		}
		epoch = hookgate.Epoch(acquire.ColumnInt64(0))
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("acquire partition %d: %w", partition, err)
	}
	return epoch, nil
}

// tx runs f in a durable transaction.
func (s *Store) tx(f func() error) error {
	if s.closed {
		return hookgate.ErrClosed
	}
	err := sqlitedb.Tx(s.conn, func() error {
		if err := f(); err != nil || s.failCommit == nil {
			return err
		}
		return s.failCommit(false)
	})
	if err == nil && s.failCommit != nil {
		err = s.failCommit(true)
	}
	if err == nil {
		// If the file was removed or replaced, the commit would be acknowledged but lost after a
		// restart. One check after the commit is enough. It also finds a file that disappeared
		// earlier, and the outcome of the commit is then unknown, as after any failed commit.
		err = s.place.Check()
	}
	switch {
	case err == nil:
		s.lastErr.Store(nil)
	case sqlstore.IsAnswer(err):
	default:
		s.lastErr.Store(&err)
	}
	return err
}

// Ping implements hookgate.Reader. It returns the error of the last write, if that failed, and
// otherwise tries to read.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.lastErr.Load(); err != nil {
		return *err
	}
	return s.read(ctx, func(conn *sqlite.Conn) error {
		return sqlitex.Execute(conn, "SELECT count(*) FROM webhook_partitions", nil)
	})
}

// read runs f with a connection for reading.
func (s *Store) read(ctx context.Context, f func(*sqlite.Conn) error) error {
	// A connection opens the write-ahead log at its first read and keeps it. Check first that this
	// is still the file that the store opened.
	if err := s.place.Check(); err != nil {
		return err
	}
	conn, err := s.pool.Take(ctx)
	if err != nil {
		return err
	}
	defer s.pool.Put(conn)
	return f(conn)
}
