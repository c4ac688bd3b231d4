package handler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate"
)

var errBad = errors.New("bad")

// TestAnswers: each kind of error has its verdict, also when it is wrapped.
func TestAnswers(t *testing.T) {
	wait := 10 * time.Second
	for _, c := range []struct {
		err     error
		verdict hookgate.Verdict
		delay   *time.Duration
		reason  string
	}{
		{nil, hookgate.VerdictDelivered, nil, ""},
		{errBad, hookgate.VerdictFailed, nil, "bad"},
		{Dead(errBad), hookgate.VerdictDead, nil, "bad"},
		{fmt.Errorf("read: %w", Dead(errBad)), hookgate.VerdictDead, nil, "read: bad"},
		{RetryAfter(wait, errBad), hookgate.VerdictFailed, &wait, "bad"},
		{RetryAfter(-1, errBad), hookgate.VerdictFailed, new(time.Duration), "bad"},
		{Pause(errBad), hookgate.VerdictGone, nil, "bad"},
		{Dead(nil), hookgate.VerdictDead, nil, errNoReason.Error()},
	} {
		consumer := New(Config{Func: func(context.Context, *hookgate.Event) error { return c.err }})
		a := consumer.Deliver(t.Context(), &hookgate.Delivery{Event: &hookgate.Event{}})
		same := a.Delay == c.delay || a.Delay != nil && c.delay != nil && *a.Delay == *c.delay
		if a.Verdict != c.verdict || a.Reason != c.reason || !same {
			t.Errorf("%v is answered %+v", c.err, a)
		}
	}
	if err := Dead(errBad); !errors.Is(err, errBad) {
		t.Errorf("%v does not wrap its cause", err)
	}
}

// TestDeliveryOf: the function learns which attempt it is.
func TestDeliveryOf(t *testing.T) {
	d := &hookgate.Delivery{Subscription: "billing", Event: &hookgate.Event{}, Attempt: 3,
		Redelivery: 2}
	consumer := New(Config{Func: func(ctx context.Context, e *hookgate.Event) error {
		if got, ok := DeliveryOf(ctx); !ok || got != d || e != d.Event {
			t.Errorf("the function is called for %+v", got)
		}
		return nil
	}})
	consumer.Deliver(t.Context(), d)
	if _, ok := DeliveryOf(t.Context()); ok {
		t.Error("another context has a delivery")
	}
}

// TestTimeout: the context of a call ends after the time-out. Deliver waits for the function, logs
// that it runs on, and takes what it returns.
func TestTimeout(t *testing.T) {
	for _, c := range []struct {
		err     error
		verdict hookgate.Verdict
		reason  string
	}{
		{nil, hookgate.VerdictDelivered, ""},
		{errBad, hookgate.VerdictFailed, "not done within 30s: bad"},
		{Dead(errBad), hookgate.VerdictDead, "bad"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			consumer := New(Config{Name: "billing", Logger: slog.New(slog.NewTextHandler(&log, nil)),
				Func: func(ctx context.Context, _ *hookgate.Event) error {
					<-ctx.Done()
					time.Sleep(time.Minute)
					return c.err
				}})
			began := time.Now()
			a := consumer.Deliver(t.Context(), &hookgate.Delivery{Event: &hookgate.Event{ID: 7}})
			if took := time.Since(began); took != DefaultTimeout+time.Minute {
				t.Errorf("the attempt took %v", took)
			}
			if a.Verdict != c.verdict || a.Reason != c.reason {
				t.Errorf("%v is answered %+v", c.err, a)
			}
			synctest.Wait()
			if !strings.Contains(log.String(), "still runs") ||
				!strings.Contains(log.String(), "subscription=billing event=7") {
				t.Errorf("the log is %q", log.String())
			}
		})
	}
}

// TestInterrupted: no error counts after the gate began to cut attempts off.
// Success counts.
func TestInterrupted(t *testing.T) {
	for err, want := range map[error]hookgate.Verdict{
		nil: hookgate.VerdictDelivered, errBad: hookgate.VerdictInterrupted,
		Dead(errBad): hookgate.VerdictInterrupted,
	} {
		ctx, stop := context.WithCancel(t.Context())
		consumer := New(Config{Func: func(ctx context.Context, _ *hookgate.Event) error {
			stop()
			<-ctx.Done()
			return err
		}})
		a := consumer.Deliver(ctx, &hookgate.Delivery{Event: &hookgate.Event{}})
		if a.Verdict != want {
			t.Errorf("%v is answered %+v", err, a)
		}
	}
}
