package canary

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate/control"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errAway = errors.New("away")

// place is what several processes share: the settings and the admin trail.
type place struct {
	mu         sync.Mutex
	kept       control.Canary
	away, late error // of SetCanary: before it took effect, and after it did
	trailErr   error
	rows       []control.AdminAction
	fired      []string
	unknown    error
	idle       bool // no webhooks come
}

func (p *place) Canary() control.Canary {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kept
}

func (p *place) SetCanary(_ context.Context, c control.Canary) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.away != nil:
		return p.away
	case p.kept == c:
		return nil
	case p.kept.Version >= c.Version:
		return control.ErrCanaryChanged
	}
	p.kept = c
	return p.late
}

func (p *place) RecordAction(_ context.Context, a control.AdminAction) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.trailErr == nil {
		p.rows = append(p.rows, a)
	}
	return p.trailErr
}

func (p *place) guard() ([]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.fired), p.unknown
}

func (p *place) isIdle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.idle
}

// set changes the place.
func (p *place) set(change func(*place)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// trail returns the rows of the trail as lines.
func (p *place) trail() (lines []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.rows {
		lines = append(lines, a.Actor+" "+a.Target+" "+a.Result)
	}
	return lines
}

var testPlan = []Step{{10, 30 * time.Minute}, {50, time.Hour}, {100, 0}}

// process starts a process of the gate at a place. It runs until end is called or the test ends.
func (p *place) process(t *testing.T, change func(*Config)) (c *Canary, end func()) {
	t.Helper()
	u, _ := url.Parse("http://127.0.0.1:1")
	word := func() ([]string, error) {
		if c != nil && !p.isIdle() {
			c.Accepted()
		}
		return p.guard()
	}
	config := Config{Settings: p, Trail: p, Verdict: word, Plan: testPlan,
		Logger: slog.New(slog.DiscardHandler),
		Upstream: Upstream{URL: u, Timeout: time.Second, MaxConnections: 1,
			Logger: slog.New(slog.DiscardHandler)}}
	if change != nil {
		change(&config)
	}
	c = New(config)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		c.Run(ctx)
		close(ended)
	}()
	end = sync.OnceFunc(func() {
		cancel()
		<-ended
		c.Close()
	})
	t.Cleanup(end)
	return c, end
}

// want checks percentage and step of the canary.
func want(t *testing.T, c *Canary, percent, step int) {
	t.Helper()
	if s := c.State(); s.Percent != percent || s.Step != step || c.Percent() != percent {
		t.Errorf("the canary stands at %d percent, step %d (%s); want %d percent, step %d", s.Percent,
			s.Step, s.Reason, percent, step)
	}
}

func mustStart(t *testing.T, c *Canary) {
	t.Helper()
	if _, err := c.Start(t.Context(), Change{By: "alice", Reason: "release"}); err != nil {
		t.Fatal(err)
	}
}

// slack is the longest delay of a step.
const slack = stepDelay + 2*checkEvery

// TestPlan checks that each step follows when the one before had its time and not earlier, that
// the last one stays, and that the trail has all of them.
func TestPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		c, _ := p.process(t, nil)
		time.Sleep(time.Hour)
		want(t, c, 0, 0)
		mustStart(t, c)
		want(t, c, 10, 1)
		if _, err := c.Start(t.Context(), Change{}); !strings.Contains(err.Error(),
			"the plan is running") {
			t.Errorf("a second start got %v", err)
		}
		time.Sleep(30*time.Minute - checkEvery)
		want(t, c, 10, 1)
		time.Sleep(slack)
		want(t, c, 50, 2)
		time.Sleep(time.Hour - slack - checkEvery)
		want(t, c, 50, 2)
		time.Sleep(2 * slack)
		want(t, c, 100, 0)
		time.Sleep(3 * time.Hour)
		want(t, c, 100, 0)
		if _, err := c.Start(t.Context(), Change{}); err == nil {
			t.Error("a plan starts behind its end")
		}
		if got := p.trail(); !slices.Equal(got, []string{
			"canary 50 percent (step 2 of 3) begun", "canary 50 percent (step 2 of 3) done",
			"canary 100 percent (step 3 of 3) begun", "canary 100 percent (step 3 of 3) done",
		}) {
			t.Errorf("the trail has %q", got)
		}
	})
}

// TestLastStepIsWatched checks that a last step with a time is watched for that time and then ends
// the plan.
func TestLastStepIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		c, _ := p.process(t, func(c *Config) { c.Plan = []Step{{100, time.Hour}} })
		mustStart(t, c)
		want(t, c, 100, 1)
		time.Sleep(time.Hour + slack)
		want(t, c, 100, 0)
		p.set(func(p *place) { p.fired = []string{"p95"} })
		time.Sleep(time.Hour)
		want(t, c, 100, 0)

		p.set(func(p *place) { p.fired = nil })
		if err := c.Back(t.Context(), "again"); err != nil {
			t.Fatal(err)
		}
		mustStart(t, c)
		time.Sleep(time.Minute)
		p.set(func(p *place) { p.fired = []string{"p95"} })
		time.Sleep(2 * checkEvery)
		want(t, c, 0, 0)
	})
}

// TestGuardFires checks that a plan goes back by itself within two checks when a release trigger
// fires, and stays there. The trail says why.
func TestGuardFires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		c, _ := p.process(t, nil)
		mustStart(t, c)
		time.Sleep(45 * time.Minute)
		want(t, c, 50, 2)
		// it goes back although it cannot be recorded
		p.set(func(p *place) { p.fired, p.trailErr = []string{"error_rate", "p95"}, errAway })
		time.Sleep(2 * checkEvery)
		want(t, c, 0, 0)
		var refused Refusal
		if _, err := c.Start(t.Context(), Change{}); !errors.As(err, &refused) {
			t.Errorf("a start while the guard has fired got %v", err)
		}
		p.set(func(p *place) { p.fired, p.trailErr = nil, nil })
		time.Sleep(2 * time.Hour)
		want(t, c, 0, 0)

		mustStart(t, c)
		p.set(func(p *place) { p.rows, p.fired = nil, []string{"p95"} })
		time.Sleep(2 * checkEvery)
		want(t, c, 0, 0)
		if got := p.trail(); !slices.Equal(got, []string{"guard 0 percent (back) begun",
			"guard 0 percent (back) done"}) ||
			p.rows[0].Reason != "release triggers fired: p95" {
			t.Errorf("the trail has %q", got)
		}
		// A percentage that a person set has no plan: the canary does not go back by itself.
		if _, err := c.Set(t.Context(), 20, Change{By: "alice"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		want(t, c, 20, 0)
	})
}

// TestHolds checks that the plan stays at its step while the verdict is unknown, the trail cannot
// be written or the step cannot be stored. The time with an unknown verdict does not count.
func TestHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		c, _ := p.process(t, nil)
		mustStart(t, c)
		time.Sleep(20 * time.Minute)
		p.set(func(p *place) { p.unknown = errAway })
		time.Sleep(3 * time.Hour)
		want(t, c, 10, 1)
		if s := c.Status(); !strings.Contains(s.Held, "away") || s.Watched > 20*time.Minute {
			t.Errorf("the status is %+v", s)
		}
		p.set(func(p *place) { p.unknown = nil })
		time.Sleep(9 * time.Minute)
		want(t, c, 10, 1)
		p.set(func(p *place) { p.trailErr = errAway })
		time.Sleep(time.Hour)
		want(t, c, 10, 1)
		p.set(func(p *place) { p.trailErr, p.away = nil, errAway })
		time.Sleep(time.Hour)
		want(t, c, 10, 1)
		if s := c.Status(); !strings.Contains(s.Held, "stored") {
			t.Errorf("the status is %+v", s)
		}
		p.set(func(p *place) { p.away = nil })
		time.Sleep(stepRetry + checkEvery)
		want(t, c, 50, 2)
		if n := len(p.trail()); n > 2*65 {
			t.Errorf("the attempts of an hour made %d rows", n)
		}
	})
}

// TestBackWithoutSettings checks a way back that cannot be stored. It applies in this process at
// once. As soon as it can be stored, it applies in the other processes and after a restart,
// even if they have set another percentage.
func TestBackWithoutSettings(t *testing.T) {
	for name, after := range map[string]bool{"not done": false, "done, but reported failed": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &place{}
				var remembered control.Canary
				c, end := p.process(t, func(c *Config) {
					c.Remember = func(s control.Canary) error { remembered = s; return nil }
				})
				if _, err := c.Set(t.Context(), 40, Change{}); err != nil {
					t.Fatal(err)
				}
				other, _ := p.process(t, nil)
				want(t, other, 40, 0)
				p.set(func(p *place) {
					if p.away = errAway; after {
						p.away, p.late = nil, errAway
					}
				})
				if err := c.Back(t.Context(), "alarm"); !errors.Is(err, errAway) {
					t.Errorf("back got %v", err)
				}
				want(t, c, 0, 0)
				if c.Status().Stored {
					t.Error("the status says that it is kept")
				}
				time.Sleep(10 * time.Second)
				want(t, c, 0, 0)
				if !after {
					want(t, other, 40, 0)
					end()
					c, _ = p.process(t, func(c *Config) { c.Remembered = remembered }) // a restart meanwhile
					want(t, c, 0, 0)
					// another process, which can still store
					p.set(func(p *place) { p.kept.Version++; p.kept.Percent = 60 })
				}
				p.set(func(p *place) { p.away, p.late = nil, nil })
				time.Sleep(2 * storeEvery)
				want(t, c, 0, 0)
				want(t, other, 0, 0)
				// also after a restart
				if s := p.Canary(); s.Percent != 0 || s.Reason != "alarm" || !c.Status().Stored {
					t.Errorf("what is kept is %v", s)
				}
			})
		})
	}
}

// TestIdle checks that the plan stays at a step in which the gate accepted no webhook, even with a
// good verdict. The first webhook lets it continue.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{idle: true}
		c, _ := p.process(t, nil)
		c.Accepted() // before the step started
		mustStart(t, c)
		time.Sleep(time.Hour)
		want(t, c, 10, 1)
		if s := c.Status(); !strings.Contains(s.Held, "no webhook") {
			t.Errorf("the status is %+v", s)
		}
		c.Accepted()
		time.Sleep(2 * checkEvery)
		want(t, c, 50, 2)
		if s := c.Status(); s.Held != "" {
			t.Errorf("the status is %+v", s)
		}
	})
}

// TestBackIsNeverLost checks that a way back counts even in a process that has not seen another
// process's change. If the settings lose it and another process sets a percentage, this process
// does not rise.
func TestBackIsNeverLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		one, _ := p.process(t, nil)
		other, _ := p.process(t, nil)
		time.Sleep(checkEvery / 2) // so that the other process does not check between the two
		if _, err := one.Set(t.Context(), 40, Change{}); err != nil {
			t.Fatal(err)
		}
		want(t, other, 0, 0)
		if err := other.Back(t.Context(), "alarm"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * storeEvery)
		want(t, one, 0, 0)
		want(t, other, 0, 0)

		at := one.State().Version
		p.set(func(p *place) { p.kept = control.Canary{Version: at, Percent: 60, Step: 2} })
		time.Sleep(2 * storeEvery)
		want(t, one, 0, 0)
		want(t, other, 0, 0)
		if s := p.Canary(); s.Percent != 0 || s.Version <= at {
			t.Errorf("what is kept is %v", s)
		}
	})
}

// TestBackPrevails checks that a way back prevails over changes that others made while this
// process could not store it.
func TestBackPrevails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		c, _ := p.process(t, nil)
		if _, err := c.Set(t.Context(), 40, Change{}); err != nil {
			t.Fatal(err)
		}
		p.set(func(p *place) { p.away = errAway })
		_ = c.Back(t.Context(), "alarm")
		p.set(func(p *place) { p.kept = control.Canary{Version: 7, Percent: 60} })
		time.Sleep(10 * time.Second)
		want(t, c, 0, 0)
		p.set(func(p *place) { p.away = nil })
		time.Sleep(2 * storeEvery)
		want(t, c, 0, 0)
		if s := p.Canary(); s.Percent != 0 || s.Version <= 7 {
			t.Errorf("what is kept is %v", s)
		}
	})
}

// TestProcesses checks that several processes follow one state. Only one takes each step, a fired
// trigger in one takes all back, and a follower takes no step.
func TestProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		var all []*Canary
		for range 5 {
			time.Sleep(time.Millisecond) // otherwise they check and write at the same moment
			c, _ := p.process(t, nil)
			all = append(all, c)
			// no two check at exactly the same time, because they would store the same value
			time.Sleep(time.Millisecond)
		}
		mustStart(t, all[0])
		for _, stand := range []struct {
			after         time.Duration
			percent, step int
		}{{time.Second, 10, 1}, {30 * time.Minute, 50, 2}, {time.Hour + slack, 100, 0}} {
			time.Sleep(stand.after)
			for _, c := range all {
				want(t, c, stand.percent, stand.step)
			}
		}
		done := 0
		for _, line := range p.trail() {
			if strings.HasSuffix(line, " done") {
				done++
			}
		}
		if done != 2 {
			t.Errorf("the trail has %q", p.trail())
		}
		if err := all[3].Back(t.Context(), "alarm"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * checkEvery)
		for _, c := range all {
			want(t, c, 0, 0)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		follower, _ := p.process(t, func(c *Config) { c.Follower = true })
		mustStart(t, follower)
		time.Sleep(2 * time.Hour)
		want(t, follower, 10, 1)
	})
}

// TestRestart checks that a process that starts applies the stored canary. The time of the step
// restarts, because nobody watched meanwhile.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		c, end := p.process(t, nil)
		mustStart(t, c)
		time.Sleep(20 * time.Minute)
		end()
		time.Sleep(2 * time.Hour)
		c, _ = p.process(t, nil)
		want(t, c, 10, 1)
		time.Sleep(29 * time.Minute)
		want(t, c, 10, 1)
		time.Sleep(time.Minute + slack)
		want(t, c, 50, 2)
	})
}

// TestSettingsLoseWrites checks that settings that lost their last writes, or everything, get the
// state that this process has seen.
func TestSettingsLoseWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		c, _ := p.process(t, nil)
		if _, err := c.Set(t.Context(), 40, Change{}); err != nil {
			t.Fatal(err)
		}
		before := p.Canary()
		if err := c.Back(t.Context(), "alarm"); err != nil {
			t.Fatal(err)
		}
		for _, lost := range []control.Canary{before, {}} {
			p.set(func(p *place) { p.kept = lost })
			time.Sleep(2 * storeEvery)
			want(t, c, 0, 0)
			if s := p.Canary(); s.Percent != 0 || s.Version != 2 {
				t.Errorf("what is kept is %v", s)
			}
		}
	})
}

// TestByHand checks that a percentage set by hand ends the plan, and that a new start continues
// from there. A percentage out of range is rejected, and so is a change that another process has
// overtaken.
func TestByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		c, _ := p.process(t, func(c *Config) { c.Percent = 5 })
		want(t, c, 5, 0)
		mustStart(t, c)
		if _, err := c.Set(t.Context(), 20, Change{By: "alice"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		want(t, c, 20, 0)
		mustStart(t, c)
		want(t, c, 50, 2)
		var refused Refusal
		for _, percent := range []int{-1, 101} {
			if _, err := c.Set(t.Context(), percent, Change{}); !errors.As(err, &refused) {
				t.Errorf("%d percent got %v", percent, err)
			}
		}
		p.set(func(p *place) { p.kept = control.Canary{Version: 9, Percent: 30} })
		if _, err := c.Set(t.Context(), 60, Change{}); !errors.Is(err, control.ErrCanaryChanged) {
			t.Errorf("a change of what another process has changed got %v", err)
		}
		want(t, c, 30, 0) // and has been applied
		none, _ := p.process(t, func(c *Config) { c.Plan = nil })
		if _, err := none.Start(t.Context(), Change{}); !errors.As(err, &refused) {
			t.Errorf("a start without a plan got %v", err)
		}
	})
}

// TestEvidence checks that with required evidence the canary leaves 0 percent only with evidence.
// Further steps need none. After a way back it needs evidence again.
func TestEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		c, _ := p.process(t, func(c *Config) { c.RequireEvidence = true })
		for range 2 {
			if _, err := c.Start(t.Context(), Change{}); err != ErrEvidence {
				t.Errorf("a start without evidence got %v", err)
			}
			if _, err := c.Set(t.Context(), 1, Change{}); err != ErrEvidence {
				t.Errorf("1 percent without evidence got %v", err)
			}
			want(t, c, 0, 0)
			if _, err := c.Start(t.Context(), Change{Evidence: "ab12"}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(31 * time.Minute)
			want(t, c, 50, 2)
			if _, err := c.Set(t.Context(), 60, Change{}); err != nil || c.State().Evidence != "ab12" {
				t.Errorf("60 percent got %v, on evidence %q", err, c.State().Evidence)
			}
			if _, err := c.Set(t.Context(), 0, Change{}); err != nil || c.State().Evidence != "" {
				t.Errorf("back got %v, on evidence %q", err, c.State().Evidence)
			}
		}
	})
}

// TestCheckPlan checks that invalid plans are rejected.
func TestCheckPlan(t *testing.T) {
	for _, plan := range [][]Step{nil, testPlan, {{100, 0}}, {{1, time.Second}, {2, time.Second}}} {
		if err := CheckPlan(plan); err != nil {
			t.Errorf("%v: %v", plan, err)
		}
	}
	for _, plan := range [][]Step{{{0, time.Second}}, {{101, 0}}, {{10, 0}, {20, 0}},
		{{10, time.Second}, {10, 0}}, {{20, time.Second}, {10, 0}}, {{10, -1}}} {
		if err := CheckPlan(plan); err == nil {
			t.Errorf("%v is taken", plan)
		}
	}
}
