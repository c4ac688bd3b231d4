package pull

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
)

const (
	// forgetEvery is how often Run forgets temporary subscriptions and states that nobody uses.
	forgetEvery = time.Minute
	// defaultMemory is Config.Memory if it is not set.
	defaultMemory = 256 << 20
)

// Store is what a Server needs of a store besides the log.
type Store interface {
	hookgate.Leases
	// Due and Exceptions are those of hookgate.Subscriptions and hookgate.SubscriptionReader.
	Due(ctx context.Context, name string, q hookgate.DueQuery) (hookgate.Due, error)
	Exceptions(ctx context.Context, f hookgate.ExceptionFilter) ([]hookgate.StoredException, error)
}

// Server answers the calls of clients that pull. Its methods may be called concurrently.
//
// Errors of all calls: ErrNotPull, hookgate.ErrNotFound if there is no such subscription, the error
// of the context, and errors of the store, after which the caller may call again.
type Server struct {
	config Config
	log    hookgate.Log
	store  Store
	memory memory

	mu      sync.Mutex // guards all below
	lines   map[string]*line
	stopped bool
}

// New returns a Server. It answers calls at once; Run does what no call does.
func New(c Config, log hookgate.Log, store Store) *Server {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Memory <= 0 {
		c.Memory = defaultMemory
	}
	if c.Paused == nil {
		c.Paused = func() bool { return false }
	}
	s := &Server{config: c, log: log, store: store, lines: map[string]*line{}}
	s.memory = memory{free: c.Memory, freed: make(chan struct{})}
	return s
}

// line returns the line of a subscription and keeps it from being forgotten until done.
func (s *Server) line(name string) (l *line, done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l = s.lines[name]
	if l == nil {
		l = newLine(s, name)
		s.lines[name] = l
	}
	l.users++
	return l, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		l.users--
		l.used = time.Now()
	}
}

// isStopped reports whether pulls must not wait any more.
func (s *Server) isStopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// Pull leases events to a client. If there are none, it waits up to Request.Wait and then returns
// an empty Batch. The caller must close the Batch. If ctx ends, events that were leased meanwhile
// are given back.
func (s *Server) Pull(ctx context.Context, name string, r Request) (*Batch, error) {
	r.Max = bounded(r.Max, DefaultEvents, MaxEvents)
	r.MaxBytes = bounded(r.MaxBytes, DefaultBytes, MaxBytes)
	r.Wait = bounded(r.Wait, DefaultWait, MaxWait)
	r.Lease = bounded(r.Lease, DefaultLease, MaxLease)
	l, done := s.line(name)
	defer done()
	now := time.Now()
	w := &waiter{request: r, began: now, deadline: now.Add(r.Wait), done: make(chan struct{})}
	l.add(nil, w)
	select {
	case <-w.done:
	case <-ctx.Done():
		l.leave(w)
		return nil, ctx.Err()
	}
	if w.err != nil {
		return nil, w.err
	}
	return w.batch, nil
}

func bounded[T int | time.Duration](n, byDefault, most T) T {
	if n <= 0 {
		return byDefault
	}
	return min(n, most)
}

// Ack settles events of a lease: those with these ids, or if ids is empty those up to the id upTo
// that the lease has not given back. An event that was acknowledged before is ignored.
//
// Errors: *AckError, and ErrEnded; then nothing has changed.
func (s *Server) Ack(ctx context.Context, name, lease string, ids []int64, upTo int64) error {
	return s.call(ctx, name, &call{lease: lease,
		apply: func(st *state, l *hookgate.Lease, now time.Time) error {
			return st.ack(l, ids, upTo, now)
		},
		ended: func(l *hookgate.Lease) error {
			if len(l.Events) == 0 {
				return nil // all were acknowledged
			}
			_, err := new(state).choose(l, ids, upTo, true)
			return err
		}})
}

// Nack fails events of a lease: an attempt of each is over, and the retries of the subscription go
// on. The lease ends for later events of their keys. An event that the lease has given back before
// is ignored.
//
// Errors: *AckError, and ErrEnded; then nothing has changed.
func (s *Server) Nack(ctx context.Context, name, lease string, ids []int64, n Nack) error {
	if n.Delay != nil {
		delay := min(max(0, *n.Delay), MaxDelay)
		n.Delay = &delay
	}
	return s.call(ctx, name, &call{lease: lease, rows: true,
		apply: func(st *state, l *hookgate.Lease, now time.Time) error {
			return st.nack(l, ids, n, now)
		},
		ended: func(l *hookgate.Lease) error {
			if len(l.Events) == 0 {
				return ErrEnded
			}
			_, err := new(state).choose(l, ids, 0, false)
			return err
		}})
}

// Extend makes a lease end after d from now. It returns that time.
//
// Errors: ErrEnded.
func (s *Server) Extend(ctx context.Context, name, lease string, d time.Duration) (until time.Time,
	err error) {
	d = min(max(0, d), MaxLease)
	err = s.call(ctx, name, &call{lease: lease,
		apply: func(st *state, l *hookgate.Lease, now time.Time) error {
			st.extend(l, d, now)
			until = l.Until
			return nil
		}})
	if err != nil {
		return time.Time{}, err
	}
	return until, nil
}

// Revoke ends all leases of a subscription and gives their events back. A person who moves the
// cursor calls it before. Pulls of this process lease nothing for two seconds, or until the next
// Wake, so that the cursor can be moved although clients wait.
func (s *Server) Revoke(ctx context.Context, name string) error {
	return s.call(ctx, name, &call{rows: true, quiet: true,
		apply: func(st *state, _ *hookgate.Lease, now time.Time) error {
			for _, id := range slices.Sorted(maps.Keys(st.leases)) {
				st.revoke(st.leases[id], 0, now)
			}
			return nil
		}})
}

func (s *Server) call(ctx context.Context, name string, c *call) error {
	l, done := s.line(name)
	defer done()
	c.done = make(chan struct{})
	l.add(c, nil)
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err() // the call may still be carried out
	}
}

// Wake makes the Server notice what a person has changed in a subscription; empty: in all.
func (s *Server) Wake(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lines {
		if name == "" || l.name == name {
			l.wake()
		}
	}
}

// Run forgets temporary subscriptions that nobody uses, until ctx ends. Then pulls that wait return
// an empty Batch.
func (s *Server) Run(ctx context.Context) {
	ticks := time.NewTicker(forgetEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			s.mu.Lock()
			s.stopped = true
			s.mu.Unlock()
			s.Wake("")
			return
		case now := <-ticks.C:
			s.forget(ctx, now)
		}
	}
}

// forget forgets temporary subscriptions, and the states of subscriptions that no client uses.
func (s *Server) forget(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	names, err := s.store.ForgetIdle(ctx)
	if err != nil && ctx.Err() == nil {
		s.config.Logger.Warn("cannot forget temporary subscriptions that nobody uses", "error", err)
	}
	for _, name := range slices.Compact(names) {
		s.config.Logger.Info("a temporary subscription is forgotten: nobody used it", "subscription",
			name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.lines, func(_ string, l *line) bool {
		return l.users == 0 && now.Sub(l.used) >= forgetEvery && !l.isRunning()
	})
}

// memory bounds the bodies of the batches that are not closed.
type memory struct {
	mu    sync.Mutex // guards all below
	free  int64
	freed chan struct{} // closed and replaced by give
}

// take takes n bytes for a subscription that has others already. It gets them if they are free, and
// it then has no more than was free for all others. So clients of one subscription that do not read
// their answers leave memory to the others.
func (m *memory) take(n, has int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.free < n || has > 0 && has+n > m.free {
		return false
	}
	m.free -= n
	return true
}

// give gives bytes back; n below 0 takes them although they are not free.
func (m *memory) give(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free += n
	if n > 0 {
		close(m.freed)
		m.freed = make(chan struct{})
	}
}

// given returns a channel that is closed when bytes are given back.
func (m *memory) given() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.freed
}
