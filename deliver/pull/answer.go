package pull

import (
	"errors"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/backoff"
)

// answer answers the calls and the pulls that have a lease. Their results are stored.
func (r *round) answer() {
	for _, c := range r.calls {
		close(c.done)
	}
	r.calls = nil
	r.pulls = slices.DeleteFunc(r.pulls, func(w *waiter) bool {
		if w.made == nil {
			return false
		}
		r.line.reply(w, w.made, nil)
		return true
	})
}

// reply answers a pull. If its client has gone, the lease is given back.
func (l *line) reply(w *waiter, b *Batch, err error) {
	l.mu.Lock()
	gone := w.gone
	if !gone {
		w.batch, w.err = b, err
		close(w.done)
	}
	l.pulls = slices.DeleteFunc(l.pulls, func(o *waiter) bool { return o == w })
	l.mu.Unlock()
	if gone && b != nil {
		b.GiveBack()
	}
}

// maxLost bounds line.lost.
const maxLost = 100

// resolve looks for the leases of commits whose outcome was unknown.
func (r *round) resolve() error {
	l := r.line
	for _, id := range l.lost {
		if lease := l.st.leases[id]; lease != nil {
			if err := r.readRows(lease); err != nil {
				return err
			}
			l.st.revoke(lease, 0, r.now)
		}
	}
	r.pulls = slices.DeleteFunc(r.pulls, func(w *waiter) bool {
		switch {
		case w.made == nil:
		case l.st.leases[w.made.Lease] == nil:
			l.lost = append(l.lost, w.made.Lease)
			w.drop()
		default:
			l.reply(w, w.made, nil)
			return true
		}
		return false
	})
	l.lost = l.lost[max(0, len(l.lost)-maxLost):]
	return nil
}

// drop drops a batch whose lease is not stored.
func (w *waiter) drop() {
	w.made.Close()
	w.made = nil
}

// fenced puts the calls back, because another process was faster or a person has changed something.
func (r *round) fenced() {
	l := r.line
	for _, w := range r.pulls {
		if w.made != nil {
			w.drop()
		}
	}
	l.mu.Lock()
	l.calls = append(r.calls, l.calls...)
	l.mu.Unlock()
	r.calls, r.again = nil, true
	if l.fences++; l.fences > 2 {
		// Let the others finish.
		time.Sleep(backoff.Random(time.Duration(min(l.fences, 20)) * time.Millisecond))
	}
}

// fail answers after an error that is not in call.err. Calls with fewer than tries are repeated:
// the outcome of a commit is unknown, and the state will show it. With 0 all are answered.
func (r *round) fail(err error, tries int) {
	l := r.line
	var again []*call
	for _, c := range r.calls {
		if c.tries++; c.tries < tries {
			again = append(again, c)
			continue
		}
		c.err = err
		close(c.done)
	}
	r.calls = nil
	l.mu.Lock()
	l.calls = append(again, l.calls...)
	l.mu.Unlock()
	if tries > 0 {
		r.again = len(again) > 0
		return
	}
	for _, w := range r.pulls {
		if w.made != nil {
			w.drop()
		}
		l.reply(w, nil, err)
	}
	r.pulls = nil
}

// expirePulls answers the pulls whose time is up after the round, which ended with err.
func (r *round) expirePulls(err error) {
	l := r.line
	lost := errors.Is(err, hookgate.ErrFenced) || errors.Is(err, errStale)
	if lost {
		err = nil
	}
	now, stopped := time.Now(), l.s.isStopped()
	r.pulls = slices.DeleteFunc(r.pulls, func(w *waiter) bool {
		due := w.deadline
		if r.again && due.Before(w.began.Add(grace)) {
			due = w.began.Add(grace)
		}
		if now.Before(due) && !stopped {
			return false
		}
		made := w.made
		if err != nil {
			l.reply(w, nil, err)
		} else {
			l.reply(w, &Batch{}, nil)
		}
		if made != nil { // its lease may be stored, or will be
			l.lost = append(l.lost, made.Lease)
			made.GiveBack()
		}
		return true
	})
}
