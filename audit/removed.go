package audit

import (
	"errors"
	"fmt"
	"time"
)

// readRemovals reads the records of retention and the head of the log.
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

// headOf returns the last link of a partition so far. It moves across the links that retention
// removed after that.
func (w *walker) headOf(partition int) (head, error) {
	before := w.heads[partition]
	left := w.checkpoints[partition]
	for ; len(left) > 0 && left[0].From == before.sequence+1; left = left[1:] {
		c := left[0]
		if c.Previous != before.hash || c.To < c.From {
			return before, &Break{Partition: partition, Sequence: c.From,
				What: fmt.Sprintf("the checkpoint of links %d to %d, which were removed,"+
					" does not carry the hash of the link before", c.From, c.To)}
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

// compareRemovals checks that the missing rows are as many as retention has counted.
func (w *walker) compareRemovals() error {
	removed, counted := w.audit.Removed, w.removals
	events := removed.Events + w.audit.Bodies + w.audit.Tests
	if counted.Events != events || counted.Duplicates != removed.Duplicates ||
		counted.DeadLetters != removed.DeadLetters {
		return &Break{What: fmt.Sprintf("retention counts %d events,"+
			" %d duplicates and %d dead letters that it has removed; missing are %d, %d and %d",
			counted.Events, counted.Duplicates, counted.DeadLetters, events, removed.Duplicates,
			removed.DeadLetters)}
	}
	return nil
}
