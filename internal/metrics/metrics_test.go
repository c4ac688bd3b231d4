package metrics

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
)

var errInjected = errors.New("injected")

// well returns the Config of a gate without trouble.
func well() Config {
	return Config{
		Queue: func(context.Context) (hookgate.QueueStats, error) {
			return hookgate.QueueStats{Depth: 7, HighWater: 100, Partitions: 4,
				OldestEnqueuedAt: time.Now().Add(-time.Minute)}, nil
		},
		Store: func(context.Context) (hookgate.StoreCounts, error) {
			return hookgate.StoreCounts{Events: 11, Duplicates: 12, DeadLetters: 13}, nil
		},
		Mode:              func() control.Mode { return control.ModeBuffer },
		OpenDeadLetters:   func(context.Context) (int64, bool) { return 4, true },
		DataDir:           func() (int64, int64, error) { return 30, 40, nil },
		CertificateExpiry: func() (time.Time, error) { return time.Unix(1e9, 0), nil },
		Version:           `v1"\`,
	}
}

// exposition is the answer to a scrape: samples by name and labels as written, types and helps by
// name.
type exposition struct {
	text       string
	samples    map[string]float64
	kind, help map[string]string
}

var (
	comment = regexp.MustCompile(`^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)$`)
	sample  = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(` +
		`?:[^"\\]|\\["\\n])*",?)+\})? ([^ ]+)$`)
)

// scrape calls the handler and parses the text format strictly: every line is a comment or a
// sample, and each sample occurs once and belongs to a declared family.
func scrape(t *testing.T, m *Metrics) exposition {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("scrape answers %d: %s", w.Code, w.Body)
	}
	if h := w.Header().Get("Content-Type"); !strings.HasPrefix(h, "text/plain; version=0.0.4") {
		t.Errorf("Content-Type %q", h)
	}
	e := exposition{w.Body.String(), map[string]float64{}, map[string]string{}, map[string]string{}}
	for lines := bufio.NewScanner(strings.NewReader(e.text)); lines.Scan(); {
		line := lines.Text()
		if c := comment.FindStringSubmatch(line); c != nil {
			to := map[string]map[string]string{"HELP": e.help, "TYPE": e.kind}[c[1]]
			if _, again := to[c[2]]; again {
				t.Errorf("%s of %s occurs twice", c[1], c[2])
			}
			to[c[2]] = c[3]
			continue
		}
		s := sample.FindStringSubmatch(line)
		if s == nil {
			t.Errorf("line %q is neither a comment nor a sample", line)
			continue
		}
		value, err := strconv.ParseFloat(s[3], 64)
		if err != nil {
			t.Errorf("line %q: %v", line, err)
		}
		if _, again := e.samples[s[1]+s[2]]; again {
			t.Errorf("sample %s occurs twice", s[1]+s[2])
		}
		e.samples[s[1]+s[2]] = value
		family := s[1]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base := strings.TrimSuffix(family, suffix); e.kind[base] == "histogram" ||
				e.kind[base] == "summary" {
				family = base
			}
		}
		if e.kind[family] == "" || e.help[family] == "" {
			t.Errorf("sample %q belongs to no family that was declared", line)
		}
	}
	return e
}

// want compares samples.
func (e exposition) want(t *testing.T, samples map[string]float64) {
	t.Helper()
	for name, want := range samples {
		if got, ok := e.samples[name]; !ok || got != want {
			t.Errorf("%s is %v (there: %v), want %v", name, got, ok, want)
		}
	}
}

// busy returns a Metrics in which everything was counted.
func busy() *Metrics {
	m := New(well())
	m.Accepted("order.paid", false)
	m.Accepted("order.paid", false)
	m.Accepted("order.paid", true)
	m.Persisted("order.paid", 3*time.Millisecond)
	m.Duplicate("order.paid", 4*time.Millisecond)
	m.DeadLettered("order.paid", time.Hour)
	m.Request(http.MethodPost, 202, 300*time.Microsecond)
	m.Request(http.MethodPost, 202, 80*time.Microsecond)
	m.Batch(17, 6*time.Millisecond)
	m.ApplyFailed()
	m.Attempted("billing", "5xx", 20*time.Millisecond)
	m.Attempted("billing", "2xx", 30*time.Millisecond)
	m.Settled("billing", "delivered", 2*time.Second)
	return m
}

// TestExposition counts everything once and compares the scrape with the contract.
func TestExposition(t *testing.T) {
	e := scrape(t, busy())
	for name, kind := range map[string]string{
		"webhook_http_latency_ms": "histogram", "webhook_queue_latency_ms": "histogram",
		"webhook_events_total": "counter",
		"webhook_queue_depth":  "gauge", "webhook_queue_up": "gauge", "webhook_store_up": "gauge",
		"webhook_store_rows": "gauge",
	} {
		if e.kind[name] != kind {
			t.Errorf("%s is of type %q, want %q", name, e.kind[name], kind)
		}
	}
	e.want(t, map[string]float64{
		`webhook_events_total{eventType="order.paid",status="accepted"}`:            2,
		`webhook_events_total{eventType="order.paid",status="duplicate"}`:           1,
		`webhook_events_total{eventType="order.paid",status="persisted"}`:           1,
		`webhook_events_total{eventType="order.paid",status="dead_lettered"}`:       1,
		`webhook_queue_latency_ms_count{eventType="order.paid",status="persisted"}`: 1,
		`webhook_queue_latency_ms_sum{eventType="order.paid",status="persisted"}`:   3,
		`webhook_queue_latency_ms_sum{eventType="order.paid",status="duplicate"}`:   4,
		`webhook_queue_latency_ms_sum{eventType="order.paid",` +
			`status="dead_lettered"}`: 3_600_000,
		`webhook_queue_latency_ms_bucket{eventType="order.paid",status="dead_lettered",le="60000"}`: 0,
		`webhook_queue_latency_ms_bucket{eventType="order.paid",status="dead_lettered",le="+Inf"}`:  1,
		`webhook_http_latency_ms_bucket{method="POST",status="202",le="0.1"}`:                       1,
		`webhook_http_latency_ms_bucket{method="POST",status="202",le="0.25"}`:                      1,
		`webhook_http_latency_ms_bucket{method="POST",status="202",le="0.5"}`:                       2,
		`webhook_http_latency_ms_count{method="POST",status="202"}`:                                 2,
		`webhook_queue_depth`:                               7,
		`webhook_queue_high_water`:                          100,
		`webhook_queue_up`:                                  1,
		`webhook_store_up`:                                  1,
		`webhook_store_rows{kind="events"}`:                 11,
		`webhook_store_rows{kind="duplicates"}`:             12,
		`webhook_store_rows{kind="dead_letters"}`:           13,
		`webhook_batch_records_sum`:                         17,
		`webhook_batch_latency_ms_sum`:                      6,
		`webhook_batch_failures_total`:                      1,
		`webhook_dead_letters_total`:                        1,
		`webhook_dead_letters_open`:                         4,
		`hookgate_data_dir_free_bytes`:                      30,
		`hookgate_data_dir_size_bytes`:                      40,
		`hookgate_mode{mode="buffer"}`:                      1,
		`hookgate_mode{mode="normal"}`:                      0,
		`hookgate_mode{mode="read_only"}`:                   0,
		`hookgate_tls_certificate_expiry_timestamp_seconds`: 1e9,
		`hookgate_build_info{version="v1\"\\"}`:             1,
	})
	if age := e.samples["webhook_queue_oldest_seconds"]; age < 60 || age > 120 {
		t.Errorf("oldest record is %v s old, want about 60", age)
	}
	if e.samples["go_goroutines"] < 1 || e.samples["process_open_fds"] < 1 {
		t.Error("the process itself is not shown")
	}
}

// TestFirstIsAnIncrease: counters that alerts watch are at 0 before the first occurrence. The last
// receipt of a source starts at the start of the process, and a rejection does not change it.
func TestFirstIsAnIncrease(t *testing.T) {
	c := well()
	c.OpenDeadLetters = func(context.Context) (int64, bool) { return 0, false }
	c.CertificateExpiry = nil
	m := New(c)
	source := m.Source("github")
	e := scrape(t, m)
	e.want(t, map[string]float64{
		`webhook_dead_letters_total`:                         0,
		`webhook_ingest_total{source="github",status="413"}`: 0,
		`webhook_ingest_total{source="github",status="401"}`: 0,
		`hookgate_tls_certificate_expiry_timestamp_seconds`:  0,
	})
	if _, ok := e.samples["webhook_dead_letters_open"]; ok {
		t.Error("a number of open dead letters is shown that nobody knows")
	}
	const last = `webhook_source_last_received_timestamp_seconds{source="github"}`
	if at := e.samples[last]; math.Abs(at-float64(time.Now().Unix())) > 60 {
		t.Errorf("at the start the source was last heard of at %v", at)
	}
	source.received.Store(1000)
	source.Count(401)
	source.Count(503)
	scrape(t, m).want(t, map[string]float64{last: 1000})
	source.Count(200)
	if at := scrape(t, m).samples[last]; at <= 1000 {
		t.Errorf("after a 200 the source was last heard of at %v", at)
	}
}

// TestBuckets checks both latencies for buckets below 1 ms and for cumulative counts.
func TestBuckets(t *testing.T) {
	e := scrape(t, busy())
	for _, series := range []string{`webhook_http_latency_ms_bucket{method="POST",status="202",le=%q}`,
		`webhook_queue_latency_ms_bucket{eventType="order.paid",status="persisted",le=%q}`} {
		below, last := 0, 0.0
		for _, le := range append(latencyBuckets, math.Inf(1)) {
			count, ok := e.samples[fmt.Sprintf(series, strconv.FormatFloat(le, 'g', -1, 64))]
			if !ok || count < last {
				t.Errorf(series+": %v (there: %v) after %v", strconv.FormatFloat(le, 'g', -1, 64), count, ok,
					last)
			}
			if last = count; le < 1 {
				below++
			}
		}
		if below < 2 {
			t.Errorf("%s: %d buckets below 1 ms", series, below)
		}
	}
}

// TestEventTypesAreBounded counts 10,000 event types from 16 goroutines. There are at most
// MaxEventTypes label values and "other", and no count is lost.
func TestEventTypesAreBounded(t *testing.T) {
	const types, goroutines = 10_000, 16
	m := New(well())
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			for i := range types {
				// Neighbours go through the types in different orders, so that some meet at a new one and some
				// do not.
				n := (i + g/2*577) % types
				eventType := fmt.Sprintf("type-%05d", n)
				m.Accepted(eventType, n%2 == 0)
				m.Persisted(eventType, time.Millisecond)
			}
		})
	}
	all.Wait()
	values := map[string]bool{}
	total := map[string]float64{}
	observed := 0.0
	series := regexp.MustCompile(`^webhook_(events_total|queue_latency_ms_count)\{eventType="` +
		`([^"]*)",status="([^"]*)"\}$`)
	for name, value := range scrape(t, m).samples {
		s := series.FindStringSubmatch(name)
		if s == nil {
			continue
		}
		values[s[2]] = true
		if s[1] == "events_total" {
			total[s[3]] += value
		} else {
			observed += value
		}
	}
	if len(values) > MaxEventTypes+1 || len(values) < MaxEventTypes/2 || !values[other] {
		t.Errorf("%d event types have a label value, want at most %d and %q", len(values), MaxEventTypes+
			1, other)
	}
	const want = types * goroutines
	if total[statusAccepted] != want/2 || total[statusDuplicate] != want/2 ||
		total[statusPersisted] != want || observed != want {
		t.Errorf("counted %v and observed %v, want %d", total, observed, want)
	}
	// A type that has its value keeps it when there is no more room.
	kept := New(well())
	kept.Accepted("first", false)
	for i := range 2 * MaxEventTypes {
		kept.Accepted(fmt.Sprint("later-", i), false)
	}
	kept.Accepted("first", false)
	scrape(t, kept).want(t, map[string]float64{
		`webhook_events_total{eventType="first",status="accepted"}`: 2,
		`webhook_events_total{eventType="other",status="accepted"}`: MaxEventTypes + 1,
	})
}

// TestSameNewTypeAtOnce counts one new event type from 16 goroutines at once. No count is lost, and
// the type uses one label value only.
func TestSameNewTypeAtOnce(t *testing.T) {
	for i := range 100 {
		m := New(well())
		start := make(chan struct{})
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				<-start
				m.Accepted("new", false)
			})
		}
		close(start)
		all.Wait()
		if n := m.typesLen.Load(); n != 1 {
			t.Fatalf("one event type takes %d places", n)
		}
		for n := range MaxEventTypes - 1 {
			m.Accepted(fmt.Sprint("later-", n), false)
		}
		if m.of(fmt.Sprint("later-", MaxEventTypes-2)) == m.others {
			t.Fatal("the last type that there is room for has no value of its own")
		}
		if i == 0 { // a scrape takes its time
			scrape(t, m).want(t, map[string]float64{
				`webhook_events_total{eventType="new",status="accepted"}`:   16,
				`webhook_events_total{eventType="other",status="accepted"}`: 0,
			})
		}
	}
}

// TestMethodsAreBounded counts requests with invented methods.
func TestMethodsAreBounded(t *testing.T) {
	m := New(well())
	usual := []string{"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"}
	for _, method := range usual {
		m.Request(method, 200, time.Millisecond)
	}
	for _, method := range []string{"get", "BREW", "", "CONNECT", "TRACE", "PROPFIND", "\xff",
		strings.Repeat("X", 1000)} {
		m.Request(method, 405, time.Millisecond)
	}
	e := scrape(t, m)
	for _, method := range usual {
		e.want(t, map[string]float64{`webhook_http_latency_ms_count{method="` + method +
			`",status="200"}`: 1})
	}
	e.want(t, map[string]float64{`webhook_http_latency_ms_count{method="other",status="405"}`: 8})
	if n := strings.Count(e.text, "webhook_http_latency_ms_count{"); n != len(usual)+1 {
		t.Errorf("%d series of requests, want %d", n, len(usual)+1)
	}
}

// TestScrapeWhileFailing scrapes while the queue and the store fail. All other metrics are present.
func TestScrapeWhileFailing(t *testing.T) {
	failing := Config{
		Queue: func(context.Context) (hookgate.QueueStats, error) {
			return hookgate.QueueStats{},
				errInjected
		},
		Store: func(context.Context) (hookgate.StoreCounts, error) {
			return hookgate.StoreCounts{},
				errInjected
		},
	}
	m := New(failing)
	m.Accepted("t", false)
	e := scrape(t, m)
	e.want(t, map[string]float64{
		"webhook_queue_up": 0, "webhook_store_up": 0,
		`webhook_events_total{eventType="t",status="accepted"}`: 1,
	})
	for name := range e.samples {
		if strings.HasPrefix(name, "webhook_queue_depth") ||
			strings.HasPrefix(name, "webhook_store_rows") {
			t.Errorf("%s is shown although it cannot be known", name)
		}
	}
	// A queue that answers and cannot write is down, with its depth; one that holds nothing has no
	// age.
	full := well()
	full.Queue = func(context.Context) (hookgate.QueueStats, error) {
		return hookgate.QueueStats{Depth: 0, HighWater: 5, Err: errInjected}, nil
	}
	scrape(t, New(full)).want(t, map[string]float64{
		"webhook_queue_up": 0, "webhook_queue_depth": 0, "webhook_queue_high_water": 5,
		"webhook_queue_oldest_seconds": 0, "webhook_store_up": 1,
	})
}

// TestScrapeIsBounded scrapes while the queue blocks until its context ends. The context must end,
// and the store must be asked too.
func TestScrapeIsBounded(t *testing.T) {
	var asked sync.WaitGroup
	asked.Add(2)
	m := New(Config{
		Queue: func(ctx context.Context) (hookgate.QueueStats, error) {
			defer asked.Done()
			if _, bounded := ctx.Deadline(); !bounded {
				t.Error("the queue is asked without an end")
				return hookgate.QueueStats{}, errInjected
			}
			<-ctx.Done()
			return hookgate.QueueStats{}, ctx.Err()
		},
		Store: func(ctx context.Context) (hookgate.StoreCounts, error) {
			defer asked.Done()
			return hookgate.StoreCounts{}, ctx.Err()
		},
	})
	begun := time.Now()
	scrape(t, m).want(t, map[string]float64{"webhook_queue_up": 0, "webhook_store_up": 0})
	asked.Wait()
	if took := time.Since(begun); took > 10*scrapeTimeout {
		t.Errorf("a scrape took %v", took)
	}
}

// TestLint runs the linter of Prometheus on a scrape. The contract causes two findings, labels in
// camel case and latencies in milliseconds. There must be both of them and no other.
func TestLint(t *testing.T) {
	problems, err := promlint.New(strings.NewReader(scrape(t, busy()).text)).Lint()
	if err != nil {
		t.Fatalf("the exposition does not parse: %v", err)
	}
	due := map[string]int{}
	for _, p := range problems {
		switch {
		case strings.HasSuffix(p.Metric, "_ms") && strings.Contains(p.Text, "abbreviated units"):
			due["units"]++
		case (p.Metric == "webhook_events_total" || p.Metric == "webhook_queue_latency_ms") &&
			strings.Contains(p.Text, "camelCase"):
			due["labels"]++
		default:
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	if due["units"] == 0 || due["labels"] == 0 {
		t.Errorf("the linter found %v: it does not see what is there", due)
	}
}
