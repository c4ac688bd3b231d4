// Package consume works on the events of a gate from the command line.
//
//	pull ─► lease ─► work: print, run a command, or post to an application ─► ack or nack
//	          └─ extended until the work is done
//
// The gate, the network, the application and this machine may be away for a while. The package
// waits for them and continues. An event is acknowledged only after its work, so nothing is lost.
package consume

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/backoff"
)

const (
	// callLimit bounds a call of the gate, besides the time for which the gate is asked to wait.
	callLimit = time.Minute
	// pollWait is how long the gate waits for an event.
	pollWait = 20 * time.Second
	// grace is how long a command that ends waits for a gate that is away.
	grace = 10 * time.Second
	// Every tick a call looks whether this machine has slept for longer than nap.
	tick, nap = 5 * time.Second, 15 * time.Second
)

// pauses are those between the attempts to reach a gate or an application.
var pauses = backoff.Policy{Min: 250 * time.Millisecond, Max: 5 * time.Second}

// Gate is a gate that may be away.
type Gate struct {
	client *api.Client
	http   *http.Client
	note   func(string)

	mu   sync.Mutex // guards away
	away bool

	now func() time.Time // the wall clock, which goes on while this machine sleeps
}

// NewGate returns a Gate that client calls. note prints a line for the person who runs the command.
func NewGate(client *api.Client, note func(string)) *Gate {
	g := &Gate{http: &http.Client{}, note: note,
		now: func() time.Time { return time.Now().Round(0) }}
	if client.HTTP != nil {
		*g.http = *client.HTTP
	}
	g.http.Timeout = callLimit
	g.client = &api.Client{URL: client.URL, Token: client.Token, HTTP: g.http}
	return g
}

// try makes a call until the gate accepts or rejects it. It notes once that the gate is away, and
// once that it is back. If ctx ends first, the error wraps that of ctx.
func (g *Gate) try(ctx context.Context, call func(context.Context) error) error {
	policy := pauses
	policy.Stop = func(err error) bool { return !isAway(err) }
	policy.Failed = func(a backoff.Attempt, _ time.Duration) { g.gone(a.Err) }
	err := policy.Retry(ctx, func(backoff.Attempt) error {
		ctx, cancel := g.awake(ctx)
		defer cancel(nil)
		err := call(ctx)
		if err != nil && context.Cause(ctx) == errSlept {
			err = errSlept
		}
		return err
	})
	if err == nil || !isAway(err) {
		g.back()
	}
	return err
}

// isAway reports whether a call can succeed later: the gate does not answer, or cannot work now.
func isAway(err error) bool {
	var answer *api.Error
	if errors.As(err, &answer) {
		return answer.Status >= 500 || answer.Status == http.StatusTooManyRequests
	}
	return !errors.Is(err, api.ErrURL)
}

func (g *Gate) gone(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.away {
		return
	}
	g.away = true
	if unreached, ok := errors.AsType[*url.Error](err); ok {
		err = fmt.Errorf("the gate does not answer: %w", unreached.Err)
	}
	g.note(err.Error() + "; trying again until it answers")
}

func (g *Gate) back() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.away {
		g.away = false
		g.note("the gate answers again")
	}
}

// errSlept is the cause of a call that was cut off because this machine has slept.
var errSlept = errors.New("this machine has slept")

// awake returns a context that ends with errSlept when this machine has slept. The connections of
// before are dead then, and nothing says so: a call would wait for its time-out.
func (g *Gate) awake(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		for last := g.now(); backoff.Sleep(ctx, tick) == nil; last = g.now() {
			if g.now().Sub(last) > nap {
				cancel(errSlept)
				g.http.CloseIdleConnections()
			}
		}
	}()
	return ctx, cancel
}

// outlasting returns a context that ends when ctx has been over for the time of grace.
func outlasting(ctx context.Context) (context.Context, context.CancelFunc) {
	outer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if backoff.Sleep(outer, grace) == nil {
			cancel()
		}
	})
	return outer, func() {
		stop()
		cancel()
	}
}
