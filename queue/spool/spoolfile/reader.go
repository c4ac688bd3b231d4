package spoolfile

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"zombiezen.com/go/sqlite"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/queue/wire"
)

// reader is a hookgate.PartitionReader.
type reader struct {
	q     *File
	lease uint64
	// woken has an item when there may be a new record.
	woken chan struct{}
	// handed is the id of the last record that Next returned. It belongs to the reader's goroutine.
	handed int64
	closed bool // guarded by File.mu
}

// OpenReader implements hookgate.BufferedQueue. A file has one reader at a time.
func (q *File) OpenReader(context.Context) (hookgate.PartitionReader, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, hookgate.ErrClosed
	}
	if q.reader != nil {
		return nil, errors.New("the spool has a reader; close that first")
	}
	q.leases++
	q.reader = &reader{q: q, lease: q.leases, woken: make(chan struct{}, 1)}
	return q.reader, nil
}

func (c *reader) wake() {
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

// state reports whether there are records that Next has not returned.
func (c *reader) state() (more bool, err error) {
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	if c.closed || c.q.closed {
		return false, hookgate.ErrClosed
	}
	return c.q.last > c.handed, nil
}

// Next implements hookgate.PartitionReader.
func (c *reader) Next(ctx context.Context, max, maxBytes int) ([]hookgate.Record, error) {
	for {
		more, err := c.state()
		if err != nil {
			return nil, err
		}
		if more {
			// The end of ctx does not cut the read off. The read is bounded, and a caller with a short
			// time limit would never get a record from a slow disk.
			records, err := c.q.read(context.WithoutCancel(ctx), c.handed, max, maxBytes)
			if err != nil {
				return nil, err
			}
			if len(records) > 0 {
				for i := range records {
					records[i].Lease = c.lease
				}
				c.handed = int64(records[len(records)-1].Position.Minor)
				return records, nil
			}
		}
		select {
		case <-c.woken:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// read returns the records after an id: at most max records, and at most maxBytes of bodies unless
// a single record is larger.
func (q *File) read(ctx context.Context, after int64, max, maxBytes int) ([]hookgate.Record,
	error) {
	// At its first read a connection opens the write-ahead log and keeps it open. That must be the log
	// of this file.
	if err := q.place.Check(); err != nil {
		return nil, err
	}
	conn, err := q.connections.Take(ctx)
	if err != nil {
		return nil, fmt.Errorf("read spool %s: %w", q.path, err)
	}
	defer q.connections.Put(conn)
	s, err := conn.Prepare("SELECT id, data FROM records WHERE id > ? ORDER BY id LIMIT ?")
	if err != nil {
		return nil, fmt.Errorf("read spool %s: %w", q.path, err)
	}
	defer s.Reset()
	s.BindInt64(1, after)
	s.BindInt64(2, int64(max))
	var records []hookgate.Record
	for {
		found, err := s.Step()
		if err != nil {
			return nil, fmt.Errorf("read spool %s: %w", q.path, err)
		}
		if !found {
			return records, nil
		}
		r := record(s)
		if maxBytes -= len(r.Body); maxBytes < 0 && len(records) > 0 {
			return records, nil
		}
		records = append(records, r)
	}
}

func record(s *sqlite.Stmt) (r hookgate.Record) {
	id, data := s.ColumnInt64(0), make([]byte, s.ColumnLen(1))
	s.ColumnBytes(1, data)
	if err := wire.Decode(data, &r); err != nil {
		r = corruptRecord(id, data, err)
	}
	r.Position = position(id)
	return r
}

// corruptRecord returns the record of an entry that cannot be decoded. Its request id comes from
// the id and the bytes of the entry, so that it is the same at each read.
func corruptRecord(id int64, data []byte, why error) hookgate.Record {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(slices.Clone(data), uint64(id)))
	return hookgate.Record{
		Request: hookgate.Request{
			RequestID: hookgate.RequestID(sum[:16]),
			Sequence:  hookgate.NoSequence,
			Body:      data,
		},
		Corrupt: fmt.Errorf("record %d: %w", id, why),
	}
}

// Commit implements hookgate.PartitionReader. nil: the records are removed from the file. After an
// error they may come again after the next start.
func (c *reader) Commit(ctx context.Context, last []hookgate.Offset) error {
	if _, err := c.state(); err != nil {
		return err
	}
	for _, o := range last {
		if o.Partition != 0 {
			return fmt.Errorf("release partition %d of a spool: it has only 0", o.Partition)
		}
		release := &call{released: min(int64(o.Position.Minor), c.handed), answer: make(chan error, 1)}
		if release.released <= 0 {
			continue
		}
		if err := c.q.do(ctx, release); err != nil {
			return fmt.Errorf("release records of the spool: %w", err)
		}
	}
	return nil
}

// Close implements hookgate.PartitionReader.
func (c *reader) Close() error {
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	if !c.closed {
		c.closed = true
		c.q.reader = nil
		c.wake()
	}
	return nil
}
