package admit

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// greetOrReply does with a request what the HTTP edge does, up to an answer to a handshake.
func greetOrReply(t *testing.T, s Scheme, r *Request) (*Answer, error) {
	t.Helper()
	h, ok := s.(Handshaker)
	if !ok {
		t.Fatal("the scheme has no handshake")
	}
	if a, err := h.Greet(r); a != nil || err != nil {
		return a, err
	}
	if r.Method != http.MethodPost {
		return nil, nil
	}
	if err := s.CheckHeader(r); err != nil {
		return nil, err
	}
	if err := s.Authenticate(r); err != nil {
		return nil, err
	}
	return h.Reply(r)
}

// handshakeCase is a request and what it is answered; with no status it is no handshake, with words
// it is refused.
type handshakeCase struct {
	name, kind    string
	o             Options
	method, query string
	headers       []string
	body          string
	status        int
	answer        string
	header, value string
	refused       error
	malformed     bool
}

// Goal: each sender's way to try out an endpoint is answered as it is documented, and by nothing
// that is not signed where the sender signs. Method: a table of requests; the signatures are made
// by node:crypto, or by Sign where the case is about something else.
func TestHandshakes(t *testing.T) {
	zoom := Options{Secrets: []string{"another-secret-token", "zoom-secret-token"}}
	meta := Options{Secrets: []string{"app-secret-0123"}, VerifyTokens: []string{"old-verify-token",
		"meta-verify-token"}}
	dropbox, graphs := Options{Secrets: []string{"dropbox-app-secret"}},
		Options{Secrets: []string{"secretClientState"}}
	okta, events := Options{Secrets: []string{"okta-hook-secret"}},
		Options{Secrets: []string{"bearer-of-cloudevents"}}
	validation := []string{"x-zm-request-timestamp", "1658940994", "x-zm-signature",
		"v0=75e35c313d5b19d7e5039088e0d945d92659762c2139b39a11695f24ea66017e"}
	const validationBody = `{"payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},` +
		`"event_ts":1654503849680,"event":"endpoint.url_validation"}`
	for _, c := range []handshakeCase{
		{name: "zoom, second of two secrets", kind: "zoom", o: zoom, headers: validation,
			body: validationBody, status: 200,
			answer: `{"plainToken":"qgg8vlvZRS6UYooatFL8Aw",` +
				`"encryptedToken":"d9e0d764a78494688ba3f2d5c0ed4ca311394b4834d959759213424d2df961e3"}`},
		{name: "zoom, not signed", kind: "zoom", o: zoom, body: validationBody,
			refused: ErrUnauthenticated},
		{name: "zoom, another body", kind: "zoom", o: zoom, headers: validation, body: validationBody +
			" ", refused: ErrUnauthenticated},
		{name: "meta", kind: "meta", o: meta, method: "GET",
			query:  "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=meta-verify-token",
			status: 200, answer: "1158201444"},
		{name: "meta, wrong token", kind: "meta", o: meta, method: "GET",
			query: "hub.mode=subscribe&hub.challenge=1&hub.verify_token=x", refused: ErrUnauthenticated},
		{name: "meta, the app secret as token", kind: "meta", o: meta, method: "GET",
			query:   "hub.mode=subscribe&hub.challenge=1&hub.verify_token=app-secret-0123",
			refused: ErrUnauthenticated},
		{name: "meta, no token", kind: "meta", o: meta, method: "GET",
			query: "hub.mode=subscribe&hub.challenge=1", refused: ErrUnauthenticated},
		{name: "meta, no token configured", kind: "meta", o: Options{Secrets: meta.Secrets},
			method: "GET", query: "hub.mode=subscribe&hub.challenge=1&hub.verify_token=",
			refused: ErrUnauthenticated},
		{name: "meta, two challenges", kind: "meta", o: meta, method: "GET",
			query:   "hub.mode=subscribe&hub.challenge=1&hub.challenge=2&hub.verify_token=meta-verify-token",
			refused: ErrUnauthenticated},
		{name: "meta, line feed", kind: "meta", o: meta, method: "GET",
			query:   "hub.mode=subscribe&hub.challenge=a%0d%0ab&hub.verify_token=meta-verify-token",
			refused: ErrUnauthenticated},
		{name: "meta, unsubscribe", kind: "meta", o: meta, method: "GET",
			query:   "hub.mode=unsubscribe&hub.challenge=1&hub.verify_token=meta-verify-token",
			refused: ErrUnauthenticated},
		{name: "dropbox", kind: "dropbox", o: dropbox, method: "GET", query: "challenge=abc123",
			status: 200, answer: "abc123", header: "X-Content-Type-Options", value: "nosniff"},
		{name: "dropbox, markup stays text", kind: "dropbox", o: dropbox, method: "GET",
			query: "challenge=%3Cscript%3E", status: 200, answer: "<script>", header: "Content-Type",
			value: "text/plain; charset=utf-8"},
		{name: "dropbox, none", kind: "dropbox", o: dropbox, method: "GET", malformed: true},
		{name: "dropbox, too long", kind: "dropbox", o: dropbox, method: "GET", query: "challenge=" +
			strings.Repeat("a", 5000), malformed: true},
		{name: "graph", kind: "microsoft_graph", o: graphs,
			query: "validationToken=Validation%3A+Testing+client+application", status: 200,
			answer: "Validation: Testing client application"},
		{name: "graph, empty", kind: "microsoft_graph", o: graphs, query: "validationToken=",
			malformed: true},
		{name: "graph, an event", kind: "microsoft_graph", o: graphs,
			body: `{"value":[{"clientState":"secretClientState"}]}`},
		{name: "graph, one notification of another", kind: "microsoft_graph", o: graphs,
			body:    `{"value":[{"clientState":"secretClientState"},{"clientState":"x"}]}`,
			refused: ErrUnauthenticated},
		{name: "graph, one without", kind: "microsoft_graph", o: graphs,
			body: `{"value":[{"clientState":"secretClientState"},{}]}`, refused: ErrUnauthenticated},
		{name: "graph, another case", kind: "microsoft_graph", o: graphs,
			body: `{"value":[{"ClientState":"secretClientState"}]}`, refused: ErrUnauthenticated},
		{name: "graph, two values", kind: "microsoft_graph", o: graphs,
			body:    `{"value":[{}],"value":[{"clientState":"secretClientState"}]}`,
			refused: ErrUnauthenticated},
		{name: "graph, none", kind: "microsoft_graph", o: graphs, body: `{"value":[]}`,
			refused: ErrUnauthenticated},
		{name: "okta", kind: "okta", o: okta, method: "GET", headers: []string{"Authorization",
			"okta-hook-secret", "X-Okta-Verification-Challenge", "my \"value\""}, status: 200,
			answer: `{"verification":"my \"value\""}`},
		{name: "okta, no secret", kind: "okta", o: okta, method: "GET",
			headers: []string{"X-Okta-Verification-Challenge", "x"}, refused: ErrUnauthenticated},
		{name: "okta, no challenge", kind: "okta", o: okta, method: "GET",
			headers: []string{"Authorization", "okta-hook-secret"}, malformed: true},
		{name: "cloudevents", kind: "cloudevents", o: events, method: "OPTIONS",
			headers: []string{"WebHook-Request-Origin", "eventemitter.example.com"}, status: 200,
			header: "Webhook-Allowed-Origin", value: "eventemitter.example.com"},
		{name: "cloudevents, no origin", kind: "cloudevents", o: events, method: "OPTIONS",
			malformed: true},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t) })
	}
}

func (c handshakeCase) run(t *testing.T) {
	s, err := New(c.kind, c.o)
	if err != nil {
		t.Fatal(err)
	}
	if c.method == "" {
		c.method = http.MethodPost
	}
	a, err := greetOrReply(t, s, &Request{Method: c.method, Query: c.query,
		Header: header(c.headers...), Time: time.Unix(1658940994, 0), Body: []byte(c.body)})
	c.check(t, a, err)
}

func (c handshakeCase) check(t *testing.T, a *Answer, err error) {
	t.Helper()
	var m *MalformedError
	switch {
	case c.refused != nil || c.malformed:
		if a != nil || c.refused != nil && !errors.Is(err, c.refused) || c.malformed &&
			!errors.As(err, &m) {
			t.Fatalf("got %+v and error %v", a, err)
		}
	case err != nil:
		t.Fatal(err)
	case c.status == 0:
		if a != nil {
			t.Fatalf("an event is answered %+v", a)
		}
	case a == nil || a.Status != c.status || string(a.Body) != c.answer && c.answer != "":
		t.Fatalf("got %+v (%s), want %d %s", a, a.Body, c.status, c.answer)
	case c.header != "" && a.Header.Get(c.header) != c.value:
		t.Fatalf("%s is %q, want %q", c.header, a.Header.Get(c.header), c.value)
	}
}

// Goal: handshakes that are sent like events are recognised, and only after the signature. Method:
// bodies of both sorts, signed by Sign and not.
func TestHandshakesLikeEvents(t *testing.T) {
	for _, c := range []handshakeCase{
		{name: "slack", kind: "slack",
			body:   `{"token":"x","challenge":"3eZbrw1aB10FEMAGAZd4FyFQ","type":"url_verification"}`,
			status: 200, answer: "3eZbrw1aB10FEMAGAZd4FyFQ"},
		{name: "slack, an event", kind: "slack", body: `{"type":"event_callback","challenge":"x"}`},
		{name: "slack, two types", kind: "slack",
			body: `{"type":"url_verification","challenge":"x","type":"event_callback"}`},
		{name: "discord, interaction", kind: "discord",
			body: `{"id":"1","application_id":"2","type":1,"version":1}`, status: 200, answer: `{"type":1}`},
		{name: "discord, webhook events", kind: "discord",
			body: `{"version":1,"application_id":"2","type":0}`, status: 204},
		{name: "discord, a command", kind: "discord", body: `{"id":"1","application_id":"2","type":2}`},
		{name: "discord, an event", kind: "discord",
			body: `{"version":1,"application_id":"2","type":1,"event":{"type":"ENTITLEMENT_CREATE"}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			key, public := testKeys(t, kinds[c.kind].rule.Algorithm)
			c.o = Options{Secrets: []string{"a-secret-of-mine"}}
			if public != "" {
				c.o.Secrets = []string{public}
			}
			s, err := New(c.kind, c.o)
			if err != nil {
				t.Fatal(err)
			}
			r := &Request{Method: http.MethodPost, Header: header("Content-Type", jsonType),
				Time: time.Now(), Body: []byte(c.body)}
			if err := Sign(c.kind, c.o, key, r); err != nil {
				t.Fatal(err)
			}
			a, err := greetOrReply(t, s, r)
			c.check(t, a, err)
			r.Body = append(r.Body, ' ')
			if a, err := greetOrReply(t, s, r); a != nil || !errors.Is(err, ErrUnauthenticated) {
				t.Errorf("with another body: got %+v and error %v", a, err)
			}
		})
	}
}
