package postgres

import (
	"errors"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/batch"
)

// chain collects the links that one transaction adds, and the ids it gives out.
type chain struct {
	last                *counters // nil until they are read
	batches, partitions rows
}

// counters is the row of webhook_counters: the last ids given out.
type counters struct{ events, requests, batches, purges int64 }

func newChain() chain { return chain{batches: newRows(13), partitions: newRows(6)} }

// readHead returns what takes a row of webhook_partitions.
func readHead(heads map[int]batch.Head) func(row) error {
	return func(r row) error {
		h := batch.Head{Epoch: hookgate.Epoch(r.int(1)), Sequence: r.int(2)}
		copy(h.Hash[:], r[3])
		heads[int(r.int(0))] = h
		return nil
	}
}

// readCounters takes the row of webhook_counters.
func (c *chain) readCounters(r row) error {
	c.last = &counters{r.int(0), r.int(1), r.int(2), r.int(3)}
	return nil
}

// check makes sure that the counters were read.
func (c *chain) check() error {
	if c.last == nil {
		return errors.New("webhook_counters has no row: the schema is damaged")
	}
	return nil
}

func (c *chain) empty() bool { return c.batches.len() == 0 }

// linkCounts counts what a link seals.
type linkCounts struct{ events, duplicates, letters, purges int64 }

// seal adds a link with its hash and moves the head of its chain.
func (c *chain) seal(link *hookgate.Link, hash [32]byte, n linkCounts) {
	c.last.batches++
	r := &c.batches
	r.int(c.last.batches)
	r.int(int64(link.Partition))
	r.int(link.Sequence)
	r.bytes(link.Previous[:])
	r.bytes(hash[:])
	r.int(n.events)
	r.int(n.duplicates + n.letters)
	r.int(n.purges)
	r.text(link.Worker)
	r.int(link.ProcessedAt.UnixMicro())
	r.int(link.PersistedAt.UnixMicro())
	r.int(int64(link.Attempts))
	r.text(link.LastError)

	r = &c.partitions
	r.int(int64(link.Partition))
	r.int(link.Sequence)
	r.bytes(hash[:])
	r.int(n.events)
	r.int(n.duplicates)
	r.int(n.letters)
}

// statements returns those that write the links, the heads and the counters.
func (c *chain) statements() []statement {
	return []statement{
		c.batches.insert("webhook_batches", `id, partition, sequence, previous_hash, hash, events, requests, purges, worker,
			processed_at, persisted_at, attempts, last_error`),
		{sql: `UPDATE webhook_partitions p SET sequence = u.sequence, hash = u.hash, events = p.events + u.events,
			duplicates = p.duplicates + u.duplicates, dead_letters = p.dead_letters + u.dead_letters
			FROM ` + c.partitions.unnest() + ` AS u (partition, sequence, hash, events, duplicates, dead_letters)
			WHERE p.partition = u.partition`, args: c.partitions.args()},
		{sql: "UPDATE webhook_counters SET events = $1, requests = $2, batches = $3, purges = $4",
			args: []arg{argInt(c.last.events), argInt(c.last.requests), argInt(c.last.batches), argInt(c.last.purges)}},
	}
}
