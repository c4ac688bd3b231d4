// Package audit computes the audit chains of a store anew and compares, whatever the database.
package audit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/hookgate/hookgate"
)

// Audit is what an audit found.
type Audit struct {
	// Links counts those of the chains that earlier releases wrote, and Entries those of the log.
	// Events, Duplicates and DeadLetters count what was checked in both, and Actions the rows of the
	// admin trail.
	Links, Entries, Events, Duplicates, DeadLetters, Actions int64
	// Purged is how many of DeadLetters were purged.
	Purged int64
	// Bodies is how many of Events have lost their body to retention; the youngest of them was stored
	// at BodiesUntil.
	Bodies      int64
	BodiesUntil time.Time
	// Tests is how many of Events are test traffic without a body that retention has not come to.
	Tests int64
	// Removed is what retention has removed with its lineage.
	Removed Removed
	// Head is the SHA-256 over the heads of all chains: two stores with one head hold the same.
	Head [32]byte
	// Break is the first place where the store differs from its chain, or nil.
	Break *Break
}

// AdminTrail and TheLog stand for the admin trail and the log where else there is a partition.
const (
	AdminTrail = -1
	TheLog     = -2
)

// Break says where and how the store differs from its audit chain.
type Break struct {
	// Partition is AdminTrail or TheLog if the break is there.
	Partition int
	// Sequence is the link's number in its partition, and Batch its id in webhook_batches; 0 if
	// unknown. In the log Sequence is the id of the entry.
	Sequence, Batch int64
	// What is different, with the event's ids where that is known.
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

// Error makes a Break an error.
func (b *Break) Error() string { return b.String() }

// Removed counts what is not there any more because retention has removed it, as its checkpoints
// say.
type Removed struct {
	Links, Entries, Events, Duplicates, DeadLetters, Purges int64
	// Until is when the youngest of it was stored; zero if there is none.
	Until time.Time
}

// Run reads everything in src once and compares. It holds no more than one row of each table. An
// error means that it could not be done. progress, if not nil, is called now and then.
//
// It shows any change, removal or insertion of events, lineage, dead letters or purges behind the
// gate's back, also at the end of a chain. What retention has removed may be missing, and the
// bodies of test traffic (hookgate.TestSource), that and no more. It cannot show that someone has
// computed all chains again, or has written down a removal as retention does.
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

// walker walks the links in the order of their ids, and with them events and requests, which stand
// in the same order.
type walker struct {
	Source
	audit    Audit
	progress func(Audit)
	heads    map[int]head
	hash     linkHash

	// event, request and purge are the rows not yet used; nil behind the last.
	event, request *Row
	purge          *Purge
	// removed and stored are the events that come next in the two tables, from which event is taken.
	removed, stored *Row
	// origins has, by partition, the origin of an event that was checked last.
	origins map[int]hookgate.Origin
	// purges counts those that were checked.
	purges int64
	// log is the log's head; hasLog is false if the store is of a release that had none.
	log    Log
	hasLog bool
	gaps   []Gap
	anchor *Anchor
	// action is the row of the admin trail that was checked last, and anchored the last that an
	// anchor has.
	action   ActionHead
	anchored int64
	// removals and checkpoints are what retention has written down; checkpoints, by partition, those
	// not yet met.
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

// nextEvent returns the events in the order of their ids, with a body or without.
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

// compareTotals checks what is counted over all chains.
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
		return &Break{What: fmt.Sprintf("%d dead letters are stored, and %d requests tell of one, %d of them purged",
			letters, w.audit.DeadLetters, w.audit.Purged)}
	}
	// A purge outlives its request, if that goes first.
	if purges, purged := w.purges+removed.Purges, w.audit.Purged+
		removed.DeadLetters; purges != purged {
		return &Break{What: fmt.Sprintf("%d dead letters are or were stored as purged, and %d were purged", purged, purges)}
	}
	if err := w.actions(sum); err != nil {
		return err
	}
	sum.Sum(w.audit.Head[:0])
	return nil
}
