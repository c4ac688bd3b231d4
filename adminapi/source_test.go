package adminapi

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/httpserver"
)

func newScheme(t testing.TB, kind string, o admit.Options) admit.Scheme {
	t.Helper()
	s, err := admit.New(kind, o)
	must(t, err)
	return s
}

// openSource is one that lets everyone in and takes anything.
func openSource(t testing.TB, name string) ingest.Source {
	return ingest.Source{Name: name, Kind: "none", Scheme: newScheme(t, "none",
		admit.Options{Places: admit.Places{MessageID: []admit.Place{{"header:X-Id"}, {"sha256:body"}}}})}
}

func gzipped(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	must(t, err)
	must(t, w.Close())
	return b.String()
}

// TestHandshakeIsNotQueued: a handshake is answered as its sender wants, with a request id, and
// nothing reaches the queue; the methods of others are refused with what the source takes.
func TestHandshakeIsNotQueued(t *testing.T) {
	q := &fakeQueue{}
	g := newGate(t, func(s *setup) {
		s.queue = q
		s.sources = append(s.sources,
			ingest.Source{Name: "meta", Scheme: newScheme(t, "meta",
				admit.Options{Secrets: []string{hmacSecret},
					VerifyTokens: []string{"verify-me-please"}})},
			ingest.Source{Name: "slack", Scheme: newScheme(t, "slack",
				admit.Options{Secrets: []string{hmacSecret}})},
			ingest.Source{Name: "graph", Scheme: newScheme(t, "microsoft_graph",
				admit.Options{Secrets: []string{hmacSecret}})},
			ingest.Source{Name: "events", Scheme: newScheme(t, "cloudevents",
				admit.Options{Secrets: []string{bearerKey}})})
	})
	a := g.do(t, "GET", "/webhooks/meta?hub.mode=subscribe&hub.verify_token=verify-me-please"+
		"&hub.challenge=77", nil).want(t, 200)
	if string(a.body) != "77" || a.header.Get("Content-Type") != "text/plain; charset=utf-8" ||
		a.header.Get("X-Request-Id") == "" {
		t.Errorf("answer %q with %v", a.body, a.header)
	}
	g.do(t, "GET", "/webhooks/meta?hub.mode=subscribe&hub.verify_token=other&hub.challenge=77",
		nil).want(t, 401)
	if a := g.do(t, "DELETE", "/webhooks/meta", nil).want(t,
		405); a.header.Get("Allow") != "POST, HEAD, GET" {
		t.Errorf("Allow is %q", a.header.Get("Allow"))
	}
	if a := g.do(t, "GET", "/webhooks/slack", nil).want(t,
		405); a.header.Get("Allow") != "POST, HEAD" {
		t.Errorf("Allow is %q", a.header.Get("Allow"))
	}
	a = g.do(t, "POST", "/webhooks/graph?validationToken=a+b", nil).want(t, 200)
	if string(a.body) != "a b" {
		t.Errorf("answer %q", a.body)
	}
	a = g.do(t, "OPTIONS", "/webhooks/events", nil, "WebHook-Request-Origin", "example.com").want(t,
		200)
	if a.header.Get("WebHook-Allowed-Origin") != "example.com" {
		t.Errorf("header %v", a.header)
	}
	g.do(t, "POST", "/webhooks/slack",
		strings.NewReader(`{"type":"url_verification","challenge":"x"}`)).want(t, 401)
	if n := len(q.deliveries()); n != 0 {
		t.Errorf("%d handshakes reached the queue", n)
	}
	var answer api.Sources
	must(t, json.Unmarshal(g.admin(t, "GET", "/api/sources", "").want(t, 200).body, &answer))
	i := slices.IndexFunc(answer.Sources, func(s api.Source) bool { return s.Name == "meta" })
	if s := answer.Sources[i]; s.Handshakes != 1 || s.Refused != 2 || s.Accepted != 0 ||
		s.LastAt != nil || s.Path != "/webhooks/meta" {
		t.Errorf("the source is shown as %+v", s)
	}
	g.do(t, "GET", "/api/sources", nil).want(t, 401)
}

// TestSourceTraffic: what a source sent is counted, and of the default source, which has two paths,
// once.
func TestSourceTraffic(t *testing.T) {
	g := newGate(t, nil)
	g.post(t, envelope("a", "t", "")).want(t, 202)
	g.post(t, envelope("a", "t", "")).want(t, 202)
	g.do(t, "POST", "/webhooks/default", strings.NewReader(envelope("b", "t", "")), "Authorization",
		"Bearer "+bearerKey).want(t, 202)
	g.do(t, "POST", "/webhooks", strings.NewReader("{}")).want(t, 401)
	var answer api.Sources
	must(t, json.Unmarshal(g.admin(t, "GET", "/api/sources", "").want(t, 200).body, &answer))
	if len(answer.Sources) != 2 {
		t.Fatalf("got %+v", answer)
	}
	if s := answer.Sources[0]; s.Name != "default" || s.Accepted != 2 || s.Duplicates != 1 ||
		s.Refused != 1 || s.LastAt == nil || s.Path != "/webhooks" {
		t.Errorf("got %+v", s)
	}
}

// TestReplaysUnderAnotherHeader: a signed body whose hash is the message id is one event, and keeps
// its type, even if somebody who has seen it puts something into headers that are not signed.
func TestReplaysUnderAnotherHeader(t *testing.T) {
	g := newGate(t, func(s *setup) {
		s.sources = append(s.sources, ingest.Source{Name: "hub", Scheme: newScheme(t, "github",
			admit.Options{Secrets: []string{githubSecret},
				Places: admit.Places{MessageID: []admit.Place{{"sha256:body"}}}})})
	})
	body := `{"ref":"refs/heads/main"}`
	send := func(body string, headers ...string) *answer {
		return g.do(t, "POST", "/webhooks/hub", strings.NewReader(body),
			append(headers, "X-Hub-Signature-256", hmacHex(githubSecret, body))...)
	}
	send(body, "X-GitHub-Event", "push", "X-GitHub-Delivery", "1").want(t, 202)
	g.settle(t)
	for i, event := range []string{"issues", "ping", ""} {
		contentType := []string{"application/json", "application/vnd.github+json", ""}[i]
		a := send(body, "X-GitHub-Event", event, "X-GitHub-Delivery", fmt.Sprint(i+2), "Content-Type",
			contentType).want(t, 202)
		if a.json(t)["note"] != "duplicate_detected" {
			t.Errorf("%s %s is another event: %s", event, contentType, a.body)
		}
		g.settle(t)
	}
	send(body+" ", "X-GitHub-Event", "push").want(t, 202)
	g.settle(t)
	if events := g.list(t, "source=hub").Events; len(events) != 2 || events[0].EventType != "push" ||
		events[1].EventType != "push" {
		t.Errorf("got %+v", events)
	}
}

// TestRate: beyond the burst there is 429 with Retry-After; strangers use up nothing of it, and
// other sources have rates of their own.
func TestRate(t *testing.T) {
	g := newGate(t, func(s *setup) {
		s.sources[0].Rate, s.sources[0].Burst = 0.001, 3
		s.sources = append(s.sources, openSource(t, "other"))
	})
	for range 10 {
		g.do(t, "POST", "/webhooks", strings.NewReader("{}"), "Authorization", "Bearer wrong").want(t,
			401)
	}
	for i := range 3 {
		g.post(t, envelope(strconv.Itoa(i), "t", "")).want(t, 202)
	}
	a := g.post(t, envelope("4", "t", "")).want(t, 429)
	checkRefusal(t, a)
	if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || seconds < 900 ||
		seconds > 1000 {
		t.Errorf("Retry-After is %q, want about 1000 s", a.header.Get("Retry-After"))
	}
	for range 10 {
		g.do(t, "POST", "/webhooks/other", nil).want(t, 202)
	}
}

// TestSourceBody: a source has a limit of its own to its body, below and above that of all.
func TestSourceBody(t *testing.T) {
	g := newGate(t, func(s *setup) {
		s.config.MaxBodyBytes = 1000
		small, large := openSource(t, "small"), openSource(t, "large")
		small.MaxBodyBytes, large.MaxBodyBytes = 10, 200_000
		s.sources = append(s.sources, small, large, openSource(t, "usual"))
	})
	for path, limit := range map[string]int{"small": 10, "usual": 1000, "large": 200_000} {
		g.do(t, "POST", "/webhooks/"+path, strings.NewReader(strings.Repeat("x", limit))).want(t, 202)
		a := g.do(t, "POST", "/webhooks/"+path, strings.NewReader(strings.Repeat("x", limit+1))).want(t,
			413)
		if !strings.Contains(a.errorText(t), strconv.Itoa(limit)) {
			t.Errorf("told %q", a.errorText(t))
		}
	}
}

// TestSuccess: a sender that insists on another answer gets it, also for a duplicate.
func TestSuccess(t *testing.T) {
	g := newGate(t, func(s *setup) {
		text, empty := openSource(t, "text"), openSource(t, "empty")
		text.Success = admit.Success{Status: 200, ContentType: "text/xml", Body: "<Response/>"}
		empty.Success = admit.Success{Status: 204}
		s.sources = append(s.sources, text, empty)
	})
	for range 2 {
		a := g.do(t, "POST", "/webhooks/text", strings.NewReader("x")).want(t, 200)
		if string(a.body) != "<Response/>" || a.header.Get("Content-Type") != "text/xml" ||
			a.header.Get("X-Request-Id") == "" {
			t.Errorf("answer %q with %v", a.body, a.header)
		}
		a = g.do(t, "POST", "/webhooks/empty", strings.NewReader("x")).want(t, 204)
		if len(a.body) != 0 || a.header.Get("Content-Type") != "" {
			t.Errorf("answer %q with %v", a.body, a.header)
		}
	}
}

// TestAllowedAddresses: a source with a list takes from these addresses alone, and behind proxies
// the client is whom the last of them that is not trusted names.
func TestAllowedAddresses(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		name, peer string
		forwarded  []string
		want       string // empty: is unknown
	}{
		{"direct", "192.0.2.1:1234", nil, "192.0.2.1"},
		{"direct, IPv6", "[2001:db8::1]:1", nil, "2001:db8::1"},
		{"IPv4 in IPv6", "[::ffff:192.0.2.1]:1", nil, "192.0.2.1"},
		{"a stranger's header counts for nothing", "192.0.2.1:1", []string{"198.51.100.7"}, "192.0.2.1"},
		{"one proxy", "10.0.0.1:1", []string{"198.51.100.7"}, "198.51.100.7"},
		{"what the client wrote itself stands before", "10.0.0.1:1",
			[]string{"203.0.113.9, 198.51.100.7"}, "198.51.100.7"},
		{"two proxies", "10.0.0.1:1", []string{"203.0.113.9, 198.51.100.7, 10.0.0.2"}, "198.51.100.7"},
		{"several headers", "10.0.0.1:1", []string{"203.0.113.9", "198.51.100.7", "10.0.0.2"},
			"198.51.100.7"},
		{"ports", "10.0.0.1:1", []string{"198.51.100.7:4711"}, "198.51.100.7"},
		{"brackets", "10.0.0.1:1", []string{"[2001:db8::7]"}, "2001:db8::7"},
		{"brackets and port", "10.0.0.1:1", []string{"[2001:db8::7]:443"}, "2001:db8::7"},
		{"zone", "[fd00::1%eth0]:1", []string{"198.51.100.7"}, "198.51.100.7"},
		{"only proxies", "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"no header", "10.0.0.1:1", nil, "10.0.0.1"},
		{"not an address", "10.0.0.1:1", []string{"198.51.100.7, unknown"}, ""},
		{"empty element", "10.0.0.1:1", []string{"198.51.100.7,"}, ""},
		{"not an address behind a good one", "10.0.0.1:1", []string{"nonsense, 198.51.100.7"},
			"198.51.100.7"},
		{"no peer", "@", nil, ""},
	} {
		r := &http.Request{RemoteAddr: c.peer, Header: http.Header{"X-Forwarded-For": c.forwarded}}
		got, ok := httpserver.ClientAddr(r, trusted)
		if ok != (c.want != "") || ok && got.String() != c.want {
			t.Errorf("%s: got %v, %v; want %q", c.name, got, ok, c.want)
		}
	}

	q := &fakeQueue{}
	g := newGate(t, func(s *setup) {
		s.queue = q
		s.config.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		source := openSource(t, "listed")
		source.AllowIPs = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
		s.sources = append(s.sources, source)
	})
	g.do(t, "POST", "/webhooks/listed", nil, "X-Forwarded-For", "198.51.100.7").want(t, 202)
	for _, forwarded := range []string{"203.0.113.9", "198.51.100.7, 203.0.113.9", "198.51.100.7, x"} {
		checkRefusal(t, g.do(t, "POST", "/webhooks/listed", nil, "X-Forwarded-For", forwarded).want(t,
			403))
	}
	g.do(t, "POST", "/webhooks/listed", nil).want(t, 403)
	if n := len(q.deliveries()); n != 1 {
		t.Errorf("%d deliveries reached the queue, want 1", n)
	}
}

// TestGzip: a compressed body is stored as received, with its Content-Encoding, and identified by
// its content. A body that is not gzip, is too large when unpacked, or is compressed in another way
// is rejected, but only after the sender has authenticated itself.
func TestGzip(t *testing.T) {
	q := &fakeQueue{}
	g := newGate(t, func(s *setup) {
		s.queue = q
		s.config.MaxUnpackedBytes = 200_000
		s.guard = guard.New(guard.Config{BodyMemory: 10 << 20})
	})
	send := func(body, coding, key string) *answer {
		return g.do(t, "POST", "/webhooks", strings.NewReader(body), "Authorization", "Bearer "+key,
			"Content-Encoding", coding)
	}
	packed := gzipped(t, envelope("packed", "t", ""))
	send(packed, "gzip", bearerKey).want(t, 202)
	send(gzipped(t, envelopeOf("largest", 200_000)), "GZIP", bearerKey).want(t, 202)
	send(packed, "gzip", "wrong").want(t, 401)
	send("not gzip", "br", "wrong").want(t, 401)
	checkRefusal(t, send(gzipped(t, envelopeOf("larger", 200_001)), "gzip", bearerKey).want(t, 413))
	checkRefusal(t, send(gzipped(t, strings.Repeat("\x00", 8<<20)), "gzip", bearerKey).want(t, 413))
	for what, body := range map[string]string{
		"no gzip": envelope("x", "t", ""), "empty": "", "cut": packed[:len(packed)-1],
		"something behind": packed + "x", "another checksum": packed[:len(packed)-8] + "xxxx" +
			packed[len(packed)-4:],
	} {
		if a := send(body, "gzip", bearerKey); a.status != 400 {
			t.Errorf("%s: status %d", what, a.status)
		}
	}
	for _, coding := range []string{"br", "deflate", "zstd", "gzip, gzip", "x"} {
		checkRefusal(t, send(packed, coding, bearerKey).want(t, 415))
	}
	got := q.deliveries()
	if len(got) != 2 || string(got[0].Body) != packed || got[0].MessageID != "packed" ||
		!slices.Contains(got[0].Headers, hookgate.Header{Name: "Content-Encoding", Value: "gzip"}) {
		t.Errorf("%d deliveries, the first %+v", len(got), got)
	}
	if n := g.guard.Status().BodyMemory; n != 0 {
		t.Errorf("%d bytes are still counted as bodies", n)
	}
	send(packed, "gzip", bearerKey).want(t, 202) // readers that failed can be used again
}

// TestUnpackedMemory: what bodies are unpacked to counts towards the memory of bodies.
func TestUnpackedMemory(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	q := &fakeQueue{appended: func(_ context.Context, d *hookgate.Request) (hookgate.Receipt, error) {
		if d.MessageID == "holder" {
			close(entered)
			<-leave
		}
		return hookgate.Receipt{}, nil
	}}
	g := newGate(t, func(s *setup) {
		s.queue = q
		// of which large bodies have three quarters
		s.guard = guard.New(guard.Config{BodyMemory: 270_000})
		s.config.MaxUnpackedBytes = 150_000
	})
	held := make(chan int, 1)
	packed := gzipped(t, envelopeOf("holder", 100_000))
	go func() {
		a, err := g.try("POST", "/webhooks", strings.NewReader(packed), "Authorization", "Bearer "+
			bearerKey, "Content-Encoding", "gzip")
		if err != nil {
			t.Error(err)
			a = &answer{}
		}
		held <- a.status
	}()
	select {
	case <-entered:
	case status := <-held:
		t.Fatalf("the first got %d", status)
	}
	g.do(t, "POST", "/webhooks", strings.NewReader(gzipped(t, envelopeOf("other", 100_000))),
		"Authorization", "Bearer "+bearerKey, "Content-Encoding", "gzip").want(t, 503)
	close(leave)
	if status := <-held; status != 202 {
		t.Errorf("the first got %d", status)
	}
	if n := g.guard.Status().BodyMemory; n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
}

// TestRefusalsByReason: /api/sources says for every status why requests were refused, in a bounded
// number of reasons, and a stranger cannot use up those of the sender. It says which secret was
// used last, and no secret.
func TestRefusalsByReason(t *testing.T) {
	const older, newer = "secret-older-5be20c", "secret-newer-90aa1f"
	g := newGate(t, func(s *setup) {
		s.queue = &fakeQueue{}
		o := admit.Options{Secrets: []string{older, newer}, Signature: admit.Rule{Header: "X-Sig",
			Prefix: admit.Prefixes{"sha256="}},
			Places: admit.Places{MessageID: []admit.Place{{"json:id"}}}}
		s.sources = append(s.sources,
			ingest.Source{Name: "own", Scheme: newScheme(t, "hmac", o), Secrets: 2, MaxBodyBytes: 100,
				Rate:  0.001,
				Burst: 50},
			ingest.Source{Name: "mailgun", Scheme: newScheme(t, "mailgun",
				admit.Options{Secrets: []string{older}}),
				Secrets: 1})
		s.sources[0].Secrets, s.sources[0].BearerKeys = 1, 1
	})
	send := func(status int, secret, body string, headers ...string) {
		t.Helper()
		g.do(t, "POST", "/webhooks/own", strings.NewReader(body), append(headers, "X-Sig",
			hmacHex(secret, body))...).want(t, status)
	}
	shown := func(name string) api.Source {
		t.Helper()
		body := g.admin(t, "GET", "/api/sources", "").want(t, 200).body
		for _, secret := range []string{older, newer, bearerKey, hmacSecret} {
			if bytes.Contains(body, []byte(secret)) {
				t.Fatalf("/api/sources shows a secret: %s", body)
			}
		}
		var answer api.Sources
		must(t, json.Unmarshal(body, &answer))
		return answer.Sources[slices.IndexFunc(answer.Sources,
			func(s api.Source) bool { return s.Name == name })]
	}
	send(202, older, `{"id":"1"}`)
	if c := shown("own").Credentials; len(c) != 2 || c[0].LastAt == nil || c[1].LastAt != nil ||
		c[1].Setting != "secrets" || c[1].Position != 2 {
		t.Errorf("credentials %+v", c)
	}
	first := *shown("own").Credentials[0].LastAt
	send(202, newer, `{"id":"2"}`)
	if c := shown("own").Credentials; *c[0].LastAt != first || c[1].LastAt == nil {
		t.Errorf("credentials %+v", c)
	}
	for i := range 30 { // all of one reason, though each is elsewhere in the body
		send(400, newer, `{"x":"`+strings.Repeat("x", i)+`",}`)
	}
	send(400, newer, `{"x":1}`)
	send(415, newer, `{"id":"3"}`, "Content-Encoding", "br")
	send(413, newer, strings.Repeat("x", 101))
	for range 16 {
		send(202, newer, `{"id":"4"}`)
	}
	send(429, newer, `{"id":"5"}`)
	g.do(t, "PUT", "/webhooks/own", nil).want(t, 405)
	g.do(t, "POST", "/webhooks/own", nil).want(t, 401)
	g.do(t, "POST", "/webhooks/own", nil, "X-Sig", "sha256=00").want(t, 401)
	own := shown("own")
	var got []string
	total := int64(0)
	for _, r := range own.Refusals {
		got = append(got, strconv.Itoa(r.Status)+" "+strconv.FormatInt(r.Count, 10)+" "+r.Reason)
		total += r.Count
	}
	want := []string{
		"400 30 id is missing: the body is not valid JSON", "400 1 id is missing",
		"401 1 X-Sig does not have 64 hexadecimal digits", "401 1 X-Sig is missing",
		"405 1 send webhooks with POST", "413 1 body is larger than 100 bytes",
		"415 1 unsupported media type: Content-Encoding is \"br\"; send gzip or no compression",
		"429 1 the source is over its rate limit",
	}
	if !slices.Equal(got, want) || total != own.Refused || len(own.Unauthenticated) != 2 {
		t.Errorf("%d refused: %q\nwant %q\nunauthenticated %v", own.Refused, got, want,
			own.Unauthenticated)
	}
	for i := range 50 { // a stranger's
		g.do(t, "POST", "/webhooks/mailgun", strings.NewReader(`{"a":`+strings.Repeat("1", i)+`x`+
			string(rune('a'+i%26))+`}`)).want(t, 401)
	}
	if r := shown("mailgun").Refusals; len(r) > 3 {
		t.Errorf("a stranger's requests have %d reasons: %v", len(r), r)
	}
	g.post(t, envelope("a", "t", "")).want(t, 202)
	if c := shown(ingest.DefaultSource).Credentials; len(c) != 2 || c[0].Setting != "secrets" ||
		c[0].LastAt != nil || c[1].Setting != "bearer_keys" || c[1].LastAt == nil {
		t.Errorf("credentials of the default source: %+v", c)
	}
}
