package adminapi

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hookgate/hookgate"
)

// TestAccepted sends an event twice through the real queue and compares the members of both answers
// with the contract.
func TestAccepted(t *testing.T) {
	g := newGate(t, nil)
	body := envelope("evt-1", "order.paid", "")
	first := g.post(t, body).want(t, http.StatusAccepted)
	again := g.post(t, body).want(t, http.StatusAccepted)

	base := []string{"jobId", "latency_ms", "messageId", "queue", "requestId", "status"}
	for _, c := range []struct {
		name    string
		answer  *answer
		members []string
	}{
		{"first", first, base},
		{"duplicate", again, append(slices.Clone(base), "firstRequestId", "note")},
	} {
		object := c.answer.json(t)
		slices.Sort(c.members)
		if got := slices.Sorted(maps.Keys(object)); !slices.Equal(got, c.members) {
			t.Errorf("%s: members %v, want %v", c.name, got, c.members)
		}
		if object["status"] != "accepted" || object["messageId"] != "evt-1" ||
			object["queue"] != "webhooks" {
			t.Errorf("%s: answer %s", c.name, c.answer.body)
		}
		if ms, ok := object["latency_ms"].(float64); !ok || ms < 0 || ms > within.Seconds()*1000 {
			t.Errorf("%s: latency_ms is %v", c.name, object["latency_ms"])
		}
		job, _ := object["jobId"].(string)
		_, position, ok := strings.Cut(job, ":")
		if _, err := hookgate.ParsePosition(position); !ok || err != nil {
			t.Errorf("%s: jobId %q is not PARTITION:MAJOR-MINOR: %v", c.name, job, err)
		}
		id, _ := object["requestId"].(string)
		if _, err := hookgate.ParseRequestID(id); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if h := c.answer.header.Get("X-Request-Id"); h != id {
			t.Errorf("%s: X-Request-Id %q, requestId %q", c.name, h, id)
		}
		if h := c.answer.header.Get("Content-Type"); h != "application/json" {
			t.Errorf("%s: Content-Type %q", c.name, h)
		}
	}
	a, b := first.json(t), again.json(t)
	if b["note"] != "duplicate_detected" || b["firstRequestId"] != a["requestId"] {
		t.Errorf("duplicate of %v: note %v, firstRequestId %v", a["requestId"], b["note"],
			b["firstRequestId"])
	}
	if a["requestId"] == b["requestId"] || a["jobId"] == b["jobId"] {
		t.Errorf("both requests have the id %v and the job %v", b["requestId"], b["jobId"])
	}
}
