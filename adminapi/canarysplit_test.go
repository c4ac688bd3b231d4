package adminapi

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/evidence"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/release/canary"
)

// upstream is the previous service, which accepts everything and remembers it.
type upstream struct {
	*httptest.Server
	mu  sync.Mutex
	got []string // method, path with query, a space and the body
}

func newUpstream(t testing.TB) *upstream {
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		u.mu.Lock()
		u.got = append(u.got, r.Method+" "+r.RequestURI+" "+string(body))
		u.mu.Unlock()
		w.WriteHeader(http.StatusAlreadyReported) // no status of the gate
		io.WriteString(w, "theirs")
	}))
	t.Cleanup(u.Close)
	return u
}

// take returns what has come since the last call.
func (u *upstream) take() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	got := u.got
	u.got = nil
	return got
}

// memory keeps a canary in memory.
type memory struct {
	mu   sync.Mutex
	kept control.Canary
	err  error
}

func (m *memory) Canary() control.Canary {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kept
}

func (m *memory) SetCanary(_ context.Context, c control.Canary) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.kept = c
	}
	return m.err
}

// sharing is a gate that shares its webhooks with an upstream.
type sharing struct {
	*gate
	upstream *upstream
	share    *canary.Canary
	keeper   *memory
}

func newSharing(t testing.TB, to string, change func(*setup, *canary.Config)) *sharing {
	t.Helper()
	s := &sharing{keeper: &memory{}}
	if to == "" {
		s.upstream = newUpstream(t)
		to = s.upstream.URL
	}
	u, err := url.Parse(to)
	must(t, err)
	config := canary.Config{Settings: s.keeper, Verdict: func() ([]string, error) { return nil, nil },
		Logger: slog.New(slog.DiscardHandler),
		Plan:   []canary.Step{{Percent: 10, For: time.Hour}, {Percent: 100}},
		Upstream: canary.Upstream{URL: u, Timeout: within, MaxConnections: 100,
			Logger: slog.New(slog.DiscardHandler)}}
	s.gate = newGate(t, func(x *setup) {
		x.config.MaxEvidenceAge = time.Hour
		if change != nil {
			change(x, &config)
		}
		s.share = canary.New(config)
		x.canary = s.share
	})
	t.Cleanup(s.share.Close)
	return s
}

func (s *sharing) set(t testing.TB, percent int) {
	t.Helper()
	_, err := s.share.Set(context.Background(), percent, canary.Change{})
	must(t, err)
}

// keys returns ordering keys of which the gate takes the first at a percentage, and not the second.
func keys(percent int) (ours, theirs string) {
	for n := 0; ours == "" || theirs == ""; n++ {
		if key := fmt.Sprintf("key-%d", n); control.CanaryIncludes(key, percent) {
			ours = key
		} else {
			theirs = key
		}
	}
	return ours, theirs
}

// keyed is an envelope with an ordering key.
func keyed(id, key string) string { return envelope(id, "order.paid", `,"orderingKey":"`+key+`"`) }

// TestShareOfKeys: at each percentage a delivery goes to the side of its key, to that alone, as it
// came; at 0 all go on and at 100 none does.
func TestShareOfKeys(t *testing.T) {
	q := &fakeQueue{}
	g := newSharing(t, "", func(x *setup, _ *canary.Config) { x.queue = q })
	for n, percent := range []int{0, 1, 37, 99, 100} {
		g.set(t, percent)
		ours := 0
		for i := range 100 {
			key := fmt.Sprintf("customer-%d", i)
			body := keyed(fmt.Sprintf("m-%d-%d", n, i), key)
			before := len(q.deliveries())
			a := g.post(t, body)
			got, theirs := q.deliveries()[before:], g.upstream.take()
			switch {
			case control.CanaryIncludes(key, percent):
				ours++
				if a.want(t, 202); len(got) != 1 || string(got[0].Body) != body || len(theirs) != 0 {
					t.Fatalf("at %d percent %s: the gate has %d, the upstream %q", percent, key, len(got), theirs)
				}
			case len(got) != 0 || len(theirs) != 1 || theirs[0] != "POST /webhooks "+body ||
				a.status != 208 || string(a.body) != "theirs":
				t.Fatalf("at %d percent %s: %d %q, the gate has %d, the upstream %q", percent, key, a.status,
					a.body, len(got), theirs)
			}
		}
		if percent == 37 && (ours < 20 || ours > 55) {
			t.Errorf("at 37 percent the gate has %d of 100 keys", ours)
		}
	}
	if n := g.guard.Status(); n.BodyMemory != 0 || n.InFlight != 0 {
		t.Errorf("%d bytes of bodies and %d in flight are still counted", n.BodyMemory, n.InFlight)
	}
}

// TestRepeatsStay: while the percentage rises, a request, its repetitions and everything else of
// its key go to one side until the gate takes the key, and then to the gate for good.
func TestRepeatsStay(t *testing.T) {
	q := &fakeQueue{}
	g := newSharing(t, "", func(x *setup, _ *canary.Config) { x.queue = q })
	rapid.Check(t, func(rt *rapid.T) {
		g.set(t, 0)
		moved := map[string]bool{}
		percent := 0
		for range rapid.IntRange(1, 25).Draw(rt, "deliveries") {
			if rapid.Bool().Draw(rt, "rise") {
				percent = rapid.IntRange(percent, 100).Draw(rt, "percent")
				g.set(t, percent)
			}
			key := fmt.Sprint("key-", rapid.IntRange(0, 20).Draw(rt, "key"))
			a := g.post(t, keyed(fmt.Sprint("m-", rapid.IntRange(0, 3).Draw(rt, "id")), key))
			here := a.status == 202
			if moved[key] && !here || here != control.CanaryIncludes(key, percent) {
				rt.Fatalf("%s at %d percent got %d; moved before: %t", key, percent, a.status, moved[key])
			}
			moved[key] = here
		}
	})
}

// TestWhatTheGateWouldRefuse goes on to the upstream, unchanged, as long as that takes part; at 100
// percent the gate refuses it.
func TestWhatTheGateWouldRefuse(t *testing.T) {
	github := "/webhooks/github"
	ours, _ := keys(50)
	q := &fakeQueue{}
	g := newSharing(t, "", func(x *setup, _ *canary.Config) {
		x.queue = q
		x.config.MaxBodyBytes, x.config.MaxUnpackedBytes = 10_000, 20_000
	})
	packed := func(size int) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		io.WriteString(z, strings.Repeat("x", size))
		z.Close()
		return b.String()
	}
	bearer := []string{"Authorization", "Bearer " + bearerKey}
	for name, test := range map[string]struct {
		method, path, body string
		status             int // of the gate
		reason             string
		header             []string
	}{
		"no credentials": {"POST", "/webhooks", keyed("m", ours), 401, "unauthenticated", nil},
		"wrong key": {"POST", "/webhooks", keyed("m", ours), 401, "unauthenticated",
			[]string{"Authorization", "Bearer other"}},
		"wrong signature": {"POST", github, "{}", 401, "unauthenticated",
			[]string{"X-Hub-Signature-256", hmacHex("other", "{}"), "X-GitHub-Event", "ping",
				"X-GitHub-Delivery", "1"}},
		"malformed": {"POST", "/webhooks", `{"messageId":1}`, 400, "malformed", bearer},
		"empty":     {"POST", "/webhooks", "", 400, "malformed", bearer},
		"media type": {"POST", "/webhooks", keyed("m", ours), 415, "media_type",
			append([]string{"Content-Type", "text/plain"}, bearer...)},
		"encoding": {"POST", "/webhooks", keyed("m", ours), 415, "media_type",
			append([]string{"Content-Encoding", "br"}, bearer...)},
		"not gzip": {"POST", "/webhooks", keyed("m", ours), 400, "malformed",
			append([]string{"Content-Encoding", "gzip"}, bearer...)},
		"large when unpacked": {"POST", "/webhooks", packed(30_000), 413, "too_large",
			append([]string{"Content-Encoding", "gzip"}, bearer...)},
		"too large": {"POST", "/webhooks", envelopeOf("m", 10_001), 413, "too_large", bearer},
		"far too large": {"POST", "/webhooks", envelopeOf("m", 3_000_000), 413, "too_large",
			bearer},
		"no source": {"POST", "/webhooks/unknown?a=b", "x", 404, "no_source", bearer},
		"method":    {"GET", "/webhooks?challenge=1", "", 405, "method", nil},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", chunked ", chunked), func(t *testing.T) {
				for _, percent := range modeltest.Pick([]int{50, 100}, []int{0, 50, 99, 100}) {
					g.set(t, percent)
					before := g.scraped(t, `hookgate_canary_forwarded_total{reason="`+test.reason+`"}`)
					body := io.Reader(strings.NewReader(test.body))
					if chunked {
						body = io.MultiReader(body)
					}
					a := g.do(t, test.method, test.path, body, test.header...)
					theirs := g.upstream.take()
					if percent == 100 {
						if a.want(t, test.status); len(theirs) != 0 {
							t.Errorf("the upstream has %q", theirs)
						}
						continue
					}
					if a.status != 208 || len(theirs) != 1 || theirs[0] != test.method+" "+test.path+" "+
						test.body {
						t.Errorf("at %d percent: %d, and the upstream has %.200q", percent, a.status, theirs)
					}
					if now := g.scraped(t, `hookgate_canary_forwarded_total{reason="`+test.reason+
						`"}`); percent > 0 && now != before+1 {
						t.Errorf("at %d percent the reason %s is counted %v times", percent, test.reason, now-before)
					}
				}
			})
		}
	}
	if n := len(q.deliveries()); n != 0 {
		t.Errorf("%d deliveries reached the queue", n)
	}
	if n := g.guard.Status().BodyMemory; n != 0 {
		t.Errorf("%d bytes are still counted for bodies", n)
	}
	if log := g.log.String(); !strings.Contains(log,
		"passed to the upstream that the gate would reject") {
		t.Error("the log does not tell of what the gate would refuse")
	}
}

// scraped returns a sample of the metrics; 0 if it is not there.
func (g *gate) scraped(t testing.TB, sample string) (value float64) {
	t.Helper()
	for line := range strings.Lines(string(g.do(t, "GET", "/metrics", nil).body)) {
		if rest, ok := strings.CutPrefix(line, sample+" "); ok {
			_, err := fmt.Sscan(rest, &value)
			must(t, err)
		}
	}
	return value
}

// TestOurShareIsOurs: the gate rejects a request of its own share that it cannot take now, and does
// not forward it: in maintenance, when the queue is full or fails, and when too many are in flight.
// Other requests go on.
func TestOurShareIsOurs(t *testing.T) {
	ours, theirs := keys(50)
	var result error
	q := &fakeQueue{appended: func(context.Context, *hookgate.Request) (hookgate.Receipt,
		error) {
		return hookgate.Receipt{}, result
	}}
	mode := &fakeMode{}
	g := newSharing(t, "", func(x *setup, _ *canary.Config) { x.queue, x.mode = q, mode })
	g.set(t, 50)
	check := func(what string, readyBelow bool) {
		t.Helper()
		if a := g.post(t, keyed("m", ours)).want(t, 503); a.header.Get("Retry-After") == "" ||
			len(g.upstream.take()) != 0 {
			t.Errorf("%s: the answer is %v", what, a.header)
		}
		if a := g.post(t, keyed("m", theirs)); a.status != 208 || len(g.upstream.take()) != 1 {
			t.Errorf("%s: what is not the gate's got %d", what, a.status)
		}
		if a := g.do(t, "GET", "/readyz", nil); (a.status == 200) != readyBelow {
			t.Errorf("%s: /readyz answers %d", what, a.status)
		}
	}
	result = hookgate.ErrFull
	check("full", true)
	result = errors.New("the disk is gone")
	check("failing", true)
	result = nil
	mode.readOnly.Store(true)
	check("maintenance", true)
	g.set(t, 100)
	if a := g.do(t, "GET", "/readyz", nil); a.status != 503 {
		t.Errorf("at 100 percent in maintenance /readyz answers %d", a.status)
	}
}

// TestPathsThatClimb: no path leads from the webhooks to something else of the upstream, at any
// percentage, however it is written.
func TestPathsThatClimb(t *testing.T) {
	g := newSharing(t, "", nil)
	for _, percent := range []int{0, 50} {
		g.set(t, percent)
		for _, path := range []string{"/webhooks/../admin", "/webhooks/%2e%2e/admin",
			"/webhooks/a/..%2f../admin", "/webhooks/..;x=y/admin", `/webhooks/..\admin`, "/webhooks/..",
			"/webhooks/%252e%252e/admin", "/webhooks/%25252e%25252e%25252fadmin", "/webhooks/..%252fadmin",
			"/webhooks/..%00/admin", "/webhooks/..%20/admin", "/webhooks/%252e.%09/admin",
			"/webhooks/%c0%ae%c0%ae/admin", "/webhooks/..%c0%afadmin", "/webhooks/%2525252525252e"} {
			g.do(t, "POST", path, strings.NewReader("{}"), "Authorization", "Bearer "+bearerKey).want(t, 404)
			if got := g.upstream.take(); len(got) != 0 {
				t.Errorf("the upstream has %q", got)
			}
		}
		for _, path := range []string{"/webhooks/a..b/...", "/webhooks/100%25/a%2520b"} {
			if a := g.do(t, "POST", path, strings.NewReader("{}")); a.status != 208 {
				t.Errorf("%s, which does not climb, gets %d", path, a.status)
			}
		}
		g.upstream.take()
	}
}

// TestLargeUnderCanary: the memory for bodies holds what one body unpacks to, and not twice that;
// the gate takes it under a canary too, which reads it twice.
func TestLargeUnderCanary(t *testing.T) {
	q := &fakeQueue{}
	ours, _ := keys(50)
	g := newSharing(t, "", func(x *setup, _ *canary.Config) {
		x.queue, x.guard = q, guard.New(guard.Config{BodyMemory: 400_000})
		x.config.MaxBodyBytes, x.config.MaxUnpackedBytes = 10_000, 200_000
	})
	g.set(t, 50)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, envelope("m", "order.paid", `,"orderingKey":"`+ours+`","pad":"`+
		strings.Repeat("x", 180_000)+`"`))
	must(t, z.Close())
	g.do(t, "POST", "/webhooks", &packed, "Authorization", "Bearer "+bearerKey, "Content-Encoding",
		"gzip").want(t, 202)
	if n := g.guard.Status().BodyMemory; n != 0 {
		t.Errorf("%d bytes of bodies are still counted", n)
	}
}

// TestUndecided: the gate rejects a request that it cannot check now, whichever side its key is on,
// so that no key is divided. A truncated request goes to neither side.
func TestUndecided(t *testing.T) {
	_, theirs := keys(50)
	g := newSharing(t, "", func(x *setup, _ *canary.Config) {
		x.guard = guard.New(guard.Config{BodyMemory: 1})
		x.config.ReadTimeout = 300 * time.Millisecond
	})
	g.set(t, 50)
	if a := g.post(t, keyed("m", theirs)).want(t, 503); a.header.Get("Retry-After") == "" {
		t.Errorf("without Retry-After: %v", a.header)
	}
	if n := g.guard.Status().BodyMemory; n != 0 {
		t.Errorf("%d bytes are still counted for bodies", n)
	}
	g = newSharing(t, "", func(x *setup,
		_ *canary.Config) {
		x.config.ReadTimeout = 300 * time.Millisecond
	})
	for _, percent := range []int{0, 50} {
		g.set(t, percent)
		slow := g.raw(t, rawHead("Content-Length: 100")+"{")
		readAnswer(t, slow).want(t, 408)
		cut := g.raw(t, rawHead("Content-Length: 100")+"{")
		must(t, cut.CloseWrite())
		readAnswer(t, cut).want(t, 400)
	}
	if got := g.upstream.take(); len(got) != 0 {
		t.Errorf("the upstream has %q", got)
	}
}

// TestUpstreamAway: while the upstream is away its share gets 502 with Retry-After, counted, and
// what the canary includes is accepted.
func TestUpstreamAway(t *testing.T) {
	ours, theirs := keys(50)
	g := newSharing(t, "http://127.0.0.1:1", nil)
	for _, percent := range []int{0, 50} {
		g.set(t, percent)
		a := g.post(t, keyed("m", theirs)).want(t, 502)
		if checkRefusal(t, a); a.header.Get("Retry-After") != "2" {
			t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
		}
	}
	g.post(t, keyed("m", ours)).want(t, 202)
	for sample, want := range map[string]float64{
		`hookgate_canary_upstream_failures_total{reason="unreachable"}`: 2,
		`hookgate_canary_requests_total{side="upstream",status="5xx"}`:  2,
		`hookgate_canary_requests_total{side="gate",status="2xx"}`:      1,
		`hookgate_canary_upstream_latency_ms_count`:                     0,
	} {
		if got := g.scraped(t, sample); got != want {
			t.Errorf("%s is %v, want %v", sample, got, want)
		}
	}
	if !strings.Contains(g.log.String(), "passed to the upstream, which did not answer") {
		t.Error("the log does not tell")
	}
}

// TestUpstreamBreaks: an answer of the upstream that breaks off breaks the sender's connection; it
// never looks whole.
func TestUpstreamBreaks(t *testing.T) {
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer broken.Close()
	g := newSharing(t, broken.URL, nil)
	if a, err := g.try("POST", "/webhooks", strings.NewReader("x")); err == nil {
		t.Errorf("the sender got %d %q", a.status, a.body)
	}
	if n := g.scraped(t, `hookgate_canary_upstream_failures_total{reason="broken"}`); n != 1 {
		t.Errorf("%v broken answers are counted", n)
	}
}

// TestHandshakes: what a sender tries its endpoint with goes to the upstream while that takes part;
// if it comes like an event, to the side of its key.
func TestHandshakes(t *testing.T) {
	g := newSharing(t, "", func(x *setup, _ *canary.Config) {
		slack, err := admit.New("slack", admit.Options{Secrets: []string{"slack-secret-1234"}})
		must(t, err)
		x.sources = append(x.sources, ingest.Source{Name: "slack", Scheme: slack})
	})
	body := `{"type":"url_verification","challenge":"abc"}`
	stamp := fmt.Sprint(time.Now().Unix())
	headers := []string{"Content-Type", "application/json", "X-Slack-Request-Timestamp", stamp,
		"X-Slack-Signature", "v0=" + strings.TrimPrefix(hmacHex("slack-secret-1234", "v0:"+stamp+":"+
			body), "sha256=")}
	for _, percent := range []int{0, 1, 50, 99, 100} {
		g.set(t, percent)
		want := 208
		if control.CanaryIncludes("url_verification", percent) {
			want = 200
		}
		g.do(t, "POST", "/webhooks/slack", strings.NewReader(body), headers...).want(t, want)
		if want = 208; percent == 100 {
			want = 405 // of the source default, which has none
		}
		g.do(t, "OPTIONS", "/webhooks", nil).want(t, want)
	}
}

// TestCanaryCalls: the admin call shows and changes the canary, refuses what makes no sense,
// records what is done, and goes back even if other parts fail.
func TestCanaryCalls(t *testing.T) {
	g := newSharing(t, "", nil)
	show := func(a *answer) (percent, step float64) {
		t.Helper()
		o := a.want(t, 200).json(t)
		return o["percent"].(float64), o["step"].(float64)
	}
	if percent, _ := show(g.admin(t, "GET", "/admin/canary", "")); percent != 0 {
		t.Errorf("at first the canary stands at %v", percent)
	}
	for _, body := range []string{"", "{}", "[]", `{"percent":"5"}`, `{"percent":5.5}`,
		`{"percent":101}`, `{"percent":-1}`, `{"Percent":5}`, `{"percent":5,"plan":"start"}`,
		`{"plan":"go"}`, `{"plan":1}`, `{"percent":5,"x":1}`, `{"percent":5,"evidence":""}`,
		`{"percent":5,"evidence":5}`, `{"plan":"back","evidence":"ab"}`, `{"evidence":"ab"}`} {
		g.admin(t, "POST", "/admin/canary", body).want(t, 400)
	}
	if percent, step := show(g.admin(t, "POST", "/admin/canary", `{"percent":5}`, "X-Reason",
		"release 7")); percent != 5 || step != 0 {
		t.Errorf("5 percent makes %v, step %v", percent, step)
	}
	if percent, step := show(g.admin(t, "POST", "/admin/canary", `{"plan":"start"}`)); percent != 10 ||
		step != 1 {
		t.Errorf("a start makes %v, step %v", percent, step)
	}
	g.admin(t, "POST", "/admin/canary", `{"plan":"start"}`).want(t, 409)
	if percent, step := show(g.admin(t, "POST", "/admin/canary", `{"plan":"back"}`)); percent != 0 ||
		step != 0 {
		t.Errorf("back makes %v, step %v", percent, step)
	}
	rows, err := g.API.access.Actions(t.Context(), control.ActionFilter{Limit: 100})
	must(t, err)
	var trail []string
	for _, a := range rows {
		trail = append(trail, a.Target+" "+a.Result+" "+a.Reason)
	}
	if got := strings.Join(trail,
		"; "); got != "5 percent begun release 7; 5 percent done release 7; plan start begun ;"+
		" plan start done ; "+
		"0 percent (back) begun ; 0 percent (back) done " {
		t.Errorf("the trail has %s", got)
	}

	// While the store is away a rise is refused, and the way back is not.
	g.set(t, 50)
	must(t, g.store.Close())
	g.admin(t, "POST", "/admin/canary", `{"percent":60}`).want(t, 503)
	if o := g.admin(t, "POST", "/admin/canary", `{"percent":0}`).want(t,
		200).json(t); o["recorded"] != false || g.share.Percent() != 0 {
		t.Errorf("back without a trail got %v, and the canary stands at %d", o, g.share.Percent())
	}
	// While it cannot be kept, the way back is in effect here, and the answer is none of success.
	g.set(t, 50)
	g.keeper.mu.Lock()
	g.keeper.err = errors.New("away")
	g.keeper.mu.Unlock()
	g.admin(t, "POST", "/admin/canary", `{"percent":0}`).want(t, 503)
	if o := g.admin(t, "GET", "/admin/canary", "").json(t); o["percent"] != 0.0 ||
		o["stored"] != false {
		t.Errorf("the canary is %v", o)
	}
	none := newGate(t, nil)
	if o := none.admin(t, "GET", "/admin/canary", "").want(t, 200).json(t); o["configured"] != false ||
		o["percent"] != 100.0 {
		t.Errorf("a gate without a canary shows %v", o)
	}
	none.admin(t, "POST", "/admin/canary", `{"percent":5}`).want(t, 409)
}

// evidenceKept puts evidence into the depot of a folder as if the gate had received it.
type evidenceKept struct {
	status, version, runID, signer string
	finished                       time.Time
}

func (e evidenceKept) keep(t *testing.T, dir string) (id string) {
	t.Helper()
	kept, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	id = fmt.Sprintf("%064x", len(kept))
	bundle := filepath.Join(dir, id, "bundle")
	must(t, os.MkdirAll(bundle, 0o700))
	verdict, err := json.Marshal(map[string]any{"status": e.status, "version": e.version,
		"runId": e.runID, "finishedAt": e.finished.UTC().Format(time.RFC3339)})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(bundle, "verdict.json"), verdict, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, id, "receipt.json"), fmt.Appendf(nil, `{"key":%q}`,
		e.signer), 0o600))
	return id
}

// evidenceGate is a gate at 0 percent with a depot in a folder. Its certification is cert-1.
func evidenceGate(t *testing.T, dir string, demand func(string) (string, error),
	keys ...ed25519.PublicKey) *sharing {
	t.Helper()
	g := newSharing(t, "", func(x *setup, c *canary.Config) {
		depot, err := evidence.OpenDepot(dir, evidence.Limits{Bundle: 1 << 20, Total: 1 << 30,
			Bundles: 20}, keys)
		must(t, err)
		depot.Demand(demand)
		x.intake, c.RequireEvidence = depot, true
	})
	must(t, g.API.access.CreateToken(t.Context(), control.Token{Name: "cert-1-viewer-17",
		Role: control.RoleViewer, CreatedBy: "configured", CreatedAt: time.Now(),
		Hash: control.HashToken("none")}))
	return g
}

// TestCanaryEvidence: evidence lets the canary begin only if this gate has received it and it says
// PASS, of this gate and its version, is signed by a known key, is enough, and is not too old.
func TestCanaryEvidence(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "evidence")
	public, _, err := ed25519.GenerateKey(nil)
	must(t, err)
	var small string
	g := evidenceGate(t, dir, func(bundle string) (string, error) {
		if small != "" && strings.Contains(bundle, small) {
			return "it lacks the phase full", nil
		}
		return "", nil
	}, public)
	now := time.Now()
	keep := func(change func(*evidenceKept)) string {
		e := evidenceKept{"PASS", "test-version", "cert-1", evidence.Fingerprint(public),
			now.Add(-time.Minute)}
		change(&e)
		return e.keep(t, dir)
	}
	small = keep(func(*evidenceKept) {})
	for name, test := range map[string]struct{ id, says string }{
		"none":      {"", "only with evidence"},
		"unknown":   {strings.Repeat("ab", 32), "no evidence"},
		"a path":    {"../evidence", "no evidence"},
		"no number": {strings.Repeat("zz", 32), "no evidence"},
		"failed":    {keep(func(e *evidenceKept) { e.status = "FAIL" }), "not PASS"},
		"other":     {keep(func(e *evidenceKept) { e.version += "-2" }), "version"},
		"old": {keep(func(e *evidenceKept) { e.finished = now.Add(-61 * time.Minute) }),
			"the limit is"},
		"to come": {keep(func(e *evidenceKept) { e.finished = now.Add(time.Hour) }),
			"in the future"},
		"untimed": {keep(func(e *evidenceKept) { e.finished = time.Time{} }), "has no time"},
		"of a stranger": {keep(func(e *evidenceKept) { e.signer = "SHA256:other" }),
			"none of evidence.public_keys"},
		"of another gate":  {keep(func(e *evidenceKept) { e.runID = "cert-2" }), "another gate"},
		"of a longer run":  {keep(func(e *evidenceKept) { e.runID += "-viewer-17" }), "another gate"},
		"of a shorter run": {keep(func(e *evidenceKept) { e.runID = "cert" }), "another gate"},
		"of no run":        {keep(func(e *evidenceKept) { e.runID = "" }), "another gate"},
		"small":            {small, "lacks the phase full"},
	} {
		for _, more := range []string{"", `,"unproven":true`} { // it does not help
			body := `{"plan":"start","evidence":"` + test.id + `"` + more + `}`
			if test.id == "" {
				body = `{"plan":"start"}`
			}
			if told := g.admin(t, "POST", "/admin/canary", body).want(t,
				409).errorText(t); !strings.Contains(told, test.says) {
				t.Errorf("%s: told %q, want %q in it", name, told, test.says)
			}
			if g.share.Percent() != 0 {
				t.Fatalf("%s: the canary has begun", name)
			}
		}
	}
	good := keep(func(*evidenceKept) {})
	// Evidence does not replace an approval: the person who asks may have made it.
	for needs, required := range map[string][]string{"promote": {approveCanary, approvePromote},
		"canary": {approveCanary}} {
		g.API.config.Approvals.Required = required
		if told := g.admin(t, "POST", "/admin/canary", `{"plan":"start","evidence":"`+good+`"}`).want(t,
			400).errorText(t); !strings.HasPrefix(told, needs+" needs the approval") {
			t.Errorf("%v: told %q", required, told)
		}
	}
	g.API.config.Approvals.Required = nil
	if o := g.admin(t, "POST", "/admin/canary", `{"plan":"start","evidence":"`+good+
		`","unproven":true}`).want(t, 200).json(t); o["percent"] != 10.0 || o["evidence"] != good {
		t.Errorf("the canary is %v", o)
	}
	wantLastTarget(t, g, "plan start, evidence "+good)
}

// TestCanaryEvidenceUnproven: a gate without public keys cannot know who made evidence, so it takes
// none, unless the caller accepts that. The admin trail records it.
func TestCanaryEvidenceUnproven(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "evidence")
	g := evidenceGate(t, dir, nil)
	id := evidenceKept{"PASS", "test-version", "cert-1", "SHA256:any", time.Now()}.keep(t, dir)
	ask := `{"percent":5,"evidence":"` + id + `"`
	if told := g.admin(t, "POST", "/admin/canary", ask+`}`).want(t,
		409).errorText(t); !strings.Contains(told, "nothing is proven about who made") {
		t.Errorf("told %q", told)
	}
	g.admin(t, "POST", "/admin/canary", ask+`,"unproven":1}`).want(t, 400)
	g.admin(t, "POST", "/admin/canary", `{"percent":5,"unproven":true}`).want(t, 400)
	g.admin(t, "POST", "/admin/canary", ask+`,"unproven":true}`).want(t, 200)
	wantLastTarget(t, g, "5 percent, evidence "+id+", signer not proven")
}

// wantLastTarget checks the last row of the admin trail, which is done.
func wantLastTarget(t *testing.T, g *sharing, target string) {
	t.Helper()
	rows, err := g.API.access.Actions(t.Context(), control.ActionFilter{Limit: 100})
	must(t, err)
	if last := rows[len(rows)-1]; last.Target != target || last.Result != control.ResultDone {
		t.Errorf("the trail has %+v, want the target %q", last, target)
	}
}
