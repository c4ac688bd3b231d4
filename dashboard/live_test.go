package dashboard

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/internal/attention"
	"github.com/hookgate/hookgate/internal/metrics"
)

// fakeGate is where live numbers come from in tests of fake time.
type fakeGate struct {
	mu      sync.Mutex
	counted metrics.Snapshot
	queue   hookgate.QueueStats
	err     error
	asked   int // how often the store was
	status  guard.Status
	mode    control.Mode
	store   error
}

func (f *fakeGate) set(change func(*fakeGate)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fakeGate) Snapshot() metrics.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.counted
	s.Answers = append([]metrics.Answered{}, s.Answers...)
	return s
}
func (f *fakeGate) Status() guard.Status { return f.status }
func (f *fakeGate) Fired() []string      { return nil }
func (f *fakeGate) Latency() guard.Latency {
	return guard.Latency{Count: 1, P95: 1500 * time.Microsecond}
}
func (f *fakeGate) Mode() control.Mode { return f.mode }
func (f *fakeGate) Observed() guard.Observation {
	return guard.Observation{At: time.Now(), Queue: f.queue, QueueErr: f.err}
}
func (f *fakeGate) Counts(context.Context) (hookgate.StoreCounts, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	return hookgate.StoreCounts{Events: 3}, f.store
}
func (f *fakeGate) Ping(context.Context) error { return nil }

// wasAsked returns how often the store was asked.
func (f *fakeGate) wasAsked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func (f *fakeGate) live(streams int) *Live {
	return NewLive(LiveConfig{Metrics: f, Guard: f, Release: f, Mode: f, Store: f,
		MaxStreams: streams})
}

// watching returns how many streams there are.
func (l *Live) watching() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.streams)
}

// answers are the counts of one source by status.
func answers(taken, unauthenticated, busy int64) []metrics.Answered {
	return []metrics.Answered{{Source: "shop", Status: 202, Count: taken},
		{Source: "shop", Status: 401, Count: unauthenticated}, {Source: "shop", Status: 503, Count: busy}}
}

// TestLiveRates: rates follow the counters, come to rest, and the ring does not grow beyond its
// length.
func TestLiveRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeGate{mode: control.ModeNormal, queue: hookgate.QueueStats{Depth: 7, HighWater: 100}}
		f.counted.Answers = answers(1000, 0, 0) // from before
		l := f.live(1)
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { l.Run(ctx) })
		defer done.Wait()
		defer cancel()
		for n := range int64(10) {
			f.set(func(f *fakeGate) {
				f.counted.Answers = answers(1000+50*(n+1), 2*(n+1), 10*(n+1))
				f.counted.Records, f.counted.Batches, f.counted.BatchMillis = 40*(n+1), 4*(n+1), 20*float64(n+1)
			})
			time.Sleep(time.Second)
			synctest.Wait()
		}
		s := l.State(t.Context())
		if s.Rate != 62 || s.TakenRate != 50 || s.RefusedRate != 2 || s.UnavailableRate != 10 ||
			s.StoredRate != 40 || s.Batch != 10 || s.BatchMillis != 5 || s.Depth != 7 {
			t.Errorf("the state is %+v", s)
		}
		if len(s.Answers) != 3 || s.Answers[0].Status != 202 || s.Answers[0].Rate < 40 ||
			s.Answers[1].Status != 401 || s.Answers[2].Rate < 8 {
			t.Errorf("answers are %+v", s.Answers)
		}
		if len(s.Sources) != 1 || s.Sources[0].Taken < 40 || s.Sources[0].Last.IsZero() ||
			time.Since(s.Sources[0].Last) > 2*time.Second {
			t.Errorf("sources are %+v", s.Sources)
		}
		time.Sleep(2 * keep * time.Second)
		synctest.Wait()
		s = l.State(t.Context())
		if s.Rate != 0 || s.Sources[0].Taken != 0 || len(s.Answers) != 0 || len(l.ring) != keep {
			t.Errorf("half an hour later: %+v, %d samples", s, len(l.ring))
		}
	})
}

// TestSince: a condition that begins while somebody observes has a time. One that was there at the
// start has none, until it has ended once.
func TestSince(t *testing.T) {
	f := &fakeGate{mode: control.ModeReadOnly}
	l := f.live(1)
	began := time.Now()
	var now State
	at := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
	sample := func(seconds int) {
		l.sample(at(seconds))
		now = l.now
	}
	sample(1)
	if p := now.Problems(); len(p) != 1 || p[0].Since != "" {
		t.Errorf("at the start there is %v", p)
	}
	f.queue.Degraded = errors.New("away")
	sample(2)
	sample(3)
	want := at(2).UTC().Format(time.RFC3339)
	if p := now.Problems(); len(p) != 2 || p[0].Since != "" || p[1].Since != want {
		t.Errorf("want since %s, there is %v", want, p)
	}
	f.queue.Degraded, f.mode = nil, control.ModeNormal
	sample(4)
	if p := now.Problems(); len(p) != 0 || now.Since != nil {
		t.Errorf("in the end there is %v", p)
	}
	f.mode = control.ModeReadOnly
	sample(5)
	want = at(5).UTC().Format(time.RFC3339)
	if p := now.Problems(); len(p) != 1 || p[0].Since != want {
		t.Errorf("want since %s, there is %v", want, p)
	}
}

// TestStoreIsAskedWhileSomebodyLooks, and not otherwise.
func TestStoreIsAskedWhileSomebodyLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeGate{mode: control.ModeNormal}
		l := f.live(1)
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { l.Run(ctx) })
		defer done.Wait()
		defer cancel()
		// not when the store is asked, which somebody who looks now would have a part in
		time.Sleep(time.Hour + sampleEvery/2)
		if n := f.wasAsked(); n != 0 {
			t.Errorf("nobody looks, and the store was asked %d times", n)
		}
		if s := l.State(t.Context()); s.Store.Counts.Events != 3 || f.wasAsked() != 1 {
			t.Errorf("at the first look: %+v, asked %d times", s.Store, f.wasAsked())
		}
		time.Sleep(time.Hour)
		if n := f.wasAsked(); n > 1+int(looking/askStoreEvery) {
			t.Errorf("long after a look the store was asked %d times", n)
		}
	})
}

// TestSlowReader: one who does not read is dropped, and holds up neither the samples nor the
// others.
func TestSlowReader(t *testing.T) {
	f := &fakeGate{mode: control.ModeNormal}
	l := f.live(2)
	slow, _, _, ok1 := l.subscribe()
	quick, _, _, ok2 := l.subscribe()
	if _, _, _, third := l.subscribe(); !ok1 || !ok2 || third {
		t.Fatal("there are not two streams")
	}
	for i := range 3 * behind {
		l.sample(time.Now().Add(time.Duration(i) * time.Second))
		if state := <-quick; !json.Valid(state) {
			t.Fatalf("a state is %q", state)
		}
	}
	n := 0
	for range slow {
		n++
	}
	if n != behind || l.watching() != 1 {
		t.Errorf("the slow one got %d states and was closed; %d streams are left", n, l.watching())
	}
	l.unsubscribe(slow) // as its stream does, once more
	l.unsubscribe(quick)
	if l.watching() != 0 {
		t.Errorf("%d streams are left", l.watching())
	}
}

// TestStreamEnds: when its visitor may not look any more, and after its time.
func TestStreamEnds(t *testing.T) {
	for name, want := range map[string]time.Duration{"revoked": renewEvery,
		"after its time": streamTime} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeGate{mode: control.ModeNormal}
				d := New(Config{Live: f.live(1)})
				w := httptest.NewRecorder()
				began := time.Now()
				d.Stream(w, httptest.NewRequest("GET", "/ui/live", nil),
					&Visitor{Renew: func(context.Context) bool { return name != "revoked" }})
				if took := time.Since(began); took != want {
					t.Errorf("it lasted %v, want %v", took, want)
				}
				if over := strings.Contains(w.Body.String(), "event: over\n"); over != (name == "revoked") {
					t.Errorf("the stream is\n%s", w.Body)
				}
				if d.config.Live.watching() != 0 {
					t.Error("it is still counted")
				}
			})
		})
	}
}

// TestStreamBeginsAsThePage: the first state of a stream has the problems that the page has shown.
func TestStreamBeginsAsThePage(t *testing.T) {
	f := &fakeGate{mode: control.ModeNormal}
	l := f.live(1)
	f.set(func(f *fakeGate) { f.store = errors.New("the database is away") })
	page := l.State(t.Context())
	_, _, now, _ := l.subscribe()
	var stream struct{ Problems []Problem }
	if err := json.Unmarshal(now, &stream); err != nil {
		t.Fatal(err)
	}
	if want := page.Problems(); len(want) == 0 || !slices.Equal(stream.Problems, want) {
		t.Errorf("the stream begins with the problems %+v, the page has %+v", stream.Problems, want)
	}
}

// TestStreamHead checks that a HEAD request takes no stream.
func TestStreamHead(t *testing.T) {
	d := New(Config{Live: (&fakeGate{mode: control.ModeNormal}).live(1)})
	w := httptest.NewRecorder()
	d.Stream(w, httptest.NewRequest("HEAD", "/ui/live", nil), &Visitor{})
	if w.Header().Get("Content-Type") != "text/event-stream" || w.Body.Len() > 0 ||
		d.config.Live.watching() != 0 {
		t.Errorf("the header is %v, with %d bytes; %d streams", w.Header(), w.Body.Len(),
			d.config.Live.watching())
	}
}

// TestStreamWire: what scripts get is what they read, also when nothing is known.
func TestStreamWire(t *testing.T) {
	f := &fakeGate{mode: control.ModeNormal, err: errors.New("away"),
		status: guard.Status{Signals: []guard.SignalStatus{{Name: guard.SignalLag}}}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		New(Config{Live: f.live(1)}).Stream(w, r, &Visitor{})
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() && lines.Text() != "event: state" {
	}
	lines.Scan()
	var state map[string]any
	if err := json.Unmarshal([]byte(strings.TrimPrefix(lines.Text(), "data: ")), &state); err != nil {
		t.Fatal(err)
	}
	if state["depth"] != nil || state["lag"] != nil || state["p95"] != 1.5 ||
		len(state["point"].([]any)) != 10 ||
		state["signals"].([]any)[0].(map[string]any)["value"] != nil {
		t.Errorf("the state is %v", state)
	}
	if problems := state["problems"].([]any); len(problems) != 1 ||
		!strings.Contains(problems[0].(map[string]any)["text"].(string), "does not answer: away") {
		t.Errorf("problems are %v", state["problems"])
	}
}

// TestProblems: what is wrong is said, the worst first where there is an order, and nothing when
// all is well.
func TestProblems(t *testing.T) {
	well := State{Mode: control.ModeNormal, Guard: guard.Status{Breaker: guard.Closed},
		Queue: hookgate.QueueStats{HighWater: 100}}
	if p := well.Problems(); len(p) != 0 {
		t.Errorf("all is well, and there is %v", p)
	}
	for want, change := range map[string]func(*State){
		"bad Maintenance":                    func(s *State) { s.Mode = control.ModeReadOnly },
		"bad The breaker is open because of": func(s *State) { s.Guard.Breaker = guard.Open },
		"warn The breaker is recovering: 30%": func(s *State) {
			s.Guard.Breaker,
				s.Guard.AdmittedPercent = guard.Recovering, 30
		},
		"bad The queue does not answer: gone": func(s *State) {
			s.QueueErr = errors.New(
				"gone")
		},
		"bad The queue takes no webhooks: disk": func(s *State) {
			s.Queue.Err = errors.New(
				"disk")
		},
		"bad The queue is full": func(s *State) { s.Queue.Depth = 100 },
		"warn Webhooks are spooled": func(s *State) {
			s.Queue.Degraded = errors.New(
				"redis")
		},
		"bad The store is away": func(s *State) { s.Store.Err = errors.New("pg") },
		"bad The release trigger error rate has fired": func(
			s *State) {
			s.Fired = []string{"error_rate"}
		},
		"warn 3 dead letters": func(s *State) {
			s.Store.Attention = []attention.Item{{Name: "dead_letters", Count: 3,
				Text: "3 dead letters are open", Link: "/ui/dead-letters"}}
		},
		"warn The P95 of ingest is at 85%": func(s *State) {
			s.Guard.Signals = []guard.SignalStatus{{Name: guard.SignalP95, Known: true, Limit: 2,
				Nearness: 0.85}}
		},
	} {
		s := well
		change(&s)
		if p := s.Problems(); len(p) != 1 || !strings.HasPrefix(p[0].Level+" "+p[0].Text, want) {
			t.Errorf("want %q, there is %v", want, p)
		}
	}
}

// BenchmarkSample is what a second of live numbers costs, with twenty sources and ten browsers that
// look.
func BenchmarkSample(b *testing.B) {
	m := metrics.New(metrics.Config{})
	for i := range 20 {
		s := m.Source(string(rune('a' + i)))
		for _, status := range []int{202, 400, 401, 429, 503} {
			s.Count(status)
		}
	}
	for i := range metrics.MaxEventTypes {
		m.Accepted(string(rune('a'+i)), true)
	}
	f := &fakeGate{mode: control.ModeNormal}
	l := NewLive(LiveConfig{Metrics: m, Guard: f, Release: f, Mode: f, Store: f, MaxStreams: 10})
	for range 10 {
		states, _, _, _ := l.subscribe()
		go func() {
			for range states {
			}
		}()
	}
	at := time.Now()
	for b.Loop() {
		at = at.Add(time.Second)
		l.sample(at)
	}
	for states := range l.streams { // so that no goroutine is left
		close(states)
	}
}
