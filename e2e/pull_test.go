package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hookgate/hookgate/api"
)

// TestPullOverHTTP calls a real gate as an application does: it pulls, acknowledges, fails and
// extends, with a token that is bound to the subscription, and follows the log. Leases of another
// subscription, leases that have ended and malformed bodies change nothing.
func TestPullOverHTTP(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gate.yaml")
	if err := os.WriteFile(file, []byte(`subscriptions:
  billing: {types: ["paid*"], start: beginning, pull: {}}
  other: {start: beginning, pull: {}}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	g := startGate(t, startOptions{args: []string{"--config", file}})
	token := "Bearer " + g.newConsumer("app", "billing")
	as := func(want int, method, path, body string) string {
		t.Helper()
		status, answer := g.request(method, path, body, "Authorization", token)
		if status != want {
			t.Fatalf("%s %s %s got %d, want %d: %s", method, path, body, status, want, answer)
		}
		return answer
	}
	call := func(want int, verb, format string, args ...any) (p api.Pulled) {
		t.Helper()
		answer := as(want, http.MethodPost, "/api/subscriptions/billing/"+verb, fmt.Sprintf(format, args...))
		if verb == "pull" {
			if err := json.Unmarshal([]byte(answer), &p); err != nil {
				t.Fatal(err)
			}
		}
		return p
	}
	for i := range 3 {
		g.send(fmt.Sprintf(`{"messageId":"m%d","eventType":"paid","orderingKey":"k%d"}`, i, i%2))
	}
	first := call(200, "pull", `{"wait":"10s","max":1,"lease":"5m"}`)
	if len(first.Events) != 1 || first.Events[0].MessageID != "m0" || first.Events[0].Key != "k:k0" ||
		string(first.Events[0].Body) != `{"messageId":"m0","eventType":"paid","orderingKey":"k0"}` {
		t.Fatalf("pulled %+v", first)
	}
	// m2 has the key of m0, which is leased.
	second := call(200, "pull", `{"wait":"10s","max":5}`)
	if len(second.Events) != 1 || second.Events[0].MessageID != "m1" {
		t.Fatalf("pulled %+v", second)
	}
	other := g.mustRequest(200, http.MethodPost, "/api/subscriptions/other/pull", `{"wait":"10s"}`)
	var foreign api.Pulled
	if err := json.Unmarshal([]byte(other), &foreign); err != nil || len(foreign.Events) == 0 {
		t.Fatalf("pulled %s (error %v)", other, err)
	}
	call(409, "ack", `{"lease":%q,"ids":[%s]}`, foreign.Lease, foreign.Events[0].ID)
	call(400, "ack", `{"lease":%q,"ids":[%s]}`, first.Lease, second.Events[0].ID)
	call(400, "ack", `{"lease":%q}`, first.Lease)
	call(400, "pull", `{"max":5000}`)
	as(403, http.MethodPost, "/api/subscriptions/other/pull", "")
	as(403, http.MethodGet, "/api/events", "")

	call(200, "extend", `{"lease":%q,"for":"10m"}`, first.Lease)
	for range 2 { // an ack can be repeated
		call(204, "ack", `{"lease":%q,"upTo":%q}`, first.Lease, first.Events[0].ID)
	}
	call(204, "nack", `{"lease":%q,"ids":[%q],"delay":"0s","reason":"no stock"}`, second.Lease,
		second.Events[0].ID)
	call(409, "ack", `{"lease":%q,"ids":[%q]}`, second.Lease, second.Events[0].ID)
	call(409, "extend", `{"lease":%q,"for":"1m"}`, second.Lease)
	open := map[string]int{}
	for len(open) < 2 {
		p := call(200, "pull", `{"wait":"10s"}`)
		if len(p.Events) == 0 {
			t.Fatalf("events are missing: %v", open)
		}
		for _, e := range p.Events {
			open[e.MessageID] = e.Attempt
			call(204, "ack", `{"lease":%q,"ids":[%q]}`, p.Lease, e.ID)
		}
	}
	if open["m1"] != 2 || open["m2"] != 1 {
		t.Errorf("attempts %v", open)
	}

	client := &api.Client{URL: g.url, Token: token[len("Bearer "):]}
	var streamed []string
	for line, err := range client.Stream(t.Context(), api.StreamQuery{After: "0"}) {
		if err != nil {
			t.Fatal(err)
		}
		if line.Event != nil {
			streamed = append(streamed, line.Event.MessageID)
		}
	}
	if fmt.Sprint(streamed) != "[m0 m1 m2]" {
		t.Errorf("streamed %v", streamed)
	}
	as(409, http.MethodGet, fmt.Sprintf("/api/events/stream?after=%d", time.Now().Add(time.Hour).UnixMicro()),
		"")
}
