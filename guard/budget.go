package guard

import "sync/atomic"

// Budget bounds an amount of memory. All methods may be called concurrently.
//
//	0                                           3/4                 all
//	├──────────── strangers ─────────────────────┤                   │
//	├──────────── proven senders ────────────────┴───────────────────┤
//
// Of each of the two, what is large may have three quarters, so that a few who hold much cannot
// shut out all others.
type Budget struct {
	limit           int64 // bytes
	used, strangers atomic.Int64
}

// NewBudget returns a budget of so many bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Limit is all that may be reserved.
func (b *Budget) Limit() int64 { return b.limit }

// Used is what is reserved.
func (b *Budget) Used() int64 { return b.used.Load() }

// Reserve counts n bytes more, unless that were too many.
func (b *Budget) Reserve(n int64, large bool) bool { return reserve(&b.used, n, b.limit, large) }

func reserve(used *atomic.Int64, n, limit int64, large bool) bool {
	if large {
		limit -= limit / 4
	}
	if used.Add(n) > limit && n > 0 {
		used.Add(-n)
		return false
	}
	return true
}

// ReserveForStranger is Reserve for a sender that has proved nothing yet. A quarter is kept from
// all strangers together, so that they cannot shut out those who prove who they are by their
// header.
func (b *Budget) ReserveForStranger(n int64, large bool) bool {
	if !reserve(&b.strangers, n, b.limit-b.limit/4, large) {
		return false
	}
	if !b.Reserve(n, large) {
		b.strangers.Add(-n)
		return false
	}
	return true
}

// Proved says that the sender for which n bytes are reserved is no stranger any more.
func (b *Budget) Proved(n int64) { b.strangers.Add(-n) }

// Crowded reports whether strangers hold so much that the slowest of them should make room.
func (b *Budget) Crowded() bool { return b.strangers.Load() > b.limit/2 }

// Release gives back what was reserved; what was reserved for a stranger must be Proved before.
func (b *Budget) Release(n int64) { b.used.Add(-n) }
