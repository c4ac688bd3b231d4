package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/hookgate/hookgate/deliver/push"
)

// TestSubscriptionsCheck: the exit code says whether a subscription works. A test event is sent
// only with --send, once and marked.
func TestSubscriptionsCheck(t *testing.T) {
	t.Setenv("BILLING_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	status, received := 204, 0
	consumer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		received++
		if r.Header.Get(push.TestHeader) != "true" || r.Header.Get("Webhook-Signature") == "" ||
			r.Header.Get("Hookgate-Type") != testEventType {
			t.Errorf("the consumer got %v", r.Header)
		}
		w.WriteHeader(status)
	}))
	defer consumer.Close()
	one := func(more string) string {
		return writeConfig(t, "subscriptions: {billing: {push: {url: '"+consumer.URL+"', signing:"+
			" [env:BILLING_SECRET]}"+more+"}}")
	}
	for _, test := range []struct {
		args           []string
		status         int
		code, received int
	}{
		{[]string{"--config", one("")}, 204, 0, 0},
		{[]string{"billing", "--config", one("")}, 204, 0, 0},
		{[]string{"--send", "--config", one("")}, 204, 0, 1},
		{[]string{"--send", "--json", "--config", one("")}, 500, exitFail, 1},
		{[]string{"other", "--config", one("")}, 204, exitNoResult, 0},
		{[]string{"--config", one(", then: wait")}, 204, exitFail, 0},
		{[]string{"--config", writeConfig(t, "subscriptions: {a: {pull: {}}}")}, 204, 0, 0},
		{[]string{"--config", writeConfig(t, "subscriptions: {a: {push: {url: 'http://127.0.0.1:9',"+
			" egress: public}}}")}, 204, exitFail, 0},
		{[]string{"--config", writeConfig(t, "subscriptions: {a: {push: {url: 'http://a/', signing:"+
			" [env:HOOKGATE_NOBODY]}}}")}, 204, exitFail, 0},
	} {
		status, received = test.status, 0
		code := run(t.Context(), append([]string{"subscriptions", "check"}, test.args...))
		if code != test.code || received != test.received {
			t.Errorf("%v: exit code %d, %d events; want %d, %d", test.args, code, received, test.code,
				test.received)
		}
	}
}
