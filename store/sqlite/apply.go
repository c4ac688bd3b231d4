package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/sqlitedb"
	"github.com/hookgate/hookgate/store/entry"
)

// Apply implements hookgate.Store. It ignores ctx, because a transaction is short and an
// interrupted one would have to be repeated. Calls that wait at the same time share a transaction.
//
// If SQLite rejects an event, Apply stores it as a dead letter in the same transaction. SQLite
// undoes only the failed statement; everything stored before it stays.
func (s *Store) Apply(_ context.Context, b *hookgate.Batch) (hookgate.Outcome, error) {
	// Work that needs no database comes before the transaction.
	items, err := entry.Items(b)
	if err != nil {
		return hookgate.Outcome{}, fmt.Errorf("store batch: %w", err)
	}
	a := &application{Store: s, batch: b, items: items, outcome: entry.NewOutcome(b)}
	c := &write{run: a.run, append: true}
	for i := range items {
		c.bytes += len(items[i].Body)
	}
	if err := s.write(c); err != nil {
		return hookgate.Outcome{}, fmt.Errorf("store batch: %w", err)
	}
	return a.outcome.Outcome, nil
}

// rejection wraps an error in ErrRejected if the error concerns the data to store rather than the
// state of the store.
func rejection(err error) error {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultConstraint, sqlite.ResultTooBig, sqlite.ResultMismatch:
		return fmt.Errorf("%w: %w", hookgate.ErrRejected, err)
	}
	return err
}

// application is one call of Apply.
type application struct {
	*Store
	batch       *hookgate.Batch
	items       []entry.Item
	persistedAt time.Time
	outcome     entry.Outcome

	// first is the id of the first entry that this call added; 0 if there is none.
	first int64
	// whole is the request body that was stored last.
	whole *hookgate.Whole
	// cells is a field so that writing an entry does not allocate it.
	cells cells
}

// run is the work of the call inside a transaction. It may run only once.
func (a *application) run() error {
	a.persistedAt = time.Now()
	if err := a.checkFences(); err != nil {
		return err
	}
	for i := range a.items {
		if err := a.store(&a.items[i]); errors.Is(rejection(err), hookgate.ErrRejected) {
			return &hookgate.RejectedError{Index: i, Err: err}
		} else if err != nil {
			return err
		}
	}
	return nil
}

// checkFences checks the epoch of each partition in the batch.
func (a *application) checkFences() error {
	if a.batch.Epochs == nil {
		return nil
	}
	var checked []int
	for i := range a.items {
		partition := a.items[i].Partition
		if slices.Contains(checked, partition) {
			continue
		}
		checked = append(checked, partition)
		epoch, err := a.epoch(partition)
		if err != nil {
			return err
		}
		if have := a.batch.Epochs[partition]; have < epoch {
			return fmt.Errorf("partition %d has epoch %d, the batch %d: %w", partition, epoch, have,
				hookgate.ErrFenced)
		}
	}
	return nil
}

// epoch returns the epoch of a partition's current owner.
func (s *Store) epoch(partition int) (hookgate.Epoch, error) {
	row := s.stmts.epoch
	defer row.Reset()
	row.BindInt64(1, int64(partition))
	found, err := row.Step()
	if err != nil {
		return 0, fmt.Errorf("read partition %d: %w", partition, err)
	}
	if !found {
		return 0, fmt.Errorf("partition %d was never acquired", partition)
	}
	return hookgate.Epoch(row.ColumnInt64(0)), nil
}

func (a *application) store(it *entry.Item) error {
	switch it.Outcome {
	case hookgate.StageDeadLettered:
		_, err := a.storeDead(it)
		return err
	case hookgate.StageDuplicate:
		return a.storeDuplicate(it)
	}
	err := a.storeEvent(it)
	if err == nil || a.conn.AutocommitEnabled() {
		return err
	}
	if rejected := rejection(err); errors.Is(rejected, hookgate.ErrRejected) {
		return a.reject(it, rejected, err.Error())
	}
	return err
}

// reject stores a rejected event as a dead letter. If an open dead letter already has the same
// identity and the event is not a retry, reject stores the event as a duplicate instead.
func (a *application) reject(it *entry.Item, rejected error, reason string) error {
	result := a.outcome.Of(it)
	if !it.IsRetry() {
		first, err := a.openLetter(it)
		if err != nil {
			return err
		}
		if !first.IsZero() && first != it.RequestID {
			it.MakeDuplicate(first)
			return a.storeDuplicate(it)
		}
	}
	it.MakeDead(reason)
	id, err := a.storeDead(it)
	result.ID, result.Rejected = id, rejected
	return err
}

func (a *application) storeEvent(it *entry.Item) error {
	if it.TypeUnproven {
		// The index of identities does not find an event of another type.
		if h, err := a.holderOfAnyType(it); err != nil || h.ID != 0 {
			return a.repeated(it, h, err)
		}
	}
	w := it.Record.Whole
	if w == nil || w == a.whole {
		return a.insertEvent(it)
	}
	// The event and the body of the request that it was part of are stored together, or neither is.
	if err := sqlitedb.Run(a.stmts.beginItem); err != nil {
		return err
	}
	before, first, stored, recent := a.log, a.first, a.outcome.Stored, len(a.recent.fresh.events)
	err := a.insertEvent(it)
	if err == nil && a.outcome.Stored > stored {
		err = a.storeWhole(w)
	}
	if err == nil {
		return sqlitedb.Run(a.stmts.endItem)
	}
	if a.conn.AutocommitEnabled() {
		return err
	}
	a.log, a.first, a.outcome.Stored = before, first, stored
	a.recent.fresh.truncate(recent)
	if undo := errors.Join(sqlitedb.Run(a.stmts.undoItem),
		sqlitedb.Run(a.stmts.endItem)); undo != nil {
		return undo
	}
	return err
}

func (a *application) insertEvent(it *entry.Item) error {
	if id, err := a.find(&it.Key); err != nil {
		return err
	} else if id != 0 {
		h, err := a.event(id)
		return a.repeated(it, h, err)
	}
	if err := a.place(it); err != nil {
		return err
	}
	a.cells = cells{stmt: a.stmts.event}
	eventColumns.Write(&a.cells, it)
	if err := sqlitedb.Run(a.stmts.event); err != nil {
		return fmt.Errorf("store event %s: %w", it.Identity, err)
	}
	a.recent.fresh.add(it.Key, it.ID, it.OrderingKey)
	a.added(it)
	a.log.events++
	a.outcome.Stored++
	return nil
}

// place sets the next id and the hash of the entry. They take effect with added.
func (a *application) place(it *entry.Item) error {
	if err := a.anchor(a.persistedAt); err != nil {
		return err
	}
	id := a.nextID(a.log.lastID, a.persistedAt)
	first := a.first
	if first == 0 {
		first = id
	}
	it.Place(id, first, a.persistedAt)
	it.Hash = a.hash.Entry(a.log.hash, &it.Entry)
	return nil
}

// added moves the log to the entry, which is stored now.
func (a *application) added(it *entry.Item) {
	a.log.added(it.ID, it.Hash)
	a.first = it.Batch
	a.outcome.Of(it).ID = it.ID
}

// cells binds what Columns.Write writes to the parameters of a statement, starting with the first.
type cells struct {
	stmt *sqlite.Stmt
	last int
}

func (c *cells) Int(v int64) { c.last++; c.stmt.BindInt64(c.last, v) }

func (c *cells) Bool(v bool) { c.last++; c.stmt.BindBool(c.last, v) }

func (c *cells) Text(v string) { c.last++; c.stmt.BindText(c.last, v) }

func (c *cells) Bytes(v []byte) { c.last++; c.stmt.BindBytes(c.last, v) }

// repeated handles an event that holder has already stored: it stores the event as a duplicate,
// unless holder is the same request.
func (a *application) repeated(it *entry.Item, holder entry.Holder, err error) error {
	if err != nil {
		return err
	}
	duplicate, err := a.outcome.Repeated(it, holder)
	if err != nil || !duplicate {
		return err
	}
	return a.storeDuplicate(it)
}

func (a *application) storeDuplicate(it *entry.Item) error {
	id, _, err := a.storeRequest(it)
	result := a.outcome.Of(it)
	result.ID, result.DuplicateOf = id, it.FirstRequestID
	return err
}

// storeRequest adds a duplicate or a dead letter and returns its id. added is false if the request
// was already stored.
func (a *application) storeRequest(it *entry.Item) (id int64, added bool, err error) {
	if err := a.place(it); err != nil {
		return 0, false, err
	}
	a.cells = cells{stmt: a.stmts.request}
	requestColumns.Write(&a.cells, it)
	if err := sqlitedb.Run(a.stmts.request); err != nil {
		return 0, false, fmt.Errorf("store request %s: %w", it.RequestID, err)
	}
	if a.conn.Changes() == 0 {
		id, err := a.stored(it.RequestID)
		return id, false, err
	}
	a.added(it)
	if it.Outcome == hookgate.StageDuplicate {
		a.log.duplicates++
	} else {
		a.log.deadLetters++
	}
	return it.ID, true, nil
}

func (a *application) storeDead(it *entry.Item) (id int64, err error) {
	id, added, err := a.storeRequest(it)
	if err != nil || !added {
		return id, err
	}
	s := a.stmts.deadLetter
	s.BindInt64(1, id)
	s.BindText(2, it.RequestID.String())
	s.BindBytes(3, it.Body)
	s.BindText(4, it.Reason)
	s.BindInt64(5, a.persistedAt.UnixMicro())
	if err := sqlitedb.Run(s); err != nil {
		return 0, fmt.Errorf("store dead letter %s: %w", it.RequestID, err)
	}
	return id, a.storeWhole(it.Record.Whole)
}

// storeWhole stores the body of the request that an event was part of, unless it is already stored.
// The chain covers the body by a digest in the event's origin header.
func (a *application) storeWhole(w *hookgate.Whole) error {
	if w == nil || w == a.whole {
		return nil
	}
	s := a.stmts.whole
	s.BindText(1, w.RequestID.String())
	s.BindBytes(2, w.Body)
	s.BindBytes(3, w.SHA256[:])
	s.BindInt64(4, a.persistedAt.UnixMicro())
	if err := sqlitedb.Run(s); err != nil {
		return fmt.Errorf("store the body of request %s: %w", w.RequestID, err)
	}
	a.whole = w
	return nil
}
