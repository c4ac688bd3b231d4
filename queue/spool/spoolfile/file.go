// Package spool is a durable first-in, first-out file: one SQLite database, one goroutine that
// writes to it, one reader.
//
// Appends and releases that wait at the same time share one transaction and one fsync. Nothing but
// counters is kept in memory: the reader reads the file in the order of the ids.
//
//	Append ─┐                               ┌─► Next
//	Append ─┼─► group commit ─► records ────┤
//	Append ─┘        ▲                      └─► Commit ─┐
//	                 └───── released records go ◄───────┘
//
// A spool keeps every request: it finds no duplicates. It also opens the file of the embedded
// queue of an earlier release, whose claims it ignores, to empty it.
package spoolfile

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/sqlitedb"
	"github.com/hookgate/hookgate/queue/wire"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// readConnections is the number of connections that read: one for the reader and one for Stats.
const readConnections = 2

// Options of a spool. Zero fields take their defaults.
type Options struct {
	// HighWater is the number of records at which Append answers ErrFull; default 100,000.
	HighWater int64
	// MinFree is the free space in bytes below which Append answers ErrFull; 0: no bound. Free reports
	// the free space and is called once a second. What is spooled must fit into the store later.
	MinFree int64
	Free    func() (int64, error)
	// Logger is told when the spool stops and resumes taking requests; default none.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.HighWater == 0 {
		o.HighWater = 100_000
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.HighWater < 1 || o.MinFree < 0 {
		return o, errors.New("the high-water mark of a spool must be positive, and its free space not negative")
	}
	if o.MinFree > 0 && o.Free == nil {
		return o, errors.New("spool options: MinFree needs Free")
	}
	return o, nil
}

// File is a hookgate.BufferedQueue in a SQLite file. All its records are of partition 0, in the
// order in which they were acknowledged. One process at a time may have the file open; the caller
// sees to that.
type File struct {
	opts        Options
	path        string
	place       sqlitedb.Place
	settings    settings
	connections *sqlitex.Pool
	calls       chan *call

	depth atomic.Int64 // records in the file
	full  atomic.Bool  // free space was below MinFree when that was last asked

	closing   chan struct{} // closed when no more calls are taken
	closeOnce sync.Once
	done      chan struct{} // closed when the writer has ended
	closeErr  error         // valid when done is closed

	mu     sync.Mutex // guards all below; never held over I/O
	last   int64      // the highest id that is committed
	reader *reader    // nil if there is none
	leases uint64     // given out so far
	closed bool
	err    error // why the last transaction failed; nil after one that did not

	// hook, if set by a test, is called at these moments of each transaction of the writer; its error
	// fails it.
	hook func(at moment, conn *sqlite.Conn) error
}

type moment int

const (
	begins moment = iota
	commits
	committed
)

var _ hookgate.BufferedQueue = (*File)(nil)

// Open opens the spool in the file at path, which it creates if there is none. The file may be that
// of an earlier release, also its embedded queue.
func Open(ctx context.Context, path string, o Options) (*File, error) {
	return open(ctx, path, o, nil)
}

func open(ctx context.Context, path string, o Options,
	hook func(moment, *sqlite.Conn) error) (_ *File, err error) {
	if o, err = o.withDefaults(); err != nil {
		return nil, err
	}
	migrations, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil, err
	}
	conn, err := sqlitedb.OpenWriter(ctx, path, migrations)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	q := &File{
		opts:    o,
		path:    path,
		calls:   make(chan *call, maxGroup),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
		hook:    hook,
	}
	if q.place, err = sqlitedb.Locate(path); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if q.settings, err = readSettings(conn); err != nil {
		return nil, fmt.Errorf("open spool %s: %w", path, err)
	}
	w, err := newWriter(q, conn)
	if err != nil {
		return nil, fmt.Errorf("open spool %s: %w", path, err)
	}
	if q.connections, err = sqlitedb.OpenReaders(path, readConnections); err != nil {
		return nil, err
	}
	go w.run()
	return q, nil
}

// call is an append or a release on its way through the writer.
type call struct {
	record   []byte     // of an append, encoded
	released int64      // of a release: the id up to which records go
	id       int64      // of an append that succeeded
	answer   chan error // has room for the one answer
}

// Append implements hookgate.Queue. It never refers to d after it has returned.
func (q *File) Append(ctx context.Context, d *hookgate.Request) (hookgate.Receipt, error) {
	return q.AppendDuplicate(ctx, d, hookgate.RequestID{})
}

// AppendDuplicate appends d, which another queue has found to be a duplicate of a request and whose
// body that queue has dropped. If of is zero it is Append.
func (q *File) AppendDuplicate(ctx context.Context, d *hookgate.Request,
	of hookgate.RequestID) (hookgate.Receipt, error) {
	if q.depth.Load() >= q.opts.HighWater || q.full.Load() {
		return hookgate.Receipt{}, hookgate.ErrFull
	}
	c := &call{record: encode(d, of), answer: make(chan error, 1)}
	if err := q.do(ctx, c); err != nil {
		return hookgate.Receipt{}, err
	}
	return hookgate.Receipt{Position: position(c.id), DuplicateOf: of}, nil
}

func encode(d *hookgate.Request, of hookgate.RequestID) []byte {
	return wire.Append(make([]byte, 0, wire.Size(d)), d, of, time.Now())
}

// do has the writer do c.
func (q *File) do(ctx context.Context, c *call) error {
	select {
	case q.calls <- c:
	case <-ctx.Done():
		return ctx.Err()
	case <-q.closing:
		return hookgate.ErrClosed
	}
	select {
	case err := <-c.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-q.done:
		// The writer answers everything it takes before it ends, but this may have come too late.
		select {
		case err := <-c.answer:
			return err
		default:
			return hookgate.ErrClosed
		}
	}
}

// Stats implements hookgate.Queue.
func (q *File) Stats(ctx context.Context) (hookgate.QueueStats, error) {
	q.mu.Lock()
	s := hookgate.QueueStats{Depth: q.depth.Load(), HighWater: q.opts.HighWater, Partitions: 1,
		Err: q.err}
	if q.closed {
		s.Err = hookgate.ErrClosed
	}
	q.mu.Unlock()
	if s.Err == nil && q.full.Load() {
		s.Err = fmt.Errorf("less than %d bytes are free for the spool: %w", q.opts.MinFree,
			hookgate.ErrFull)
	}
	if s.Depth == 0 || s.Err != nil && !errors.Is(s.Err, hookgate.ErrFull) {
		return s, nil
	}
	oldest, err := q.read(ctx, 0, 1, 0)
	if err != nil {
		s.Err = err
	} else if len(oldest) > 0 {
		s.OldestEnqueuedAt = oldest[0].EnqueuedAt
	}
	return s, ctx.Err()
}

// Close ends the writer after it has answered the calls that it had taken. Later calls, and the
// reader, get ErrClosed.
func (q *File) Close() error {
	q.closeOnce.Do(func() {
		close(q.closing)
		<-q.done
		q.mu.Lock()
		q.closed = true
		if q.reader != nil {
			q.reader.wake()
		}
		q.mu.Unlock()
		q.closeErr = errors.Join(q.closeErr, q.connections.Close())
	})
	return q.closeErr
}

func position(id int64) hookgate.Position { return hookgate.Position{Minor: uint64(id)} }
