package push

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgate/hookgate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testSecret is the secret of the examples of Standard Webhooks.
const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// received is a request as the server of a test got it.
type received struct {
	*http.Request
	body string
}

// serve starts a server that records requests and answers with handler; nil means 200.
func serve(t *testing.T, handler http.HandlerFunc) (url string, got chan received) {
	t.Helper()
	got = make(chan received, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- received{r.Clone(context.Background()), string(body)}
		if handler != nil {
			handler(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, got
}

// open returns a consumer whose connections are closed at the end of the test.
func open(t *testing.T, c Config) *Consumer {
	t.Helper()
	if c.Name == "" {
		c.Name = "billing"
	}
	consumer, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(consumer.CloseIdleConnections)
	return consumer
}

// delivery returns an attempt to deliver an event with all fields.
func delivery() *hookgate.Delivery {
	at := time.Date(2026, 11, 29, 12, 30, 0, 123456000, time.UTC)
	return &hookgate.Delivery{Subscription: "billing", Attempt: 3, Redelivery: 2,
		Event: &hookgate.Event{
			ID: 1764419400123456,
			Identity: hookgate.Identity{Source: "stripe", EventType: "invoice.paid",
				MessageID: "evt_1"},
			OrderingKey: "cus_7", Keyed: true,
			RequestID:  hookgate.NewRequestID(at),
			Headers:    []hookgate.Header{{Name: "Content-Type", Value: "application/json; charset=utf-8"}},
			ReceivedAt: at, StoredAt: at.Add(time.Millisecond),
			Body: []byte(`{"id":"evt_1"}`),
		}}
}

// TestNewNamesEveryMistake checks that one error has all mistakes of a configuration, and no
// secret.
func TestNewNamesEveryMistake(t *testing.T) {
	_, err := New(Config{
		Name: "x", URL: "ftp://user:hidden-1@example.com/hidden-2", Egress: "inside", Original: true,
		Signing: []string{"whsec_hidden-3!", "raw:hidden-4", "", "whsk_hidden5"},
		Timeout: time.Millisecond, Final: []int{200, 600, 410}, Concurrency: -1,
		Headers: map[string]string{"Host": "hidden-6", "hookgate-key": "a", "webhook-id": "b",
			"a b": "c", "Connection": "close", "X-A": "1", "x-a": "2", "X-B": "hidden-7\n",
			"content-type": "text/plain"},
		TLS: TLS{CAFile: "/no/such/file"},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"egress: ", "url: must begin", "signing: the request",
		"signing: secret 1", "signing: secret 2", "signing: secret 3", "signing: secret 4", "timeout: ",
		"retry.final: 200", "retry.final: 600",
		"concurrency: ", "Host is set by", "hookgate-key is set by", "webhook-id is set by",
		`"a b" is not`, "Connection is set by", "x-a occurs twice", "X-B has a control",
		"content-type is set by", "tls: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not have %q", want)
		}
	}
	if strings.Contains(err.Error(), "410") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("the error is %v", err)
	}
}

// TestURLs checks which URLs a consumer may have.
func TestURLs(t *testing.T) {
	for url, want := range map[string]string{
		"http://10.0.0.7:3000/hooks/stripe?a=b": "", "https://example.com": "",
		"https://user:password@example.com/": "", "http://[::1]:80/": "",
		"":                                 "is missing",
		"example.com/x":                    "must begin",
		"http://":                          "no host",
		"http://:80/":                      "no host",
		"http://a:99999/":                  "invalid port",
		"http://a b/":                      "not a URL",
		"http://a/#b":                      "fragment",
		"http://169.254.169.254":           "metadata",
		"http://[::ffff:169.254.169.254]/": "metadata",
		"http://[fe80::1%25lo]/":           "link-local",
		"http://0.0.0.0/":                  "unspecified",
	} {
		_, err := New(Config{Name: "x", URL: url})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
	_, err := New(Config{Name: "x", URL: "https://u:p@a/",
		Headers: map[string]string{"authorization": "b"}})
	if err == nil || !strings.Contains(err.Error(), "remove one") {
		t.Errorf("two authorizations: %v", err)
	}
	_, err = New(Config{Name: "x", URL: "http://a/", TLS: TLS{ServerName: "b"}})
	if err == nil || !strings.Contains(err.Error(), "tls: the URL is http") {
		t.Errorf("TLS for http: %v", err)
	}
}

// TestHeaders compares the header of a request with the reference, value by value.
func TestHeaders(t *testing.T) {
	url, got := serve(t, nil)
	now := time.Date(2026, 11, 29, 13, 0, 0, 0, time.UTC)
	c := open(t, Config{URL: url + "/hooks?x=1", Signing: []string{testSecret},
		Now:     func() time.Time { return now },
		Headers: map[string]string{"x-tenant": "shop-1", "Stripe-Version": "ours"}})
	d := delivery()
	d.Event.OrderingKey = "grüße % 1"
	d.Event.Headers = append(d.Event.Headers, []hookgate.Header{
		{Name: "Stripe-Signature", Value: "t=1,v1=a"}, {Name: "X-Twice", Value: "1"},
		{Name: "x-twice", Value: "2"}, {Name: "Stripe-Version", Value: "theirs"},
		{Name: "Content-Type", Value: "text/plain"}, {Name: "Content-Encoding", Value: "gzip"},
		// none of these may be sent
		{Name: "Host", Value: "evil"}, {Name: "Connection", Value: "close"},
		{Name: "Content-Length", Value: "1"}, {Name: "Transfer-Encoding", Value: "chunked"},
		{Name: "Webhook-Id", Value: "theirs"}, {Name: "Webhook-Signature", Value: "v1,theirs"},
		{Name: "Hookgate-Key", Value: "theirs"}, {Name: "Expect", Value: "100-continue"},
		{Name: "Te", Value: "trailers"}, {Name: "Bad Name", Value: "x"}, {Name: "X-Bad", Value: "a\nb"},
		{Name: "Accept-Encoding", Value: "br"},
	}...)
	if a := c.Deliver(t.Context(), d); a != (hookgate.Answer{Status: 200}) {
		t.Fatalf("the answer is %+v", a)
	}
	r := <-got
	want := http.Header{
		"Content-Type": {"application/json; charset=utf-8"}, "User-Agent": {"hookgate"},
		"Content-Length": {"14"}, "Content-Encoding": {"gzip"},
		"Webhook-Id":            {d.Event.RequestID.String()},
		"Webhook-Timestamp":     {"1795957200"},
		"Webhook-Signature":     r.Header["Webhook-Signature"], // see TestSignatures
		"Hookgate-Subscription": {"billing"}, "Hookgate-Event-Id": {"1764419400123456"},
		"Hookgate-Source": {"stripe"}, "Hookgate-Type": {"invoice.paid"},
		"Hookgate-Message-Id":  {"evt_1"},
		"Hookgate-Received-At": {"2026-11-29T12:30:00.123456Z"},
		"Hookgate-Key":         {"k:gr%C3%BC%C3%9Fe %25 1"},
		"Hookgate-Attempt":     {"3"}, "Hookgate-Redelivery": {"2"}, "Stripe-Signature": {"t=1,v1=a"},
		"X-Twice": {"1", "2"}, "X-Tenant": {"shop-1"}, "Stripe-Version": {"ours"},
	}
	for name := range r.Header {
		if want[name] == nil {
			t.Errorf("%s: %q is sent", name, r.Header[name])
		}
	}
	for name := range want {
		if strings.Join(r.Header[name], "|") != strings.Join(want[name], "|") || len(want[name]) == 0 {
			t.Errorf("%s is %q, want %q", name, r.Header[name], want[name])
		}
	}
	if r.Method != "POST" || r.RequestURI != "/hooks?x=1" || r.body != `{"id":"evt_1"}` ||
		"http://"+r.Host != url {
		t.Errorf("got %s %s at %s: %s", r.Method, r.RequestURI, r.Host, r.body)
	}

	d.Event.Keyed, d.Event.Headers = false, nil
	d.Event.Headers = []hookgate.Header{{Name: "User-Agent", Value: "Stripe/1.0"}}
	c.Deliver(t.Context(), d)
	r = <-got
	if r.Header.Get("Hookgate-Key") != "e:1764419400123456" ||
		r.Header.Get("Content-Type") != "application/json" || r.Header.Get("User-Agent") != "Stripe/1.0" {
		t.Errorf("the header is %v", r.Header)
	}

	c = open(t, Config{URL: url, Original: true})
	d.Event.Headers = []hookgate.Header{{Name: "Webhook-Id", Value: "theirs"},
		{Name: "webhook-signature", Value: "v1,theirs"}, {Name: "Hookgate-Key", Value: "theirs"}}
	c.Deliver(t.Context(), d)
	r = <-got
	if h := r.Header; !slices.Equal(h["Webhook-Id"], []string{"theirs"}) ||
		h["Webhook-Timestamp"] != nil || !slices.Equal(h["Webhook-Signature"], []string{"v1,theirs"}) ||
		h.Get("Hookgate-Key") != "e:1764419400123456" {
		t.Errorf("the header is %v", r.Header)
	}
	d.Event.Headers = nil
	c.Deliver(t.Context(), d)
	if r = <-got; r.Header.Get("Webhook-Id") != d.Event.RequestID.String() {
		t.Errorf("the header is %v", r.Header)
	}
}

// TestUserOfURL checks that the user in a URL is sent as Basic authentication.
func TestUserOfURL(t *testing.T) {
	url, got := serve(t, nil)
	c := open(t, Config{URL: strings.Replace(url, "http://", "http://me:pass@", 1)})
	c.Deliver(t.Context(), delivery())
	if user, password, ok := (<-got).BasicAuth(); !ok || user != "me" || password != "pass" {
		t.Errorf("got %q %q", user, password)
	}
	if strings.Contains(c.Host(), "pass") {
		t.Errorf("the host is %s", c.Host())
	}
}
