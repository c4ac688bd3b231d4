package push

import (
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver/egress"
)

// TestProbe: each step of a connection succeeds, or is the last one and says why it failed. No
// request reaches the consumer.
func TestProbe(t *testing.T) {
	refuse := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the probe sends a request")
	})
	plain, secure := httptest.NewServer(refuse), httptest.NewUnstartedServer(refuse)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer plain.Close()
	defer secure.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, test := range []struct {
		config Config
		steps  string // a name with ! failed
		last   string // in the last step
	}{
		{Config{URL: plain.URL}, "look-up egress connect", "to 127.0.0.1:"},
		{Config{URL: secure.URL, TLS: TLS{CAFile: ca}}, "look-up egress connect TLS", "TLS 1.3"},
		{Config{URL: secure.URL}, "look-up egress connect TLS!", "certificate"},
		{Config{URL: plain.URL, Egress: egress.Private}, "look-up egress connect", ""},
		{Config{URL: strings.Replace(plain.URL, "127.0.0.1", "localhost", 1),
			Egress: egress.Public}, "look-up egress!", "loopback"},
		{Config{URL: "http://" + closed.Addr().String()}, "look-up egress connect!", "refused"},
		{Config{URL: "http://nobody.invalid/"}, "look-up!", "nobody.invalid"},
	} {
		c, err := New(test.config)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		last := ""
		for _, s := range c.Probe(t.Context()) {
			if last = s.Detail; s.Err != nil {
				last = s.Err.Error()
				s.Name += "!"
			}
			names = append(names, s.Name)
		}
		if got := strings.Join(names, " "); got != test.steps || !strings.Contains(last, test.last) {
			t.Errorf("%s: the steps are %s, the last one says %q", test.config.URL, got, last)
		}
	}
}

// TestSendTest: a test event is marked and signed.
func TestSendTest(t *testing.T) {
	url, got := serve(t, nil)
	c := open(t, Config{URL: url, Signing: []string{testSecret}})
	a := c.SendTest(t.Context(), &hookgate.Event{Body: []byte("{}")})
	r := <-got
	if a.Verdict != hookgate.VerdictDelivered || r.Header.Get(TestHeader) != "true" ||
		r.Header.Get("Webhook-Signature") == "" || r.body != "{}" ||
		r.Header.Get("Hookgate-Subscription") != "billing" {
		t.Errorf("the answer is %+v, the request %+v", a, r)
	}
}
