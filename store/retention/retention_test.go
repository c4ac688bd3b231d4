package retention

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgate/hookgate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a store whose steps a test scripts in fake time. It records when and how it was called.
type script struct {
	prune func(n int, c hookgate.Cutoffs, limit int) (hookgate.Pruned, error)
	calls []call
}

type call struct {
	at      time.Time
	cutoffs hookgate.Cutoffs
	limit   int
}

func (s *script) Prune(_ context.Context, c hookgate.Cutoffs, limit int) (hookgate.Pruned, error) {
	s.calls = append(s.calls, call{time.Now(), c, limit})
	return s.prune(len(s.calls), c, limit)
}

// tally records the calls of Metrics.
type tally struct {
	events          int64
	took            time.Duration
	steps, failures int
}

func (t *tally) Pruned(p hookgate.Pruned, took time.Duration) {
	t.steps++
	t.events += p.Events
	t.took += took
}
func (t *tally) PruneFailed() { t.failures++ }

// runFor runs the loop in fake time.
func runFor(t *testing.T, d time.Duration, c Config, s *script) *tally {
	t.Helper()
	m := &tally{}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	Run(ctx, c, s, m)
	return m
}

// TestShare: removal uses its share of the time and no more, however much there is to remove and
// however long a step takes. Steps come to take about StepTarget.
func TestShare(t *testing.T) {
	for name, perRow := range map[string]time.Duration{"fast": 5 * time.Microsecond,
		"slow": 100 * time.Microsecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const target, share = 10 * time.Millisecond, 0.1
				var last time.Duration
				s := &script{prune: func(_ int, _ hookgate.Cutoffs, limit int) (hookgate.Pruned, error) {
					last = time.Duration(limit) * perRow
					time.Sleep(last)
					return hookgate.Pruned{Events: int64(limit), More: true}, nil
				}}
				const d = time.Minute
				m := runFor(t, d, Config{Events: time.Hour, Share: share, StepTarget: target}, s)
				if used := float64(m.took) / float64(d); used > share*1.05 || used < share/2 {
					t.Errorf("removal took %.3f of the time, want %.2f", used, share)
				}
				if last > 2*target {
					t.Errorf("the last step took %v, want about %v", last, target)
				}
			})
		})
	}
}

// TestCutoffs: ages count from the moment of the step, and the trail is never kept shorter than the
// events.
func TestCutoffs(t *testing.T) {
	for _, test := range []struct{ events, trail, wantTrail time.Duration }{
		{time.Hour, 0, 0}, {time.Hour, 2 * time.Hour, 2 * time.Hour}, {2 * time.Hour, time.Hour,
			2 * time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{prune: func(int, hookgate.Cutoffs, int) (hookgate.Pruned,
				error) {
				return hookgate.Pruned{}, nil
			}}
			runFor(t, 10*time.Minute, Config{Events: test.events, Trail: test.trail}, s)
			if len(s.calls) < 9 {
				t.Errorf("%d looks in ten minutes, want one a minute", len(s.calls))
			}
			for _, c := range s.calls {
				if got := c.at.Sub(c.cutoffs.Events); got != test.events {
					t.Errorf("events of %v and older go, want %v", got, test.events)
				}
				if test.wantTrail == 0 && !c.cutoffs.Trail.IsZero() || test.wantTrail != 0 &&
					c.at.Sub(c.cutoffs.Trail) != test.wantTrail {
					t.Errorf("lineage from before %v goes, want %v before %v", c.cutoffs.Trail, test.wantTrail,
						c.at)
				}
			}
		})
	}
}

// TestPaused: the loop removes nothing while Paused returns true, and continues soon after.
func TestPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{prune: func(int, hookgate.Cutoffs, int) (hookgate.Pruned,
			error) {
			return hookgate.Pruned{}, nil
		}}
		until := time.Now().Add(time.Hour)
		runFor(t, time.Hour+2*time.Second, Config{Events: time.Hour,
			Paused: func() bool { return time.Now().Before(until) }}, s)
		if len(s.calls) != 1 || s.calls[0].at.Before(until) {
			t.Errorf("calls %+v, want one after %v", s.calls, until)
		}
	})
}

// TestKeepForEver: without a time the loop never calls the store.
func TestKeepForEver(t *testing.T) {
	s := &script{prune: func(int, hookgate.Cutoffs, int) (hookgate.Pruned, error) { panic("pruned") }}
	Run(t.Context(), Config{Trail: time.Hour}, s, &tally{})
}

// TestStoreAway: the loop calls a store that fails for an hour at growing intervals, writes two log
// lines, and prunes it again soon after it is back.
func TestStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := time.Now().Add(time.Hour)
		s := &script{prune: func(int, hookgate.Cutoffs, int) (hookgate.Pruned, error) {
			if time.Now().Before(back) {
				return hookgate.Pruned{}, errors.New("connection refused")
			}
			return hookgate.Pruned{Events: 1}, nil
		}}
		var log bytes.Buffer
		m := runFor(t, time.Hour+5*time.Minute, Config{Events: time.Hour,
			Logger: slog.New(slog.NewTextHandler(&log, nil))}, s)
		if m.failures < 40 || m.failures > 150 {
			t.Errorf("%d attempts failed in an hour, want about one a minute", m.failures)
		}
		if n := strings.Count(log.String(), "\n"); n != 2 ||
			!strings.Contains(log.String(), "connection refused") {
			t.Errorf("the log has %d lines, want one for the failure and one for its end:\n%s", n, &log)
		}
		if m.events == 0 {
			t.Error("nothing was removed when the store was back")
		}
	})
}

// TestBusy: while another process removes, this one only checks from time to time.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{prune: func(int, hookgate.Cutoffs, int) (hookgate.Pruned,
			error) {
			return hookgate.Pruned{Busy: true}, nil
		}}
		if m := runFor(t, 10*time.Minute, Config{Events: time.Hour}, s); m.steps > 11 {
			t.Errorf("%d looks in ten minutes, want one a minute", m.steps)
		}
	})
}

// TestEndsWhileRemoving: the end does not wait for a pause and interrupts no step.
func TestEndsWhileRemoving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &script{}
		s.prune = func(int, hookgate.Cutoffs, int) (hookgate.Pruned, error) {
			cancel()
			time.Sleep(time.Second)
			return hookgate.Pruned{Events: 1, More: true}, nil
		}
		m, start := &tally{}, time.Now()
		Run(ctx, Config{Events: time.Hour}, s, m)
		if took := time.Since(start); took != time.Second || m.events != 1 {
			t.Errorf("ended after %v with %d steps done, want the step under way done, and no pause", took,
				m.steps)
		}
	})
}

// TestHeldUp: a subscription holds retention up for ten minutes. The log names it once, and says
// once when that ends. The loop does not count that as more to remove.
func TestHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := time.Now().Add(10 * time.Minute)
		s := &script{prune: func(int, hookgate.Cutoffs, int) (hookgate.Pruned, error) {
			if time.Now().Before(until) {
				return hookgate.Pruned{HeldUpBy: "billing"}, nil
			}
			return hookgate.Pruned{}, nil
		}}
		var log bytes.Buffer
		runFor(t, time.Hour, Config{Events: 24 * time.Hour, PassSubscriptions: true,
			Logger: slog.New(slog.NewTextHandler(&log, nil))}, s)
		if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(),
			"subscription=billing") {
			t.Errorf("the log is\n%swant two lines that name the subscription", log.String())
		}
		if n := len(s.calls); n > 61 {
			t.Errorf("the store was called %d times in an hour", n)
		}
		if !s.calls[0].cutoffs.PassSubscriptions {
			t.Error("the store does not know that it must not wait for subscriptions")
		}
	})
}
