package entry

import (
	"fmt"

	"github.com/hookgate/hookgate"
)

// Outcome gathers what a call of Apply returns.
type Outcome struct{ hookgate.Outcome }

// NewOutcome returns the outcome of a batch of which nothing is stored yet.
func NewOutcome(b *hookgate.Batch) Outcome {
	return Outcome{hookgate.Outcome{Results: make([]hookgate.Result, len(b.Records))}}
}

// Of returns the result of an item. That of a dead letter of the batch goes nowhere.
func (o *Outcome) Of(it *Item) *hookgate.Result {
	if it.Index < 0 {
		return &hookgate.Result{}
	}
	return &o.Results[it.Index]
}

// Holder is the stored event that has an identity.
type Holder struct {
	ID      int64
	Request hookgate.RequestID
	hookgate.Identity
}

// Repeated settles an event whose identity has a holder. If the holder is this very request, the
// record was stored before, and its result is the holder's id. Else the item becomes a duplicate,
// which the caller must store. The error is a *ClashError.
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

// ClashError is the rejection of an event whose key belongs to another identity. Nobody meets one
// by chance: it takes about 2^64 attempts to find.
type ClashError struct{ Stored, Rejected hookgate.Identity }

// Error implements error.
func (e *ClashError) Error() string {
	return fmt.Sprintf("event %s has the key of event %s, which is stored: someone has searched for two identities with one key",
		e.Rejected, e.Stored)
}

// Unwrap returns hookgate.ErrRejected.
func (e *ClashError) Unwrap() error { return hookgate.ErrRejected }
