package adminapi

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate/history"
)

// bigHistory is a history that takes a second to read.
type bigHistory struct{ reads atomic.Int64 }

func (h *bigHistory) Minutes(context.Context, time.Time, time.Time, history.Subject,
	func(*history.Minute)) error {
	h.reads.Add(1)
	time.Sleep(time.Second)
	return nil
}

// TestHistoryOfManyReaders: however many ask for the same series, the store reads it for a 20th of
// the time at most, and another series is another read.
func TestHistoryOfManyReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cache seriesCache
		h, now := &bigHistory{}, time.Now()
		ask := func(step time.Duration, wantReads int64) {
			t.Helper()
			var readers sync.WaitGroup
			for range 5 {
				readers.Go(func() {
					q := history.Query{From: now.Add(-history.Span), To: now, Step: step}
					if all, err := cache.read(t.Context(), h, q); err != nil || all == nil {
						t.Errorf("%v, error %v", all, err)
					}
				})
			}
			if readers.Wait(); h.reads.Load() != wantReads {
				t.Errorf("the store was read %d times, want %d", h.reads.Load(), wantReads)
			}
		}
		ask(time.Hour, 1)
		ask(time.Minute, 2)
		time.Sleep(15 * time.Second)
		ask(time.Hour, 2)
		time.Sleep(5 * time.Second)
		ask(time.Hour, 3)
	})
}

// TestHistoryParameters: bad parameters get 400 with a reason, and the defaults fit the time.
func TestHistoryParameters(t *testing.T) {
	now := time.Date(2026, 11, 30, 8, 30, 30, 0, time.UTC)
	for query, want := range map[string]string{
		"step=90s": "whole minutes", "step=0s": "whole minutes", "step=1m": "too short",
		"kind=event": "must be gate", "name=shop": "needs a kind", "from=now": "must be a time",
		"from=2026-11-30T09:00:00Z": "must be after from", "x=1": "unknown", "kind=": "must be gate",
	} {
		if _, err := parseHistory(query, now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", query, err, want)
		}
	}
	for query, want := range map[string][2]time.Duration{
		"":                          {10 * time.Minute, 24 * time.Hour},
		"from=2026-11-30T08:00:00Z": {time.Minute, 1830 * time.Second},
		"from=2026-11-01T00:00:00Z": {10 * time.Minute, 24 * time.Hour},
		"to=2026-11-01T00:00:00Z":   {time.Minute, 0},
	} {
		q, err := parseHistory(query, now)
		if err != nil || q.Step != want[0] || q.To.Sub(q.From) != want[1] {
			t.Errorf("%q: %v to %v by %v, error %v", query, q.From, q.To, q.Step, err)
		}
	}
}
