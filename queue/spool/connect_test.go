package spool

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate"
)

var (
	errNotThere      = errors.New("connection refused")
	errMisconfigured = &hookgate.MisconfiguredError{Reason: "it is purple",
		Err: errors.New("colour is #800080")}
)

// TestUntilItIsThere: a backend that is away does not delay the start. Connect retries until it
// answers, says meanwhile why it does not, and logs each reason once.
func TestUntilItIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		calls := 0
		began := time.Now()
		a, err := Connect(t.Context(), ConnectOptions{Name: "redis",
			Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(context.Context) error {
			switch calls++; {
			case calls > 30:
				return nil
			case calls > 20:
				return errMisconfigured // later than the start this ends nothing
			}
			return errNotThere
		})
		if err != nil || time.Since(began) > 0 {
			t.Fatalf("start took %v and returned %v", time.Since(began), err)
		}
		if err := a.Err(); !errors.Is(err, errNotThere) ||
			!strings.Contains(err.Error(), "redis cannot be used yet") {
			t.Errorf("while it is away the error is %v", err)
		}
		soon, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := a.Wait(soon); err == nil || !errors.Is(err, context.DeadlineExceeded) ||
			!errors.Is(err, errMisconfigured) && !errors.Is(err, errNotThere) {
			t.Errorf("a wait that was cut short got %v", err)
		}
		if err := a.Wait(t.Context()); err != nil || a.Err() != nil {
			t.Errorf("when it is there the errors are %v and %v", err, a.Err())
		}
		if took := time.Since(began); took > 45*time.Second {
			t.Errorf("30 pauses took %v", took)
		}
		for text, times := range map[string]int{errNotThere.Error(): 1, errMisconfigured.Error(): 1,
			"redis answers": 1} {
			if n := strings.Count(log.String(), text); n != times {
				t.Errorf("%q is logged %d times, want %d:\n%s", text, n, times, &log)
			}
		}
		a.Close()
	})
}

// TestMisconfigured: Connect returns a configuration error of the first attempt.
func TestMisconfigured(t *testing.T) {
	_, err := Connect(t.Context(), ConnectOptions{},
		func(context.Context) error { return errMisconfigured })
	var misconfigured *hookgate.MisconfiguredError
	if !errors.As(err, &misconfigured) || misconfigured.Reason != errMisconfigured.Reason {
		t.Errorf("start got %v", err)
	}
}

// TestFirstWait: Connect waits FirstWait for a first attempt that hangs. The attempt ends with
// Close, or with the context of Connect.
func TestFirstWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		began := time.Now()
		a, err := Connect(t.Context(), ConnectOptions{FirstWait: 2 * time.Second}, hangs)
		if err != nil || time.Since(began) != 2*time.Second {
			t.Fatalf("start took %v and returned %v", time.Since(began), err)
		}
		a.Close()
		if err := a.Wait(t.Context()); !errors.Is(err, hookgate.ErrClosed) {
			t.Errorf("after the end a wait got %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Connect(ctx, ConnectOptions{FirstWait: time.Minute}, hangs); !errors.Is(err,
			context.DeadlineExceeded) {
			t.Errorf("a start that was cut short got %v", err)
		}
	})
}

// memory is a queue that only counts.
type memory struct {
	Buffered
	appended atomic.Int64
	closed   bool
}

func (m *memory) Append(context.Context, *hookgate.Request) (hookgate.Receipt, error) {
	m.appended.Add(1)
	return hookgate.Receipt{}, nil
}

func (m *memory) AppendDuplicate(ctx context.Context, r *hookgate.Request,
	_ hookgate.RequestID) (hookgate.Receipt, error) {
	return m.Append(ctx, r)
}

func (m *memory) OpenReader(context.Context) (hookgate.PartitionReader, error) {
	return nil, errMisconfigured
}

func (m *memory) Stats(context.Context) (hookgate.QueueStats, error) {
	return hookgate.QueueStats{Depth: 7}, nil
}

func (m *memory) Close() error {
	m.closed = true
	return nil
}

// TestQueue: until the queue is open, appends fail with the reason and OpenReader waits. Afterwards
// every call goes to it.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := &memory{}
		var there atomic.Bool
		q, err := ConnectQueue(t.Context(), ConnectOptions{Name: "redis"},
			func(context.Context) (*memory, error) {
				if !there.Load() {
					return nil, errNotThere
				}
				return inner, nil
			})
		if err != nil {
			t.Fatal(err)
		}
		check := func(want error) {
			t.Helper()
			_, appendErr := q.Append(t.Context(), &hookgate.Request{})
			_, duplicateErr := q.AppendDuplicate(t.Context(), &hookgate.Request{}, hookgate.RequestID{1})
			_, statsErr := q.Stats(t.Context())
			opened, openErr := q.Opened()
			for _, err := range []error{appendErr, duplicateErr, statsErr, openErr} {
				if !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			}
			if (opened == inner) != (want == nil) {
				t.Errorf("the queue is %v", opened)
			}
		}
		check(errNotThere)
		opened := make(chan error, 1)
		go func() {
			_, err := q.OpenReader(t.Context())
			opened <- err
		}()
		synctest.Wait()
		if len(opened) > 0 {
			t.Errorf("OpenReader did not wait: %v", <-opened)
		}
		there.Store(true)
		if err := <-opened; !errors.Is(err, errMisconfigured) {
			t.Errorf("OpenReader got %v, want what the queue says", err)
		}
		check(nil)
		if err := q.Close(); err != nil || !inner.closed || inner.appended.Load() != 2 {
			t.Errorf("close got %v, closed is %v, appended were %d", err, inner.closed,
				inner.appended.Load())
		}
	})
}

// TestQueueNeverOpen: a queue that was closed before it was open returns ErrClosed.
func TestQueueNeverOpen(t *testing.T) {
	q, err := ConnectQueue(t.Context(), ConnectOptions{}, func(context.Context) (*memory, error) {
		return nil, errNotThere
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	if _, err := q.Append(t.Context(), &hookgate.Request{}); !errors.Is(err, hookgate.ErrClosed) {
		t.Errorf("append got %v", err)
	}
	if _, err := q.OpenReader(t.Context()); !errors.Is(err, hookgate.ErrClosed) {
		t.Errorf("open reader got %v", err)
	}
}
