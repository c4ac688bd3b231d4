package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// sink is the consumer of the subscriptions: a bare net/http server in a process of its own. It
// counts what it receives, by the last part of the path.
//
//	/bare/NAME  answers at once
//	/good/NAME  also measures the time since the gate received the event, and checks the order
//	/slow/NAME  answers after slowAnswer
//	/hang/NAME  does not answer
//	/api/subscriptions/NAME/pull, /ack  answer as a gate does, with the same events each time
//	/answer/NAME sets these; the body is the answer of a gate
//	/mode/NAME  sets what /good/NAME answers, see sinkCount.mode; the body is the mode
//	/count/NAME returns the counts
type sink struct {
	mu     sync.Mutex // guards counts
	counts map[string]*sinkCount
}

// sinkCommand makes this program a sink.
const sinkCommand = "sink"

// slowAnswer is how long a slow consumer takes. At the default concurrency it gets 160 events per
// second.
const slowAnswer = 200 * time.Millisecond

// The modes of a consumer.
const (
	answerAll  = "all"
	answerMost = "most" // 500 for the keys that are bad
	answerNone = "none" // 500
)

// isBad reports whether a key is one of the 1% that answerMost refuses.
func isBad(key string) bool { return strings.HasSuffix(key, "00") || strings.HasSuffix(key, "-0") }

type sinkCount struct {
	received, refused, first, last atomic.Int64 // first and last are Unix nanoseconds
	mode                           atomic.Value // string
	answer                         atomic.Pointer[[]byte]

	mu      sync.Mutex // guards all below
	latency *hdrhistogram.Histogram
	latest  map[string]int64 // the last event id of each key
	// disordered counts the events that came after a later one of their key.
	disordered int64
}

// sinkCounts is what /count/NAME returns.
type sinkCounts struct {
	Received, Refused, Disordered int64
	First, Last                   int64 // Unix nanoseconds
	P50, P95, P99                 float64
}

// perSecond returns the rate between the first and the last event.
func (c *sinkCounts) perSecond() float64 {
	if c.Received < 2 || c.Last <= c.First {
		return 0
	}
	return float64(c.Received-1) / time.Duration(c.Last-c.First).Seconds()
}

func serveSink() {
	serveUntilTerm(sinkCommand, &sink{counts: map[string]*sinkCount{}})
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	kind, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if kind == "api" {
		name = path.Base(path.Dir(name))
	}
	c := s.count(name)
	body := io.Reader(r.Body)
	switch kind {
	case "api":
		c.plainPull(w, r, body)
		return
	case "answer":
		answer, _ := io.ReadAll(body)
		c.answer.Store(&answer)
		return
	case "mode":
		mode, _ := io.ReadAll(body)
		c.mode.Store(string(mode))
		return
	case "count":
		json.NewEncoder(w).Encode(c.counts())
		return
	}
	io.Copy(io.Discard, body)
	switch kind {
	case "hang":
		<-r.Context().Done()
		return
	case "slow":
		time.Sleep(slowAnswer)
	case "good":
		key := r.Header.Get("Hookgate-Key")
		if mode := c.mode.Load(); mode == answerNone || mode == answerMost && isBad(key) {
			c.refused.Add(1)
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		c.note(r, key, now)
	}
	c.first.CompareAndSwap(0, now.UnixNano())
	c.last.Store(now.UnixNano())
	c.received.Add(1)
}

// plainPull answers a pull or an ack.
func (c *sinkCount) plainPull(w http.ResponseWriter, r *http.Request, body io.Reader) {
	io.Copy(io.Discard, body)
	if path.Base(r.URL.Path) == "ack" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(*c.answer.Load())
}

func (s *sink) count(name string) *sinkCount {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts[name]
	if c == nil {
		c = &sinkCount{latency: newHistogram(), latest: map[string]int64{}}
		c.mode.Store(answerAll)
		s.counts[name] = c
	}
	return c
}

// note measures the time since the gate received the event, and checks the order.
func (c *sinkCount) note(r *http.Request, key string, now time.Time) {
	id, _ := strconv.ParseInt(r.Header.Get("Hookgate-Event-Id"), 10, 64)
	received, err := time.Parse(time.RFC3339Nano, r.Header.Get("Hookgate-Received-At"))
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.latency.RecordValue(now.Sub(received).Microseconds()) // an event of a filling is too old
	}
	if strings.HasPrefix(key, "k:") {
		if id <= c.latest[key] {
			c.disordered++
		}
		c.latest[key] = id
	}
}

func (c *sinkCount) counts() sinkCounts {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := func(q float64) float64 { return float64(c.latency.ValueAtQuantile(q)) / 1000 }
	return sinkCounts{Received: c.received.Load(), Refused: c.refused.Load(),
		Disordered: c.disordered, First: c.first.Load(), Last: c.last.Load(),
		P50: at(50), P95: at(95), P99: at(99)}
}

// consumers is a running sink.
type consumers struct{ *server }

func startConsumers(ctx context.Context) (*consumers, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s, err := start(ctx, []string{self, sinkCommand}, nil)
	return &consumers{s}, err
}

func (c *consumers) counts(ctx context.Context, name string) (counts sinkCounts, err error) {
	err = c.getJSON(ctx, "/count/"+name, &counts)
	return counts, err
}

// setMode sets what the consumer answers.
func (c *consumers) setMode(ctx context.Context, name, mode string) error {
	return c.send(ctx, "/mode/"+name, mode)
}

// wait waits until a consumer has received n events. It fails if they did not come in order.
func (c *consumers) wait(ctx context.Context, name string, n int) (counts sinkCounts, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, deliverTimeout,
		fmt.Errorf("not all %d events reached %s", n, name))
	defer cancel()
	for err == nil && counts.Received < int64(n) {
		select {
		case <-ctx.Done():
			return counts, fmt.Errorf("%w: %+v", context.Cause(ctx), counts)
		case <-time.After(20 * time.Millisecond): // the counts have the exact time
		}
		counts, err = c.counts(ctx, name)
	}
	if err == nil && (counts.Received > int64(n) || counts.Disordered > 0) {
		err = fmt.Errorf("%s received %d events, %d out of order; want %d in order", name,
			counts.Received, counts.Disordered, n)
	}
	return counts, err
}

// keyName returns the n-th ordering key of a filling with so many keys, and whether it is one of
// the sender. Without keys it is the event type.
func keyName(n, keys int, eventType string) (key string, keyed bool) {
	if keys == 0 {
		return eventType, false
	}
	return "customer-" + strconv.Itoa(n%keys), true
}
