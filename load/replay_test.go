package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Goal: every event is accepted, in order and one at a time for each key, although the gate rejects
// requests, or hangs up before or after it has stored an event. The ledger has all of it. Method:
// the answer depends on the event and on how often the gate has seen it.
func TestReplayKeepsOrderThroughFailures(t *testing.T) {
	g := newGate(t, func(_ *http.Request, m message, nth int) behaviour {
		switch (m.Sequence + nth) % 7 {
		case 1:
			return behaviour{status: http.StatusServiceUnavailable}
		case 2:
			return behaviour{status: http.StatusTooManyRequests}
		case 3:
			return behaviour{} // lost before it was kept
		case 4:
			return behaviour{keep: true} // kept, and the answer lost
		}
		return behaviour{status: http.StatusAccepted}
	})
	const count = 60
	names := []string{"a", "b", "c", "d", "e", "f"}
	cfg, ledger := g.config(eventLines(count, names...))
	s, err := Replay(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	g.check(t)
	for _, key := range names {
		g.mu.Lock()
		kept := len(g.kept[key])
		g.mu.Unlock()
		if kept != count {
			t.Errorf("key %s: %d events were kept, want %d", key, kept, count)
		}
	}
	if want := count * len(names); !s.OK() || s.Accepted != want || s.Lines != want ||
		s.Duplicates == 0 || s.Retries == 0 {
		t.Errorf("summary %+v", s)
	}
	checkLedger(t, s, attempts(t, ledger), g)
}

// checkLedger compares the ledger with the summary and with what the gate saw.
func checkLedger(t *testing.T, s Summary, all []Attempt, g *gate) {
	t.Helper()
	if len(all) != s.Attempts {
		t.Fatalf("%d attempts in the ledger, %d in the summary", len(all), s.Attempts)
	}
	statuses := map[int]int{}
	seen := map[string]int{}
	finished := map[string]int64{}
	for _, a := range all {
		statuses[a.Status]++
		seen[a.MessageID]++
		if a.Attempt != seen[a.MessageID] {
			t.Errorf("%s: attempt %d after %d", a.MessageID, a.Attempt, seen[a.MessageID]-1)
		}
		if a.Status != 0 && a.RequestID != fmt.Sprintf("%s#%d", a.MessageID, a.Attempt) {
			t.Errorf("%s: request id %q at attempt %d", a.MessageID, a.RequestID, a.Attempt)
		}
		if (a.Error == "") != a.Accepted() || a.Sent.Before(a.Due) ||
			a.LatencyUS < a.Sent.Sub(a.Due).Microseconds() || len(a.SHA256) != 64 {
			t.Errorf("odd line %+v", a)
		}
		if a.Accepted() {
			if a.Sequence != finished[a.OrderingKey]+1 {
				t.Errorf("key %s: %d accepted after %d", a.OrderingKey, a.Sequence, finished[a.OrderingKey])
			}
			finished[a.OrderingKey] = a.Sequence
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, n := range g.requests {
		if seen[id] != n {
			t.Errorf("%s: the gate saw %d requests, the ledger has %d", id, n, seen[id])
		}
	}
	for status, n := range s.Statuses {
		if statuses[status] != n {
			t.Errorf("status %d: %d in the ledger, %d in the summary", status, statuses[status], n)
		}
	}
}

// Goal: a key whose event is not answered, or is in back-off, delays no other key. Method: the gate
// accepts the first event of one key only when every other key is done. If those waited, the test
// would never end.
func TestReplayLetsOtherKeysPass(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprintf("refuse=%v", refuse), func(t *testing.T) {
			const count = 50
			var others atomic.Int32
			passed := make(chan struct{})
			g := newGate(t, func(_ *http.Request, m message, _ int) behaviour {
				switch {
				case m.OrderingKey != "slow":
					if others.Add(1) == 2*count {
						close(passed)
					}
				case refuse:
					select {
					case <-passed:
					default:
						return behaviour{status: http.StatusServiceUnavailable}
					}
				default:
					<-passed
				}
				return behaviour{status: http.StatusAccepted}
			})
			cfg, _ := g.config(eventLines(count, "slow", "x", "y"))
			cfg.Concurrency = 2
			cfg.Retry.Attempts = 1 << 30
			s, err := Replay(t.Context(), cfg)
			if err != nil || s.Accepted != 3*count {
				t.Errorf("summary %+v, %v", s, err)
			}
			g.check(t)
		})
	}
}

// Goal: an event is not retried before the time that Retry-After asks for, nor much later than the
// longest that is obeyed.
func TestReplayHonoursRetryAfter(t *testing.T) {
	g := newGate(t, func(_ *http.Request, m message, nth int) behaviour {
		if nth == 1 {
			return behaviour{status: http.StatusServiceUnavailable, retryAfter: map[string]string{"a": "1",
				"b": "3600"}[m.OrderingKey]}
		}
		return behaviour{status: http.StatusAccepted}
	})
	cfg, ledger := g.config(eventLines(1, "a", "b"))
	cfg.Retry.MaxRetryAfter = 1100 * time.Millisecond
	if s, err := Replay(t.Context(), cfg); err != nil || s.Accepted != 2 || s.Retries != 2 {
		t.Fatalf("summary %+v, %v", s, err)
	}
	refused := map[string]time.Time{}
	for _, a := range attempts(t, ledger) {
		if !a.Accepted() {
			refused[a.OrderingKey] = a.Due.Add(time.Duration(a.LatencyUS) * time.Microsecond)
			continue
		}
		want := map[string]time.Duration{"a": time.Second, "b": cfg.Retry.MaxRetryAfter}[a.OrderingKey]
		if waited := a.Sent.Sub(refused[a.OrderingKey]); waited < want {
			t.Errorf("key %s was repeated after %v, want %v", a.OrderingKey, waited, want)
		}
	}
}

// Goal: an answer other than 429 and 503 is final, and an event is given up after its last retry.
// In both cases the next event of the key follows.
func TestReplayGivesUp(t *testing.T) {
	statuses := map[string]int{"bad": http.StatusBadRequest, "gone": 0,
		"full": http.StatusServiceUnavailable, "moved": http.StatusTemporaryRedirect}
	g := newGate(t, func(_ *http.Request, m message, _ int) behaviour {
		return behaviour{status: statuses[m.OrderingKey]}
	})
	cfg, ledger := g.config(eventLines(2, "bad", "gone", "full", "moved"))
	cfg.Retry.Attempts = 3
	s, err := Replay(t.Context(), cfg)
	if err != nil || s.OK() || s.Failed != 8 || s.Accepted != 0 || s.LastError == "" {
		t.Fatalf("summary %+v, %v", s, err)
	}
	for id, want := range map[string]int{"bad-1": 1, "bad-2": 1, "gone-1": 4, "gone-2": 4, "full-1": 4,
		"full-2": 4, "moved-1": 1, "moved-2": 1} {
		if got := g.sent(id); got != want {
			t.Errorf("%s was sent %d times, want %d", id, got, want)
		}
	}
	checkLedger(t, s, attempts(t, ledger), g)
}

// Goal: latency counts from when an event was due, not from when a late client sent it. Method: one
// connection, which the gate keeps busy with the first event until others are long overdue.
func TestLatencyCountsFromTheDueTime(t *testing.T) {
	const stall, count, rate = 50 * time.Millisecond, 10, 1000
	g := newGate(t, func(r *http.Request, m message, _ int) behaviour {
		if m.OrderingKey == "k0" {
			slow, cancel := context.WithTimeout(r.Context(), stall)
			defer cancel()
			<-slow.Done()
		}
		return behaviour{status: http.StatusAccepted}
	})
	var keys []string
	for i := range count {
		keys = append(keys, fmt.Sprintf("k%d", i))
	}
	cfg, ledger := g.config(eventLines(1, keys...))
	cfg.Concurrency, cfg.Rate = 1, rate
	s, err := Replay(t.Context(), cfg)
	if err != nil || s.Accepted != count {
		t.Fatalf("summary %+v, %v", s, err)
	}
	all := attempts(t, ledger)
	for i, a := range all {
		offset := time.Duration(a.Line-1) * time.Second / rate
		if got := a.Due.Sub(all[0].Due); got != offset {
			t.Errorf("line %d was due after %v, want %v", a.Line, got, offset)
		}
		if least := (stall - offset).Microseconds(); a.LatencyUS < least {
			t.Errorf("line %d has a latency of %d us, want at least %d", a.Line, a.LatencyUS, least)
		}
		if i > 0 && a.Sent.Sub(a.Due) < stall-offset {
			t.Errorf("line %d was sent %v late, want at least %v", a.Line, a.Sent.Sub(a.Due), stall-offset)
		}
	}
	least := float64((stall - count*time.Second/rate).Milliseconds())
	if s.LatencyMS.P50 < least || s.LagMS.Max < least {
		t.Errorf("summary %+v hides the wait", s)
	}
}

// Goal: when the context ends, the replay ends. Requests in flight are in the ledger as unknown,
// events that were due count as unfinished, and the error names the cause. Method: the gate answers
// nothing, and the run ends when every connection is busy.
func TestReplayInterrupted(t *testing.T) {
	const connections = 4
	var busy sync.WaitGroup
	busy.Add(connections)
	g := newGate(t, func(r *http.Request, _ message, _ int) behaviour {
		busy.Done()
		<-r.Context().Done() // the client hangs up
		return behaviour{}
	})
	cfg, ledger := g.config(eventLines(10, "a", "b", "c", "d", "e", "f"))
	cfg.Concurrency = connections
	cfg.Timeout = time.Hour // it must not be what ends the requests
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the operator had enough")
	go func() {
		busy.Wait()
		cancel(why)
	}()
	s, err := Replay(ctx, cfg)
	if !errors.Is(err, ErrInterrupted) || !errors.Is(err, why) {
		t.Errorf("error %v, want an interruption with its cause", err)
	}
	all := attempts(t, ledger)
	if s.OK() || s.Accepted != 0 || s.Unfinished < connections || s.Attempts != connections ||
		len(all) != connections {
		t.Errorf("summary %+v with %d lines in the ledger", s, len(all))
	}
	for _, a := range all {
		if a.Status != 0 || !strings.Contains(a.Error, why.Error()) {
			t.Errorf("in flight at the end: %+v", a)
		}
	}
}

// Goal: an event in back-off does not delay the end of a run.
func TestReplayInterruptedInBackOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	g := newGate(t, func(*http.Request, message, int) behaviour {
		return behaviour{status: http.StatusServiceUnavailable, retryAfter: "3600"}
	})
	cfg, _ := g.config(eventLines(1, "a"))
	cfg.Retry.MaxRetryAfter = time.Hour
	cfg.Progress = func(s Summary) {
		if s.Attempts == 1 {
			cancel()
		}
	}
	s, err := Replay(ctx, cfg)
	if !errors.Is(err, ErrInterrupted) || s.Unfinished != 1 || s.Failed != 0 {
		t.Errorf("summary %+v, %v", s, err)
	}
}

// Goal: a silent input does not delay the end of a run.
func TestReplayInterruptedWhileItReads(t *testing.T) {
	g := newGate(t, nil)
	r, w := io.Pipe()
	defer w.Close() // frees the reader that Replay leaves behind
	ctx, cancel := context.WithCancel(t.Context())
	cfg, _ := g.config(r)
	go func() {
		io.WriteString(w, eventLine("a-1", "a", 1)) // returns when it has been read
		cancel()
	}()
	if s, err := Replay(ctx, cfg); !errors.Is(err, ErrInterrupted) {
		t.Errorf("summary %+v, %v", s, err)
	}
}

// Goal: a line that is not an event ends the run. Everything before it is sent, and nothing after
// it.
func TestReplayStopsAtMalformedLine(t *testing.T) {
	g := newGate(t, nil)
	input := io.MultiReader(eventLines(2, "a", "b"), strings.NewReader("{\"messageId\":7}\n"+
		eventLine("a-3", "a", 3)))
	cfg, ledger := g.config(input)
	s, err := Replay(t.Context(), cfg)
	var bad *LineError
	if !errors.As(err, &bad) || bad.Line != 5 ||
		!strings.Contains(err.Error(), "messageId is not a string") || errors.Is(err, ErrInterrupted) {
		t.Errorf("error %v", err)
	}
	if s.Accepted != 4 || !s.OK() || len(attempts(t, ledger)) != 4 || g.sent("a-3") != 0 {
		t.Errorf("summary %+v", s)
	}
}

// Goal: a run whose ledger cannot be written ends with that error, which is not an interruption.
func TestReplayStopsWithoutItsLedger(t *testing.T) {
	g := newGate(t, nil)
	cfg, _ := g.config(bytes.NewReader(generated(t, Generator{Count: 3000})))
	full := errors.New("disk full")
	cfg.Ledger = writerFunc(func([]byte) (int, error) { return 0, full })
	if _, err := Replay(t.Context(), cfg); !errors.Is(err, full) || errors.Is(err, ErrInterrupted) {
		t.Errorf("error %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Goal: a context that ends after everything has been answered changes nothing.
func TestReplayInterruptedTooLate(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	g := newGate(t, nil)
	cfg, _ := g.config(eventLines(1, "a"))
	cfg.Ledger = writerFunc(func(p []byte) (int, error) { // written at the end of so short a run
		cancel()
		return len(p), nil
	})
	if s, err := Replay(ctx, cfg); err != nil || s.Accepted != 1 {
		t.Errorf("summary %+v, %v", s, err)
	}
}

// Goal: exact repetitions in the input are counted as duplicates, and as accepted.
func TestReplayCountsDuplicates(t *testing.T) {
	g := newGate(t, nil)
	cfg, ledger := g.config(bytes.NewReader(generated(t, Generator{Count: 400, DuplicatePercent: 25,
		Keys: 9})))
	s, err := Replay(t.Context(), cfg)
	if err != nil || s.Accepted != 400 || s.Duplicates != 100 {
		t.Errorf("summary %+v, %v", s, err)
	}
	g.check(t)
	n := 0
	for _, a := range attempts(t, ledger) {
		if a.Duplicate() {
			n++
			if a.FirstRequestID != "first" {
				t.Errorf("duplicate without its first request: %+v", a)
			}
		}
	}
	if n != 100 {
		t.Errorf("%d duplicates in the ledger", n)
	}
}

// Goal: the caller's histogram has the latency of each event, and agrees with the summary.
func TestReplayAddsLatencies(t *testing.T) {
	g := newGate(t, nil)
	cfg, _ := g.config(eventLines(50, "a", "b"))
	cfg.Latencies = hdrhistogram.New(1, longest.Microseconds(), 3)
	s, err := Replay(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := quantiles(cfg.Latencies); cfg.Latencies.TotalCount() != 100 || got != s.LatencyMS {
		t.Errorf("%d latencies with %+v, the summary has %+v", cfg.Latencies.TotalCount(), got,
			s.LatencyMS)
	}
}

// Goal: a window far smaller than the input does not block it.
func TestReplayWithSmallWindow(t *testing.T) {
	for _, readAhead := range []int{1, 2, 3, 100} {
		g := newGate(t, nil)
		cfg, _ := g.config(eventLines(20, "a", "b", "c"))
		cfg.ReadAhead = readAhead
		if s, err := Replay(t.Context(), cfg); err != nil || s.Accepted != 60 {
			t.Errorf("read-ahead %d: summary %+v, %v", readAhead, s, err)
		}
		g.check(t)
	}
}

// Goal: a configuration that cannot work is rejected before anything is sent, with the name of the
// setting.
func TestReplayRefuses(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"no input":         func(c *Config) { c.Input = nil },
		"rate -1":          func(c *Config) { c.Rate = -1 },
		"must be positive": func(c *Config) { c.Concurrency = -1 },
		"negative":         func(c *Config) { c.Retry.Attempts = -1 },
		"control characters": func(c *Config) {
			c.Credentials.BearerKey = "a\r\nX-Injected: b"
		},
		`"ftp://x"`:          func(c *Config) { c.Target = "ftp://x" },
		`"127.0.0.1:8080"`:   func(c *Config) { c.Target = "127.0.0.1:8080" },
		`"http://:8080"`:     func(c *Config) { c.Target = "http://:8080" },
		`"http://h?a=b"`:     func(c *Config) { c.Target = "http://h?a=b" },
		`"http://u:xxxxx@h"`: func(c *Config) { c.Target = "http://u:secret@h" },
	} {
		cfg := Config{Input: strings.NewReader(""), Target: "http://127.0.0.1:1"}
		change(&cfg)
		if _, err := Replay(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %s", err, want)
		}
	}
}

// Goal: an empty input is a complete run, and all numbers of its summary are valid.
func TestReplayOfNothing(t *testing.T) {
	cfg := Config{Input: strings.NewReader(""), Target: "http://127.0.0.1:1"}
	s, err := Replay(t.Context(), cfg)
	if err != nil || !s.OK() || s.ElapsedSeconds != 0 || s.Rate != 0 {
		t.Errorf("summary %+v, %v", s, err)
	}
	var b strings.Builder
	if err := s.Write(&b); err != nil ||
		!strings.Contains(b.String(), "0 accepted (0 duplicates), 0 failed, 0 unfinished") {
		t.Errorf("%v: %s", err, b.String())
	}
}

// Goal: the path of the target is kept before the path of the source.
func TestTargetPath(t *testing.T) {
	for target, want := range map[string]string{
		"http://h":      "/webhooks",
		"http://h/":     "/webhooks",
		"http://h/a":    "/a/webhooks",
		"http://h/a%2F": "/a%2F/webhooks",
	} {
		cfg := Config{Input: strings.NewReader(""), Target: target}
		if u, err := cfg.prepare(); err != nil || u.RequestURI() != want {
			t.Errorf("target %s: %v, %v; want %s", target, u, err, want)
		}
	}
}
