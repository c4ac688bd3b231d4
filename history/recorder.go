package history

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// saveTimeout bounds each call of the store.
	saveTimeout = 5 * time.Second
	// endTimeout bounds the last one, from the end of Run's context on.
	endTimeout = 2 * time.Second
	// maxBack is how far the clock may go back without a new name for the process.
	maxBack = time.Minute
	// maxPending is how many minutes wait for a store that is away. Older ones are dropped.
	maxPending = 60
)

// Recorder writes what the counters of one process gain into a store, once a minute.
//
// It writes absolute values of a minute and not increments. So it can repeat a call whose outcome
// is unknown without counting anything twice. Nothing is written for a minute without traffic.
type Recorder struct {
	store   Store
	totals  func() map[Subject]Counts
	process string
	log     *slog.Logger

	mu     sync.Mutex // guards all below; held for no I/O
	before map[Subject]Counts
	// pending are the minutes that are not stored as they are here, and the current one, in the order
	// in which they began.
	pending []*pendingMinute
	// turns counts how often the clock went back by more than maxBack.
	turns int
}

// pendingMinute are the counts of one minute.
type pendingMinute struct {
	at      time.Time
	process string
	counts  map[Subject]*Counts
	// version grows with each change of counts; saved is the version that is stored.
	version, saved int
}

// NewRecorder returns a recorder of the counters that totals returns. They only grow while the
// process runs. process names the process since its start; no other process may have the name.
func NewRecorder(store Store, totals func() map[Subject]Counts, process string,
	log *slog.Logger) *Recorder {
	return &Recorder{store: store, totals: totals, process: process, log: log}
}

// Run records until ctx ends, and then once more. It returns two seconds later at the latest,
// unless another process locks a store.db: a save waits for that lock up to 5 s.
func (r *Recorder) Run(ctx context.Context) {
	// A save outlives ctx, but not by long: a shutdown must not wait for a store that is away.
	saving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	context.AfterFunc(ctx, func() { time.AfterFunc(endTimeout, cancel) })
	failing := false
	for {
		next := time.Now().Truncate(time.Minute).Add(time.Minute)
		timer := time.NewTimer(time.Until(next))
		select {
		case <-timer.C:
			r.count(next.Add(-1))
		case <-ctx.Done():
			timer.Stop()
			r.count(time.Now())
		}
		err := r.save(saving)
		if err != nil && !failing {
			r.log.Warn("cannot store the history of the last minutes; the gate keeps it for an hour"+
				" and retries each minute", "error", err)
		}
		if failing = err != nil; ctx.Err() != nil {
			return
		}
	}
}

// count adds what was counted since the last call to the minute of at.
func (r *Recorder) count(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	totals := r.totals()
	current := r.minute(at.Truncate(time.Minute).UTC())
	for subject, total := range totals {
		before := r.before[subject]
		since := total.Since(&before)
		if since == (Counts{}) {
			continue
		}
		if current.counts[subject] == nil {
			current.counts[subject] = &Counts{}
		}
		current.counts[subject].Add(&since)
		current.version++
	}
	r.before = totals
	// A minute that is stored is needed only while it can still grow.
	r.pending = slices.DeleteFunc(r.pending, func(p *pendingMinute) bool {
		return p != current && p.saved == p.version
	})
	if n := len(r.pending) - maxPending; n > 0 {
		r.pending = slices.Delete(r.pending, 0, n)
	}
}

// minute returns the pending minute of at; mu must be held. If the clock went back a little, that
// is the last minute. If it went back by more, the process has stored minutes that come again,
// which it must not replace. From then on it counts under another name.
func (r *Recorder) minute(at time.Time) *pendingMinute {
	if n := len(r.pending); n > 0 && !r.pending[n-1].at.Before(at) {
		last := r.pending[n-1]
		if last.at.Sub(at) <= maxBack {
			return last
		}
		r.turns++
	}
	process := r.process
	if r.turns > 0 {
		process += "-" + strconv.Itoa(r.turns)
	}
	p := &pendingMinute{at: at, process: process, counts: map[Subject]*Counts{}}
	r.pending = append(r.pending, p)
	return p
}

// save stores the pending minutes.
func (r *Recorder) save(ctx context.Context) error {
	r.mu.Lock()
	minutes := r.unsaved()
	versions := map[*pendingMinute]int{}
	for _, p := range r.pending {
		versions[p] = p.version
	}
	r.mu.Unlock()
	if len(minutes) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	if err := r.store.SaveMinutes(ctx, minutes, time.Now().Add(-Keep)); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, version := range versions {
		p.saved = version
	}
	return nil
}

// unsaved returns the minutes that are not stored as they are, in the order of the store; mu must
// be held.
func (r *Recorder) unsaved() (minutes []Minute) {
	for _, p := range r.pending {
		if p.saved == p.version {
			continue
		}
		for subject, counts := range p.counts {
			minutes = append(minutes, Minute{p.at, p.process, subject, *counts})
		}
	}
	slices.SortFunc(minutes, func(a, b Minute) int {
		return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Process, b.Process),
			strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Name, b.Name))
	})
	return minutes
}

// Minutes implements Reader. It includes the current minute of this process, and minutes that it
// could not store yet.
func (r *Recorder) Minutes(ctx context.Context, from, to time.Time, only Subject,
	each func(*Minute)) error {
	r.count(time.Now())
	r.mu.Lock()
	unsaved := r.unsaved()
	r.mu.Unlock()
	type key struct {
		at      int64
		process string
		Subject
	}
	keyOf := func(m *Minute) key { return key{m.At.Unix(), m.Process, m.Subject} }
	newer := map[key]bool{}
	for i := range unsaved {
		newer[keyOf(&unsaved[i])] = true
	}
	err := r.store.Minutes(ctx, from, to, only, func(m *Minute) {
		if !newer[keyOf(m)] {
			each(m)
		}
	})
	if err != nil {
		return err
	}
	for i := range unsaved {
		at := unsaved[i].At
		if !at.Before(from) && at.Before(to) && only.Selects(unsaved[i].Subject) {
			each(&unsaved[i])
		}
	}
	return nil
}
