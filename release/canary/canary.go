// Package canary moves the webhooks of a service, the upstream, to the gate step by step.
//
//	                      authenticated, identified, and
//	                      its ordering key is in the canary
//	webhook ─► ingest ─┬───────────────────────────────────► the gate
//	                   └─ anything else ─► Proxy, unchanged ► the upstream, which answers
//
// The hash of an ordering key decides whether a percentage includes it.
//
// A person sets the percentage, or it follows a plan:
//
//	        start        when the step had its time and the verdict was good
//	0 ────────────► step 1 ────────────────────────────────────────────────► step 2 … ──► done
//	▲                 │                                                        │
//	└─────────────────┴──────── a release trigger fires, or a person ──────────┘
//
// All processes of a gate have the same canary (control.Canary), which is stored in Settings. A
// process changes it by storing the next version; only one process can store a given version. It
// also applies the versions that other processes stored.
//
// Going back to 0 is different. The process applies it at once and then stores it, even if other
// processes store something else meanwhile.
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

// Settings stores the canary for all processes of a gate.
type Settings interface {
	// Canary returns the canary that any process stored last, at most a second late. The zero value
	// means that none was ever stored, or that the store of the settings is away.
	Canary() control.Canary
	// SetCanary stores a canary if its version is higher than that of the stored one. If it is not,
	// SetCanary returns control.ErrCanaryChanged and Canary returns the stored one. After any other
	// error the outcome is unknown; the caller may repeat the call.
	SetCanary(context.Context, control.Canary) error
}

// Trail is the admin trail. It records the steps that the plan takes by itself.
type Trail interface {
	RecordAction(context.Context, control.AdminAction) error
}

// Config of a canary. All fields are required unless their comment says otherwise.
type Config struct {
	Settings Settings
	Trail    Trail
	// Verdict returns the release triggers that have fired: if there are any, the plan goes back. An
	// error says why the state of the triggers is unknown: the plan stays at its step.
	Verdict func() (fired []string, unknown error)
	// Plan has the steps, with rising percentages. Optional.
	Plan []Step
	// Percent is the percentage until a person sets one.
	Percent int
	// RequireEvidence makes evidence the condition for leaving 0 percent.
	RequireEvidence bool
	// Remembered is the canary that this process had when it stopped. It applies as long as Settings
	// has nothing newer. Optional.
	Remembered control.Canary
	// Remember is called with each canary that was applied, a moment later. Optional.
	Remember func(control.Canary) error
	// Follower is true in a process that accepts no webhooks. It takes no step of the plan, because
	// its verdict says nothing about webhooks.
	Follower bool
	Upstream Upstream
	Logger   *slog.Logger
}

// Refusal says why the canary refuses a change although nothing is broken. The admin API answers
// 409.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// ErrEvidence is returned for a change that leaves 0 percent without the required evidence.
const ErrEvidence Refusal = "the canary leaves 0 percent only with evidence " +
	"(canary.require_evidence): hookgate canary start --evidence FOLDER"

// The actors, in the admin trail, of changes that no person made.
const (
	ActorPlan  = "canary"
	ActorGuard = "guard"
)

// Canary is the canary of one process. All methods may be called concurrently.
type Canary struct {
	config Config
	*Proxy
	percent  atomic.Int64  // of state
	accepted atomic.Uint64 // webhooks that the gate acknowledged
	// delay makes it unlikely that several processes take a step at once.
	delay time.Duration

	// changing is held while a change is stored, over the I/O.
	changing sync.Mutex
	triedAt  time.Time // of the last attempt to store the state again; guarded by changing
	failedAt time.Time // of the last step that failed; guarded by changing
	// remembered is what Remember got last; guarded by changing.
	remembered control.Canary

	mu    sync.Mutex // guards all below; never held over I/O
	state control.Canary
	// localOnly says that the state is 0 percent and not stored yet, so that other processes do not
	// have it.
	localOnly bool
	// watched is for how long this process has seen a good verdict at this step, and acceptedBefore
	// the value of accepted when the step started.
	watched        time.Duration
	acceptedBefore uint64
	// held says why the plan stays at its step; empty if nothing holds it.
	held string
}

// New returns a canary. Call Run, so that it follows other processes and its plan, and Close at the
// end.
func New(c Config) *Canary {
	first := c.Remembered
	if first.Version == 0 {
		first = control.Canary{Percent: c.Percent}
	}
	if stored := c.Settings.Canary(); stored.Version > first.Version {
		first = stored
	}
	canary := &Canary{config: c, Proxy: newProxy(c.Upstream),
		delay: time.Duration(rand.Int64N(int64(stepDelay)))}
	canary.mu.Lock()
	defer canary.mu.Unlock()
	canary.apply(first, false)
	return canary
}

// Percent returns the percentage of the ordering keys whose webhooks the gate handles now.
func (c *Canary) Percent() int { return int(c.percent.Load()) }

// Accepted counts a webhook that the gate has acknowledged. The plan stays at a step in which this
// process accepted none, because nothing shows that the step works.
func (c *Canary) Accepted() { c.accepted.Add(1) }

// State returns the current canary.
func (c *Canary) State() control.Canary {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// apply makes s the current canary. The caller holds mu.
func (c *Canary) apply(s control.Canary, localOnly bool) {
	before := c.state
	c.state, c.localOnly, c.watched, c.held = s, localOnly, 0, ""
	c.acceptedBefore = c.accepted.Load()
	c.percent.Store(int64(s.Percent))
	if s.Version > 0 && (before.Percent != s.Percent || before.Step != s.Step) {
		c.config.Logger.Warn("canary changed", "percent", s.Percent, "before", before.Percent, "step",
			s.Step,
			"by", s.By, "reason", s.Reason)
	}
}

// remember passes the state to Remember, unless it has it already. The caller holds changing.
func (c *Canary) remember() {
	now := c.State()
	if c.config.Remember == nil || now.Version == 0 || c.remembered == now {
		return
	}
	if err := c.config.Remember(now); err != nil {
		c.config.Logger.Warn("cannot remember the canary for a start while its settings are away",
			"error", err)
	}
	c.remembered = now // also after an error: do not retry ten times a second
}

// Change says who changes the canary, why, and with what evidence.
type Change struct {
	By, Reason string
	// Evidence is the id of evidence that was verified; empty if there is none.
	Evidence string
}

// Set sets the percentage and ends a running plan. Set to 0 is like Back. After a Refusal or
// control.ErrCanaryChanged nothing has changed.
func (c *Canary) Set(ctx context.Context, percent int, why Change) (control.Canary, error) {
	if percent == 0 {
		err := c.back(ctx, why.By, why.Reason)
		return c.State(), err
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	now := c.State()
	next, err := c.nextForSet(now, percent, why)
	if err != nil {
		return now, err
	}
	return c.change(ctx, now, next, why)
}

// CheckSet returns the Refusal that Set would return now, or nil.
func (c *Canary) CheckSet(percent int, why Change) error {
	_, err := c.nextForSet(c.State(), percent, why)
	return err
}

// nextForSet returns the canary that Set stores.
func (c *Canary) nextForSet(now control.Canary, percent int, why Change) (next control.Canary,
	err error) {
	if percent < 0 || percent > 100 {
		return next, Refusal(fmt.Sprintf("%d percent is not from 0 to 100", percent))
	}
	return control.Canary{Percent: percent}, c.checkEvidence(now, why)
}

// checkEvidence returns ErrEvidence if the change leaves 0 percent and lacks the required evidence.
func (c *Canary) checkEvidence(now control.Canary, why Change) error {
	if c.config.RequireEvidence && now.Percent == 0 && why.Evidence == "" {
		return ErrEvidence
	}
	return nil
}

// Back sets the canary to 0 percent and ends a running plan. In this process that applies in any
// case. An error says that it is not stored yet, so that other processes go on as before; Run
// retries until it is stored.
func (c *Canary) Back(ctx context.Context, reason string) error {
	return c.back(ctx, ActorGuard, reason)
}

// change stores next as the version after now and applies it. The caller holds changing.
func (c *Canary) change(ctx context.Context, now, next control.Canary,
	why Change) (control.Canary, error) {
	next.Version, next.At = now.Version+1, time.Now().Truncate(time.Microsecond).UTC()
	next.By, next.Reason, next.Evidence = why.By, why.Reason, why.Evidence
	if next.Evidence == "" {
		next.Evidence = now.Evidence
	}
	if err := c.config.Settings.SetCanary(ctx, next); err != nil {
		c.sync(ctx)
		return c.State(), err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Version != now.Version { // it went back to 0 meanwhile, and stays there
		c.state.Version = max(c.state.Version, next.Version+1)
		return c.state, control.ErrCanaryChanged
	}
	c.apply(next, false)
	return next, nil
}

// back goes back to 0 percent: in this process at once, then in Settings for all.
func (c *Canary) back(ctx context.Context, by, reason string) error {
	c.goBack(by, reason)
	c.changing.Lock()
	defer c.changing.Unlock()
	return c.storeBack(ctx)
}

// goBack goes back to 0 percent in this process. That is a new version even at 0 percent: another
// process may have set a percentage that this one has not seen yet.
func (c *Canary) goBack(by, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.localOnly {
		c.apply(control.Canary{Version: c.state.Version + 1,
			At: time.Now().Truncate(time.Microsecond).UTC(), By: by, Reason: reason}, true)
	}
}

func isBack(s control.Canary) bool { return s.Percent == 0 && s.Step == 0 }

// storeBack stores the 0 percent that only this process has. The caller holds changing.
func (c *Canary) storeBack(ctx context.Context) error {
	for {
		c.mu.Lock()
		mine, localOnly := c.state, c.localOnly
		c.mu.Unlock()
		if !localOnly {
			return nil
		}
		err := c.config.Settings.SetCanary(ctx, mine)
		c.mu.Lock()
		stored := c.config.Settings.Canary()
		switch {
		case err == nil:
			c.localOnly = false
		case !errors.Is(err, control.ErrCanaryChanged):
		case isBack(stored):
			c.apply(stored, false) // another process was first
			err = nil
		default:
			c.state.Version = max(mine.Version, stored.Version) + 1
		}
		c.mu.Unlock()
		if err == nil {
			return nil
		}
		if !errors.Is(err, control.ErrCanaryChanged) {
			return fmt.Errorf("the canary is at 0 percent in this process and not yet in others;"+
				" retrying: %w",
				err)
		}
	}
}

// sync applies what other processes have stored. If Settings has lost the state of this process,
// sync stores it again. The caller holds changing.
func (c *Canary) sync(ctx context.Context) {
	stored := c.config.Settings.Canary()
	c.mu.Lock()
	switch mine := c.state; {
	case c.localOnly || stored.Version < max(1, mine.Version) || stored == mine:
	case stored.Version == mine.Version && isBack(mine) && !isBack(stored):
		// Settings lost the 0 percent, and another process stored a canary of the same version. No
		// percentage may rise by itself, so 0 is stored again.
		c.localOnly = true
	default:
		c.apply(stored, false)
	}
	mine, localOnly := c.state, c.localOnly
	c.mu.Unlock()
	// An older version means that Settings lost its last writes or was not read yet.
	if !localOnly && stored.Version >= mine.Version || time.Since(c.triedAt) < storeEvery {
		return
	}
	c.triedAt = time.Now()
	var err error
	if localOnly {
		err = c.storeBack(ctx)
	} else {
		err = c.config.Settings.SetCanary(ctx, mine)
	}
	if err == nil && localOnly {
		c.config.Logger.Info("canary is back at 0 percent in all processes")
	}
}
