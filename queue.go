package hookgate

import (
	"context"
	"time"
)

// Queue takes deliveries. All methods may be called concurrently.
type Queue interface {
	// Append claims the identity of d and appends d in one atomic step.
	//
	// nil: the record survives what the backend's durability setting promises (embedded: a crash
	// and a power cut). If the identity was claimed before, the receipt names the request that did,
	// and what was appended is a record without body that carries the lineage of this one.
	//
	// A replay (see Request.RetryOf) is not held up by the claim of another request: it takes the
	// claim over and is appended with its body, and whether its event is stored already is left to the
	// store. The claim only recognises the same request again; once another replay has taken it over,
	// the same request may be appended twice, which the store recognises.
	//
	// ErrFull: nothing was stored.
	//
	// Any other error, that of ctx included: the outcome is unknown. The caller must not
	// acknowledge; the sender must retry, and the retry is safe.
	//
	// Callers append one delivery each; putting many of them into one fsync or one round trip
	// is the backend's work. Append does not refer to d or its body after it has returned, whatever
	// it returned.
	Append(ctx context.Context, d *Request) (Receipt, error)

	// Stats describes the queue now.
	Stats(ctx context.Context) (QueueStats, error)

	// Close waits for the appends in flight and frees what the queue holds. Later calls return
	// ErrClosed. A queue never closes another queue or a store that it was given; the caller closes
	// those after it.
	Close() error
}

// BufferedQueue is a Queue whose records wait, in order within each partition, until a reader
// has stored and released them. A queue that is not buffered stores what it takes.
type BufferedQueue interface {
	Queue

	// OpenReader opens a consumer. The queue shares its partitions evenly among all open readers
	// and moves them when one opens or closes.
	OpenReader(ctx context.Context) (PartitionReader, error)
}

// PartitionReader holds a set of partitions and reads their records. It is for one goroutine, except
// that Close may be called at any time.
type PartitionReader interface {
	// Next returns the records that follow those it returned before: at most max of them, and
	// no more than maxBytes of body unless a single record is larger. Records of one partition
	// come in order. Nothing is consumed: until it is released, a record comes again from
	// whichever reader holds its partition after this one has closed or lost it.
	//
	// Next waits until there is at least one record, then returns what is there. An error of ctx
	// means that nothing was taken. Any other error is worth a retry after a pause, except ErrClosed.
	//
	// A partition moves to another reader only while this one has none of its records
	// unreleased, or when its lease has run out.
	Next(ctx context.Context, max, maxBytes int) ([]Record, error)

	// Commit releases cumulatively: for each partition among last, everything up to and including
	// that position. Only records that Apply has stored may be released. The release itself may be
	// lost in a crash; its records then come again, which the store recognises.
	Commit(ctx context.Context, last []Offset) error

	// Close gives the partitions back. Records not released will be delivered again.
	Close() error
}

// Offset is a position in a partition.
type Offset struct {
	Partition int
	Position  Position
}

// LastOffsets returns the last place of each partition that occurs among records, whose order
// within a partition is the queue's. It is what releases them all.
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
	// Err says why the queue cannot take deliveries now; nil when it can.
	Err error
	// Degraded says what is wrong although deliveries are taken; nil if nothing is.
	Degraded error
	// Spooled is how many of Depth wait in a local spool for the queue to come back.
	Spooled int64
	// SpoolingSince is since when deliveries go to a local spool, whose 202 is worth this machine's
	// disk; zero while they do not.
	SpoolingSince time.Time
}
