// Package canary puts the gate in the place of another service, the upstream, a share at a time.
//
//	                  authenticated, identified, and the hash of its ordering key is below the percentage
//	webhook ─► httpd ─┬──────────────────────────────────────────────────────────────────────────────────► the gate
//	                  └─ anything else ──► Proxy, unchanged ──► the upstream, which answers
//
// The percentage is set by a person, or follows a plan:
//
//	        start            for as long as the step takes, and the guard says go
//	0 ────────────► step 1 ──────────────────────────────────────────────────────► step 2 … ──► done, and stays
//	▲                 │                                                              │
//	└─────────────────┴───────────────── the guard fires, or a person ───────────────┘
//
// It is one for all processes of a gate (see control.Canary): each changes it by keeping the next
// version, of which there can be one, and takes up what others have kept. Only back to 0 is
// different: that is in effect in the process at once, and is kept, however often others have
// changed it meanwhile, as soon as it can be.
package canary

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookgate/hookgate/control"
)

// Keeper keeps the canary for all processes of a gate; the queue backends do.
type Keeper interface {
	// Canary returns what was kept last, in whichever process, as far as this one has seen: within a
	// second. The zero value: nothing ever was, or what keeps it is away.
	Canary() control.Canary
	// SetCanary keeps a canary of a higher version than the one that is kept.
	// control.ErrCanaryChanged: it has not, and Canary returns what is kept instead. After any other
	// error the outcome is unknown, and the same call again is harmless.
	SetCanary(context.Context, control.Canary) error
}

// Trail is where steps that nobody took by hand are recorded: the admin trail.
type Trail interface {
	RecordAction(context.Context, control.AdminAction) error
}

// Config of a canary. Each field must be set that does not say otherwise.
type Config struct {
	Keeper Keeper
	Trail  Trail
	// Guard says which release triggers are raised now; none is go. An error says why that cannot be
	// told; a step is not taken then.
	Verdict func() (fired []string, unknown error)
	// Plan is the steps, with rising percentages; there need not be any.
	Plan []Step
	// Percent is the share until somebody sets one.
	Percent int
	// RequireEvidence makes evidence the condition of leaving 0 percent.
	RequireEvidence bool
	// Remembered is the canary that this process had when it ended last, for as long as nothing newer
	// is kept; may be zero.
	Remembered control.Canary
	// Remember is told each canary that is in effect, a moment later; nil if that is not needed.
	Remember func(control.Canary) error
	// Follower takes no step of the plan itself: it is for a process that takes no webhooks and so has
	// no part in the guard's word.
	Follower bool
	Upstream Upstream
	Logger   *slog.Logger
}

// Refusal says why a change is not made although nothing is broken. The HTTP edge answers 409.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// ErrEvidence is returned when the canary is to leave 0 percent without evidence that it needs.
const ErrEvidence Refusal = "the canary leaves 0 percent only with evidence (canary.require_evidence): hookgate promote FOLDER"

// The actors, in the admin trail, of changes that nobody made by hand.
const (
	ActorPlan  = "canary"
	ActorGuard = "guard"
)

// Canary is the canary of one process. All methods may be called concurrently.
type Canary struct {
	config Config
	*Proxy
	percent atomic.Int64 // that of state
	taken   atomic.Uint64
	// delay makes it unlikely that several processes take a step at once.
	delay time.Duration

	// changing is held by whoever keeps a change, over the I/O.
	changing sync.Mutex
	triedAt  time.Time // when a canary that is not kept was tried last; guarded by changing
	failedAt time.Time // when a step could not be taken last; guarded by changing
	// remembered is what was given to Remember last; guarded by changing.
	remembered control.Canary

	mu    sync.Mutex // guards all below; never held over I/O
	state control.Canary
	// unkept says that the state is a way back that is in effect here alone.
	unkept bool
	// watched is how long the step has had the guard's word in this process, and takenBefore what
	// taken was when it began.
	watched     time.Duration
	takenBefore uint64
	// held says why the step does not go on; empty if nothing is in its way.
	held string
}

// New returns a canary. Run must be called for it to follow other processes and its plan, and Close
// at the end.
func New(c Config) *Canary {
	first := c.Remembered
	if first.Version == 0 {
		first = control.Canary{Percent: c.Percent}
	}
	if kept := c.Keeper.Canary(); kept.Version > first.Version {
		first = kept
	}
	canary := &Canary{config: c, Proxy: newProxy(c.Upstream),
		delay: time.Duration(rand.Int64N(int64(stepDelay)))}
	canary.mu.Lock()
	defer canary.mu.Unlock()
	canary.put(first, false)
	return canary
}

// Percent is the share of the ordering keys that the gate takes now.
func (c *Canary) Percent() int { return int(c.percent.Load()) }

// Took counts a webhook that the gate has acknowledged. A step without any in a process is not
// followed by the next: nothing is known of it.
func (c *Canary) Took() { c.taken.Add(1) }

// State returns the canary that is in effect.
func (c *Canary) State() control.Canary {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// put makes a canary take effect; mu must be held.
func (c *Canary) put(s control.Canary, unkept bool) {
	before := c.state
	c.state, c.unkept, c.watched, c.held, c.takenBefore = s, unkept, 0, "", c.taken.Load()
	c.percent.Store(int64(s.Percent))
	if s.Version > 0 && (before.Percent != s.Percent || before.Step != s.Step) {
		c.config.Logger.Warn("canary", "percent", s.Percent, "before", before.Percent, "step", s.Step,
			"by", s.By, "reason", s.Reason)
	}
}

// remember has the state remembered, if it is not; changing must be held.
func (c *Canary) remember() {
	now := c.State()
	if c.config.Remember == nil || now.Version == 0 || c.remembered == now {
		return
	}
	if err := c.config.Remember(now); err != nil {
		c.config.Logger.Warn("canary is not remembered for a start without its queue", "error", err)
	}
	c.remembered = now // a disk that fails is not asked ten times a second
}

// Change is who changes the canary, why, and on what evidence.
type Change struct {
	By, Reason string
	// Evidence is the id of evidence that has been found good; empty if there is none.
	Evidence string
}

// Set sets the percentage and ends a plan that is under way. To 0 it is the way back; see Back. A
// Refusal or control.ErrCanaryChanged means that nothing was changed.
func (c *Canary) Set(ctx context.Context, percent int, why Change) (control.Canary, error) {
	if percent == 0 {
		err := c.back(ctx, why.By, why.Reason)
		return c.State(), err
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	now := c.State()
	next, err := c.set(now, percent, why)
	if err != nil {
		return now, err
	}
	return c.change(ctx, now, next, why)
}

// CheckSet returns the Refusal that Set would return now; nil if it would try.
func (c *Canary) CheckSet(percent int, why Change) error {
	_, err := c.set(c.State(), percent, why)
	return err
}

// set is what Set makes of the canary of now.
func (c *Canary) set(now control.Canary, percent int, why Change) (next control.Canary,
	err error) {
	if percent < 0 || percent > 100 {
		return next, Refusal(fmt.Sprintf("%d percent is not from 0 to 100", percent))
	}
	return control.Canary{Percent: percent}, c.fits(now, why)
}

// fits says whether the canary may leave what it is with the evidence of a change.
func (c *Canary) fits(now control.Canary, why Change) error {
	if c.config.RequireEvidence && now.Percent == 0 && why.Evidence == "" {
		return ErrEvidence
	}
	return nil
}

// Back takes the canary back to 0 percent and ends a plan that is under way. In this process it is
// in effect whatever is returned; an error says that other processes have not been told yet, which
// is tried until they have.
func (c *Canary) Back(ctx context.Context, reason string) error {
	return c.back(ctx, ActorGuard, reason)
}

// change keeps what follows on now and lets it take effect; changing must be held.
func (c *Canary) change(ctx context.Context, now, next control.Canary,
	why Change) (control.Canary, error) {
	next.Version, next.At = now.Version+1, time.Now().Truncate(time.Microsecond).UTC()
	next.By, next.Reason, next.Evidence = why.By, why.Reason, why.Evidence
	if next.Evidence == "" {
		next.Evidence = now.Evidence
	}
	if err := c.config.Keeper.SetCanary(ctx, next); err != nil {
		c.follow(ctx)
		return c.State(), err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Version != now.Version { // it went back while this was being kept, and stays there
		c.state.Version = max(c.state.Version, next.Version+1)
		return c.state, control.ErrCanaryChanged
	}
	c.put(next, false)
	return next, nil
}

// back goes back to 0 here, at once, and then for all.
func (c *Canary) back(ctx context.Context, by, reason string) error {
	c.goBack(by, reason)
	c.changing.Lock()
	defer c.changing.Unlock()
	return c.keepBack(ctx)
}

// goBack goes back to 0 in this process. It is a new version even where it is at 0: another process
// may have set something else that has not been seen here yet.
func (c *Canary) goBack(by, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.unkept {
		c.put(control.Canary{Version: c.state.Version + 1,
			At: time.Now().Truncate(time.Microsecond).UTC(), By: by, Reason: reason}, true)
	}
}

func isBack(s control.Canary) bool { return s.Percent == 0 && s.Step == 0 }

// keepBack keeps a way back that is in effect here alone; changing must be held.
func (c *Canary) keepBack(ctx context.Context) error {
	for {
		c.mu.Lock()
		mine, unkept := c.state, c.unkept
		c.mu.Unlock()
		if !unkept {
			return nil
		}
		err := c.config.Keeper.SetCanary(ctx, mine)
		c.mu.Lock()
		kept := c.config.Keeper.Canary()
		switch {
		case err == nil:
			c.unkept = false
		case !errors.Is(err, control.ErrCanaryChanged):
		case isBack(kept):
			c.put(kept, false) // another process was first
			err = nil
		default:
			c.state.Version = max(mine.Version, kept.Version) + 1
		}
		c.mu.Unlock()
		if err == nil {
			return nil
		}
		if !errors.Is(err, control.ErrCanaryChanged) {
			return fmt.Errorf("back at 0 percent in this process, and not yet in others, which is tried again: %w", err)
		}
	}
}

// follow takes up what other processes have kept, and keeps again what was lost on the way;
// changing must be held.
func (c *Canary) follow(ctx context.Context) {
	kept := c.config.Keeper.Canary()
	c.mu.Lock()
	switch mine := c.state; {
	case c.unkept || kept.Version < max(1, mine.Version) || kept == mine:
	case kept.Version == mine.Version && isBack(mine) && !isBack(kept):
		// a queue that had lost the way back was given another canary meanwhile; none may rise by itself
		c.unkept = true
	default:
		c.put(kept, false)
	}
	mine, unkept := c.state, c.unkept
	c.mu.Unlock()
	// What is older than what was seen here is what a queue remembers that has lost its last writes,
	// or has not been asked yet.
	if !unkept && kept.Version >= mine.Version || time.Since(c.triedAt) < tryEvery {
		return
	}
	c.triedAt = time.Now()
	var err error
	if unkept {
		err = c.keepBack(ctx)
	} else {
		err = c.config.Keeper.SetCanary(ctx, mine)
	}
	if err == nil && unkept {
		c.config.Logger.Info("canary is back at 0 percent in all processes")
	}
}
