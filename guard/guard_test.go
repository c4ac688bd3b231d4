package guard

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgate/hookgate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene is a guard in fake time, over a queue that the test describes.
type scene struct {
	*Guard
	t   *testing.T
	log *strings.Builder

	mu    sync.Mutex // guards all below
	stats hookgate.QueueStats
	err   error
	lag   time.Duration // of the oldest record; -1 if there is none
}

// play runs f beside a running guard, in fake time.
func play(t *testing.T, c Config, f func(s *scene)) {
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
		s.Guard = New(c)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { s.Run(ctx, Inputs{Queue: queue}) })
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

// is waits for d and checks the state of the breaker.
func (s *scene) is(d time.Duration, want State) {
	s.t.Helper()
	time.Sleep(d) // in fake time
	synctest.Wait()
	status := s.Status()
	if status.Breaker != want {
		s.t.Fatalf("the breaker is %s, want %s: %+v\n%s", status.Breaker, want, status, s.log)
	}
	if got := s.Admit(); want != Recovering && got != (want == Closed) {
		s.t.Fatalf("while the breaker is %s Admit says %v", want, got)
	}
}

// share returns how many of 10,000 webhooks are admitted.
func (s *scene) share() (n int) {
	for range 10_000 {
		if s.Admit() {
			n++
		}
	}
	return n
}

var depthRule = Rule{Limit: 90, Sustain: 5 * time.Second, Clear: 70, ClearFor: 3 * time.Second}

// TestBreakerCycle takes the breaker through all its states. A peak that is too short changes
// nothing, a longer one opens the breaker. A value between the marks, or low for too short a time,
// does not close it. A recovery admits a growing part of the webhooks, then the breaker closes.
func TestBreakerCycle(t *testing.T) {
	play(t, Config{Depth: depthRule, Recovery: 20 * time.Second}, func(s *scene) {
		s.is(3*time.Second+time.Millisecond, Closed)
		s.depth(950)
		s.is(4*time.Second, Closed) // not long enough
		s.depth(800)
		s.is(3*time.Second, Closed)
		s.depth(900)
		s.is(5*time.Second, Closed)
		s.is(2*time.Second, Open)
		s.depth(899)
		s.is(time.Hour, Open) // between the marks
		s.depth(700)
		s.is(3*time.Second, Open)
		s.depth(701)
		s.is(time.Second, Open) // the time restarts
		s.depth(0)
		s.is(3*time.Second, Open)
		s.is(time.Second, Recovering)
		if n := s.share(); n < 700 || n > 1300 {
			t.Errorf("at the start of the recovery %d of 10,000 are let in, want a tenth", n)
		}
		s.is(10*time.Second, Recovering)
		if n := s.share(); n < 4500 || n > 5500 {
			t.Errorf("half way %d of 10,000 are let in", n)
		}
		s.is(10*time.Second, Closed)
		if n := s.share(); n != 10_000 {
			t.Errorf("closed, %d of 10,000 are let in", n)
		}
		lines := strings.Count(s.log.String(), "\n")
		if log := s.log.String(); lines != 3 || !strings.Contains(log, "because=queue_depth_percent") ||
			!strings.Contains(log, "queue_depth_percent=90 queue_depth_percent_limit=90") {
			t.Errorf("the log has %d lines, want 3 with reason and values:\n%s", lines, log)
		}
		if s.Status().Opened != 1 {
			t.Errorf("it opened %d times", s.Status().Opened)
		}
	})
}

// TestRelapse checks that a value at its limit opens a recovering breaker at once. After that the
// breaker needs the usual time again.
func TestRelapse(t *testing.T) {
	play(t, Config{Depth: depthRule, Recovery: 20 * time.Second}, func(s *scene) {
		s.depth(1000)
		s.is(7*time.Second, Open)
		s.depth(0)
		s.is(5*time.Second, Recovering)
		s.depth(900)
		s.is(1100*time.Millisecond, Open)
		s.is(10*time.Second, Open)
		s.depth(0)
		s.is(2*time.Second, Open)
		s.is(3*time.Second, Recovering)
		s.is(21*time.Second, Closed)
	})
}

// TestUnreadable checks that a queue that fails, or only has an old depth, neither opens nor
// closes the breaker, however long that lasts. The time in which the queue was unreadable does not
// count.
func TestUnreadable(t *testing.T) {
	for name, blind := range map[string]func(*scene){
		"Stats fails":        func(s *scene) { s.err = errors.New("no answer") },
		"the backend is ill": func(s *scene) { s.stats.Err = errors.New("cannot write") },
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Config{Depth: depthRule, Lag: Rule{Limit: 60, Clear: 10},
				Recovery: time.Minute}, func(s *scene) {
				change := func(f func(*scene)) {
					s.mu.Lock()
					defer s.mu.Unlock()
					f(s)
				}
				see := func(s *scene) { s.err, s.stats.Err = nil, nil }
				s.is(time.Millisecond, Closed)
				change(func(s *scene) { s.stats.Depth, s.lag = 1000, 0 })
				s.is(3*time.Second, Closed)
				change(func(s *scene) { blind(s); s.lag = time.Hour })
				s.is(time.Hour, Closed)
				if signals := s.Status().Signals; signals[0].Known || signals[1].Known ||
					signals[0].Value != 100 {
					t.Errorf("the signals are shown as %+v", signals)
				}
				change(func(s *scene) { see(s); s.lag = 0 })
				// two seconds before and one since; the gap does not count
				s.is(2*time.Second, Closed)
				s.is(3*time.Second, Open)
				change(func(s *scene) { blind(s); s.stats.Depth = 0 })
				s.is(time.Hour, Open)
				change(see)
				s.is(5*time.Second, Recovering)
			})
		})
	}
}

// TestFullQueueIsReadable checks that ErrFull is an answer of the queue and not a failure to
// answer.
func TestFullQueueIsReadable(t *testing.T) {
	play(t, Config{Depth: depthRule}, func(s *scene) {
		s.mu.Lock()
		s.stats.Depth, s.stats.Err = 1000, hookgate.ErrFull
		s.mu.Unlock()
		s.is(10*time.Second, Open)
	})
}

// TestLag checks that the age of the oldest record opens the breaker if the rule says so. While
// webhooks are spooled the age is unknown.
func TestLag(t *testing.T) {
	play(t, Config{Lag: Rule{Limit: 60, Sustain: 2 * time.Second, Clear: 10,
		ClearFor: time.Second}}, func(s *scene) {
		s.mu.Lock()
		s.lag, s.stats.Degraded = time.Hour, errors.New("spooling")
		s.mu.Unlock()
		s.is(time.Minute, Closed)
		s.mu.Lock()
		s.stats.Degraded = nil
		s.mu.Unlock()
		s.is(4*time.Second, Open)
		s.mu.Lock()
		s.lag = -1
		s.mu.Unlock()
		s.is(4*time.Second, Closed) // at once, without Recovery
	})
}

// TestLatency checks that slow webhooks open the breaker. While it admits none, none is slow, and
// it tries again.
func TestLatency(t *testing.T) {
	play(t, Config{P95: Rule{Limit: 1000, Sustain: 3 * time.Second, Clear: 200,
		ClearFor: 2 * time.Second}, Recovery: 10 * time.Second}, func(s *scene) {
		send := func(n int, took time.Duration) {
			for range n {
				if s.Admit() {
					s.Accepted(took)
				}
			}
		}
		for range 20 { // one slow webhook in thirty is not the P95, and a few webhooks are not judged
			send(29, time.Millisecond)
			send(1, time.Minute)
			s.is(time.Second, Closed)
		}
		s.is(11*time.Second, Closed)
		for range 20 {
			send(1, time.Minute)
			s.is(time.Second, Closed)
		}
		for range 3 {
			send(200, 1100*time.Millisecond)
			time.Sleep(time.Second)
		}
		send(200, 1100*time.Millisecond)
		s.is(2*time.Second, Open)
		s.is(15*time.Second, Recovering) // the window of ten seconds, then two
		send(300, 2*time.Second)         // the breaker admits about a tenth
		s.is(1100*time.Millisecond, Open)
		s.is(15*time.Second, Recovering)
		s.is(10*time.Second, Closed)
	})
}

// TestDefaultsAreOff checks that a guard without limits admits everything, in any state of the
// queue.
func TestDefaultsAreOff(t *testing.T) {
	play(t, Config{}, func(s *scene) {
		s.depth(5000)
		s.lag = 24 * time.Hour
		for range 1000 {
			s.Accepted(time.Hour)
		}
		s.is(time.Hour, Closed)
		for range 100_000 {
			if s.Busy() || !s.Enter() {
				t.Fatal("a webhook is refused")
			}
		}
		if n := s.Status().InFlight; n != 100_000 {
			t.Errorf("%d in flight", n)
		}
	})
}
