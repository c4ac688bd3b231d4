package hookgate

import (
	"context"
	"time"
)

// Queue accepts requests. All methods may be called concurrently.
type Queue interface {
	// Append claims the identity of r and appends r in one atomic step.
	//
	// nil: the record survives what the backend's durability setting promises (embedded: a crash and
	// a power cut). If another request had claimed the identity, the receipt names it, and the queue
	// has appended a record without body, for the lineage of r.
	//
	// A retry (see Request.RetryOf) takes over the claim of another request and is appended with its
	// body. The store finds out whether it already has the event. The claim then recognises only this
	// retry. After a second retry has taken it over, the first one may be appended twice, and the
	// store recognises that.
	//
	// ErrFull: nothing was appended. The HTTP edge answers 503 with Retry-After.
	//
	// Any other error, that of ctx included: the outcome is unknown. The caller must not acknowledge
	// the request. The sender must retry, and the retry is safe.
	//
	// Callers append one request each. Grouping concurrent appends into one fsync or one round trip
	// is the backend's work. Append never refers to r, or to anything that r refers to, after it has
	// returned, with an error or without.
	Append(ctx context.Context, r *Request) (Receipt, error)

	// Stats describes the queue now.
	Stats(ctx context.Context) (QueueStats, error)

	// Close waits for the appends in flight and releases the queue's resources. Later calls return
	// ErrClosed. A queue does not close another queue or a store that it was given; the caller closes
	// those afterwards.
	Close() error
}

// BufferedQueue is a Queue whose records wait, in order within each partition, until a worker has
// stored and released them. A queue that is not buffered stores each record in Append.
type BufferedQueue interface {
	Queue

	// OpenReader opens a reader. The queue divides its partitions evenly among all open readers, and
	// moves partitions when a reader opens or closes.
	OpenReader(ctx context.Context) (PartitionReader, error)
}

// PartitionReader holds a set of partitions and reads their records. It is for one goroutine,
// except that Close may be called at any time.
type PartitionReader interface {
	// Next returns the records that follow those it returned before: at most max records, and at most
	// maxBytes of bodies unless a single record is larger. The records of one partition come in order.
	// Reading removes nothing: a record that is not released comes again from the next reader of its
	// partition, after this one has closed or lost it.
	//
	// Next waits until there is at least one record. An error of ctx means that Next has returned no
	// record. After any other error except ErrClosed, the caller pauses and calls Next again.
	//
	// A partition moves to another reader only when this one has released all of its records, or when
	// its lease has run out.
	Next(ctx context.Context, max, maxBytes int) ([]Record, error)

	// Commit releases the records of each partition in last up to and including that position. The
	// caller may only release records that Store.Apply has stored. A crash may lose the release; its
	// records then come again, and the store recognises them. After an error the same call again is
	// harmless.
	Commit(ctx context.Context, last []Offset) error

	// Close gives the partitions back. Records that are not released come again.
	Close() error
}

// Offset is a position in a partition.
type Offset struct {
	Partition int
	Position  Position
}

// LastOffsets returns the argument of Commit that releases all of records, which must be in the
// order in which Next returned them.
func LastOffsets(records []Record) []Offset {
	var last []Offset
next:
	for i := range records {
		for j := range last {
			if last[j].Partition == records[i].Partition {
				last[j].Position = records[i].Position
				continue next
			}
		}
		last = append(last, Offset{Partition: records[i].Partition, Position: records[i].Position})
	}
	return last
}

// QueueStats describes a queue at one moment.
type QueueStats struct {
	// Depth is the number of unreleased records.
	Depth int64
	// HighWater is the depth at which Append answers ErrFull.
	HighWater int64
	// OldestEnqueuedAt is when the oldest unreleased record was appended; zero if there is none.
	OldestEnqueuedAt time.Time
	// Partitions is the number of partitions.
	Partitions int
	// Err is why the queue cannot accept requests now; nil while it can.
	Err error
	// Degraded is a problem although the queue accepts requests; nil if there is none.
	Degraded error
	// Spooled is the number of the records in Depth that wait in a local spool until the queue is
	// back.
	Spooled int64
	// SpoolingSince is when requests began to go to a local spool, whose 202 is worth this machine's
	// disk; zero while they go to the queue.
	SpoolingSince time.Time
}
