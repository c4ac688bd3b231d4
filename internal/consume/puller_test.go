package consume

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate/api"
)

// pulling returns a Puller for a subscription of the world.
func (w *world) pulling(work func([]api.PulledEvent) error) *Puller {
	w.name = "warehouse"
	return &Puller{Gate: w.gate(), Subscription: w.name, Max: 10, Wait: time.Second,
		Lease: time.Minute, Work: work}
}

// TestPull: batches are acknowledged after their work, which takes longer than the lease. A
// batch fails once, and the gate is away when the last one is done.
func TestPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 25, 25)
		ctx, cancel := context.WithCancel(t.Context())
		batches := 0
		err := w.pulling(func(events []api.PulledEvent) error {
			batches++
			time.Sleep(10 * time.Minute)
			switch batches {
			case 1:
				return &FailedError{"exit code 1: no"}
			case 4:
				w.set(func() { w.down = true })
				time.AfterFunc(2*time.Second, func() { w.set(func() { w.down = false }) })
				cancel() // a batch that has begun is finished
			}
			return nil
		}).Run(ctx)
		synctest.Wait() // until the calls of the lease have ended
		want := []string{"nack 1,2,3,4,5,6,7,8,9,10 exit code 1: no", "ack 20", "ack 10", "ack 25"}
		if err != nil || !slices.Equal(w.calls, want) {
			t.Errorf("calls %q, error %v", w.calls, err)
		}
		if !slices.Contains(w.notes, "10 events failed: exit code 1: no") {
			t.Errorf("notes %q", w.notes)
		}
	})
}

// TestPullStaleLease: an ack that comes too late is reported, and the events come again.
func TestPullStaleLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 3)
		ctx, cancel := context.WithCancel(t.Context())
		batches := 0
		err := w.pulling(func([]api.PulledEvent) error {
			if batches++; batches == 1 {
				w.set(func() { w.end("lease-1") })
			} else {
				cancel()
			}
			return nil
		}).Run(ctx)
		synctest.Wait() // until the calls of the lease have ended
		want := "the lease of 3 events has ended before; they come again"
		if err != nil || batches != 2 || !w.settled() || w.notes[0] != want {
			t.Errorf("%d batches, notes %q, error %v", batches, w.notes, err)
		}
	})
}

// TestPullOnce: one batch, or none if there is no event, and the error of the work.
func TestPullOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 12, 12)
		failure := &FailedError{"exit code 3"}
		answers, batches := []error{nil, failure, nil}, 0
		p := w.pulling(func([]api.PulledEvent) error {
			batches++
			return answers[batches-1]
		})
		p.Once = true
		for i, want := range []error{nil, failure, nil, nil} {
			if err := p.Run(t.Context()); !errors.Is(err, want) {
				t.Errorf("run %d: error %v, want %v", i, err, want)
			}
		}
		synctest.Wait()
		if batches != 3 || !w.settled() {
			t.Errorf("%d batches", batches)
		}
		p.Subscription = "other"
		if err := p.Run(t.Context()); !api.HasStatus(err, http.StatusNotFound) {
			t.Errorf("another subscription: %v", err)
		}
	})
}

// TestPullBadCommand: a command that always fails does not run through the whole log at once, which
// would make an exception of every event.
func TestPullBadCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1000, 1000)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		batches := 0
		w.pulling(func([]api.PulledEvent) error {
			batches++
			return &FailedError{"exit code 127"}
		}).Run(ctx)
		synctest.Wait() // until the calls of the lease have ended
		if batches > 40 {
			t.Errorf("%d batches failed in a minute", batches)
		}
	})
}

// TestCommand: the command gets one JSON object per line, and its end decides.
func TestCommand(t *testing.T) {
	events := make([]api.PulledEvent, 2)
	events[0].ID, events[0].Body, events[1].ID = "7", []byte("a\x00\n"), "8"
	run := func(line string) (string, string, error) {
		var out, errs bytes.Buffer
		err := (&Command{Line: line, Stdout: &out, Stderr: &errs}).Work(events)
		return out.String(), errs.String(), err
	}
	out, _, err := run("cat")
	if err != nil || strings.Count(out, "\n") != 2 {
		t.Fatalf("printed %q, error %v", out, err)
	}
	for lines := json.NewDecoder(strings.NewReader(out)); len(events) > 0; events = events[1:] {
		var e api.PulledEvent
		if err := lines.Decode(&e); err != nil || e.ID != events[0].ID ||
			!bytes.Equal(e.Body, events[0].Body) {
			t.Errorf("decoded %+v, %v", e, err)
		}
	}
	events = make([]api.PulledEvent, 2000) // more than a pipe holds
	for line, want := range map[string]string{
		"exit 0":                                     "",
		"exit 3":                                     "exit code 3",
		"printf 'one\\ntwo \\n\\n' >&2; exit 1":      "exit code 1: two",
		"printf '%0600d' 0 >&2; exit 1":              "exit code 1: " + strings.Repeat("0", maxLine),
		"kill -KILL $$":                              "signal: killed",
		"no-such-command 2>/dev/null":                "exit code 127",
		"sleep 1000 >/dev/null 2>&1 & kill $!; true": "",
	} {
		_, errs, err := run(line)
		failed, _ := errors.AsType[*FailedError](err)
		if (want == "") != (err == nil) || failed != nil && failed.Reason != want {
			t.Errorf("%s: error %v, want %q (standard error %q)", line, err, want, errs)
		}
	}
}

// TestFollow: after a cut, or an answer that the gate could not give, the stream goes on at its
// place, and filters apply.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []string{"{\"after\":\"5\"}\n{\"id\":\"6\",\"orderingKey\":\"a\"}\n{\"id\":", "",
			"{\"id\":\"7\",\"orderingKey\":\"b\"}\n{\"id\":\"8\",\"orderingKey\":\"a\"}\n"}
		var asked, notes, got []string
		g := NewGate(&api.Client{URL: "http://gate", HTTP: &http.Client{
			Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				asked = append(asked, r.URL.RawQuery)
				answer := answers[len(asked)-1]
				if answer == "" {
					return nil, errUnreachable
				}
				return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(answer))}, nil
			})}}, func(text string) { notes = append(notes, text) })
		stop := errors.New("stop")
		err := g.Follow(t.Context(), api.EventQuery{Source: "shop", EventType: "a.*", OrderingKey: "a"},
			func(e *api.LogEvent) error {
				if got = append(got, e.ID); e.ID == "8" {
					return stop
				}
				return nil
			})
		want := []string{"source=shop&type=a.%2A&wait=30s", "after=6&source=shop&type=a.%2A&wait=30s",
			"after=6&source=shop&type=a.%2A&wait=30s"}
		if err != stop || !slices.Equal(got, []string{"6", "8"}) || !slices.Equal(asked, want) {
			t.Errorf("got %q, asked %q, error %v", got, asked, err)
		}
		if len(notes) != 2 || notes[1] != "the gate answers again" {
			t.Errorf("notes %q", notes)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
