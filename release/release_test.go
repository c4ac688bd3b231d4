package release

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/guard"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// staging is the configuration of a test.
type staging struct {
	Config
	guard    guard.Config
	controls Controls
	mode     func() control.Mode
}

// scene is a monitor in fake time. Its guard observes a queue that the test describes.
type scene struct {
	guard   *guard.Guard
	monitor *Monitor
	t       *testing.T
	log     *strings.Builder

	mu    sync.Mutex // guards all below
	stats hookgate.QueueStats
	err   error
	lag   time.Duration // of the oldest record; -1 if there is none
}

// play runs f beside a running guard and monitor, in fake time.
func play(t *testing.T, c *staging, f func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &scene{t: t, log: &strings.Builder{}, lag: -1, stats: hookgate.QueueStats{HighWater: 1000}}
		queue := func(context.Context) (hookgate.QueueStats, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			stats := s.stats
			if s.lag >= 0 {
				stats.OldestEnqueuedAt = time.Now().Add(-s.lag)
			}
			return stats, s.err
		}
		c.Logger = slog.New(slog.NewTextHandler(s.log, nil))
		c.guard.Logger = c.Logger
		s.guard, s.monitor = guard.New(c.guard), NewMonitor(c.Config)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { s.monitor.Run(ctx, c.controls) })
		running.Go(func() {
			s.guard.Run(ctx, guard.Inputs{Queue: queue, Mode: c.mode, Observer: s.monitor.Observe})
		})
		defer running.Wait()
		defer cancel()
		f(s)
	})
}

func (s *scene) depth(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Depth = n
}

// trigger waits for d and returns the state of a release trigger.
func (s *scene) trigger(d time.Duration, name string) TriggerStatus {
	s.t.Helper()
	time.Sleep(d) // in fake time
	synctest.Wait()
	for _, t := range s.monitor.Status().Triggers {
		if t.Name == name {
			return t
		}
	}
	s.t.Fatalf("there is no trigger %s", name)
	return TriggerStatus{}
}

// turns waits for d and checks the state of a release trigger.
func (s *scene) turns(d time.Duration, name string, want TriggerState) TriggerStatus {
	s.t.Helper()
	got := s.trigger(d, name)
	if got.State != want {
		s.t.Fatalf("%s is %s, want %s: %+v\n%s", name, got.State, want, got, s.log)
	}
	if fired := slices.Contains(s.monitor.Fired(), name); fired != (want == TriggerFired) {
		s.t.Fatalf("%s is %s, and fired are %v", name, want, s.monitor.Fired())
	}
	return got
}

// webhooks sends n accepted webhooks a second, which took the given time, and some that fail,
// until d has passed.
func (s *scene) webhooks(d time.Duration, n int, took time.Duration, failed int) {
	for range int(d / time.Second) {
		for range n {
			s.guard.Accepted(took)
		}
		for range failed {
			s.guard.Failed()
		}
		time.Sleep(time.Second) // in fake time
	}
}

const sustain = 150 * time.Second

func triggersWith(change func(*Config)) *staging {
	c := &staging{Config: Config{Triggers: Triggers{ClearFor: time.Minute, Fewest: 20}, NoRedis: true}}
	change(&c.Config)
	return c
}

// sustained takes a trigger through a peak that is too short, then to firing after its time above
// the limit and not before, and back. bad and well set its value for a time. lag is how long the
// value takes to follow.
func (s *scene) sustained(name string, lag time.Duration, bad, well func(d time.Duration)) {
	s.t.Helper()
	well(lag + 2*time.Second)
	s.turns(0, name, TriggerQuiet)
	bad(sustain - lag - 10*time.Second) // the window makes a peak longer
	s.turns(0, name, TriggerPending)
	well(lag + 2*time.Second)
	s.turns(0, name, TriggerQuiet)

	bad(lag + 2*time.Second)
	pending := s.turns(0, name, TriggerPending)
	if pending.Nearness < 1 || pending.AboveSeconds > lag.Seconds()+2 {
		s.t.Fatalf("the peak before counts: %+v", pending)
	}
	bad(sustain - time.Since(pending.Since) - 2*time.Second)
	s.turns(0, name, TriggerPending)
	bad(4 * time.Second)
	fired := s.turns(0, name, TriggerFired)
	if took := fired.Since.Sub(pending.Since); took < sustain || took > sustain+time.Second ||
		fired.TimesFired != 1 {
		s.t.Fatalf("it has fired after %v: %+v", took, fired)
	}

	well(55 * time.Second)
	s.turns(0, name, TriggerFired)
	well(lag + 10*time.Second)
	s.turns(0, name, TriggerQuiet)
	for _, line := range []string{`msg="release trigger fired" trigger=` + name,
		`msg="release trigger cleared" trigger=` + name} {
		if strings.Count(s.log.String(), line) != 1 {
			s.t.Fatalf("the log does not have once that it %s:\n%s", line, s.log)
		}
	}
}

// TestTriggers takes each release trigger through its states in fake time.
func TestTriggers(t *testing.T) {
	t.Run(TriggerP95, func(t *testing.T) {
		play(t, triggersWith(func(c *Config) { c.P95 = Trigger{Limit: 120, Sustain: sustain} }),
			func(s *scene) {
				s.sustained(TriggerP95, time.Minute,
					func(d time.Duration) { s.webhooks(d, 10, 125*time.Millisecond, 0) },
					func(d time.Duration) { s.webhooks(d, 10, 110*time.Millisecond, 0) })
			})
	})
	t.Run(TriggerErrorRate, func(t *testing.T) {
		play(t, triggersWith(func(c *Config) { c.ErrorRate = Trigger{Limit: 0.1, Sustain: sustain} }),
			func(s *scene) {
				s.sustained(TriggerErrorRate, time.Minute,
					func(d time.Duration) { s.webhooks(d, 900, time.Millisecond, 1) },
					func(d time.Duration) { s.webhooks(d, 900, time.Millisecond, 0) })
			})
	})
	t.Run(TriggerQueueDepth, func(t *testing.T) {
		play(t, triggersWith(func(c *Config) {
			c.QueueDepth = Trigger{Limit: 10_000,
				Sustain: sustain}
		}), func(s *scene) {
			s.sustained(TriggerQueueDepth, 0, func(d time.Duration) { s.depth(10_001); time.Sleep(d) },
				func(d time.Duration) { s.depth(10_000); time.Sleep(d) })
		})
	})
	t.Run(TriggerStorePool, func(t *testing.T) {
		var mu sync.Mutex
		inUse := 9
		set := func(n int) { mu.Lock(); defer mu.Unlock(); inUse = n }
		play(t, triggersWith(func(c *Config) {
			c.StorePool = Trigger{Limit: 95, Sustain: sustain}
			c.Pool = func() (int, int) { mu.Lock(); defer mu.Unlock(); return inUse, 10 }
		}), func(s *scene) {
			s.sustained(TriggerStorePool, 10*time.Second, func(d time.Duration) { set(10); time.Sleep(d) },
				func(d time.Duration) { set(9); time.Sleep(d) })
		})
	})
	t.Run(TriggerRedis, func(t *testing.T) {
		play(t, triggersWith(func(c *Config) {
			c.Redis, c.NoRedis = Trigger{Limit: 50,
				Sustain: sustain}, false
		}), func(s *scene) {
			degraded := func(err error) func(time.Duration) {
				return func(d time.Duration) {
					s.mu.Lock()
					s.stats.Degraded = err
					s.mu.Unlock()
					time.Sleep(
						d)
				}
			}
			s.sustained(TriggerRedis, 10*time.Second, degraded(errors.New("away")), degraded(nil))
		})
	})
}

// TestTriggerLimits checks that each value is judged as documented at its limit and next to it.
func TestTriggerLimits(t *testing.T) {
	c := Config{Triggers: Triggers{P95: Trigger{Limit: 120}, ErrorRate: Trigger{Limit: 0.1},
		QueueDepth: Trigger{Limit: 100}, StorePool: Trigger{Limit: 95}, Redis: Trigger{Limit: 50},
		Fewest: 20}}
	all := map[string]*trigger{}
	for _, tr := range newTriggers(c) {
		all[tr.name] = tr
	}
	full := fmt.Errorf("spool: %w", hookgate.ErrFull)
	away := errors.New("away")
	for _, test := range []struct {
		name string
		seen guard.Observation
		want reading
	}{
		{TriggerP95, guard.Observation{Minute: guard.Minute{Accepted: 20, P95: time.Second}},
			reading{value: 1000}},
		{TriggerP95, guard.Observation{Minute: guard.Minute{Accepted: 19, Failed: 100, P95: time.Second}},
			reading{state: TriggerIdle}},
		{TriggerErrorRate, guard.Observation{Minute: guard.Minute{Accepted: 19, Failed: 1}},
			reading{value: 5}},
		{TriggerErrorRate, guard.Observation{Minute: guard.Minute{Failed: 20}}, reading{value: 100}},
		{TriggerErrorRate, guard.Observation{Minute: guard.Minute{Failed: 19}},
			reading{state: TriggerIdle}},
		{TriggerQueueDepth, guard.Observation{Queue: hookgate.QueueStats{Depth: 7}}, reading{value: 7}},
		{TriggerQueueDepth, guard.Observation{Queue: hookgate.QueueStats{Depth: 7, Err: full}},
			reading{value: 7}},
		{TriggerQueueDepth, guard.Observation{Queue: hookgate.QueueStats{Depth: 7, Err: away}},
			reading{state: TriggerUnknown}},
		{TriggerQueueDepth, guard.Observation{QueueErr: away}, reading{state: TriggerUnknown}},
		{TriggerQueueDepth, guard.Observation{Queue: hookgate.QueueStats{Depth: 100, Degraded: away}},
			reading{state: TriggerUnknown}},
		{TriggerQueueDepth, guard.Observation{Queue: hookgate.QueueStats{Depth: 101, Degraded: away}},
			reading{value: 101}},
		{TriggerRedis, guard.Observation{QueueErr: away}, reading{value: 100}},
		{TriggerRedis, guard.Observation{}, reading{value: 50}}, // the mean of two observations
		{TriggerRedis, guard.Observation{Queue: hookgate.QueueStats{Err: full}},
			reading{value: 100. / 3}},
		{TriggerRedis, guard.Observation{Queue: hookgate.QueueStats{Err: full, Degraded: away}},
			reading{value: 50}},
	} {
		if got := all[test.name].read(test.seen); got != test.want {
			t.Errorf("%s reads %+v of %+v, want %+v", test.name, got, test.seen, test.want)
		}
	}
	if all[TriggerStorePool].state != TriggerOff || all[TriggerStorePool].status().Why == "" {
		t.Errorf("without a pool the trigger is %+v", all[TriggerStorePool].status())
	}
	for _, test := range []struct {
		value float64
		want  guard.Zone
	}{{100, guard.Low}, {100.0001, guard.High}, {101, guard.High}, {0, guard.Low}} {
		if got := all[TriggerQueueDepth].watched.ZoneOf(test.value); got != test.want {
			t.Errorf("%v is in zone %v, want %v", test.value, got, test.want)
		}
	}
}

// TestTriggerUnknown checks that an unreadable queue makes a trigger unknown and not quiet. A
// pending trigger waits, and a fired one stays fired.
func TestTriggerUnknown(t *testing.T) {
	play(t, triggersWith(func(c *Config) {
		c.QueueDepth = Trigger{Limit: 100,
			Sustain: time.Minute}
	}), func(s *scene) {
		fail := func(err error) { s.mu.Lock(); defer s.mu.Unlock(); s.err = err }
		s.turns(0, TriggerQueueDepth, TriggerUnknown) // before the first observation
		s.turns(2*time.Second, TriggerQueueDepth, TriggerQuiet)
		s.depth(101)
		s.turns(40*time.Second, TriggerQueueDepth, TriggerPending)
		fail(errors.New("away"))
		if u := s.turns(10*time.Minute, TriggerQueueDepth, TriggerUnknown); u.Known {
			t.Errorf("it is unknown, and known: %+v", u)
		}
		fail(nil)
		s.turns(10*time.Second, TriggerQueueDepth, TriggerPending)
		s.turns(15*time.Second, TriggerQueueDepth, TriggerFired)
		fail(errors.New("away"))
		s.turns(10*time.Minute, TriggerQueueDepth, TriggerFired)
		fail(nil)
		s.depth(0)
		s.turns(50*time.Second, TriggerQueueDepth, TriggerFired)
		s.turns(15*time.Second, TriggerQueueDepth, TriggerQuiet)
	})
}

// TestStopped checks that the time in which a process was stopped does not count as time above the
// limit.
func TestStopped(t *testing.T) {
	triggers := newTriggers(Config{Triggers: Triggers{QueueDepth: Trigger{Limit: 10,
		Sustain: sustain}}})
	depth := triggers[slices.IndexFunc(triggers,
		func(t *trigger) bool { return t.name == TriggerQueueDepth })]
	o := guard.Observation{At: time.Now(), Queue: hookgate.QueueStats{Depth: 11}}
	depth.judge(o)
	o.At = o.At.Add(time.Hour)
	if depth.judge(o); depth.state != TriggerPending {
		t.Errorf("after an hour in which nobody looked it is %s", depth.state)
	}
	for range sustain / time.Second {
		o.At = o.At.Add(time.Second)
		depth.judge(o)
	}
	if depth.state != TriggerFired {
		t.Errorf("after five minutes of looks it is %s", depth.state)
	}
}

// TestTriggerIdle checks that P95 and error rate are not judged with too few webhooks: short
// bursts of slow webhooks never add up. A fired trigger stays fired while read_only admits
// nothing.
func TestTriggerIdle(t *testing.T) {
	play(t, triggersWith(func(c *Config) { c.P95 = Trigger{Limit: 120, Sustain: sustain} }),
		func(s *scene) {
			s.turns(2*time.Second, TriggerP95, TriggerIdle)
			for range 6 { // a minute of slow webhooks, then two without any
				s.webhooks(time.Minute, 1, time.Second, 0)
				s.turns(0, TriggerP95, TriggerPending)
				s.turns(2*time.Minute, TriggerP95, TriggerIdle)
			}
			s.webhooks(sustain+time.Minute, 1, time.Second, 0)
			s.turns(0, TriggerP95, TriggerFired)
			s.turns(5*time.Minute, TriggerP95, TriggerFired)
			s.webhooks(2*time.Minute+2*time.Second, 1, time.Millisecond, 0)
			s.turns(0, TriggerP95, TriggerQuiet)
		})
}

// hands are the controls of a monitor in a test.
type hands struct {
	mu    sync.Mutex // guards all below
	mode  control.Mode
	fails int // this many attempts fail first
	tried int
	did   []string
	rows  []control.AdminAction
	ends  error // of the roll-back command
	// slow is how long a row of the trail takes; it ignores the context.
	slow time.Duration
	away int // this many rows fail first
}

func (h *hands) Mode() control.Mode { return h.mode }

func (h *hands) attempt(what string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tried++
	if h.tried <= h.fails {
		return errors.New("not now")
	}
	h.did = append(h.did, what)
	return nil
}

func (h *hands) SetMode(_ context.Context, m control.Mode) error { return h.attempt(string(m)) }

func (h *hands) Back(_ context.Context, reason string) error { return h.attempt("back: " + reason) }

func (h *hands) RecordAction(_ context.Context, a control.AdminAction) error {
	time.Sleep(h.slow)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.away--; h.away >= 0 {
		return errors.New("the database is away")
	}
	h.rows = append(h.rows, a)
	return nil
}

func (h *hands) controls() Controls {
	return Controls{Mode: h, Canary: h, Trail: h, RollBack: func(_ hookgate.RequestID, reason string,
		ended func(error)) (string, error) {
		if h.ends != nil {
			time.AfterFunc(time.Second, func() { ended(h.ends) })
		}
		return "pid 7", h.attempt("rollback: " + reason)
	}}
}

func (h *hands) done() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.did)
}

func (h *hands) attempts() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tried
}

// TestActionDoesNotWaitForTheTrail checks that the monitor acts at once although the database is
// broken and a row of the trail takes long. Both rows are written later, in order, even after the
// trigger has cleared.
func TestActionDoesNotWaitForTheTrail(t *testing.T) {
	h := &hands{slow: 10 * time.Second, away: 4}
	c := triggersWith(func(c *Config) {
		c.QueueDepth = Trigger{Limit: 100, Sustain: time.Minute,
			Action: ActionCanaryBack}
	})
	c.controls = h.controls()
	play(t, c, func(s *scene) {
		s.depth(101)
		s.turns(62*time.Second, TriggerQueueDepth, TriggerFired)
		synctest.Wait()
		if did, alarms := h.done(), s.monitor.Status().Alarms; len(did) != 1 ||
			alarms[0].Kind != AlarmActed {
			t.Errorf("when the trigger fires the guard did %v, and told of %+v", did, alarms)
		}
		s.depth(0)
		s.turns(5*time.Minute, TriggerQueueDepth, TriggerQuiet)
		if len(h.rows) != 2 || h.rows[0].Result != control.ResultBegun ||
			h.rows[1].Result != control.ResultDone {
			t.Errorf("the rows of the trail are %+v", h.rows)
		}
	})
}

// TestActions checks that each action happens once for each firing, however long the trigger stays
// fired. Two rows of the admin trail and an alarm report it.
func TestActions(t *testing.T) {
	reason := "release trigger queue_depth: 101 records, above 100 for 1m0s"
	for action, want := range map[Action]string{ActionReadOnly: "read_only",
		ActionCanaryBack: "back: " +
			reason, ActionRollBack: "rollback: " + reason, ActionNone: ""} {
		t.Run(string(action), func(t *testing.T) {
			h := &hands{}
			c := triggersWith(func(c *Config) {
				c.QueueDepth = Trigger{Limit: 100, Sustain: time.Minute,
					Action: action}
			})
			c.controls = h.controls()
			play(t, c, func(s *scene) {
				var expected []string
				for n := 1; n <= 2; n++ {
					s.depth(101)
					s.turns(59*time.Second, TriggerQueueDepth, TriggerPending)
					s.turns(3*time.Second, TriggerQueueDepth, TriggerFired)
					if want != "" {
						expected = append(expected, want)
					}
					s.turns(3*time.Minute, TriggerQueueDepth, TriggerFired)
					if got := h.done(); !slices.Equal(got, expected) {
						t.Fatalf("after firing %d: did %q, want %q", n, got, expected)
					}
					s.depth(0)
					s.turns(62*time.Second, TriggerQueueDepth, TriggerQuiet)
				}
				var kinds, results []string
				for _, a := range s.monitor.Status().Alarms {
					kinds = append(kinds, a.Kind)
				}
				for _, r := range h.rows {
					if r.Actor != "guard" || r.Reason != reason || r.RequestID.IsZero() || r.At.IsZero() {
						t.Errorf("a row of the trail is %+v", r)
					}
					results = append(results, strings.TrimSuffix(r.Result, ": pid 7"))
				}
				wantKinds, wantResults := []string{"cleared", "acted", "raised", "cleared", "acted", "raised"},
					[]string{"begun", "done", "begun", "done"}
				if action == ActionNone {
					wantKinds, wantResults = []string{"cleared", "raised", "cleared", "raised"}, nil
				}
				if !slices.Equal(kinds, wantKinds) || !slices.Equal(results, wantResults) {
					t.Errorf("alarms %v, rows %v", kinds, results)
				}
			})
		})
	}
}

// TestBuffer checks the mode buffer, in which a person wants the queue to grow. Its age does not
// open the breaker and its depth fires no trigger. A full queue still opens the breaker.
func TestBuffer(t *testing.T) {
	var mode atomic.Value
	mode.Store(control.ModeBuffer)
	c := triggersWith(func(c *Config) { c.QueueDepth = Trigger{Limit: 100} })
	c.mode = func() control.Mode { return mode.Load().(control.Mode) }
	c.guard = guard.Config{Depth: guard.Rule{Limit: 90, Clear: 75},
		Lag: guard.Rule{Limit: 60, Clear: 30}}
	play(t, c, func(s *scene) {
		old := func(depth int64) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.stats.Depth, s.lag = depth, time.Hour
		}
		old(500)
		s.turns(time.Minute, TriggerQueueDepth, TriggerIdle)
		if state := s.guard.Status(); state.Breaker != guard.Closed {
			t.Errorf("the breaker is %s because of %s", state.Breaker, state.Reason)
		}
		old(950)
		s.turns(3*time.Second, TriggerQueueDepth, TriggerIdle)
		if state := s.guard.Status(); state.Breaker != guard.Open || state.Reason != guard.SignalDepth {
			t.Errorf("at 95 percent the breaker is %s because of %s", state.Breaker, state.Reason)
		}
		mode.Store(control.ModeNormal)
		s.turns(3*time.Second, TriggerQueueDepth, TriggerFired)
	})
}

// TestActionFails checks that the monitor retries to set a mode, with growing pauses, until that
// succeeds or the trigger clears. It does not retry a roll-back that cannot start.
func TestActionFails(t *testing.T) {
	fire := func(action Action, fails int, f func(*scene, *hands)) {
		h := &hands{fails: fails}
		c := triggersWith(func(c *Config) { c.QueueDepth = Trigger{Limit: 100, Action: action} })
		c.controls = h.controls()
		play(t, c, func(s *scene) {
			s.depth(101)
			s.turns(1100*time.Millisecond, TriggerQueueDepth, TriggerFired)
			f(s, h)
		})
	}
	fire(ActionReadOnly, 5, func(s *scene, h *hands) {
		s.trigger(2*time.Minute, TriggerQueueDepth)
		if h.attempts() != 6 || len(h.done()) != 1 || h.rows[len(h.rows)-1].Result != "done" {
			t.Errorf("%d attempts, %v done, rows %+v", h.attempts(), h.done(), h.rows)
		}
	})
	fire(ActionReadOnly, 1000, func(s *scene, h *hands) {
		s.trigger(10*time.Minute, TriggerQueueDepth)
		if n := h.attempts(); n < 15 || n > 40 {
			t.Errorf("in ten minutes there were %d attempts", n)
		}
		s.depth(0)
		s.turns(62*time.Second, TriggerQueueDepth, TriggerQuiet)
		n := h.attempts()
		s.trigger(10*time.Minute, TriggerQueueDepth)
		if h.attempts() != n {
			t.Error("it is still tried although the trigger has cleared")
		}
		if last := h.rows[len(h.rows)-1].Result; !strings.HasPrefix(last, "failed: ") ||
			!strings.Contains(last, "not now") {
			t.Errorf("the trail says %q", last)
		}
	})
	// In buffer a person works on the database, so workers must not write to it.
	fire(ActionReadOnly, 0, func(s *scene, h *hands) {
		if h.attempts() != 1 {
			t.Errorf("in normal: %d attempts", h.attempts())
		}
	})
	buffering := &hands{mode: control.ModeBuffer}
	c := triggersWith(func(c *Config) { c.ErrorRate = Trigger{Limit: 1, Action: ActionReadOnly} })
	c.controls = buffering.controls()
	play(t, c, func(s *scene) {
		s.webhooks(time.Minute, 10, time.Millisecond, 10)
		s.turns(0, TriggerErrorRate, TriggerFired)
		if buffering.attempts() != 0 || !strings.Contains(s.log.String(), "the mode is buffer") {
			t.Errorf("in buffer the guard has set %v:\n%s", buffering.done(), s.log)
		}
	})
	fire(ActionRollBack, 1, func(s *scene, h *hands) {
		s.trigger(10*time.Minute, TriggerQueueDepth)
		if h.attempts() != 1 || h.rows[1].Result != "failed: not now" {
			t.Errorf("%d attempts, rows %+v", h.attempts(), h.rows)
		}
	})
}

// TestRollBackCommandFails checks that an alarm reports a roll-back command that fails after its
// start.
func TestRollBackCommandFails(t *testing.T) {
	h := &hands{ends: errors.New("exit status 1")}
	c := triggersWith(func(c *Config) { c.QueueDepth = Trigger{Limit: 100, Action: ActionRollBack} })
	c.controls = h.controls()
	play(t, c, func(s *scene) {
		s.depth(101)
		s.turns(1500*time.Millisecond, TriggerQueueDepth, TriggerFired)
		if a := s.monitor.Status().Alarms[0]; a.Kind != AlarmActed || a.Result != "done: pid 7" {
			t.Errorf("when it is started the alarm is %+v", a)
		}
		s.turns(time.Second, TriggerQueueDepth, TriggerFired)
		if a := s.monitor.Status().Alarms[0]; a.Kind != AlarmActed ||
			a.Result != "failed: the roll-back command: exit status 1" {
			t.Errorf("when it has failed the alarm is %+v", a)
		}
	})
}

// receiver receives alarms in fake time.
type receiver struct {
	mu     sync.Mutex
	status int // 0: no answer
	got    []string
	at     []time.Time
}

func (r *receiver) Send(_ context.Context, id string, body []byte) hookgate.Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got, r.at = append(r.got, id+" "+string(body)), append(r.at, time.Now())
	switch {
	case r.status == 0:
		return hookgate.Answer{Verdict: hookgate.VerdictOutage, Reason: "connection refused"}
	case r.status/100 != 2:
		return hookgate.Answer{Verdict: hookgate.VerdictFailed, Reason: fmt.Sprint(r.status)}
	}
	return hookgate.Answer{Status: r.status}
}

func (r *receiver) Host() string          { return "alarms.test" }
func (r *receiver) CloseIdleConnections() {}

func (r *receiver) answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func (r *receiver) requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// TestAlarmWebhook checks that an alarm is sent until the receiver accepts it, with the same id
// and growing pauses. After a time the monitor gives up, and if too many alarms wait it drops new
// ones. None of that delays the monitor.
func TestAlarmWebhook(t *testing.T) {
	r := &receiver{}
	c := triggersWith(func(c *Config) { c.QueueDepth, c.ClearFor = Trigger{Limit: 100}, 0 })
	c.Process, c.Version = "gate-1", "v2"
	c.Webhook = Webhook{Sender: r, RetryFor: 15 * time.Minute}
	play(t, c, func(s *scene) {
		s.depth(101)
		s.turns(1100*time.Millisecond, TriggerQueueDepth, TriggerFired)
		s.trigger(5*time.Minute, TriggerQueueDepth)
		refused := r.requests()
		if len(refused) < 5 || len(refused) > 20 {
			t.Errorf("in five minutes there were %d attempts", len(refused))
		}
		r.answer(204)
		s.trigger(2*time.Minute, TriggerQueueDepth)
		got := r.requests()
		id := s.monitor.Status().Alarms[0].ID
		for _, text := range got {
			if text != got[0] || !strings.HasPrefix(text,
				id+` {"type":"release.trigger.raised","timestamp":"`) ||
				!strings.Contains(text, `"trigger":"queue_depth","value":101,"limit":100,"unit":"records",`+
					`"action":"none","process":"gate-1","version":"v2"}`) {
				t.Fatalf("sent %s", text)
			}
		}
		if w := s.monitor.Status().Webhook; len(got) != len(refused)+1 ||
			*w != (WebhookStatus{Delivered: 1}) {
			t.Errorf("%d attempts, %+v", len(got), w)
		}

		r.answer(500)
		s.depth(0)
		s.turns(1100*time.Millisecond, TriggerQueueDepth, TriggerQuiet)
		s.trigger(17*time.Minute, TriggerQueueDepth)
		n := len(r.requests())
		s.trigger(10*time.Minute, TriggerQueueDepth)
		if w := s.monitor.Status().Webhook; len(r.requests()) != n || w.Failed != 1 ||
			!strings.Contains(s.log.String(), "alarm not delivered; giving up") ||
			!strings.Contains(s.log.String(), "alarms.test: connection refused") {
			t.Errorf("%d attempts after %d, %+v", len(r.requests()), n, w)
		}

		for range alarmsWaiting { // two alarms each
			s.depth(101)
			s.turns(time.Second, TriggerQueueDepth, TriggerFired)
			s.depth(0)
			s.turns(time.Second, TriggerQueueDepth, TriggerQuiet)
		}
		if w := s.monitor.Status().Webhook; w.Dropped < alarmsWaiting-2 || w.Dropped > alarmsWaiting+2 {
			t.Errorf("of %d alarms %d are dropped", 2*alarmsWaiting, w.Dropped)
		}
		if n := len(s.monitor.Status().Alarms); n != alarmsShown {
			t.Errorf("%d alarms are shown", n)
		}
	})
}
