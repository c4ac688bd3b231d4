package history

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// table is a store in memory that can fail after it has stored.
type table struct {
	rows  map[Minute]Counts // the key has no counts
	saves int
	fails bool
}

func (s *table) SaveMinutes(_ context.Context, minutes []Minute, oldest time.Time) error {
	slept.Load()
	s.saves++
	for _, m := range minutes {
		key := m
		key.Counts = Counts{}
		s.rows[key] = m.Counts
	}
	for key := range s.rows {
		if key.At.Before(oldest) {
			delete(s.rows, key)
		}
	}
	if s.fails {
		return errors.New("the outcome is unknown")
	}
	return nil
}

func (s *table) Minutes(_ context.Context, from, to time.Time, only Subject,
	each func(*Minute)) error {
	for m, counts := range s.rows {
		if m.Counts = counts; !m.At.Before(from) && m.At.Before(to) &&
			only.Selects(m.Subject) {
			each(&m)
		}
	}
	return nil
}

// counters are those of one process.
type counters struct{ accepted, stored int64 }

func (c *counters) totals() map[Subject]Counts {
	slept.Load()
	shop := Counts{Accepted: c.accepted}
	shop.Latency.Observe(2, c.accepted)
	return map[Subject]Counts{{Source, "shop"}: shop, {Gate, ""}: {Stored: c.stored}}
}

// startRecorder runs a recorder until the returned function is called.
func startRecorder(s Store, c *counters, process string) (r *Recorder, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	r = NewRecorder(s, c.totals, process, slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }()
	return r, func() { cancel(); <-done }
}

// slept orders what a test did before a sleep before what the recorder does in it, for the race
// detector: fake time alone does not.
var slept atomic.Int64

// sleep returns after d, when the recorder waits again.
func sleep(d time.Duration) {
	slept.Add(1)
	time.Sleep(d)
	synctest.Wait()
}

func total(t *testing.T, r Reader, of Subject) (c Counts) {
	t.Helper()
	all, err := Read(context.Background(), r, Query{From: time.Now().Add(-Span),
		To: time.Now().Add(time.Minute), Step: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if s := all[of]; s != nil {
		return s.Total
	}
	return c
}

// TestRecorder counts through calls with unknown outcomes, a restart in the middle of a minute, and
// reads between two saves: nothing is lost or counted twice, and a quiet minute writes nothing.
func TestRecorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shop := Subject{Source, "shop"}
		s, c := &table{rows: map[Minute]Counts{}}, &counters{}
		r, stop := startRecorder(s, c, "a")
		check := func(want int64) {
			t.Helper()
			if got := total(t, r, shop); got.Accepted != want || got.Latency.Count() != want {
				t.Errorf("accepted %d with %d latencies, want %d", got.Accepted, got.Latency.Count(), want)
			}
		}
		sleep(90 * time.Second)
		c.accepted += 5
		check(5) // not stored yet
		sleep(time.Minute)
		if s.saves != 1 {
			t.Errorf("%d saves, want 1", s.saves)
		}
		s.fails = true
		c.accepted += 2
		sleep(3 * time.Minute)
		check(7)
		s.fails = false
		sleep(time.Minute)
		saves := s.saves
		sleep(time.Hour)
		if s.saves != saves {
			t.Error("a quiet minute was stored")
		}
		c.accepted++
		check(8)
		stop()
		if got := total(t, s, shop).Accepted; got != 8 {
			t.Errorf("%d are stored after the end, want 8", got)
		}
		c.accepted = 0 // a new process
		r, stop = startRecorder(s, c, "b")
		c.accepted += 10
		sleep(time.Minute)
		check(18)
		c.accepted++
		sleep(Keep + time.Hour)
		check(0)
		stop()
	})
}

// TestRecorderBounds: a store that is away for long costs bounded memory, and the last hour is
// stored when it is back.
func TestRecorderBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := &table{rows: map[Minute]Counts{}, fails: true}, &counters{}
		r, stop := startRecorder(s, c, "a")
		sleep(time.Second) // not while the recorder counts
		for range 3 * maxPending {
			c.accepted++
			sleep(time.Minute)
		}
		if n := len(r.pending); n > maxPending {
			t.Errorf("%d minutes wait, want at most %d", n, maxPending)
		}
		s.fails = false
		stop()
		if n := len(r.unsaved()); n != 0 {
			t.Errorf("%d minutes are not stored", n)
		}
	})
}

// TestClockGoesBack: after a clock that was ahead is corrected, traffic is counted at its time
// again, also in minutes that this process has stored before, and nothing is lost.
func TestClockGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := &table{rows: map[Minute]Counts{}}, &counters{}
		r := NewRecorder(s, c.totals, "a", slog.New(slog.DiscardHandler))
		now := time.Now().Truncate(time.Minute)
		for _, test := range []struct {
			at       time.Time
			accepted int64
			want     map[time.Duration]int64 // from now
		}{
			{now, 1, map[time.Duration]int64{0: 1}},
			{now.Add(-time.Second), 2, map[time.Duration]int64{0: 3}}, // a small correction
			{now.Add(2 * time.Hour), 4, map[time.Duration]int64{0: 3, 2 * time.Hour: 4}},
			{now, 8, map[time.Duration]int64{0: 11, 2 * time.Hour: 4}},
			{now.Add(time.Minute), 16, map[time.Duration]int64{0: 11, time.Minute: 16,
				2 * time.Hour: 4}},
			{now.Add(-time.Hour), 32, map[time.Duration]int64{-time.Hour: 32, 0: 11, time.Minute: 16,
				2 * time.Hour: 4}},
		} {
			c.accepted += test.accepted
			r.count(test.at)
			check := func(when string, reader Reader) {
				got := map[time.Duration]int64{}
				err := reader.Minutes(t.Context(), now.Add(-Span), now.Add(Span), Subject{Source, "shop"},
					func(m *Minute) { got[m.At.Sub(now)] += m.Accepted })
				if err != nil || !maps.Equal(got, test.want) {
					t.Errorf("at %v, %s: %v, want %v (error %v)", test.at.Sub(now), when, got, test.want, err)
				}
			}
			check("before the save", r)
			if err := r.save(t.Context()); err != nil {
				t.Fatal(err)
			}
			check("after the save", r)
			check("in the store", s)
		}
	})
}

// TestEndWithoutStore: a store that hangs holds up the end for two seconds, whether the save began
// before or after it.
func TestEndWithoutStore(t *testing.T) {
	for _, before := range []time.Duration{30 * time.Second, time.Minute + time.Second} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(before, cancel)
			r := NewRecorder(hanging{}, (&counters{accepted: 1}).totals, "a",
				slog.New(slog.DiscardHandler))
			began := time.Now()
			r.Run(ctx)
			if took := time.Since(began) - before; took != endTimeout {
				t.Errorf("Run took %v after the end, want %v", took, endTimeout)
			}
		})
	}
}

// hanging is a store that never answers.
type hanging struct{ Store }

func (hanging) SaveMinutes(ctx context.Context, _ []Minute, _ time.Time) error {
	<-ctx.Done()
	return ctx.Err()
}
