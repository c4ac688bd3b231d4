package direct

import (
	"context"
	"time"

	"github.com/hookgate/hookgate"
)

// AppendAll stores records in their order, as Append and AppendDuplicate would one after the other,
// but as many in one transaction as a group may have. It is for emptying a spool: the records are
// acknowledged already, so it takes them although little space is free. They must not change for as
// long as the caller may repeat the call.
//
// After an error the outcome of each record is unknown, and the same call again is harmless. An
// error that wraps hookgate.ErrRejected: see Append; it is about one of the records.
func (q *Queue) AppendAll(ctx context.Context, records []hookgate.Record) error {
	for len(records) > 0 {
		r := &records[0]
		if len(r.Parts) > 0 { // its events may be as many as a group may have
			if _, err := q.append(ctx, &r.Request, r.DuplicateOf); err != nil {
				return err
			}
			records = records[1:]
			continue
		}
		c := newCall()
		for len(records) > 0 && len(records[0].Parts) == 0 && c.fits(&records[0]) {
			c.add(records[0], hookgate.Partition(records[0].OrderingKey, q.Partitions))
			records = records[1:]
		}
		if _, err := q.await(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// fits reports whether r has room among several.
func (c *call) fits(r *hookgate.Record) bool {
	return c.events == 0 || c.events < maxRecords && c.bytes+len(r.Body) <= maxBytes
}

// add adds a record to several. Its place in the spool is no place in the store.
func (c *call) add(r hookgate.Record, partition int) {
	c.several = append(c.several, hookgate.Record{
		Request: r.Request, DuplicateOf: r.DuplicateOf, Partition: partition, EnqueuedAt: time.Now(),
	})
	c.events++
	c.bytes += len(r.Body)
}
