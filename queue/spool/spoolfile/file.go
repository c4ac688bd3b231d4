// Package spoolfile is a durable first-in, first-out file: one SQLite database with one goroutine
// that writes and one reader.
//
// Appends and releases that wait at the same time share one transaction and one fsync. Only
// counters are in memory; the reader reads the file in the order of the ids.
//
//	Append ─┐                               ┌─► Next
//	Append ─┼─► group commit ─► records ────┤
//	Append ─┘        ▲                      └─► Commit ─┐
//	                 └──── remove released records ◄────┘
//
// The file keeps every request: it recognises no duplicates. It can also be the file of the
// embedded queue of an earlier release, which is opened to be emptied; its claims are ignored.
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

// Options of a file. Zero fields take their defaults.
type Options struct {
	// HighWater is the number of records at which Append returns ErrFull; default 100,000.
	HighWater int64
	// MinFree is the free space in bytes below which Append returns ErrFull; 0: no bound. The store
	// needs room for the spooled events later. Free returns the free space and is called once per
	// second.
	MinFree int64
	Free    func() (int64, error)
	// Logger logs when the file stops and starts to accept requests; default none.
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
		return o, errors.New("the high-water mark of a spool must be positive," +
			" and its free space not negative")
	}
	if o.MinFree > 0 && o.Free == nil {
		return o, errors.New("spool options: MinFree needs Free")
	}
	return o, nil
}

// File is a hookgate.BufferedQueue in a SQLite file. It has one partition, 0, whose records are in
// the order in which they were acknowledged. The caller must make sure that only one process has
// the file open.
type File struct {
	opts        Options
	path        string
	place       sqlitedb.Place
	settings    settings
	connections *sqlitex.Pool
	calls       chan *call

	depth atomic.Int64 // records in the file
	full  atomic.Bool  // free space was below MinFree when the writer last asked

	closing   chan struct{} // closed when the file accepts no more calls
	closeOnce sync.Once
	done      chan struct{} // closed when the writer has ended
	closeErr  error         // valid when done is closed

	mu     sync.Mutex // guards all below; never held over I/O
	last   int64      // the highest id that is committed
	reader *reader    // nil if there is none
	leases uint64     // number of readers so far
	closed bool
	err    error // why the last transaction failed; nil after a success

	// hook, if a test sets it, is called at these moments of each transaction of the writer. If it
	// returns an error, the transaction fails.
	hook func(at moment, conn *sqlite.Conn) error
}

type moment int

const (
	begins moment = iota
	commits
	committed
)

var _ hookgate.BufferedQueue = (*File)(nil)

// Open opens the file at path, and creates it if it does not exist. The file may be the spool or
// the embedded queue of an earlier release.
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
	released int64      // of a release: the last id to remove
	id       int64      // of an append that succeeded
	answer   chan error // has room for the one answer
}

// Append implements hookgate.Queue.
func (q *File) Append(ctx context.Context, d *hookgate.Request) (hookgate.Receipt, error) {
	return q.AppendDuplicate(ctx, d, hookgate.RequestID{})
}

// AppendDuplicate implements spool.Appender.
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

// do gives c to the writer and waits for the answer.
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
		// The writer answers every call that it has received before it ends. This one may have come too
		// late.
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

// Close implements hookgate.Queue. The reader gets ErrClosed too.
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
