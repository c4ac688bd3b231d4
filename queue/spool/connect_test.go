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
	"github.com/hookgate/hookgate/control"
)

var (
	errNotThere = errors.New("connection refused")
	errUnfit    = &hookgate.MisconfiguredError{Reason: "it is purple", Err: errors.New("colour is #800080")}
)

// TestUntilItIsThere: what is away holds up nothing, is tried until it is there, and says meanwhile
// why it is not; a reason is logged once.
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
				return errUnfit // later than the start this ends nothing
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
			!errors.Is(err, errUnfit) && !errors.Is(err, errNotThere) {
			t.Errorf("a wait that was cut short got %v", err)
		}
		if err := a.Wait(t.Context()); err != nil || a.Err() != nil {
			t.Errorf("when it is there the errors are %v and %v", err, a.Err())
		}
		if took := time.Since(began); took > 45*time.Second {
			t.Errorf("30 pauses took %v", took)
		}
		for text, times := range map[string]int{errNotThere.Error(): 1, errUnfit.Error(): 1,
			"redis is there": 1} {
			if n := strings.Count(log.String(), text); n != times {
				t.Errorf("%q is logged %d times, want %d:\n%s", text, n, times, &log)
			}
		}
		a.Close()
	})
}

// TestUnfit: what is unfit at the first attempt is the error of the start.
func TestUnfit(t *testing.T) {
	_, err := Connect(t.Context(), ConnectOptions{}, func(context.Context) error { return errUnfit })
	var unfit *hookgate.MisconfiguredError
	if !errors.As(err, &unfit) || unfit.Reason != errUnfit.Reason {
		t.Errorf("start got %v", err)
	}
}

// TestPatience: a first attempt without an end is waited for as long as it was said, and ends with
// Close or with the context of the start.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		began := time.Now()
		a, err := Connect(t.Context(), ConnectOptions{Patience: 2 * time.Second}, hangs)
		if err != nil || time.Since(began) != 2*time.Second {
			t.Fatalf("start took %v and returned %v", time.Since(began), err)
		}
		a.Close()
		if err := a.Wait(t.Context()); !errors.Is(err, hookgate.ErrClosed) {
			t.Errorf("after the end a wait got %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Connect(ctx, ConnectOptions{Patience: time.Minute}, hangs); !errors.Is(err,
			context.DeadlineExceeded) {
			t.Errorf("a start that was cut short got %v", err)
		}
	})
}

// memory is a queue of which only the mode is used.
type memory struct {
	ModeQueue
	mode     control.Mode
	canary   control.Canary
	appended atomic.Int64
	closed   bool
}

func (m *memory) Append(context.Context, *hookgate.Request) (hookgate.Receipt, error) {
	m.appended.Add(1)
	return hookgate.Receipt{}, nil
}

func (m *memory) OpenReader(context.Context) (hookgate.PartitionReader, error) { return nil, errUnfit }

func (m *memory) Stats(context.Context) (hookgate.QueueStats, error) {
	return hookgate.QueueStats{Depth: 7}, nil
}

func (m *memory) Mode() control.Mode                                  { return m.mode }
func (m *memory) SetMode(_ context.Context, mode control.Mode) error  { m.mode = mode; return nil }
func (m *memory) Canary() control.Canary                              { return m.canary }
func (m *memory) SetCanary(_ context.Context, c control.Canary) error { m.canary = c; return nil }
func (m *memory) Close() error {
	m.closed = true
	return nil
}

// TestQueue: until the queue is open appends fail with the reason, the mode is the remembered one
// and readers wait; then everything goes to it.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := &memory{mode: control.ModeNormal}
		var there atomic.Bool
		q, err := OpenQueue(t.Context(), ConnectOptions{Name: "redis"},
			control.ModeReadOnly, func(context.Context) (ModeQueue, error) {
				if !there.Load() {
					return nil, errNotThere
				}
				return inner, nil
			})
		if err != nil {
			t.Fatal(err)
		}
		check := func(want error, mode control.Mode) {
			t.Helper()
			_, appendErr := q.Append(t.Context(), &hookgate.Request{})
			_, statsErr := q.Stats(t.Context())
			if !errors.Is(appendErr, want) || !errors.Is(statsErr, want) || q.Mode() != mode {
				t.Errorf("append got %v, stats %v, mode is %s; want %v and %s", appendErr, statsErr, q.Mode(),
					want, mode)
			}
		}
		check(errNotThere, control.ModeReadOnly)
		if err := q.SetMode(t.Context(), control.ModeNormal); !errors.Is(err, errNotThere) {
			t.Errorf("setting the mode got %v", err)
		}
		canary := control.Canary{Version: 1, Percent: 7}
		if err := q.SetCanary(t.Context(), canary); !errors.Is(err, errNotThere) ||
			q.Canary() != (control.Canary{}) {
			t.Errorf("setting the canary got %v, and it is %v", err, q.Canary())
		}
		read := make(chan error, 1)
		go func() {
			_, err := q.OpenReader(t.Context())
			read <- err
		}()
		synctest.Wait()
		if len(read) > 0 {
			t.Errorf("OpenReader did not wait: %v", <-read)
		}
		there.Store(true)
		if err := <-read; !errors.Is(err, errUnfit) {
			t.Errorf("open reader got %v, want what the queue says", err)
		}
		check(nil, control.ModeNormal)
		if err := q.SetMode(t.Context(), control.ModeReadOnly); err != nil {
			t.Error(err)
		}
		check(nil, control.ModeReadOnly)
		if err := q.SetCanary(t.Context(), canary); err != nil || q.Canary() != canary {
			t.Errorf("setting the canary got %v, and it is %v", err, q.Canary())
		}
		if err := q.Close(); err != nil || !inner.closed || inner.appended.Load() != 2 {
			t.Errorf("close got %v, closed is %v, appended were %d", err, inner.closed,
				inner.appended.Load())
		}
	})
}

// TestQueueNeverOpen: a queue that is closed before it was there says so.
func TestQueueNeverOpen(t *testing.T) {
	q, err := OpenQueue(t.Context(), ConnectOptions{}, control.ModeNormal, func(context.Context) (ModeQueue,
		error) {
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
