// Package audit defines the hash chains that protect a store, and verifies them. It recomputes
// every hash and compares it with the stored one. It works with any database: the store provides a
// [Source].
package audit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/hookgate/hookgate"
)

// Audit is the result of a verification.
type Audit struct {
	// Links counts the links of the chains that earlier releases wrote, and Entries the entries of
	// the log. Events, Duplicates and DeadLetters count the rows that were checked in both. Actions
	// counts the rows of the admin trail.
	Links, Entries, Events, Duplicates, DeadLetters, Actions int64
	// Purged counts the dead letters, among DeadLetters, that were purged.
	Purged int64
	// Bodies counts the events, among Events, whose body retention has removed. The youngest of
	// them was stored at BodiesUntil.
	Bodies      int64
	BodiesUntil time.Time
	// Tests counts the events, among Events, of test traffic whose body was removed ahead of
	// retention.
	Tests int64
	// Removed counts what retention has removed together with its lineage.
	Removed Removed
	// Head is the SHA-256 of the heads of all chains. Two stores with the same head have the same
	// contents.
	Head [32]byte
	// Break is the first place where the store differs from its chain. It is nil if there is none.
	Break *Break
}

// AdminTrail and TheLog take the place of a partition in a Break.
const (
	AdminTrail = -1
	TheLog     = -2
)

// Break reports where and how the store differs from its audit chain.
type Break struct {
	// Partition is AdminTrail or TheLog if the difference is there.
	Partition int
	// Sequence is the number of the link in its partition, and Batch its id in webhook_batches;
	// both are 0 if unknown. In the log Sequence is the id of the entry.
	Sequence, Batch int64
	// What describes the difference, with the ids of the event if they are known.
	What string
}

// String describes the break.
func (b *Break) String() string {
	if b.Partition == AdminTrail {
		return fmt.Sprintf("admin trail, row %d: %s", b.Sequence, b.What)
	}
	if b.Partition == TheLog {
		return fmt.Sprintf("log, entry %d: %s", b.Sequence, b.What)
	}
	return fmt.Sprintf("partition %d, link %d (batch %d): %s", b.Partition, b.Sequence, b.Batch,
		b.What)
}

// Error implements error.
func (b *Break) Error() string { return b.String() }

// Removed counts what retention has removed, according to its checkpoints.
type Removed struct {
	Links, Entries, Events, Duplicates, DeadLetters, Purges int64
	// Until is when the youngest of it was stored. It is zero if nothing was removed.
	Until time.Time
}

// Run reads everything in src once and verifies it. An error means that it could not finish. If
// progress is not nil, Run calls it from time to time.
//
// Run detects every change, removal or insertion of events, lineage, dead letters and purges that
// the gate did not make, including at the end of a chain. It accepts only two kinds of missing
// data: what retention has removed, and the bodies of test traffic (hookgate.TestSource). It cannot
// detect that someone recomputed all chains, or recorded a removal in the way retention does.
func Run(src Source, progress func(Audit)) (Audit, error) {
	w := &walker{Source: src, progress: progress, heads: map[int]head{},
		checkpoints: map[int][]Checkpoint{},
		origins:     map[int]hookgate.Origin{}}
	err := w.run()
	var broken *Break
	if errors.As(err, &broken) {
		w.audit.Break, err = broken, nil
	}
	return w.audit, err
}

// walker walks the links in the order of their ids, together with the events and requests, which
// have the same order.
type walker struct {
	Source
	audit    Audit
	progress func(Audit)
	heads    map[int]head
	hash     linkHash

	// event, request and purge are the next rows; nil after the last.
	event, request *Row
	purge          *Purge
	// removed and stored are the next events of the two tables. event is the one with the lower id.
	removed, stored *Row
	// origins has, by partition, the request whose body was checked last.
	origins map[int]hookgate.Origin
	// purges counts the purges that were checked.
	purges int64
	// log is the head of the log. hasLog is false if an earlier release, which had no log, wrote
	// the store.
	log    Log
	hasLog bool
	gaps   []Gap
	anchor *Anchor
	// action is the last row of the admin trail that was checked, and anchored the last one that an
	// anchor covers.
	action   ActionHead
	anchored int64
	// removals and checkpoints are the records of retention. checkpoints has, by partition, those
	// that the walk has not reached.
	removals    Removals
	checkpoints map[int][]Checkpoint
}

func (w *walker) run() (err error) {
	if err := w.readRemovals(); err != nil {
		return err
	}
	if err := advance(&w.removed, w.RemovedEvent); err != nil {
		return err
	}
	if err := advance(&w.stored, w.Event); err != nil {
		return err
	}
	if err := advance(&w.event, w.nextEvent); err != nil {
		return err
	}
	if err := advance(&w.request, w.Request); err != nil {
		return err
	}
	if err := advance(&w.purge, w.Purge); err != nil {
		return err
	}
	if err := advance(&w.anchor, w.Anchor); err != nil {
		return err
	}
	for {
		l, ok, err := w.Link()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if w.hasLog && l.ID > w.log.BeginsAfter {
			return &Break{l.Partition, l.Sequence, l.ID, "belongs to no earlier release: the log had begun"}
		}
		if err := w.link(l); err != nil {
			return err
		}
		if w.audit.Links++; w.progress != nil && w.audit.Links%1000 == 0 {
			w.progress(w.audit)
		}
	}
	sum := sha256.New()
	heads, err := w.compareHeads(sum)
	if err != nil {
		return err
	}
	if err := w.entriesOfLog(heads, sum); err != nil {
		return err
	}
	if w.event != nil {
		return orphan(w.event, "event")
	}
	if w.request != nil {
		return orphan(w.request, "request")
	}
	if w.purge != nil {
		return orphanPurge(w.purge)
	}
	return w.compareTotals(sum)
}

// advance reads the next row.
func advance[T any](row **T, next func() (*T, bool, error)) error {
	e, ok, err := next()
	if *row = e; !ok {
		*row = nil
	}
	return err
}

// nextEvent returns the next event in the order of ids, with or without its body.
func (w *walker) nextEvent() (e *Row, ok bool, err error) {
	switch {
	case w.event == nil: // the first
	case w.event == w.removed:
		err = advance(&w.removed, w.RemovedEvent)
	default:
		err = advance(&w.stored, w.Event)
	}
	e = w.stored
	if w.removed != nil && (e == nil || w.removed.ID < e.ID) {
		e = w.removed
	}
	return e, e != nil, err
}

// compareTotals compares the counts over all chains.
func (w *walker) compareTotals(sum hash.Hash) error {
	if err := w.compareRemovals(); err != nil {
		return err
	}
	removed := w.audit.Removed
	letters, err := w.Letters()
	if err != nil {
		return err
	}
	if letters != w.audit.DeadLetters-w.audit.Purged {
		return &Break{What: fmt.Sprintf("%d dead letters are stored, and %d requests tell of one,"+
			" %d of them purged",
			letters, w.audit.DeadLetters, w.audit.Purged)}
	}
	// Retention can remove a request before its purge.
	if purges, purged := w.purges+removed.Purges, w.audit.Purged+
		removed.DeadLetters; purges != purged {
		return &Break{What: fmt.Sprintf("%d dead letters are or were stored as purged,"+
			" and %d were purged", purged, purges)}
	}
	if err := w.actions(sum); err != nil {
		return err
	}
	sum.Sum(w.audit.Head[:0])
	return nil
}
