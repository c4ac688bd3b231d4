package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate/admit"
)

// TestSplitKilled kills the gate twice while HubSpot sends batches. Each batch repeats an event of
// the previous one with another count of attempts, and is sent again if it got no answer.
// Afterwards each event of each batch is stored once, with its bytes and the request that brought
// it.
func TestSplitKilled(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	for name, env := range map[string][]string{"embedded": nil, "Redis and PostgreSQL": s.env()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			splitKilled(t, env)
		})
	}
}

func splitKilled(t *testing.T, env []string) {
	const batches, size, senders = 120, 5, 4
	config := writeConfig(t, `
public_url: https://hooks.example.com
sources:
  hubspot: {kind: hubspot, secrets: [the-client-secret]}
`)
	g := startGate(t, startOptions{env: env, args: []string{"--config", config}})
	listen := strings.TrimPrefix(g.url, "http://")
	element := func(n, attempt int) string {
		return fmt.Sprintf(`{"eventId":%d,"portalId":6,"objectId":%d,`+
			`"subscriptionType":"contact.creation","occurredAt":1564113600000,`+
			`"attemptNumber":%d}`, n, n%7, attempt)
	}
	options := admit.Options{Secrets: []string{"the-client-secret"},
		PublicURL: "https://hooks.example.com/webhooks/hubspot"}
	url := g.url + "/webhooks/hubspot"
	var next, answered atomic.Int64
	var all sync.WaitGroup
	for range senders {
		all.Go(func() {
			for n := int(next.Add(1) - 1); n < batches &&
				t.Context().Err() == nil; n = int(next.Add(1) - 1) {
				var elements []string
				if n > 0 {
					elements = append(elements, element(n*size-1, 1)) // of the previous batch
				}
				for i := range size {
					elements = append(elements, element(n*size+i, 0))
				}
				for !sendSplit(options, url, "["+strings.Join(elements, ", ")+"]") && t.Context().Err() == nil {
					time.Sleep(10 * time.Millisecond) // the gate is down
				}
				answered.Add(1)
			}
		})
	}
	for kill := range int64(2) {
		g.await("batches are answered", func() bool { return answered.Load() >= (kill+1)*batches/3 })
		g.kill()
		g = startGate(t, startOptions{dir: g.dir, listen: listen, env: env, args: []string{"--config",
			config}})
	}
	all.Wait()
	g.awaitDrained()
	status, body := g.request(http.MethodGet, "/api/events?source=hubspot", "", "Accept",
		"application/x-ndjson")
	if status != http.StatusOK {
		t.Fatalf("read events: %d %s", status, body)
	}
	seen := map[int]bool{}
	for line := range strings.Lines(body) {
		e := parseEvent(t, line)
		_, text := g.request(http.MethodGet, "/api/events/"+e.ID+"/body", "")
		var got struct{ EventID, AttemptNumber int }
		if err := json.Unmarshal([]byte(text), &got); err != nil ||
			text != element(got.EventID, got.AttemptNumber) || seen[got.EventID] {
			t.Fatalf("event %s is %s (seen before: %v, error %v)", e.ID, text, seen[got.EventID], err)
		}
		seen[got.EventID] = true
		if got.EventID%100 == 0 {
			if _, request := g.request(http.MethodGet, "/api/events/"+e.ID+"/request-body",
				""); !strings.Contains(request, text+", ") {
				t.Errorf("event %d came in the request %s", got.EventID, request)
			}
		}
	}
	if len(seen) != batches*size {
		t.Errorf("%d events are stored, want %d", len(seen), batches*size)
	}
	if code, out, errs := runBinary(t, g.env, "audit", "verify", "--data-dir", g.dir); code != 0 {
		t.Errorf("audit verify: exit code %d\n%s%s", code, out, errs)
	}
}

// sendSplit reports whether the gate answered a batch with 202.
func sendSplit(o admit.Options, url, body string) bool {
	r := &admit.Request{Method: http.MethodPost,
		Header: http.Header{"Content-Type": {"application/json"}}, Time: time.Now(), Body: []byte(body)}
	if err := admit.Sign("hubspot", o, nil, r); err != nil {
		return false
	}
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(r.Body))
	if err != nil {
		return false
	}
	req.Header = r.Header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusAccepted
}
