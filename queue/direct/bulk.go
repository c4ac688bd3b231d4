package direct

import (
	"context"
	"time"

	"github.com/hookgate/hookgate"
)

// AppendAll implements spool.BulkAppender. It stores records in their order, as AppendDuplicate
// would one by one, but as many in one transaction as fit into a group. It ignores Options.MinFree,
// because the records of a spool are acknowledged already. The caller must not change the records
// while it may repeat the call.
//
// After an error the outcome of each record is unknown, and the same call again is harmless. An
// error that wraps hookgate.ErrRejected is about one of the records; see Append.
func (q *Queue) AppendAll(ctx context.Context, records []hookgate.Record) error {
	for len(records) > 0 {
		r := &records[0]
		if len(r.Parts) > 0 { // its events may fill a group
			if _, err := q.append(ctx, &r.Request, r.DuplicateOf); err != nil {
				return err
			}
			records = records[1:]
			continue
		}
		c := q.newCall()
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

// fits reports whether the call has room for r.
func (c *call) fits(r *hookgate.Record) bool {
	return c.events == 0 || c.events < maxRecords && c.bytes+len(r.Body) <= maxBytes
}

// add adds a record to the call, without its position in the spool.
func (c *call) add(r hookgate.Record, partition int) {
	c.prepared = append(c.prepared, hookgate.Record{
		Request: r.Request, DuplicateOf: r.DuplicateOf, Partition: partition, EnqueuedAt: time.Now(),
	})
	c.events++
	c.bytes += len(r.Body)
}
