package guard

import "sync/atomic"

// Budget limits an amount of memory. All methods may be called concurrently.
//
//	0                                           3/4                 all
//	├──────────── strangers ─────────────────────┤                   │
//	├──────────── authenticated senders ─────────┴───────────────────┤
//
// A stranger is a sender that has not authenticated yet. In each of the two ranges, large bodies
// may fill three quarters only, so that a few large bodies cannot shut out everybody else.
type Budget struct {
	limit           int64 // bytes
	used, strangers atomic.Int64
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Limit returns the most that can be reserved, in bytes.
func (b *Budget) Limit() int64 { return b.limit }

// Used returns the number of reserved bytes.
func (b *Budget) Used() int64 { return b.used.Load() }

// Reserve reserves n bytes for an authenticated sender. It returns false if they do not fit.
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

// ReserveForStranger reserves n bytes for a stranger. All strangers together cannot have the last
// quarter, so that they cannot shut out senders that authenticate by their header.
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

// Proved moves n bytes that a stranger has reserved to the authenticated senders.
func (b *Budget) Proved(n int64) { b.strangers.Add(-n) }

// Crowded reports whether strangers hold more than half: the slowest of them should make room.
func (b *Budget) Crowded() bool { return b.strangers.Load() > b.limit/2 }

// Release frees n reserved bytes. Call Proved first for bytes that a stranger reserved.
func (b *Budget) Release(n int64) { b.used.Add(-n) }
