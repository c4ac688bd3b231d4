package audit

import (
	"errors"
	"fmt"
	"time"
)

// ErrNoRemovals is for a store without its row of webhook_removals.
var ErrNoRemovals = errors.New("webhook_removals has no row: the schema is damaged")

// Removals is the row of webhook_removals: what retention has removed since the beginning, and the
// highest ids in it.
type Removals struct {
	// Events are those whose body was removed, whether or not their lineage is left.
	Events, Duplicates, DeadLetters int64
	// LastEvent is the id up to which no event has a body. Behind it only test traffic can lack one.
	LastEvent, LastRequest, LastBatch int64
	LastPurge                         int64
}

// Checkpoint is a row of webhook_checkpoints: links From to To of a partition were removed. The
// audit chain goes on across it from Previous, the hash before the first of them, to Hash, that of
// the last.
type Checkpoint struct {
	Partition                       int
	From, To                        int64
	Previous, Hash                  [32]byte
	Events, Duplicates, DeadLetters int64
	Purges                          int64
	// PersistedAt is that of the youngest link.
	PersistedAt time.Time
}

// Gap is a row of webhook_gaps: the entries of the log with ids From to To were removed. The audit
// chain goes on across it from Previous, the hash before the first of them, to Hash, that of the
// last.
type Gap struct {
	From, To                        int64
	Previous, Hash                  [32]byte
	Events, Duplicates, DeadLetters int64
	Purges, Anchors                 int64
	// Anchored is the highest sequence of the anchors; 0 if there are none.
	Anchored int64
	// PersistedAt is that of the last entry.
	PersistedAt time.Time
}

// readRemovals takes up what retention has written down.
func (w *walker) readRemovals() (err error) {
	if w.removals, err = w.Removals(); errors.Is(err, ErrNoRemovals) {
		return &Break{What: err.Error()}
	} else if err != nil {
		return err
	}
	if w.log, w.hasLog, err = w.Log(); err != nil {
		return err
	}
	if w.hasLog {
		if w.gaps, err = w.Gaps(); err != nil {
			return err
		}
	}
	all, err := w.Checkpoints()
	for _, c := range all {
		w.checkpoints[c.Partition] = append(w.checkpoints[c.Partition], c)
	}
	return err
}

// headOf returns where the chain of a partition has come to: behind the last link, and behind those
// that were removed after that.
func (w *walker) headOf(partition int) (head, error) {
	before := w.heads[partition]
	left := w.checkpoints[partition]
	for ; len(left) > 0 && left[0].From == before.sequence+1; left = left[1:] {
		c := left[0]
		if c.Previous != before.hash || c.To < c.From {
			return before, &Break{Partition: partition, Sequence: c.From,
				What: fmt.Sprintf("the checkpoint of links %d to %d, which were removed, does not carry the hash of the link before", c.From, c.To)}
		}
		before = head{c.To, c.Hash}
		removed := &w.audit.Removed
		removed.Links += c.To - c.From + 1
		removed.Events += c.Events
		removed.Duplicates += c.Duplicates
		removed.DeadLetters += c.DeadLetters
		removed.Purges += c.Purges
		removed.Until = later(removed.Until, c.PersistedAt)
	}
	w.checkpoints[partition] = left
	return before, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// compareRemovals checks that what is missing comes to what retention has counted.
func (w *walker) compareRemovals() error {
	removed, counted := w.audit.Removed, w.removals
	events := removed.Events + w.audit.Bodies + w.audit.Tests
	if counted.Events != events || counted.Duplicates != removed.Duplicates ||
		counted.DeadLetters != removed.DeadLetters {
		return &Break{What: fmt.Sprintf("retention counts %d events, %d duplicates and %d dead letters that it has removed; missing are %d, %d and %d",
			counted.Events, counted.Duplicates, counted.DeadLetters, events, removed.Duplicates,
			removed.DeadLetters)}
	}
	return nil
}
