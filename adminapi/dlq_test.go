package adminapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	storesqlite "github.com/hookgate/hookgate/store/sqlite"
)

// listedLetter is a dead letter as the API shows it.
type listedLetter struct {
	listed
	State, Reason, RetryOf, LastError string
	PurgedBy, PurgeReason             string
	DeadLetteredAt, RetriedAt         time.Time
	PurgedAt                          *time.Time
}

// letters lists dead letters; query is encoded.
func (g *gate) letters(t testing.TB, query string) (all []listedLetter, next string) {
	t.Helper()
	var p struct {
		DeadLetters []listedLetter
		Next        string
	}
	must(t, json.Unmarshal(g.admin(t, "GET", "/admin/dlq?"+query, "").want(t, 200).body, &p))
	return p.DeadLetters, p.Next
}

// states describes dead letters as "message id:state".
func states(letters []listedLetter) string {
	var all []string
	for _, l := range letters {
		all = append(all, l.MessageID+":"+l.State)
	}
	return strings.Join(all, " ")
}

// deadLetterAll makes dead letters of n deliveries evt-0, evt-1 … of the types t0 and t1 in turn,
// each with an ordering key of its own.
func (g *gate) deadLetterAll(t testing.TB, n int) {
	t.Helper()
	for i := range n {
		g.post(t, envelope(fmt.Sprint("evt-", i), fmt.Sprint("t", i%2),
			fmt.Sprintf(`,"orderingKey":"k%d","sequence":%d`, i, i))).want(t, 202)
		// one by one, so that their order is known
		g.settleBut(t, func(*hookgate.Record) bool { return true })
	}
}

// retryResult is the answer to a retry.
type retryResult struct {
	Error   string
	Retried []struct{ ID, RequestID, RetryOf, JobID string }
	Skipped []struct{ ID, State, Reason string }
	Next    string
}

func (g *gate) retry(t testing.TB, status int, path, body string) (r retryResult) {
	t.Helper()
	must(t, json.Unmarshal(g.admin(t, "POST", "/admin/dlq"+path, body).want(t, status).body, &r))
	return r
}

// TestDeadLetterShown: a dead letter is listed with everything that is known, and shown with its
// exact body, its history and the lineage of its requests and of no others.
func TestDeadLetterShown(t *testing.T) {
	g := newGate(t, nil)
	body := envelope("evt-1", "t0", `,"orderingKey":"k","sequence":7,"é":"\u0000"`)
	sent := g.do(t, "POST", "/webhooks", strings.NewReader(body), "Authorization", "Bearer "+bearerKey,
		"X-Kept", "yes").want(t, 202).json(t)
	g.post(t, envelope("evt-1", "another", "")).want(t, 202)
	g.settleBut(t, func(r *hookgate.Record) bool { return r.EventType == "t0" })
	all, _ := g.letters(t, "")
	if len(all) != 1 {
		t.Fatalf("listed are %+v", all)
	}
	l := all[0]
	if l.State != "open" || l.Source != "default" || l.MessageID != "evt-1" || l.EventType != "t0" ||
		l.OrderingKey != "k" || *l.Sequence != 7 ||
		l.RequestID != sent["requestId"] || l.Reason != "rejected: t0" || l.Size != int64(len(body)) ||
		len(l.Headers) != 1 || l.ReceivedAt.IsZero() ||
		l.DeadLetteredAt.IsZero() || l.RemoteAddr == "" || len(l.SHA256) != 64 || l.PurgedAt != nil {
		t.Errorf("listed is %+v", l)
	}
	for _, id := range []string{l.ID, l.RequestID} {
		a := g.admin(t, "GET", "/admin/dlq/"+id+"/body", "").want(t, 200)
		if string(a.body) != body || a.header.Get("Content-Type") != "application/octet-stream" ||
			a.header.Get("Content-Disposition") != "attachment" {
			t.Errorf("its body is %q with %v", a.body, a.header)
		}
	}
	made := g.retry(t, 202, "/"+l.ID+"/retry", "").Retried[0]
	g.settleBut(t, func(r *hookgate.Record) bool { return true })
	var shown struct {
		DeadLetter listedLetter
		History    []listedLetter
		Requests   []struct {
			RequestID string
			Stages    []struct{ Stage string }
		}
	}
	must(t, json.Unmarshal(g.admin(t, "GET", "/admin/dlq/"+l.ID, "").want(t, 200).body, &shown))
	if shown.DeadLetter.State != "superseded" || len(shown.History) != 2 ||
		shown.History[0].RequestID != l.RequestID ||
		shown.History[1].RequestID != made.RequestID || shown.History[1].RetryOf != l.RequestID ||
		shown.History[1].Reason != "rejected: t0" ||
		shown.History[1].State != "open" {
		t.Errorf("its history is %+v", shown.History)
	}
	var trail []string
	for _, r := range shown.Requests {
		for _, s := range r.Stages {
			trail = append(trail, s.Stage)
		}
	}
	if want := "received enqueued processed dead_lettered received replayed enqueued processed" +
		" dead_lettered"; strings.Join(trail, " ") != want {
		t.Errorf("its lineage is %v, want %s", trail, want)
	}
}

// TestDeadLetterListing: filters, pages and NDJSON, and what is no parameter.
func TestDeadLetterListing(t *testing.T) {
	g := newGate(t, nil)
	g.deadLetterAll(t, 5)
	all, _ := g.letters(t, "")
	for query, want := range map[string]string{
		"": "evt-0:open evt-1:open evt-2:open evt-3:open" +
			" evt-4:open",
		"type=t1":                                "evt-1:open evt-3:open",
		"messageId=evt-2&source=default":         "evt-2:open",
		"key=k3":                                 "evt-3:open",
		"prefix=evt-4":                           "evt-4:open",
		"prefix=evt%25":                          "",
		"reason=rejected:+t0&after=" + all[0].ID: "evt-2:open evt-4:open",
		"state=stored":                           "",
		"state=all&limit=2":                      "evt-0:open evt-1:open",
		"from=2999-01-01T00:00:00Z":              "",
		"to=2001-01-01T00:00:00Z":                "",
	} {
		got, next := g.letters(t, query)
		if states(got) != want {
			t.Errorf("%q lists %q, want %q", query, states(got), want)
		}
		if strings.Contains(query, "limit=2") != (next == all[1].ID && next != "") {
			t.Errorf("%q goes on behind %q", query, next)
		}
	}
	a := g.admin(t, "GET", "/admin/dlq", "", "Accept", ndjson).want(t, 200)
	if lines := bytes.Count(a.body, []byte("\n")); lines != 5 ||
		a.header.Get("Content-Type") != ndjson {
		t.Errorf("%d lines of %s", lines, a.header.Get("Content-Type"))
	}
	for _, query := range []string{"state=closed", "prefix=", "limit=0", "limit=1001", "after=x",
		"from=now", "type=", "type=a&type=b"} {
		if told := g.admin(t, "GET", "/admin/dlq?"+query, "").want(t,
			400).errorText(t); !strings.Contains(told, "parameter") {
			t.Errorf("%s is refused with %q", query, told)
		}
	}
	for _, path := range []string{"/admin/dlq/x", "/admin/dlq/999", "/admin/dlq/999/body"} {
		g.admin(t, "GET", path, "").want(t, 404)
	}
}

// TestRetryOne: a retry is answered with its request id in the lineage, keeps everything of the
// dead letter, and ends as one event. A dead letter that is stored or superseded is not retried
// again, and the answer says so.
func TestRetryOne(t *testing.T) {
	g := newGate(t, nil)
	g.deadLetterAll(t, 1)
	dead, _ := g.letters(t, "")
	// a retry is no delivery
	g.admin(t, "POST", "/admin/maintenance", `{"mode":"read_only"}`).want(t, 200)
	first := g.retry(t, 202, "/"+dead[0].ID+"/retry", "")
	// still open: its first retry is queued
	second := g.retry(t, 202, "/"+dead[0].RequestID+"/retry", "")
	if len(first.Retried) != 1 || first.Retried[0].RetryOf != dead[0].RequestID ||
		first.Retried[0].ID != dead[0].ID ||
		first.Retried[0].JobID == "" || first.Retried[0].RequestID == second.Retried[0].RequestID {
		t.Errorf("answers are %+v and %+v", first, second)
	}
	g.settleBut(t, func(r *hookgate.Record) bool { return r.RequestID.String() == first.Retried[0].RequestID })
	events := g.list(t, "").Events
	if len(events) != 1 || events[0].RequestID != second.Retried[0].RequestID ||
		!events[0].ReceivedAt.Equal(dead[0].ReceivedAt) ||
		events[0].SHA256 != dead[0].SHA256 || events[0].RemoteAddr != dead[0].RemoteAddr ||
		*events[0].Sequence != 0 || events[0].OrderingKey != "k0" {
		t.Errorf("stored are %+v, want what was received", events)
	}
	all, _ := g.letters(t, "state=all")
	if states(all) != "evt-0:stored evt-0:stored" {
		t.Errorf("dead letters are %s", states(all))
	}
	if r := g.retry(t, 200, "/"+dead[0].ID+"/retry", ""); len(r.Retried) != 0 ||
		len(r.Skipped) != 1 || r.Skipped[0].State != "stored" {
		t.Errorf("what is stored is answered %+v", r)
	}
	if open, _ := g.letters(t, ""); len(open) != 0 {
		t.Errorf("open are %+v", open)
	}
	if stats, err := g.queue.Stats(t.Context()); err != nil || stats.Depth != 0 {
		t.Errorf("queued are %d (error %v)", stats.Depth, err)
	}
	// The admin trail has both, with what came of them.
	rows, err := g.API.access.Actions(t.Context(), control.ActionFilter{Limit: 100})
	must(t, err)
	var got []string
	for _, r := range rows {
		if r.Action == "dlq_retry" {
			got = append(got, r.Target+" "+r.Result)
		}
	}
	target := dead[0].ID + " (default/t0/evt-0) "
	if want := []string{target + "begun", target + "done: 1 retried, 0 not", target + "begun",
		target + "done: 1 retried, 0 not",
		target + "begun", target + "done: 0 retried, 1 not"}; !slices.Equal(got, want) {
		t.Errorf("the admin trail has\n%q, want\n%q", got, want)
	}
}

// TestRetryNotPossible: what has no identity, and what was purged, is refused with the reason; its
// bytes are shown as long as they are there.
func TestRetryNotPossible(t *testing.T) {
	g := newGate(t, nil)
	g.deadLetterAll(t, 1)
	undecoded := hookgate.Record{Request: hookgate.Request{RequestID: hookgate.NewRequestID(
		time.Now()), Sequence: hookgate.NoSequence, Body: []byte{0, 255}},
		Corrupt: errors.New("checksum")}
	epoch, err := g.store.Acquire(t.Context(), 0)
	must(t, err)
	_, err = g.store.Apply(t.Context(), &hookgate.Batch{Epochs: map[int]hookgate.Epoch{0: epoch},
		Attempts: 1,
		Dead:     []hookgate.DeadLetter{{Record: undecoded, Reason: "checksum"}}})
	must(t, err)
	all, _ := g.letters(t, "")
	if told := g.admin(t, "POST", "/admin/dlq/"+all[1].ID+"/retry", "").want(t,
		409).errorText(t); !strings.Contains(told, "could not be decoded") {
		t.Errorf("refused with %q", told)
	}
	if a := g.admin(t, "GET", "/admin/dlq/"+all[1].ID+"/body", "").want(t, 200); !bytes.Equal(a.body,
		undecoded.Body) {
		t.Errorf("its bytes are %v", a.body)
	}
	g.admin(t, "GET", "/admin/dlq/"+all[1].ID, "").want(t, 200)
	g.admin(t, "POST", "/admin/dlq/"+all[0].ID+"/purge", `{"loseEvents":true}`).want(t, 200)
	if told := g.admin(t, "POST", "/admin/dlq/"+all[0].ID+"/retry", "").want(t,
		409).errorText(t); !strings.Contains(told, "purged") {
		t.Errorf("refused with %q", told)
	}
	r := g.retry(t, 200, "/retry", `{"all":true}`)
	if len(r.Retried) != 0 || len(r.Skipped) != 1 || r.Skipped[0].ID != all[1].ID || r.Next != "" {
		t.Errorf("a retry of all answers %+v", r)
	}
}

// TestRetryMany: a filter or everything, in calls of a bounded size that go on where the last
// ended; what fails again meanwhile is left alone.
func TestRetryMany(t *testing.T) {
	g := newGate(t, nil)
	g.deadLetterAll(t, 7)
	if r := g.retry(t, 202, "/retry", `{"filter":{"type":"t1"}}`); len(r.Retried) != 3 ||
		r.Next != "" {
		t.Errorf("by type: %+v", r)
	}
	g.settle(t)
	var retried []string
	after, calls := "", 0
	for more := true; more; calls++ {
		r := g.retry(t, 202, "/retry", fmt.Sprintf(`{"all":true,"limit":2%s}`, after))
		for _, one := range r.Retried {
			retried = append(retried, one.ID)
		}
		g.settleBut(t, func(r *hookgate.Record) bool { return r.MessageID == "evt-0" }) // still at fault
		after, more = fmt.Sprintf(`,"after":%q`, r.Next), r.Next != ""
	}
	if len(retried) != 4 || calls != 2 {
		t.Errorf("%d calls retried %v", calls, retried)
	}
	all, _ := g.letters(t, "state=all")
	if got, want := states(all), "evt-0:superseded evt-1:stored evt-2:stored evt-3:stored"+
		" evt-4:stored evt-5:stored evt-6:stored evt-0:open"; got != want {
		t.Errorf("dead letters are %s, want %s", got, want)
	}
	if n := len(g.list(t, "").Events); n != 6 {
		t.Errorf("%d events are stored, want 6", n)
	}
	for _, body := range []string{"", "{}", `{"all":false}`, `{"all":true,"filter":{"type":"t"}}`,
		`{"filter":{}}`, `{"filter":{"typ":"t"}}`, `{"filter":{"type":""}}`,
		`{"filter":{"state":"stored"}}`, `{"filter":{"after":"1"}}`, `{"all":true,"limit":501}`,
		`{"all":true,"limit":0}`, `{"all":true,"after":"x"}`,
		`{"all":true,"after":"1.x"}`, `{"all":true,"loseEvents":true}`, `{"all":"true"}`, `{"all":null}`,
		`[]`, `{"all":true`, `{"filter":{"type":7}}`} {
		g.admin(t, "POST", "/admin/dlq/retry", body).want(t, 400)
	}
}

// TestRetryFull: when the queue is full in the middle, the answer says how far it came and where
// to go on, and going on there leaves nothing out.
func TestRetryFull(t *testing.T) {
	var left atomic.Int64
	queue := &fakeQueue{appended: func(context.Context, *hookgate.Request) (hookgate.Receipt, error) {
		if left.Add(-1) < 0 {
			return hookgate.Receipt{}, hookgate.ErrFull
		}
		return hookgate.Receipt{}, nil
	}}
	g := newGate(t, func(s *setup) { s.queue = queue })
	buryIn(t, g.store, 100)
	seen := map[string]bool{}
	after, status, calls := "", 503, 0
	for ; status == 503; calls++ {
		left.Store(40)
		before := len(queue.deliveries())
		a := g.admin(t, "POST", "/admin/dlq/retry", fmt.Sprintf(`{"all":true%s}`, after))
		status = a.status
		var r retryResult
		must(t, json.Unmarshal(a.body, &r))
		for _, one := range r.Retried {
			seen[one.ID] = true
		}
		if status == 503 && (a.header.Get("Retry-After") != "2" || r.Next == "" ||
			!strings.Contains(r.Error, "high-water")) {
			t.Fatalf("a full queue is answered %s with %v", a.body, a.header)
		}
		after = fmt.Sprintf(`,"after":%q`, r.Next)
		if calls > 20 {
			t.Fatal("it comes to no end")
		}
		last := map[string]int64{}
		for _, d := range queue.deliveries()[before:] {
			if d.Sequence < last[d.OrderingKey] {
				t.Errorf("%s is retried behind sequence %d of its key", d.MessageID, last[d.OrderingKey])
			}
			last[d.OrderingKey] = d.Sequence
		}
	}
	if len(seen) != 100 {
		t.Errorf("%d dead letters were retried in %d calls, want 100", len(seen), calls)
	}
	left.Store(0)
	one := slices.Collect(maps.Keys(seen))[0]
	g.admin(t, "POST", "/admin/dlq/"+one+"/retry", "").want(t, 503)
	queue.appended = func(context.Context, *hookgate.Request) (hookgate.Receipt, error) {
		return hookgate.Receipt{}, errors.New("secret cause")
	}
	if a := g.admin(t, "POST", "/admin/dlq/retry", `{"all":true}`).want(t,
		503); bytes.Contains(a.body, []byte("secret cause")) {
		t.Errorf("the answer says %s", a.body)
	}
	if !strings.Contains(g.log.String(), "secret cause") {
		t.Error("the log lacks the cause")
	}
}

// buryIn puts n dead letters of 5 ordering keys into a store.
func buryIn(t testing.TB, store *storesqlite.Store, n int) {
	t.Helper()
	epoch, err := store.Acquire(t.Context(), 0)
	must(t, err)
	b := &hookgate.Batch{Epochs: map[int]hookgate.Epoch{0: epoch}, Attempts: 1}
	for i := range n {
		now := time.Now()
		b.Dead = append(b.Dead, hookgate.DeadLetter{Reason: "at fault",
			Record: hookgate.Record{Request: hookgate.Request{
				RequestID: hookgate.NewRequestID(now), Identity: hookgate.Identity{Source: "default",
					EventType: "t", MessageID: fmt.Sprint("m", i)},
				OrderingKey: fmt.Sprint("k", i%5), Sequence: int64(i), Body: []byte("{}"), ReceivedAt: now,
			}, EnqueuedAt: now}})
	}
	_, err = store.Apply(t.Context(), b)
	must(t, err)
}

// TestPurge: what is stored is purged as one asks; what is open only if one says that its event is
// lost. The trail and the dead letter say who did it and why.
func TestPurge(t *testing.T) {
	g := newGate(t, nil)
	g.deadLetterAll(t, 4)
	all, _ := g.letters(t, "")
	g.retry(t, 202, "/"+all[0].ID+"/retry", "")
	g.settle(t)
	var purged struct {
		Purged []string
		Next   string
	}
	purge := func(path, body string, want ...string) {
		t.Helper()
		purged.Next = ""
		must(t, json.Unmarshal(g.admin(t, "POST", "/admin/dlq"+path, body, "X-Reason", "a test").want(t,
			200).body, &purged))
		if !slices.Equal(purged.Purged, want) {
			t.Errorf("%s %s purged %v, want %v", path, body, purged.Purged, want)
		}
	}
	if told := g.admin(t, "POST", "/admin/dlq/"+all[1].ID+"/purge", "").want(t,
		409).errorText(t); !strings.Contains(told, "loseEvents") {
		t.Errorf("refused with %q", told)
	}
	g.admin(t, "POST", "/admin/dlq/purge", `{"filter":{"state":"open"}}`).want(t, 400)
	g.admin(t, "POST", "/admin/dlq/"+all[1].ID+"/purge", `{"loseEvents":1}`).want(t, 400)
	g.admin(t, "POST", "/admin/dlq/"+all[1].ID+"/purge", `{"lose":true}`).want(t, 400)
	purge("/purge", `{"all":true}`, all[0].RequestID)
	purge("/"+all[1].ID+"/purge", `{"loseEvents":true}`, all[1].RequestID)
	purge("/"+all[1].ID+"/purge", "") // again
	purge("/purge", `{"all":true,"loseEvents":true,"limit":1}`, all[2].RequestID)
	if purged.Next == "" {
		t.Error("a call that left some does not say where to go on")
	}
	purge("/purge", fmt.Sprintf(`{"all":true,"loseEvents":true,"limit":1,"after":%q}`, purged.Next),
		all[3].RequestID)
	if purged.Next != "" {
		t.Errorf("the last call goes on behind %s", purged.Next)
	}
	all, _ = g.letters(t, "state=purged")
	if len(all) != 4 || all[1].PurgedBy != "configured-2" || all[1].PurgeReason != "a test" ||
		all[1].PurgedAt == nil || all[1].Size != 0 {
		t.Errorf("purged are %+v", all)
	}
	g.admin(t, "GET", "/admin/dlq/"+all[1].ID+"/body", "").want(t, http.StatusGone)
	g.admin(t, "GET", "/admin/dlq/"+all[1].ID, "").want(t, 200)
	if n := len(g.list(t, "").Events); n != 1 {
		t.Errorf("%d events are stored, want 1", n)
	}
}
