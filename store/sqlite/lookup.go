package sqlite

import (
	"fmt"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/store/entry"
)

// openLetter returns the request of the open dead letter with the identity, or the zero id.
func (a *application) openLetter(it *entry.Item) (first hookgate.RequestID, err error) {
	row := a.stmts.openLetter
	defer row.Reset()
	row.BindText(1, it.MessageID)
	row.BindText(2, it.Source)
	row.BindText(3, it.Claim().EventType)
	if found, err := row.Step(); err != nil || !found {
		return first, err
	}
	return hookgate.ParseRequestID(row.ColumnText(0))
}

// find returns the event with the identity, or 0. It looks among recent events first, which the
// index lacks.
func (a *application) find(identity *[24]byte) (int64, error) {
	if id := a.recent.find(identity); id != 0 {
		return id, nil
	}
	id, err := a.indexed(identity)
	if err != nil {
		return 0, fmt.Errorf("read the index of identities: %w", err)
	}
	return id, nil
}

// event reads an event that an index contains.
func (a *application) event(id int64) (h entry.Holder, err error) {
	s := a.stmts.holder
	defer s.Reset()
	s.BindInt64(1, id)
	if found, err := s.Step(); err != nil {
		return h, fmt.Errorf("read event %d: %w", id, err)
	} else if !found {
		return h, fmt.Errorf("event %d is in the index but not stored; run `hookgate audit verify`", id)
	}
	h.ID = id
	h.Identity = hookgate.Identity{MessageID: s.ColumnText(1), EventType: s.ColumnText(2),
		Source: s.ColumnText(3)}
	h.Request, err = hookgate.ParseRequestID(s.ColumnText(0))
	return h, err
}

// holderOfAnyType returns an event with the message id, of any type. It prefers the item's own
// request, in case the record was stored before. The result is zero if there is none.
func (a *application) holderOfAnyType(it *entry.Item) (holder entry.Holder, err error) {
	look := func(candidate int64) (more bool) {
		h, failed := a.event(candidate)
		if err = failed; err != nil {
			return false
		}
		own := h.Request == it.RequestID
		if h.MessageID == it.MessageID && h.Source == it.Source && (holder.ID == 0 || own) {
			holder = h
		}
		return !own
	}
	a.recent.of(messagePart(&it.Key), func(e *recentEvent) bool { return look(e.id) })
	if err != nil || holder.ID != 0 && holder.Request == it.RequestID {
		return holder, err
	}
	s := a.stmts.indexedRange
	low, high := audit.MessageRange(it.MessageID)
	defer s.Reset()
	s.BindBytes(1, low[:])
	s.BindBytes(2, high[:])
	for {
		if found, failed := s.Step(); failed != nil {
			return entry.Holder{}, fmt.Errorf("read the index of identities: %w", failed)
		} else if !found || !look(s.ColumnInt64(0)) {
			return holder, err
		}
	}
}

// stored returns the id of a duplicate or dead letter by its request.
func (a *application) stored(request hookgate.RequestID) (int64, error) {
	s := a.stmts.stored
	defer s.Reset()
	s.BindText(1, request.String())
	if found, err := s.Step(); err != nil || !found {
		return 0, fmt.Errorf("read request %s, which is there: %w", request, err)
	}
	return s.ColumnInt64(0), nil
}
