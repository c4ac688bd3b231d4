package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate/api"
)

// scripted is a gate in memory. It answers each call with the next answer for its name, and with
// 204 if there is none; a pull then stops the consumer.
type scripted struct {
	mu      sync.Mutex
	answers map[string][]string // a status, and the body
	calls   []string
	stop    func()
}

// RoundTrip implements http.RoundTripper.
func (s *scripted) RoundTrip(r *http.Request) (*http.Response, error) {
	name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, name+" "+string(body))
	status, text := http.StatusNoContent, ""
	if left := s.answers[name]; len(left) > 0 {
		s.answers[name] = left[1:]
		if left[0] == "away" {
			return nil, errors.New("connection refused")
		}
		if _, err := fmt.Sscan(left[0], &status); err != nil {
			return nil, err
		}
		_, text, _ = strings.Cut(left[0], " ")
	} else if name == "pull" {
		s.stop()
		status, text = http.StatusOK, `{"events":[]}`
	} else if name == "extend" {
		status, text = http.StatusOK, `{"until":"2026-11-29T12:00:00Z"}`
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(text)),
		Header: http.Header{}, Request: r}, nil
}

const twoKeys = `200 {"lease":"l","events":[{"id":"1","key":"k:a"},{"id":"2","key":"k:b"},` +
	`{"id":"3","key":"k:a"},{"id":"4","key":"k:b"}]}`

// TestConsumer runs a Consumer against scripted answers, in fake time.
func TestConsumer(t *testing.T) {
	const (
		pull  = `pull {"wait":"5s","lease":"1m0s"}`
		ended = `409 {"error":"the lease has ended"}`
	)
	for _, c := range []struct {
		name    string
		answers map[string][]string
		process func(ctx context.Context, e *api.PulledEvent) error
		calls   []string
		took    [2]time.Duration // at least and at most
		err     string
	}{
		{name: "everything succeeds", answers: map[string][]string{"pull": {twoKeys}},
			calls: []string{pull, `ack {"lease":"l","ids":["1","2","3","4"]}`, pull}},
		{name: "an event fails, and the later one of its key is left out",
			answers: map[string][]string{"pull": {twoKeys}},
			process: func(_ context.Context, e *api.PulledEvent) error {
				if e.ID == "1" {
					return errors.New("no such account")
				}
				return nil
			},
			calls: []string{pull, `ack {"lease":"l","ids":["2","4"]}`,
				`nack {"lease":"l","ids":["1"],"reason":"no such account"}`, pull}},
		{name: "everything fails", answers: map[string][]string{"pull": {twoKeys}},
			process: func(context.Context, *api.PulledEvent) error { return errors.New("no") },
			calls: []string{pull, `nack {"lease":"l","ids":["1"],"reason":"no"}`,
				`nack {"lease":"l","ids":["2"],"reason":"no"}`, pull}},
		{name: "the lease has ended before the acknowledgement",
			answers: map[string][]string{"pull": {twoKeys}, "ack": {ended}},
			calls:   []string{pull, `ack {"lease":"l","ids":["1","2","3","4"]}`, pull}},
		{name: "slow work extends the lease", answers: map[string][]string{"pull": {twoKeys}},
			process: func(_ context.Context, e *api.PulledEvent) error {
				if e.ID == "2" {
					time.Sleep(50 * time.Second)
				}
				return nil
			},
			calls: []string{pull, `extend {"lease":"l","for":"1m0s"}`,
				`extend {"lease":"l","for":"1m0s"}`, `ack {"lease":"l","ids":["1","2","3","4"]}`, pull},
			took: [2]time.Duration{50 * time.Second, 50 * time.Second}},
		{name: "the lease ends during the work",
			answers: map[string][]string{"pull": {twoKeys}, "extend": {ended}},
			process: func(ctx context.Context, e *api.PulledEvent) error {
				if e.ID != "1" {
					return errors.New("it must not be processed")
				}
				<-ctx.Done()
				return ctx.Err()
			},
			calls: []string{pull, `extend {"lease":"l","for":"1m0s"}`, pull},
			took:  [2]time.Duration{20 * time.Second, 20 * time.Second}},
		{name: "the gate is away, and back",
			answers: map[string][]string{"pull": {"away", "503", "502", "429", "away", twoKeys},
				"ack": {"away", "500"}},
			calls: append(slices.Repeat([]string{pull}, 6),
				`ack {"lease":"l","ids":["1","2","3","4"]}`, `ack {"lease":"l","ids":["1","2","3","4"]}`,
				`ack {"lease":"l","ids":["1","2","3","4"]}`, pull),
			took: [2]time.Duration{1600 * time.Millisecond, 6 * time.Second}},
		{name: "the gate refuses",
			answers: map[string][]string{"pull": {`403 {"error":"no such right"}`}},
			calls:   []string{pull}, err: "no such right"},
		{name: "it is not a pull subscription", answers: map[string][]string{"pull": {ended}},
			calls: []string{pull}, err: "409"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				gate := &scripted{answers: c.answers, stop: cancel}
				if c.process == nil {
					c.process = func(context.Context, *api.PulledEvent) error { return nil }
				}
				consumer := api.Consumer{Subscription: "s", Process: c.process,
					Client: &api.Client{URL: "http://gate", HTTP: &http.Client{Transport: gate}}}
				start := time.Now()
				err := consumer.Run(ctx)
				if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				if !slices.Equal(gate.calls, c.calls) {
					t.Errorf("calls\n%q, want\n%q", gate.calls, c.calls)
				}
				if took := time.Since(start); took < c.took[0] || took > c.took[1] {
					t.Errorf("it took %v, want %v", took, c.took)
				}
			})
		})
	}
}

// TestConsumerStops ends a Consumer in the middle of its events: it finishes and acknowledges them.
// If the gate is away, it makes one attempt.
func TestConsumerStops(t *testing.T) {
	for _, acks := range [][]string{nil, {"away", "away"}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			gate := &scripted{stop: cancel,
				answers: map[string][]string{"pull": {twoKeys}, "ack": acks}}
			var done []string
			consumer := api.Consumer{Subscription: "s",
				Client: &api.Client{URL: "http://gate", HTTP: &http.Client{Transport: gate}},
				Process: func(ctx context.Context, e *api.PulledEvent) error {
					cancel()
					done = append(done, e.ID)
					return ctx.Err()
				}}
			if err := consumer.Run(ctx); err != nil {
				t.Error(err)
			}
			want := []string{`pull {"wait":"5s","lease":"1m0s"}`,
				`ack {"lease":"l","ids":["1","2","3","4"]}`}
			if len(done) != 4 || !slices.Equal(gate.calls, want) {
				t.Errorf("processed %q, calls %q", done, gate.calls)
			}
		})
	}
}
