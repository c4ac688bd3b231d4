package guard

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"
)

// State is a state of the breaker.
type State string

// The states of the breaker.
//
//	          a rule is raised
//	closed ───────────────────────► open
//	  ▲                             ▲  │ no rule is raised
//	  │        a value is too high  │  ▼
//	  └───────────────────────── recovering
//	     Recovery is over
const (
	Closed     State = "closed"     // the breaker admits all webhooks
	Open       State = "open"       // it admits none
	Recovering State = "recovering" // it admits a growing part of them
)

// admitAll is the value of breaker.admitted while the breaker is closed.
const admitAll = 1 << 16

// firstAdmitted is the value of breaker.admitted at the start of a recovery.
const firstAdmitted = admitAll / 10

// breaker rejects webhooks while a rule is raised. One goroutine at a time may call its methods,
// except for allow.
type breaker struct {
	admitted atomic.Uint32 // of each 1<<16 webhooks, on average
	recovery time.Duration

	state  State
	reason string
	since  time.Time // of state; zero before the first change
	opened int       // times
}

func (b *breaker) allow() bool {
	admitted := b.admitted.Load()
	return admitted == admitAll || admitted > 0 && rand.Uint32N(admitAll) < admitted
}

// step acts on the signals. It reports whether the state has changed.
func (b *breaker) step(now time.Time, signals []*signal) (changed bool) {
	if b.state == Recovering {
		// The overload may be back already. During a recovery a high value opens the breaker at once,
		// without waiting for Sustain.
		for _, s := range signals {
			if s.Known && s.Zone == High {
				s.Raised = true
			}
		}
	}
	var raised []string
	for _, s := range signals {
		if s.Raised {
			raised = append(raised, s.name)
		}
	}
	before := b.state
	switch {
	case len(raised) > 0:
		b.state, b.reason = Open, strings.Join(raised, ", ")
		b.admitted.Store(0)
		if before != Open {
			b.opened++
		}
	case b.state == Open:
		b.state, b.reason = Recovering, ""
		b.admitted.Store(firstAdmitted)
	}
	if b.state != before {
		b.since = now
	}
	if b.state == Recovering {
		if gone := now.Sub(b.since); gone >= b.recovery {
			b.state, b.since = Closed, now
			b.admitted.Store(admitAll)
		} else {
			b.admitted.Store(max(firstAdmitted, uint32(admitAll*gone/b.recovery)))
		}
	}
	return b.state != before
}
