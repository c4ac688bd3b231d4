package refused

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// burst is how many requests of a source are kept at once, and each second gives room for one
	// more.
	burst = 50
	// saveEvery is the time between two calls of save, saveTimeout bounds each transaction.
	saveEvery   = time.Second
	saveTimeout = 5 * time.Second
	// endTimeout bounds all transactions after the end of Run's context.
	endTimeout = 2 * time.Second
	// maxPending bounds the requests that wait for a store that is away. Older ones are dropped.
	maxPending = 1000
	// perSave bounds the requests of a transaction. With SQLite it may be that of webhooks, which then
	// wait for it.
	perSave = 64
	// trimEvery is how often old requests are removed while none is refused.
	trimEvery = time.Hour
)

// Recorder stores the refused requests of one process. All methods may be called concurrently.
type Recorder struct {
	store   Store
	log     *slog.Logger
	trimmed time.Time // when the last transaction began; used by Run alone

	mu      sync.Mutex // guards pending and budgets
	pending []Request  // oldest first
	budgets []*Budget
}

// NewRecorder returns a recorder. Call Run to store what it keeps.
func NewRecorder(store Store, log *slog.Logger) *Recorder {
	return &Recorder{store: store, log: log}
}

// Budget bounds how many refused requests of a source are kept.
type Budget struct {
	recorder *Recorder
	left     atomic.Int64
	skipped  atomic.Int64
}

// Source returns the budget of one source. There must be a bounded number of calls.
func (r *Recorder) Source() *Budget {
	b := &Budget{recorder: r}
	b.left.Store(burst)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.budgets = append(r.budgets, b)
	return b
}

// Keep keeps the request that describe returns, unless the budget is used up. Then it counts one
// more, which costs some nanoseconds, and does not call describe.
func (b *Budget) Keep(describe func() Request) {
	if b.left.Load() <= 0 || b.left.Add(-1) < 0 {
		b.skipped.Add(1)
		return
	}
	r := describe()
	r.Skipped = b.skipped.Swap(0)
	b.recorder.add(r)
}

func (r *Recorder) add(request Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pending) >= maxPending {
		r.pending = slices.Delete(r.pending, 0, 1)
	}
	r.pending = append(r.pending, request)
}

// Run stores requests until ctx ends, and then once more. It returns two seconds later at the
// latest, unless another process locks a store.db: a save waits for that lock up to 5 s.
func (r *Recorder) Run(ctx context.Context) {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	// A save outlives ctx, but not by long: a shutdown must not wait for a store that is away.
	saving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	context.AfterFunc(ctx, func() { time.AfterFunc(endTimeout, cancel) })
	failing := false
	for {
		select {
		case <-ticker.C:
			r.refill()
		case <-ctx.Done():
		}
		err := r.save(saving)
		if err != nil && !failing {
			r.log.Warn("cannot store refused requests; the gate retries the last 1000", "error", err)
		}
		if failing = err != nil; ctx.Err() != nil {
			return
		}
	}
}

// refill gives each budget room for one more request.
func (r *Recorder) refill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.budgets {
		if left := max(0, b.left.Load()); left < burst {
			b.left.Store(left + 1)
		}
	}
}

// save stores all pending requests.
func (r *Recorder) save(ctx context.Context) error {
	for {
		n, err := r.saveSome(ctx)
		if err != nil || n < perSave {
			return err
		}
	}
}

// saveSome stores the oldest pending requests and returns their number.
func (r *Recorder) saveSome(ctx context.Context) (n int, err error) {
	r.mu.Lock()
	n = min(perSave, len(r.pending))
	requests := r.pending[:n:n]
	r.pending = r.pending[n:]
	r.mu.Unlock()
	now := time.Now()
	if n == 0 && now.Sub(r.trimmed) < trimEvery {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	r.trimmed = now
	err = r.store.SaveRefused(ctx, requests, now.Add(-MaxAge))
	if err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.pending = append(requests, r.pending...)
		r.pending = r.pending[max(0, len(r.pending)-maxPending):]
	}
	return n, err
}
