package memory

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate"
)

// TestGrown checks that waiting for events works in a bubble with fake time: a reader sleeps until
// another goroutine appends.
func TestGrown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		grown := s.Grown()
		var ids []int64
		go func() {
			time.Sleep(time.Hour)
			ids = s.Append(hookgate.Event{OrderingKey: "a", Keyed: true})
		}()
		<-grown
		page, err := s.ReadLog(t.Context(), hookgate.LogQuery{Max: 10, MaxBytes: 1000})
		if err != nil || len(page.Events) != 1 || page.Events[0].ID != time.Now().UnixMicro() {
			t.Fatalf("got %+v, error %v", page, err)
		}
		synctest.Wait()
		if len(ids) != 1 || ids[0] != page.Events[0].ID || page.Next != ids[0] {
			t.Errorf("the event has id %d, and Append returned %v", page.Events[0].ID, ids)
		}
	})
}

// TestClock sets a clock that stands still and then goes back. Ids grow all the same.
func TestClock(t *testing.T) {
	s := New()
	at := time.UnixMicro(1000)
	s.SetClock(func() time.Time { return at })
	ids := s.Append(hookgate.Event{}, hookgate.Event{})
	at = time.UnixMicro(500)
	ids = append(ids, s.Append(hookgate.Event{})...)
	for i, want := range []int64{1000, 1001, 1002} {
		if ids[i] != want {
			t.Errorf("event %d has id %d, want %d", i, ids[i], want)
		}
	}
}

// TestLease lets a lease run out by fake time.
func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		defs := []hookgate.SubscriptionDefinition{{Name: "a"}}
		if _, err := s.Define(t.Context(), defs, true); err != nil {
			t.Fatal(err)
		}
		first, err := s.Acquire(t.Context(), "a", "one", time.Minute, 1)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute - 1)
		_, err = s.Acquire(t.Context(), "a", "two", time.Minute, 1)
		if !errors.Is(err, hookgate.ErrLeased) {
			t.Fatalf("got %v, want ErrLeased", err)
		}
		time.Sleep(time.Nanosecond)
		if _, err := s.Acquire(t.Context(), "a", "two", time.Minute, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Save(t.Context(), "a", first.Epoch, &hookgate.Results{}); !errors.Is(err,
			hookgate.ErrFenced) {
			t.Errorf("got %v, want ErrFenced", err)
		}
	})
}

// TestFail makes calls fail without effect and with effect.
func TestFail(t *testing.T) {
	s := New()
	broken := errors.New("broken")
	for _, done := range []bool{false, true} {
		s.SetFail(func(_ context.Context, op, name string) (bool, error) {
			if op != "Define" || name != "" {
				t.Errorf("asked about %s of %q", op, name)
			}
			return done, broken
		})
		_, err := s.Define(t.Context(), []hookgate.SubscriptionDefinition{{Name: "a"}}, true)
		if !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
		s.SetFail(nil)
		if all, err := s.Subscriptions(t.Context()); err != nil || (len(all) == 1) != done {
			t.Errorf("done is %v, and there are %d subscriptions", done, len(all))
		}
	}
}
