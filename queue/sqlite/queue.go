// Package sqlite is the embedded queue: one SQLite file, one goroutine that writes to it.
//
// Appends of concurrent requests are gathered into groups, each of which is one transaction and one
// fsync. All unreleased records are also known in memory, so that handing them to a consumer
// seldom reads the file and a duplicate is recognised without a write.
//
//	Append ─┐                 ┌─► records (log)          ┌─► Next
//	Append ─┼─► group commit ─┤                ─► lanes ─┤
//	Append ─┘        ▲        └─► answer the callers     └─► Commit ─┐
//	                 └───────────── claims in, records out ◄─────────┘
package sqlite

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
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

const (
	// maxGroup and maxGroupBytes bound what one transaction appends.
	maxGroup      = 512
	maxGroupBytes = 16 << 20
	// readers is the number of connections that fetch what the memory does not hold.
	readers = 2
)

// Options of a queue. Zero fields take their defaults.
type Options struct {
	// Partitions is their number; default 16. It can change only while the queue is empty.
	Partitions int
	// HighWater is the number of unreleased records at which Append answers ErrFull; default 100,000.
	// Each takes about 250 bytes of memory beside CacheBytes.
	HighWater int64
	// ClaimTTL is how long an identity stays claimed; default 7 days.
	ClaimTTL time.Duration
	// CacheBytes bounds the records that are kept in memory until they are released; the others
	// are read from the file again. Default 8 MiB.
	CacheBytes int64
	// FilterBytes bounds the memory in which the queue knows which claims there are not, so that it need not look for them in the
	// file; 0 for none. 10 bits a claim are enough; with less it looks more often. While a new one takes the place of one that is full, both
	// are there.
	FilterBytes int64
	// KeepDuplicates takes every delivery as a first one and claims nothing: for a spool, whose queue
	// finds the duplicates later.
	KeepDuplicates bool
	// Logger is told when the queue stops and resumes taking deliveries; default none.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.Partitions == 0 {
		o.Partitions = 16
	}
	if o.HighWater == 0 {
		o.HighWater = 100_000
	}
	if o.ClaimTTL == 0 {
		o.ClaimTTL = 7 * 24 * time.Hour
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 8 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Partitions < 1 || o.HighWater < 1 || o.ClaimTTL < 0 || o.CacheBytes < 0 || o.FilterBytes < 0 {
		return o, errors.New("queue options must be positive")
	}
	return o, nil
}

// Queue is a hookgate.Queue in a SQLite file. One process at a time may have the file open; the caller
// sees to that.
type Queue struct {
	opts    Options
	path    string
	place   sqlitedb.Place
	lanes   *lanes
	readers *sqlitex.Pool
	appends chan *appendCall
	settle  chan *settleCall
	mode    atomic.Pointer[hookgate.Mode]
	canary  atomic.Pointer[hookgate.Canary]

	closing   chan struct{} // closed when no more calls are taken
	closeOnce sync.Once
	done      chan struct{} // closed when the writer has ended

	open     context.Context // ends when the queue closes
	close    context.CancelFunc
	filling  sync.WaitGroup // what fills a filter
	closeErr error          // valid when done is closed

	// failCommit, if set by a test, is called before (done false) and after (true) each commit of the
	// writer; its error takes the commit's place.
	failCommit func(done bool) error
}

var _ hookgate.BufferedQueue = (*Queue)(nil)

// Open opens the queue in the file at path, which it creates if there is none, and makes ready what
// was not released before. It fails if the file holds records for another number of partitions.
func Open(ctx context.Context, path string, o Options) (*Queue, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return open(ctx, path, o, nil)
}

func open(ctx context.Context, path string, o Options, failCommit func(done bool) error) (_ *Queue, err error) {
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
	q := &Queue{
		opts:       o,
		path:       path,
		lanes:      newLanes(o),
		appends:    make(chan *appendCall, maxGroup),
		settle:     make(chan *settleCall),
		closing:    make(chan struct{}),
		done:       make(chan struct{}),
		failCommit: failCommit,
	}
	if q.place, err = sqlitedb.Locate(path); err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	q.open, q.close = context.WithCancel(context.Background())
	w, err := newWriter(q, conn)
	if err != nil {
		return nil, fmt.Errorf("open queue %s: %w", path, err)
	}
	if q.readers, err = sqlitedb.OpenReaders(path, readers); err != nil {
		return nil, err
	}
	if o.FilterBytes > 0 && !o.KeepDuplicates {
		w.claims.refill = q.refill
	}
	go w.run()
	return q, nil
}

// refill starts to fill a filter for twice the claims that there can be.
func (q *Queue) refill() *filter {
	var claims int64
	if info, err := os.Stat(q.path); err == nil {
		claims = info.Size() / claimSize
	}
	f := newFilter(2*claims, q.opts.FilterBytes)
	q.filling.Go(func() {
		if err := f.fill(q.open, q.readers); err != nil && q.open.Err() == nil {
			q.opts.Logger.Warn("claims are looked for in the file until the next start, as they cannot be listed", "file", q.path, "error", err)
		}
	})
	return f
}

// appendCall is one Append on its way through the writer.
type appendCall struct {
	delivery *hookgate.Delivery
	of       hookgate.RequestID // see AppendDuplicate
	key      claimKey
	size     int // upper bound of the encoded record
	receipt  hookgate.Receipt
	err      error
	answered chan struct{} // has room for the one answer
}

var appendCalls = sync.Pool{New: func() any { return &appendCall{answered: make(chan struct{}, 1)} }}

func (c *appendCall) answer(err error) {
	c.err = err
	c.answered <- struct{}{}
}

// Append implements hookgate.Queue.
func (q *Queue) Append(ctx context.Context, d *hookgate.Delivery) (hookgate.Receipt, error) {
	return q.AppendDuplicate(ctx, d, hookgate.RequestID{})
}

// AppendDuplicate appends d, which another queue has found to be a duplicate of a request and whose
// body that queue has dropped. No claim is made. If of is zero it is Append.
func (q *Queue) AppendDuplicate(ctx context.Context, d *hookgate.Delivery, of hookgate.RequestID) (hookgate.Receipt, error) {
	if q.lanes.depth.Load() >= q.opts.HighWater {
		return hookgate.Receipt{}, hookgate.ErrFull
	}
	c := appendCalls.Get().(*appendCall)
	c.delivery, c.of, c.key, c.size = d, of, claimKey(d.Claim().Hash()), wire.Size(d)
	select {
	case q.appends <- c:
	case <-ctx.Done():
		return hookgate.Receipt{}, ctx.Err()
	case <-q.closing:
		return hookgate.Receipt{}, hookgate.ErrClosed
	}
	select {
	case <-c.answered:
	case <-ctx.Done():
		return hookgate.Receipt{}, ctx.Err() // the writer still has c
	case <-q.done:
		// The writer answers everything it takes before it ends, but this may have come too late.
		select {
		case <-c.answered:
		default:
			return hookgate.Receipt{}, hookgate.ErrClosed
		}
	}
	receipt, err := c.receipt, c.err
	*c = appendCall{answered: c.answered}
	appendCalls.Put(c)
	return receipt, err
}

// Stats implements hookgate.Queue.
func (q *Queue) Stats(context.Context) (hookgate.QueueStats, error) { return q.lanes.stats(), nil }

// Close ends the writer, after it has answered the appends that it had taken and written down what was
// released. Calls that come later, and consumers, get ErrClosed.
func (q *Queue) Close() error {
	q.closeOnce.Do(func() {
		close(q.closing)
		<-q.done
		q.close()
		q.filling.Wait()
		q.lanes.close()
		q.closeErr = errors.Join(q.closeErr, q.readers.Close())
	})
	return q.closeErr
}

// fetch reads the encoded record with the given id from the file.
func (q *Queue) fetch(ctx context.Context, id int64) ([]byte, error) {
	// A connection opens the write-ahead log at its first read and keeps it. It must not be that of another file.
	if err := q.place.Check(); err != nil {
		return nil, err
	}
	conn, err := q.readers.Take(ctx)
	if err != nil {
		return nil, err
	}
	defer q.readers.Put(conn)
	s, err := conn.Prepare("SELECT data FROM records WHERE id = ?")
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	s.BindInt64(1, id)
	if found, err := s.Step(); err != nil || !found {
		return nil, errors.Join(err, fmt.Errorf("read record %d of queue %s", id, q.path))
	}
	return columnBytes(s, 0), nil
}

func columnBytes(s *sqlite.Stmt, column int) []byte {
	b := make([]byte, s.ColumnLen(column))
	s.ColumnBytes(column, b)
	return b
}
