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
	Closed     State = "closed"     // all webhooks are taken
	Open       State = "open"       // none are
	Recovering State = "recovering" // a growing share of them
)

// whole is the share that stands for all webhooks, in parts of which allow counts.
const whole = 1 << 16

// firstShare is the share that a recovery begins with.
const firstShare = whole / 10

// breaker refuses webhooks while a rule is raised. Its methods but allow are for one goroutine at a
// time.
type breaker struct {
	share    atomic.Uint32 // parts of whole that are taken
	recovery time.Duration

	state  State
	reason string
	since  time.Time // of state; zero before the first change
	opened int       // times
}

func (b *breaker) allow() bool {
	share := b.share.Load()
	return share == whole || share > 0 && rand.Uint32N(whole) < share
}

// step acts on the signals as they stand and reports whether the state has changed.
func (b *breaker) step(now time.Time, signals []*signal) (changed bool) {
	if b.state == Recovering {
		// What opened it may be back already: the way up is no time for patience.
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
		b.share.Store(0)
		if before != Open {
			b.opened++
		}
	case b.state == Open:
		b.state, b.reason = Recovering, ""
		b.share.Store(firstShare)
	}
	if b.state != before {
		b.since = now
	}
	if b.state == Recovering {
		if gone := now.Sub(b.since); gone >= b.recovery {
			b.state, b.since = Closed, now
			b.share.Store(whole)
		} else {
			b.share.Store(max(firstShare, uint32(whole*gone/b.recovery)))
		}
	}
	return b.state != before
}
