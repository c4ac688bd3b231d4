package audit

import (
	"fmt"
	"hash"

	"github.com/hookgate/hookgate"
)

// entriesOfLog checks the entries of the log, which are in several tables, in the order of their
// ids. It starts from the hash of the heads of the earlier chains and ends at the head of the log.
// It adds that head to the sum of all heads, unless the log is empty.
func (w *walker) entriesOfLog(heads []ChainHead, sum hash.Hash) error {
	if !w.hasLog {
		return nil
	}
	l := logWalker{walker: w, last: w.log.BeginsAfter, hash: FirstHash(heads),
		before: w.audit}
	for {
		more, err := l.next()
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	if err := l.compareHead(); err != nil {
		return err
	}
	if w.log.Begun {
		sum.Write(l.hash[:])
	}
	return nil
}

// logWalker walks the entries of the log.
type logWalker struct {
	*walker
	sum EntryHash
	// last and hash are the id and the hash of the previous entry.
	last int64
	hash [32]byte
	// before is the result for the chains of earlier releases. purges counts the purges of the log,
	// including those that retention has removed.
	before Audit
	purges int64
}

// broken returns a Break at an entry.
func broken(id int64, format string, args ...any) error {
	return &Break{Partition: TheLog, Sequence: id, What: fmt.Sprintf(format, args...)}
}

// next checks the next entry or gap. more is false after the last.
func (l *logWalker) next() (more bool, err error) {
	const none = int64(1<<63 - 1)
	event, request, purge, anchor, gap := none, none, none, none, none
	if l.event != nil {
		event = l.event.ID
	}
	if l.request != nil {
		request = l.request.ID
	}
	if l.purge != nil {
		purge = l.purge.ID
	}
	if l.anchor != nil {
		anchor = l.anchor.ID
	}
	if len(l.gaps) > 0 {
		gap = l.gaps[0].From
	}
	id := min(event, request, purge, anchor, gap)
	switch {
	case id == none:
		return false, nil
	case id == event && !l.event.Sealed:
		return false, orphan(l.event, "event")
	case id == request && !l.request.Sealed:
		return false, orphan(l.request, "request")
	case id == purge && !l.purge.Sealed:
		return false, orphanPurge(l.purge)
	case id <= l.last:
		return false, broken(id, "comes after entry %d, which has no lower id", l.last)
	}
	switch id {
	case gap:
		return true, l.skip()
	case event:
		l.event.Outcome = hookgate.StagePersisted
		if err := l.entry(l.event, l.checkEvent); err != nil {
			return false, err
		}
		err = advance(&l.event, l.nextEvent)
	case request:
		if err := l.entry(l.request, l.checkRequest); err != nil {
			return false, err
		}
		err = advance(&l.request, l.Request)
	case purge:
		if err := l.checkPurge(); err != nil {
			return false, err
		}
		err = advance(&l.walker.purge, l.Purge)
	default:
		if err := l.checkAnchor(); err != nil {
			return false, err
		}
		err = advance(&l.anchor, l.Anchor)
	}
	if l.audit.Entries++; l.progress != nil && l.audit.Entries%1000 == 0 {
		l.progress(l.audit)
	}
	return true, err
}

// skip moves across entries that retention has removed.
func (l *logWalker) skip() error {
	g := &l.gaps[0]
	if g.Previous != l.hash || g.To < g.From {
		return broken(g.From, "the checkpoint of entries %d to %d, which were removed,"+
			" does not carry the hash of the entry before", g.From, g.To)
	}
	l.last, l.hash = g.To, g.Hash
	removed := &l.audit.Removed
	removed.Entries += g.Events + g.Duplicates + g.DeadLetters + g.Purges + g.Anchors
	removed.Events += g.Events
	removed.Duplicates += g.Duplicates
	removed.DeadLetters += g.DeadLetters
	removed.Purges += g.Purges
	removed.Until = later(removed.Until, g.PersistedAt)
	l.purges += g.Purges
	l.anchored = max(l.anchored, g.Anchored)
	l.gaps = l.gaps[1:]
	return nil
}

// follows compares the stored hash of the next entry with the computed one.
func (l *logWalker) follows(id int64, have, want [32]byte) error {
	if have != want {
		return broken(id, "its hash does not fit what it holds and the entry before:"+
			" one of its columns was changed, or an entry removed or added")
	}
	l.last, l.hash = id, have
	return nil
}

func (l *logWalker) entry(e *Row, check checker) error {
	breaker := func(format string, args ...any) error { return broken(e.ID, format, args...) }
	if err := l.checkEntry(e, e.PersistedAt, breaker, check); err != nil {
		return err
	}
	return l.follows(e.ID, e.Hash, l.sum.Entry(l.hash, &e.Entry))
}

func (l *logWalker) checkPurge() error {
	p := l.walker.purge
	request, err := hookgate.ParseRequestID(p.RequestID)
	if err != nil {
		return broken(p.ID, "the purge of request %q: %v", p.RequestID, err)
	}
	if p.Batch != p.ID {
		return broken(p.ID, "the purge of request %s stands in batch %d", p.RequestID, p.Batch)
	}
	l.purges++
	l.walker.purges++
	return l.follows(p.ID, p.Hash, l.sum.Purge(l.hash, p.ID, request, p.By, p.Reason,
		hookgate.FromMicros(p.PurgedAt)))
}

// checkAnchor checks that the admin trail has the row that the anchor names.
func (l *logWalker) checkAnchor() error {
	a := l.anchor
	if err := l.follows(a.ID, a.Hash, l.sum.Anchor(l.hash, a.ID, a.Sequence,
		a.TrailHash)); err != nil {
		return err
	}
	if err := l.actionsTo(a.Sequence); err != nil {
		return err
	}
	if l.action != (ActionHead{a.Sequence, a.TrailHash}) {
		return &Break{Partition: AdminTrail, Sequence: a.Sequence,
			What: fmt.Sprintf("entry %d of the log anchors another row, or the trail ends before it", a.ID)}
	}
	l.anchored = a.Sequence
	return nil
}

// compareHead checks that the log ends where its head says, and has the number of entries of each
// kind that its head counts.
func (l *logWalker) compareHead() error {
	head := &l.log
	if l.last != head.LastID || head.Begun != (l.last > head.BeginsAfter) || head.Begun &&
		l.hash != head.Hash {
		return broken(head.LastID, "the log ends with entry %d, and was left at entry %d", l.last,
			head.LastID)
	}
	if l.anchored != head.Anchored {
		return broken(head.LastID, "the last anchor is of row %d of the admin trail,"+
			" and the log was left with one of row %d",
			l.anchored, head.Anchored)
	}
	now, was := &l.audit, &l.before
	events := now.Events + now.Removed.Events - was.Events - was.Removed.Events
	duplicates := now.Duplicates + now.Removed.Duplicates - was.Duplicates - was.Removed.Duplicates
	deadLetters := now.DeadLetters +
		now.Removed.DeadLetters - was.DeadLetters - was.Removed.DeadLetters
	if head.Events != events || head.Duplicates != duplicates || head.DeadLetters != deadLetters ||
		head.Purges != l.purges {
		return broken(head.LastID, "the log counts %d events, %d duplicates,"+
			" %d dead letters and %d purges, stored are or were %d, %d, %d and %d",
			head.Events, head.Duplicates, head.DeadLetters, head.Purges, events, duplicates, deadLetters,
			l.purges)
	}
	return nil
}
