package push

import (
	"encoding/base64"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hookgate/hookgate"
)

// TestSignature compares a signature with the example of the Standard Webhooks libraries, for each
// form in which the secret can be written.
func TestSignature(t *testing.T) {
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	key, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{testSecret, "v1," + testSecret, strings.TrimPrefix(testSecret,
		"whsec_"), "raw:" + string(key)} {
		s, err := newSigner(secret)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time the state of the hash is not fresh
			if got := string(s.append(nil, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330",
				[]byte(`{"test": 2432232314}`))); got != want {
				t.Errorf("the signature is %s", got)
			}
		}
	}
	for text, want := range map[string]string{
		"": "empty", "whsec_": "empty", "whsec_abc!": "not base64", "raw:": "16 to 1024 bytes",
		"raw:123456789012345": "16 to 1024", "whsec_MTIzNDU2Nzg5MDEyMzQ1": "16 to 1024",
		"raw:" + strings.Repeat("x", 1025):      "16 to 1024",
		"whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw": "Ed25519", "whpk_abc": "Ed25519",
		"my secret text": "not base64",
	} {
		if _, err := newSigner(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestSend checks a message that is no event: it is signed, has the id and the content type, and
// nothing of a subscription.
func TestSend(t *testing.T) {
	var answer atomic.Int64
	answer.Store(http.StatusNoContent)
	url, got := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(answer.Load()))
	})
	c, err := New(Config{URL: url + "/hidden", Signing: []string{testSecret}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseIdleConnections()
	if a := c.Send(t.Context(), "alarm_1", []byte("{}")); a.Verdict != hookgate.VerdictDelivered {
		t.Errorf("the answer is %+v", a)
	}
	r := <-got
	timestamp := r.Header.Get("Webhook-Timestamp")
	want := string(c.signers[0].append(nil, "alarm_1", timestamp, []byte("{}")))
	if r.Header.Get("Webhook-Signature") != want || len(timestamp) != 10 ||
		r.Header.Get("Webhook-Id") != "alarm_1" || r.body != "{}" ||
		r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("the request is %v %s", r.Header, r.body)
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "Hookgate-") {
			t.Errorf("%s is sent", name)
		}
	}
	answer.Store(http.StatusInternalServerError)
	if a := c.Send(t.Context(), "alarm_1", []byte("{}")); a.Verdict != hookgate.VerdictFailed ||
		strings.Contains(a.Reason, "hidden") {
		t.Errorf("the answer is %+v", a)
	}
}
