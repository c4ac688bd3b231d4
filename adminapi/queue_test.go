package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

// TestQueueIsShown: a person with a token sees the cause of what is wrong, which the health keeps
// to itself.
func TestQueueIsShown(t *testing.T) {
	q := &fakeQueue{stats: func() (hookgate.QueueStats, error) {
		return hookgate.QueueStats{Depth: 3, HighWater: 10, Partitions: 4,
			Err: errors.New("disk: no space left")}, nil
	}}
	g := newGate(t, func(s *setup) { s.queue = q })
	var a struct {
		Mode, Error, Cause string
		Depth              int64
	}
	must(t, json.Unmarshal(g.admin(t, "GET", "/admin/queue", "").want(t, 200).body, &a))
	if a.Mode != "normal" || a.Depth != 3 || a.Error == "" || a.Cause != "disk: no space left" {
		t.Errorf("the queue is shown as %+v", a)
	}
}

// TestDrainWaits: the answer comes when the queue is empty, when the time is over with what is
// left, or when the gate ends; each is in the admin trail.
func TestDrainWaits(t *testing.T) {
	g := newGate(t, nil)
	drain := func(body string) (d api.Drained) {
		t.Helper()
		must(t, json.Unmarshal(g.admin(t, "POST", "/admin/drain", body).want(t, 200).body, &d))
		return d
	}
	if d := drain(""); !d.Drained || d.Left != 0 {
		t.Errorf("an empty queue: %+v", d)
	}
	g.post(t, envelope("a", "t", "")).want(t, 202)
	if d := drain(`{"timeout":"1ms"}`); d.Drained || d.Left != 1 {
		t.Errorf("with one queued: %+v", d)
	}
	done := make(chan api.Drained)
	go func() { done <- drain(`{"timeout":"1m"}`) }()
	c, err := g.queue.OpenReader(t.Context())
	must(t, err)
	records, err := c.Next(t.Context(), 1, 1<<20)
	must(t, err)
	must(t, c.Commit(t.Context(), hookgate.LastOffsets(records)))
	if d := <-done; !d.Drained {
		t.Errorf("after the record was stored: %+v", d)
	}
	for name, body := range map[string]string{
		"no time": `{"timeout":""}`, "a number": `{"timeout":5}`, "null": `{"timeout":null}`,
		"negative": `{"timeout":"-1s"}`, "too long": `{"timeout":"11m"}`,
		"another member": `{"time":"1s"}`, "a list": `[]`, "trailing": `{"timeout":"1s"}}`,
	} {
		if a := g.admin(t, "POST", "/admin/drain", body); a.status != 400 {
			t.Errorf("%s: status %d", name, a.status)
		}
	}
	// Nobody empties the queue in buffer; an empty one is drained all the same.
	must(t, g.settings.SetMode(t.Context(), control.ModeBuffer))
	if d := drain(""); !d.Drained {
		t.Errorf("an empty queue in buffer: %+v", d)
	}
	g.post(t, envelope("buffered", "t", "")).want(t, 202)
	if a := g.admin(t, "POST", "/admin/drain", "").want(t, 409); !strings.Contains(a.errorText(t),
		"mode is buffer") {
		t.Errorf("in buffer: %s", a.body)
	}
	must(t, g.settings.SetMode(t.Context(), control.ModeNormal))
	records, err = c.Next(t.Context(), 1, 1<<20)
	must(t, err)
	must(t, c.Commit(t.Context(), hookgate.LastOffsets(records)))
	// The end of the gate does not wait for who waits.
	g.post(t, envelope("b", "t", "")).want(t, 202)
	go func() { done <- drain(`{"timeout":"10m"}`) }()
	// five drains that ended, and one that began
	for begun := 0; begun < 11; time.Sleep(time.Millisecond) {
		rows, err := g.access.Actions(t.Context(), control.ActionFilter{Limit: 100})
		must(t, err)
		begun = len(rows)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, g.Shutdown(ctx))
	if d := <-done; d.Drained || d.Left != 1 {
		t.Errorf("when the gate ended: %+v", d)
	}
	rows, err := g.access.Actions(t.Context(), control.ActionFilter{Limit: 100})
	must(t, err)
	if last := rows[len(rows)-1]; len(rows) != 12 || last.Action != "drain" ||
		last.Target != "within 10m0s" || last.Result != "failed: records are left" {
		t.Errorf("%d rows in the trail, the last %+v", len(rows), last)
	}
}
