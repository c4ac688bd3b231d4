// Package audit computes the audit chains of a store anew and compares, whatever the database.
package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"strings"
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

// Source reads one snapshot of a store, each of its tables once and in the order of ids. The
// methods that return ok go on to the next row with each call, and what they return holds until
// then; ok is false behind the last.
type Source interface {
	Link() (l *Link, ok bool, err error)
	// RemovedEvent returns the rows of webhook_removed_events, and Event those of webhook_events. A
	// row of one holds while the other goes on.
	RemovedEvent() (e *Row, ok bool, err error)
	Event() (e *Row, ok bool, err error)
	// Request returns the rows of webhook_requests.
	Request() (e *Row, ok bool, err error)
	// Purge returns the rows of webhook_purges.
	Purge() (p *Purge, ok bool, err error)
	// RequestBody returns a row of webhook_request_bodies.
	RequestBody(requestID string) (body []byte, ok bool, err error)
	// Removals returns the row of webhook_removals, and Checkpoints all of webhook_checkpoints by
	// partition and sequence. They come before the first row of all others.
	Removals() (Removals, error)
	Checkpoints() ([]Checkpoint, error)
	// Heads returns all rows of webhook_partitions by partition. It comes after the last link.
	Heads() ([]Head, error)
	// Log returns the row of webhook_log, and Gaps all of webhook_gaps by id; they come before the
	// first row of all others. ok is false if the store is of a release that had none.
	Log() (l Log, ok bool, err error)
	Gaps() ([]Gap, error)
	// Anchor returns the rows of webhook_anchors.
	Anchor() (a *Anchor, ok bool, err error)
	// Letters counts the rows of webhook_dead_letters.
	Letters() (int64, error)
	// Action returns the rows of webhook_admin_actions.
	Action() (a *Action, ok bool, err error)
	// LastAction returns the row of webhook_admin_chain. It comes after the last action.
	LastAction() (ActionHead, error)
}

// Link is a row of webhook_batches.
type Link struct {
	ID int64
	ChainLink
	Hash                     [32]byte
	Events, Requests, Purges int64
	// LastEvent and LastRequest are the ids at which its events and requests end.
	LastEvent, LastRequest int64
}

// Row is a row of webhook_events, webhook_removed_events or webhook_requests.
type Row struct {
	// Row is what the chain covers, but for the request ids. The outcome of an event need not be
	// there.
	Entry
	// Hash is that of the entry. Sealed says that it has one; else a link covers it.
	Hash   [32]byte
	Sealed bool
	// Key is the column identity; nil of a removed event, which has none.
	Key []byte
	// RequestID, FirstRequestID and RetryOf are as the store has them, which need not be well formed.
	RequestID, FirstRequestID, RetryOf string
	// Body is that of an event, unless it was Removed.
	Body    []byte
	Removed bool
	// Letter belongs to a dead letter; nil if there is none.
	Letter *Letter
	// Purged says that a row of webhook_purges names this request.
	Purged bool
}

// Purge is a row of webhook_purges.
type Purge struct {
	ID, Batch             int64
	RequestID, By, Reason string
	PurgedAt              int64 // microseconds since 1970
	// Hash is that of the entry. Sealed says that it has one; else a link covers it.
	Hash   [32]byte
	Sealed bool
}

// Anchor is a row of webhook_anchors.
type Anchor struct {
	ID, Sequence    int64
	TrailHash, Hash [32]byte
}

// Log is the row of webhook_log.
type Log struct {
	BeginsAfter, LastID                     int64
	Events, Duplicates, DeadLetters, Purges int64
	Anchored                                int64
	// Hash is the head of the chain; Begun is false if there is no entry yet.
	Hash  [32]byte
	Begun bool
}

// Letter is a row of webhook_dead_letters.
type Letter struct {
	Body              []byte
	RequestID, Reason string
	DeadLetteredAt    int64 // microseconds since 1970
}

// Head is a row of webhook_partitions.
type Head struct {
	Partition                       int
	Sequence                        int64
	Hash                            [32]byte
	Events, Duplicates, DeadLetters int64
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

// head is where the chain of a partition has come to.
type head struct {
	sequence int64
	hash     [32]byte
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

func orphan(e *Row, what string) error {
	return &Break{Partition: e.Partition, Batch: e.Batch,
		What: fmt.Sprintf("%s %d (message id %q) belongs to no link", what, e.ID, e.MessageID)}
}

func orphanPurge(p *Purge) error {
	return &Break{Batch: p.Batch, What: fmt.Sprintf("purge %d (of request %s) belongs to no link",
		p.ID, p.RequestID)}
}

// link checks a link with its events and requests.
func (w *walker) link(l *Link) error {
	broken := func(format string, args ...any) error {
		return &Break{l.Partition, l.Sequence, l.ID, fmt.Sprintf(format, args...)}
	}
	before, err := w.headOf(l.Partition)
	switch {
	case err != nil:
		return err
	case l.Sequence != before.sequence+1:
		return broken("follows link %d: links are missing or out of order", before.sequence)
	case l.Previous != before.hash:
		return broken("does not carry the hash of the link before")
	}
	w.hash.begin(&l.ChainLink)
	events, lastEvent, err := w.entries(&w.event, w.nextEvent, l, broken, w.checkEvent)
	if err != nil {
		return err
	}
	if events != l.Events {
		return broken("has %d events, and was sealed with %d", events, l.Events)
	}
	requests, lastRequest, err := w.entries(&w.request, w.Request, l, broken, w.checkRequest)
	if err != nil {
		return err
	}
	if requests != l.Requests {
		return broken("has %d duplicates and dead letters, and was sealed with %d", requests, l.Requests)
	}
	purges, err := w.checkPurges(l, broken)
	if err != nil {
		return err
	}
	if purges != l.Purges {
		return broken("has %d purges, and was sealed with %d", purges, l.Purges)
	}
	if l.Hash != w.hash.result() {
		return broken("its hash does not fit what it holds: the link, an event's columns, a request or a purge was changed")
	}
	if events > 0 && lastEvent != l.LastEvent || requests > 0 && lastRequest != l.LastRequest {
		return broken("its events and requests end with %d and %d, and it says %d and %d", lastEvent,
			lastRequest, l.LastEvent, l.LastRequest)
	}
	w.heads[l.Partition] = head{l.Sequence, l.Hash}
	return nil
}

type (
	breaker = func(format string, args ...any) error
	checker = func(e *Row, persistedAt time.Time, broken breaker) error
)

// checkEntry checks what no hash covers, and reads the request ids.
func (w *walker) checkEntry(e *Row, persistedAt time.Time, broken breaker,
	check checker) (err error) {
	if e.Entry.RequestID, err = hookgate.ParseRequestID(e.RequestID); err != nil {
		return broken("row %d (message id %q): %v", e.ID, e.MessageID, err)
	}
	if e.Entry.RetryOf, err = ParseRequestIDText(e.RetryOf); err != nil {
		return broken("row %d (message id %q), the dead letter it replays: %v", e.ID, e.MessageID, err)
	}
	if err := check(e, persistedAt, broken); err != nil {
		return err
	}
	if key := IdentityKey(e.Identity); e.Key != nil && string(e.Key) != string(key[:]) {
		return broken("row %d (message id %q): the column identity does not fit", e.ID, e.MessageID)
	}
	return w.checkOrigin(e, broken)
}

// entries adds the rows that belong to the link to its hash, counts them and returns the id of the
// last.
func (w *walker) entries(row **Row, next func() (*Row, bool, error), l *Link, broken breaker,
	check checker) (n, last int64, err error) {
	for ; *row != nil && (*row).Batch <= l.ID && !(*row).Sealed; n++ {
		e := *row
		if e.Batch < l.ID {
			return n, last, orphan(e, "row")
		}
		if e.Partition != l.Partition {
			return n, last, broken("row %d (message id %q) stands in partition %d", e.ID, e.MessageID,
				e.Partition)
		}
		if err := w.checkEntry(e, l.PersistedAt, broken, check); err != nil {
			return n, last, err
		}
		if w.hasLog && (e.Keyed != (e.OrderingKey != e.EventType) ||
			!e.ProcessedAt.Equal(l.ProcessedAt) ||
			!e.PersistedAt.Equal(l.PersistedAt) || e.Worker != l.Worker || e.Attempts != l.Attempts ||
			e.LastError != l.LastError) {
			return n, last, broken("row %d (message id %q) does not repeat what its link says", e.ID,
				e.MessageID)
		}
		w.hash.add(&e.Entry)
		last = e.ID
		if err := advance(row, next); err != nil {
			return n, last, err
		}
	}
	return n, last, nil
}

func (w *walker) checkEvent(e *Row, persistedAt time.Time, broken breaker) error {
	e.Outcome = hookgate.StagePersisted
	switch {
	// The link's hash covers the source: a removed event of another source cannot be called a test.
	case e.Removed && e.ID > w.removals.LastEvent && e.Source == hookgate.TestSource:
		w.audit.Tests++
	case e.Removed != (e.ID <= w.removals.LastEvent):
		return broken("event %d (message id %q): retention has removed the bodies up to event %d, and this one is %s",
			e.ID, e.MessageID, w.removals.LastEvent, map[bool]string{true: "missing",
				false: "there"}[e.Removed])
	case e.Removed:
		w.audit.Bodies++
		w.audit.BodiesUntil = later(w.audit.BodiesUntil, persistedAt)
	case sha256.Sum256(e.Body) != e.BodySHA256:
		return broken("the body of event %d (message id %q) is not the one that was stored", e.ID,
			e.MessageID)
	}
	w.audit.Events++
	return nil
}

// checkOrigin checks the request that an event is a part of, which the chain covers by the event's
// headers. Retention may remove it when the bodies of the request's events are gone; a replay can
// outlive them.
func (w *walker) checkOrigin(e *Row, broken breaker) error {
	gone := e.Removed || e.RetryOf != "" || e.Outcome == hookgate.StageDeadLettered && e.Letter == nil
	if gone || e.Outcome == hookgate.StageDuplicate || !strings.Contains(e.HeadersJSON,
		hookgate.OriginHeader) {
		return nil
	}
	headers, err := ParseHeaders(e.HeadersJSON)
	if err != nil {
		return broken("the headers of request %s do not parse: %v", e.RequestID, err)
	}
	origin, ok := hookgate.OriginOf(headers)
	last := w.origins[e.Partition]
	if !ok || last.RequestID == origin.RequestID && last.SHA256 == origin.SHA256 {
		return nil
	}
	switch body, found, err := w.RequestBody(origin.RequestID.String()); {
	case err != nil:
		return err
	case !found:
		return broken("the body of request %s, which brought %s, is missing", origin.RequestID,
			e.RequestID)
	case sha256.Sum256(body) != origin.SHA256:
		return broken("the body of request %s is not the one that was stored", origin.RequestID)
	}
	w.origins[e.Partition] = origin
	return nil
}

func (w *walker) checkRequest(e *Row, persistedAt time.Time, broken breaker) (err error) {
	if e.Entry.FirstRequestID, err = ParseRequestIDText(e.FirstRequestID); err != nil {
		return broken("request %s: %v", e.RequestID, err)
	}
	if e.Outcome != hookgate.StageDeadLettered {
		w.audit.Duplicates++
		return nil
	}
	w.audit.DeadLetters++
	d := e.Letter
	switch {
	case e.Purged && d != nil:
		return broken("the dead letter of request %s was purged, and is there", e.RequestID)
	case e.Purged:
		w.audit.Purged++
	case d == nil:
		return broken("the dead letter of request %s is missing", e.RequestID)
	case sha256.Sum256(d.Body) != e.BodySHA256 || d.RequestID != e.RequestID || d.Reason != e.Reason,
		d.DeadLetteredAt != persistedAt.UnixMicro():
		return broken("the dead letter of request %s is not the one that was stored", e.RequestID)
	}
	return nil
}

// checkPurges adds the purges that belong to the link to its hash and counts them.
func (w *walker) checkPurges(l *Link, broken breaker) (n int64, err error) {
	for ; w.purge != nil && w.purge.Batch <= l.ID && !w.purge.Sealed; n++ {
		p := w.purge
		if p.Batch < l.ID {
			return n, orphanPurge(p)
		}
		id, err := hookgate.ParseRequestID(p.RequestID)
		if err != nil {
			return n, broken("purge %d: %v", p.ID, err)
		}
		if p.PurgedAt != l.PersistedAt.UnixMicro() {
			return n, broken("the purge of request %s is not the one that was stored", p.RequestID)
		}
		w.hash.addPurge(id, p.By, p.Reason)
		w.purges++
		if err := advance(&w.purge, w.Purge); err != nil {
			return n, err
		}
	}
	return n, nil
}

// compareHeads checks that each chain of earlier releases ends where its partition says it does,
// and sums up the heads, which it returns.
func (w *walker) compareHeads(sum hash.Hash) (heads []ChainHead, err error) {
	rows, err := w.Heads()
	if err != nil {
		return nil, err
	}
	var total Audit
	for _, want := range rows {
		got, err := w.headOf(want.Partition)
		if err != nil {
			return nil, err
		}
		if got != (head{want.Sequence, want.Hash}) {
			return nil, &Break{Partition: want.Partition, Sequence: want.Sequence,
				What: fmt.Sprintf("the chain ends with link %d, and the partition was left at link %d",
					got.sequence, want.Sequence)}
		}
		delete(w.heads, want.Partition)
		total.Events += want.Events
		total.Duplicates += want.Duplicates
		total.DeadLetters += want.DeadLetters
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(want.Partition)))
		sum.Write(want.Hash[:])
		if want.Sequence > 0 {
			heads = append(heads, ChainHead{Partition: want.Partition, Sequence: want.Sequence,
				Hash: want.Hash})
		}
	}
	for partition := range w.heads {
		return nil, &Break{Partition: partition, What: "the partition has a chain and no head"}
	}
	for partition, left := range w.checkpoints {
		if len(left) > 0 {
			return nil, &Break{Partition: partition, Sequence: left[0].From,
				What: fmt.Sprintf("a checkpoint says that links %d to %d were removed, and the chain has them or does not come to them", left[0].From, left[0].To)}
		}
	}
	removed := w.audit.Removed
	events, duplicates, deadLetters := w.audit.Events+removed.Events, w.audit.Duplicates+
		removed.Duplicates, w.audit.DeadLetters+removed.DeadLetters
	if total.Events != events || total.Duplicates != duplicates || total.DeadLetters != deadLetters {
		return nil, &Break{What: fmt.Sprintf("the partitions count %d events, %d duplicates and %d dead letters, stored are or were %d, %d and %d",
			total.Events, total.Duplicates, total.DeadLetters, events, duplicates, deadLetters)}
	}
	return heads, nil
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
