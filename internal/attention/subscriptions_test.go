package attention

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate"
)

// TestSubscriptions: each trouble of a subscription is an item of its own kind. A person's pause, a
// breaker that has just opened and a removed subscription are none. While the store does not
// answer, the last items stay.
func TestSubscriptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		one := hookgate.SubscriptionInfo{SubscriptionDefinition: hookgate.SubscriptionDefinition{
			Name: "billing"}, Owner: "gate-1"}
		var err error
		asked := 0
		s := NewSubscriptions(func(context.Context) ([]hookgate.SubscriptionInfo, error) {
			asked++
			return []hookgate.SubscriptionInfo{one}, err
		}, 24*time.Hour)
		ann := []string{"subscription_paused: Subscription billing was paused by a person at 2000-01-01T"}
		broken := []string{"subscription_paused: Subscription billing was paused by the gate",
			"subscription_broken: ", "subscription_holds_retention: "}
		for _, test := range []struct {
			change func()
			want   []string
		}{
			{func() {}, nil},
			{func() { one.PausedAt, one.PausedBy = now, "ann" }, ann},
			{func() { one.BrokenSince = now }, ann},
			{func() { one.OldestStoredAt = now.Add(-23 * time.Hour) }, ann},
			{func() { one.Waiting, one.Held, one.Backlog = 5, 5, 5 }, ann},
			{func() { one.Parked = 1 }, []string{"subscription_parked: Subscription billing has 1 parked" +
				" event: its key waits until you retry, skip or dead-letter it", ann[0]}},
			{func() { one.Parked = 2 }, []string{"subscription_parked: Subscription billing has 2 parked" +
				" events: their keys wait until you retry, skip or dead-letter them", ann[0]}},
			{func() {
				one.Parked, one.PausedBy = 0, ""
				one.BrokenSince = now.Add(-2 * time.Minute)
				one.OldestStoredAt = now.Add(-25 * time.Hour)
			}, broken},
			{func() { err = errors.New("the store is away") }, broken},
			{func() { err, one.RemovedAt = nil, now }, nil},
		} {
			test.change()
			time.Sleep(readEvery)
			var got []string
			for range 3 {
				got = nil
				for _, i := range s.Items(t.Context()) {
					if got = append(got, i.Name+": "+i.Text); i.What != "billing" || i.Count == 0 {
						t.Errorf("item %+v", i)
					}
				}
			}
			if len(got) != len(test.want) {
				t.Errorf("items %q, want %q", got, test.want)
				continue
			}
			for i := range got {
				if !strings.HasPrefix(got[i], test.want[i]) {
					t.Errorf("item %q, want %q", got[i], test.want[i])
				}
			}
		}
		if asked != 10 {
			t.Errorf("the store was asked %d times, want 10", asked)
		}
	})
}

// TestUnowned: a subscription that no process delivers is an item, but not during a handover, and
// not while it is paused or if clients fetch its events.
func TestUnowned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var one hookgate.SubscriptionInfo
		s := NewSubscriptions(func(context.Context) ([]hookgate.SubscriptionInfo, error) {
			return []hookgate.SubscriptionInfo{one}, nil
		}, 24*time.Hour)
		for _, test := range []struct {
			name   string
			change func()
			lasts  time.Duration
			want   int
		}{
			{"handover", func() {}, unownedFor, 0},
			{"owned again", func() { one.Owner = "gate-2" }, time.Minute, 0},
			{"second handover", func() { one.Owner = "" }, unownedFor, 0},
			{"no owner", func() {}, 2 * readEvery, 1},
			{"paused", func() { one.PausedAt, one.PausedBy = time.Now(), "ann" }, time.Minute, 1},
			{"pulled", func() { one.PausedAt, one.Definition = time.Time{}, `{"pull":{}}` }, time.Minute, 0},
		} {
			test.change()
			var got []Item
			for began := time.Now(); time.Since(began) < test.lasts; time.Sleep(readEvery) {
				got = s.Items(t.Context())
			}
			if len(got) != test.want || one.PausedAt.IsZero() && test.want > 0 &&
				(got[0].Name != "subscription_unowned" || time.Since(*got[0].Since) < unownedFor) {
				t.Errorf("%s: items %+v, want %d", test.name, got, test.want)
			}
		}
	})
}

// TestUnknown: a store that never answers in time is an item, however the caller bounds its wait.
// It goes with the first answer.
func TestUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		takes := time.Hour
		s := NewSubscriptions(func(ctx context.Context) ([]hookgate.SubscriptionInfo, error) {
			select {
			case <-time.After(takes):
				return nil, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}, 24*time.Hour)
		hurried, cancel := context.WithTimeout(t.Context(), readTimeout/2)
		defer cancel()
		if got := s.Items(hurried); len(got) != 1 || got[0].Name != "unknown" ||
			got[0].What != "subscriptions" || got[0].Since != nil {
			t.Errorf("items %+v", got)
		}
		time.Sleep(time.Minute)
		takes = 0
		if got := s.Items(t.Context()); len(got) != 0 {
			t.Errorf("items after an answer: %+v", got)
		}
	})
}
