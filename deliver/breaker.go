package deliver

import (
	"context"
	"time"
)

const (
	// rowToOpen is how many keys in a row must fail to open the breaker; fewer if fewer are active.
	rowToOpen = 3
	// window is the time in which the breaker counts attempts, and halfOf how many there must be
	// before half of them can open it.
	window = 30 * time.Second
	halfOf = 20
	// A probe follows after firstProbe; the pause doubles up to lastProbe. goodToClose good probes in
	// a row close the breaker.
	firstProbe  = 5 * time.Second
	lastProbe   = time.Minute
	goodToClose = 3
	// maxActive bounds the keys that are counted as active.
	maxActive = 64
	// slowStep is how often concurrency and rate can double after an outage.
	slowStep = time.Second
)

// breaker judges whether the whole consumer is away. Only outages count as failures: an answer,
// even 500, shows that the consumer is there.
//
//	closed ──(failures)──► open ──(a probe is due)──► half open ──(3 good)──► closed, slow start
//	                        ▲                             │
//	                        └──────────(bad probe)────────┘
type breaker struct {
	open bool
	// nextProbe is when a probe may begin, and pause the pause before it.
	nextProbe time.Time
	pause     time.Duration
	good      int

	// failed are the keys that have failed since the last success.
	failed map[string]bool
	// active has the keys of the latest attempts, with their times.
	active map[string]time.Time
	// attempts are those within the window, oldest first.
	attempts []judged
}

type judged struct {
	at  time.Time
	bad bool
}

// attempted records the key of an attempt that begins.
func (b *breaker) attempted(key string, now time.Time) {
	if b.active == nil {
		b.active = map[string]time.Time{}
	}
	if _, known := b.active[key]; !known && len(b.active) >= maxActive {
		return
	}
	b.active[key] = now
}

// succeeded records an answer of the consumer. It reports whether the breaker closes.
func (b *breaker) succeeded(now time.Time) (closes bool) {
	clear(b.failed)
	b.judge(now, false)
	if !b.open {
		return false
	}
	b.nextProbe = now
	if b.good++; b.good < goodToClose {
		return false
	}
	b.open, b.good, b.attempts = false, 0, nil
	return true
}

// failure records an outage in an attempt for a key. It reports whether the breaker opens.
func (b *breaker) failure(key string, now time.Time) (opens bool) {
	if b.open {
		b.good = 0
		b.pause = min(max(2*b.pause, firstProbe), lastProbe)
		b.nextProbe = now.Add(b.pause)
		return false
	}
	if b.failed == nil {
		b.failed = map[string]bool{}
	}
	if len(b.failed) < maxActive {
		b.failed[key] = true
	}
	b.judge(now, true)
	for k, at := range b.active {
		if now.Sub(at) > window {
			delete(b.active, k)
		}
	}
	if len(b.failed) < min(rowToOpen, max(1, len(b.active))) && !b.half() {
		return false
	}
	b.open, b.good = true, 0
	b.pause = firstProbe
	b.nextProbe = now.Add(b.pause)
	clear(b.failed)
	return true
}

// judge adds an attempt to the window.
func (b *breaker) judge(now time.Time, bad bool) {
	drop := 0
	for drop < len(b.attempts) && now.Sub(b.attempts[drop].at) > window {
		drop++
	}
	// Enough to judge: more would only cost memory.
	if len(b.attempts)-drop >= 8*halfOf {
		drop++
	}
	b.attempts = append(b.attempts[drop:], judged{now, bad})
}

// half reports whether half of enough attempts in the window were outages.
func (b *breaker) half() bool {
	bad := 0
	for _, a := range b.attempts {
		if a.bad {
			bad++
		}
	}
	return len(b.attempts) >= halfOf && 2*bad >= len(b.attempts)
}

// state returns the state for people.
func (b *breaker) state() string {
	switch {
	case !b.open:
		return "closed"
	case b.good > 0:
		return "half_open"
	}
	return "open"
}

// slowStart bounds concurrency and rate after an outage. Both begin at 1 and double once a second,
// until the bound on the rate no longer slows down the attempts.
type slowStart struct {
	on     bool
	factor float64
	// stepped is when factor last doubled, and begun how many attempts have begun since.
	stepped time.Time
	begun   int
}

// begin starts a slow start.
func (s *slowStart) begin(now time.Time) { *s = slowStart{on: true, factor: 1, stepped: now} }

// step doubles the bounds if a second has passed, and ends the slow start once it has no effect.
func (s *slowStart) step(now time.Time, concurrency int) {
	if !s.on || now.Sub(s.stepped) < slowStep {
		return
	}
	if s.factor >= float64(concurrency) && float64(s.begun) < s.factor/2 {
		s.on = false
		return
	}
	s.factor *= 2
	s.stepped, s.begun = now, 0
}

// limit returns how many attempts may be in flight.
func (s *slowStart) limit(concurrency int) int {
	if s.on && s.factor < float64(concurrency) {
		return int(s.factor)
	}
	return concurrency
}

// rate returns how many attempts may begin per second; 0 means no bound.
func (s *slowStart) rate(configured float64) float64 {
	if !s.on || configured > 0 && configured < s.factor {
		return configured
	}
	return s.factor
}

// pace spaces out the attempts.
type pace struct {
	tokens float64
	filled time.Time
}

// take takes a token if there is one. Otherwise it returns how long the caller must wait. There is
// room for the tokens of a 50th of a second, and for one.
func (p *pace) take(rate float64, now time.Time) (wait time.Duration) {
	if rate <= 0 {
		return 0
	}
	room := max(1, rate/50)
	p.tokens = min(room, p.tokens+now.Sub(p.filled).Seconds()*rate)
	p.filled = now
	if p.tokens < 1 {
		return time.Duration((1-p.tokens)/rate*float64(time.Second)) + time.Microsecond
	}
	p.tokens--
	return 0
}

// Reacher is a consumer that can tell, without an attempt, whether it can be reached. While the
// breaker is open, the runner asks every 5 s. Once a consumer that could not be reached can be
// reached again, a probe follows at once.
type Reacher interface {
	// Reach returns nil if a connection to the consumer can be opened. It sends no request.
	Reach(ctx context.Context) error
}

// reach is the state of these checks during one outage.
type reach struct {
	at   time.Time // when the next check is due
	busy bool
	away bool // the last check failed
}

// checkReach checks whether the consumer can be reached, if that is due.
func (r *runner) checkReach(ctx context.Context, now time.Time) {
	c, can := r.sub.Consumer.(Reacher)
	if !can || !r.breaker.open || r.reach.busy || r.closing || now.Before(r.reach.at) {
		if !can {
			r.reach.busy = true // never
		}
		return
	}
	r.reach.busy = true
	go func() {
		ctx, cancel := context.WithTimeout(ctx, firstProbe)
		defer cancel()
		err := c.Reach(ctx)
		r.post(func() {
			now := time.Now()
			r.reach.busy, r.reach.at = false, now.Add(firstProbe)
			if err == nil && r.reach.away && r.breaker.open {
				r.breaker.nextProbe = now
			}
			r.reach.away = err != nil
		})
	}()
}
