package simulation

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
)

// disk is the store as a process calls it: hookgate.Store.
type disk struct{ p *process }

// copyOf returns a copy of a batch, because the batch belongs to the caller once Apply has
// returned.
func copyOf(b *hookgate.Batch) *hookgate.Batch {
	c := *b
	c.Records, c.Dead = slices.Clone(b.Records), slices.Clone(b.Dead)
	for i := range c.Records {
		r := &c.Records[i]
		r.Body, r.Headers = slices.Clone(r.Body), slices.Clone(r.Headers)
	}
	return &c
}

func (d disk) Acquire(ctx context.Context, partition int) (hookgate.Epoch, error) {
	w := d.p.w
	return ask(ctx, d.p, fmt.Sprint("acquires partition ", partition), true,
		func() (hookgate.Epoch, string, error) {
			epoch, err := tables{w.store}.Acquire(ctx, partition)
			w.epochs[partition] = epoch
			return epoch, fmt.Sprint("epoch ", epoch), err
		})
}

func (d disk) Apply(ctx context.Context, b *hookgate.Batch) (hookgate.Outcome, error) {
	w := d.p.w
	// The batch is read when it is stored. After that, or if the caller leaves before, it is a copy.
	batch := b
	o, err := ask(ctx, d.p, "stores "+names(b), true, func() (hookgate.Outcome, string, error) {
		batch = copyOf(batch)
		o, err := tables{w.store}.Apply(ctx, batch)
		if err == nil {
			w.applied(batch, &o)
		}
		return o, fmt.Sprint(o.Stored, " new"), err
	})
	if err != nil {
		batch = copyOf(batch)
	}
	return o, err
}

func (d disk) Close() error { return nil }

// names describes the records of a batch.
func names(b *hookgate.Batch) string {
	if len(b.Records) == 0 {
		return "nothing"
	}
	text := ""
	for i := range b.Records {
		if i == 6 {
			return text + fmt.Sprint("+", len(b.Records)-i)
		}
		text += b.Records[i].MessageID + " "
	}
	return text[:len(text)-1]
}

// line is a buffer as a process calls it.
type line struct {
	p    *process
	b    *buffer
	name string
	// moves reports that partitions move between processes, and read counts the readers.
	mu      sync.Mutex
	readers []*lineReader
}

func (l *line) Append(ctx context.Context, r *hookgate.Request) (hookgate.Receipt, error) {
	return l.AppendDuplicate(ctx, r, hookgate.RequestID{})
}

func (l *line) AppendDuplicate(ctx context.Context, r *hookgate.Request,
	of hookgate.RequestID) (hookgate.Receipt, error) {
	copied := *r
	copied.Body = slices.Clone(r.Body)
	bounded, cancel := context.WithTimeout(ctx, l.p.w.timeout)
	defer cancel()
	return ask(bounded, l.p, "appends "+r.MessageID+" to "+l.name, true,
		func() (hookgate.Receipt, string, error) {
			receipt, err := l.b.append(&copied, of)
			remark := ""
			if receipt.Duplicate() {
				remark = "duplicate"
			}
			return receipt, remark, err
		})
}

// Stats answers at once.
func (l *line) Stats(context.Context) (hookgate.QueueStats, error) {
	if !l.p.alive() {
		return hookgate.QueueStats{}, errKilled
	}
	return l.b.stats(), nil
}

func (l *line) Close() error { return nil }

func (l *line) OpenReader(ctx context.Context) (hookgate.PartitionReader, error) {
	// Its answer is never late: a reader that nobody has would keep its partitions.
	var opened *lineReader
	c := &call{p: l.p, what: "opens " + l.name, ready: func() bool { return true }}
	c.run = func() (string, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		opened = &lineReader{l, l.b.open()}
		l.readers = append(l.readers, opened)
		return "", nil
	}
	if err := l.p.w.wait(ctx, c); err != nil {
		return nil, err
	}
	return opened, nil
}

// lose takes the partitions from all readers, because the process has not been heard of for long.
func (l *line) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.readers {
		r.r.lose()
	}
}

// lineReader is a reader of a process.
type lineReader struct {
	l *line
	r *reader
}

func (r *lineReader) Next(ctx context.Context, max, maxBytes int) ([]hookgate.Record, error) {
	w := r.l.p.w
	var got []hookgate.Record
	c := &call{p: r.l.p, what: "reads " + r.l.name, ready: r.r.ready}
	c.run = func() (string, error) {
		records, err := r.r.next(max, maxBytes)
		got = records
		return names(&hookgate.Batch{Records: records}), err
	}
	if err := w.wait(ctx, c); err != nil {
		return nil, err
	}
	return got, nil
}

func (r *lineReader) Commit(ctx context.Context, last []hookgate.Offset) error {
	last = slices.Clone(last)
	_, err := ask(ctx, r.l.p, fmt.Sprint("releases from ", r.l.name, " ", last), true,
		func() (int, string, error) { return 0, "", r.r.commit(last) })
	return err
}

func (r *lineReader) Close() error {
	if r.l.p.alive() {
		r.r.close()
	}
	return nil
}

// tables of delivery as a process calls them: hookgate.Log, Subscriptions and Leases. The
// dispatcher and the server of pulls have one each, so that they wake up on their own.
type ledger struct {
	p    *process
	role string

	mu    sync.Mutex
	grown chan struct{}
	dirty bool // the log has grown since grown was made
}

func newLedger(p *process, role string) *ledger {
	return &ledger{p: p, role: role, grown: make(chan struct{})}
}

// Grown implements hookgate.Log. Each process learns in its own time that the log has grown.
func (l *ledger) Grown() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.grown
}

func (l *ledger) markGrown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dirty = true
}

func (l *ledger) isDirty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dirty
}

func (l *ledger) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.grown)
	l.grown, l.dirty = make(chan struct{}), false
}

func (l *ledger) ReadLog(ctx context.Context, q hookgate.LogQuery) (hookgate.LogPage, error) {
	w := l.p.w
	what := fmt.Sprintf("%s reads the log after %s", l.role, w.name(q.After))
	if q.OrderingKey != "" {
		what += " of " + q.OrderingKey
	}
	if q.Until != 0 {
		what += " until " + w.name(q.Until)
	}
	return ask(ctx, l.p, what, false, func() (hookgate.LogPage, string, error) {
		page, err := w.store.ReadLog(ctx, q)
		return page, fmt.Sprint(len(page.Events), " events"), err
	})
}

func (l *ledger) ReadEvents(ctx context.Context, ids []int64) ([]hookgate.Event, error) {
	w := l.p.w
	ids = slices.Clone(ids)
	what := l.role + " reads " + w.namesOf(ids)
	return ask(ctx, l.p, what, false, func() ([]hookgate.Event, string, error) {
		events, err := w.store.ReadEvents(ctx, ids)
		return events, "", err
	})
}

func (l *ledger) Define(ctx context.Context, defs []hookgate.SubscriptionDefinition,
	complete bool) ([]int64, error) {
	return ask(ctx, l.p, "defines subscriptions", true, func() ([]int64, string, error) {
		revisions, err := l.p.w.store.Define(ctx, defs, complete)
		return revisions, "", err
	})
}

func (l *ledger) Renew(ctx context.Context, owner string, ttl time.Duration) (hookgate.Roster,
	error) {
	return ask(ctx, l.p, "renews its leases", true, func() (hookgate.Roster, string, error) {
		roster, err := l.p.w.store.Renew(ctx, owner, ttl)
		return roster, "", err
	})
}

func (l *ledger) Acquire(ctx context.Context, name, owner string, ttl time.Duration,
	revision int64) (*hookgate.SubscriptionState, error) {
	w := l.p.w
	return ask(ctx, l.p, "acquires "+name, true, func() (*hookgate.SubscriptionState, string, error) {
		w.settleLate(nil, "saves "+name)
		state, err := w.store.Store.Acquire(ctx, name, owner, ttl, revision)
		if err != nil {
			return nil, "", err
		}
		w.owned(name, l.p, state.Epoch)
		return state, fmt.Sprint("epoch ", state.Epoch), nil
	})
}

func (l *ledger) Release(ctx context.Context, name string, epoch hookgate.Epoch) error {
	_, err := ask(ctx, l.p, "gives back "+name, true, func() (int, string, error) {
		return 0, "", l.p.w.store.Release(ctx, name, epoch)
	})
	return err
}

func (l *ledger) Due(ctx context.Context, name string, q hookgate.DueQuery) (hookgate.Due, error) {
	w := l.p.w
	return ask(ctx, l.p, "asks what is due in "+name, false, func() (hookgate.Due, string, error) {
		due, err := w.store.Due(ctx, name, q)
		var ids []int64
		for _, e := range due.Exceptions {
			ids = append(ids, e.Event)
		}
		return due, w.namesOf(ids), err
	})
}

func (l *ledger) Save(ctx context.Context, name string, epoch hookgate.Epoch,
	r *hookgate.Results) (int64, error) {
	w := l.p.w
	return ask(ctx, l.p, fmt.Sprint("saves ", name, " of epoch ", epoch), true,
		func() (int64, string, error) {
			w.settleLate(l.p, "saves "+name)
			version, err := w.store.Save(ctx, name, epoch, r)
			if err == nil {
				w.saved(name, epoch, r)
			}
			return version, w.describe(r), err
		})
}

func (l *ledger) PullState(ctx context.Context, name string) (*hookgate.PullState, error) {
	return ask(ctx, l.p, "reads the state of "+name, false,
		func() (*hookgate.PullState, string, error) {
			state, err := l.p.w.store.PullState(ctx, name)
			return state, "", err
		})
}

// committed is the result of Commit.
type committed struct {
	epoch hookgate.Epoch
	at    time.Time
}

func (l *ledger) Commit(ctx context.Context, name string, epoch hookgate.Epoch, version int64,
	r *hookgate.Results) (hookgate.Epoch, time.Time, error) {
	w := l.p.w
	got, err := ask(ctx, l.p, "commits "+name, true, func() (committed, string, error) {
		before := w.leasesOf(name)
		next, at, err := w.store.Commit(ctx, name, epoch, version, r)
		if err == nil {
			w.leased(name, before, r)
			w.saved(name, epoch, r)
		}
		return committed{next, at}, w.describe(r), err
	})
	return got.epoch, got.at, err
}

func (l *ledger) EndedLease(ctx context.Context, name, id string) (*hookgate.Lease, error) {
	return ask(ctx, l.p, "looks for an ended lease", false, func() (*hookgate.Lease, string, error) {
		lease, err := l.p.w.store.EndedLease(ctx, name, id)
		return lease, "", err
	})
}

func (l *ledger) Exceptions(ctx context.Context, f hookgate.ExceptionFilter) (
	[]hookgate.StoredException, error) {
	return ask(ctx, l.p, "reads exceptions", false,
		func() ([]hookgate.StoredException, string, error) {
			exceptions, err := l.p.w.store.Exceptions(ctx, f)
			return exceptions, "", err
		})
}

func (l *ledger) CreateTemporary(context.Context, hookgate.SubscriptionDefinition, time.Duration,
	hookgate.Person) error {
	return errAway
}

// ForgetIdle has nothing to do, because there is no temporary subscription.
func (l *ledger) ForgetIdle(context.Context) ([]string, error) { return nil, nil }
