package entry

import (
	"fmt"

	"github.com/hookgate/hookgate"
)

// Outcome collects the results of a call of Apply.
type Outcome struct{ hookgate.Outcome }

// NewOutcome returns an outcome for a batch of which nothing is stored yet.
func NewOutcome(b *hookgate.Batch) Outcome {
	return Outcome{hookgate.Outcome{Results: make([]hookgate.Result, len(b.Records))}}
}

// Of returns the result of an item. A dead letter of the batch has no result, so Of returns one
// that nobody reads.
func (o *Outcome) Of(it *Item) *hookgate.Result {
	if it.Index < 0 {
		return &hookgate.Result{}
	}
	return &o.Results[it.Index]
}

// Holder is the stored event that already has an identity.
type Holder struct {
	ID      int64
	Request hookgate.RequestID
	hookgate.Identity
}

// Repeated handles an event whose identity already has a holder. If the holder is the same request,
// the record was stored before, and its result is the holder's id. Otherwise the item becomes a
// duplicate, which the caller must store. The error is a *ClashError.
func (o *Outcome) Repeated(it *Item, h Holder) (duplicate bool, err error) {
	switch {
	case !it.TypeUnproven && h.Identity != it.Identity:
		return false, &ClashError{Stored: h.Identity, Rejected: it.Identity}
	case h.Request == it.RequestID:
		o.Of(it).ID = h.ID
		return false, nil
	}
	it.MakeDuplicate(h.Request)
	return true, nil
}

// ClashError rejects an event whose key belongs to a stored event of another identity. This does
// not happen by chance: finding two such identities takes about 2^64 attempts.
type ClashError struct{ Stored, Rejected hookgate.Identity }

// Error implements error.
func (e *ClashError) Error() string {
	return fmt.Sprintf("event %s has the same key as the stored event %s:"+
		" someone has constructed two identities with one key",
		e.Rejected, e.Stored)
}

// Unwrap returns hookgate.ErrRejected.
func (e *ClashError) Unwrap() error { return hookgate.ErrRejected }
