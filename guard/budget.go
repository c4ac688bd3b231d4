package guard

import "sync/atomic"

// Budget bounds an amount of memory. All methods may be called concurrently.
type Budget struct {
	limit int64 // bytes
	used  atomic.Int64
}

// NewBudget returns a budget of so many bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Limit is all that may be reserved.
func (b *Budget) Limit() int64 { return b.limit }

// Used is what is reserved.
func (b *Budget) Used() int64 { return b.used.Load() }

// Reserve counts n bytes more, unless that were too many. A quarter of the budget is kept for small reservations, so
// that a few who hold much cannot shut out all others.
func (b *Budget) Reserve(n int64, large bool) bool {
	limit := b.limit
	if large {
		limit -= limit / 4
	}
	if b.used.Add(n) > limit {
		b.used.Add(-n)
		return false
	}
	return true
}

// Release gives back what was reserved.
func (b *Budget) Release(n int64) { b.used.Add(-n) }
