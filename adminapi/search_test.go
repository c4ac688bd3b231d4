package adminapi

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/hookgate/hookgate"
)

// searchPage is an answer of /api/events in an order that is newest first.
type searchPage struct {
	page
	Previous   string
	Partial    bool
	SearchedTo string
}

func (g *gate) search(t *testing.T, query string) (p searchPage) {
	t.Helper()
	must(t, json.Unmarshal(g.admin(t, "GET", "/api/events?"+query, "").want(t, 200).body, &p))
	return p
}

// TestNewestFirst pages through events from the newest to the oldest and back, and follows what is
// stored meanwhile.
func TestNewestFirst(t *testing.T) {
	g := newGate(t, nil)
	if p := g.search(t, "order=newest"); p.Events == nil || len(p.Events) != 0 || p.Next != "" ||
		p.Partial {
		t.Errorf("an empty store shows %+v", p)
	}
	sent := g.fill(t, 7)
	slices.Reverse(sent)
	for _, query := range []string{"order=newest", "order=stored", "order=newest&type=t",
		"order=newest&from=2000-01-01T00:00:00Z", "order=newest&body=evt-"} {
		var got []string
		p := g.search(t, query+"&limit=3")
		first := p
		for got = messageIDs(p.Events); p.Next != ""; got = append(got, messageIDs(p.Events)...) {
			p = g.search(t, query+"&limit=3&after="+url.QueryEscape(p.Next))
		}
		if !slices.Equal(got, sent) {
			t.Errorf("%s shows %v, want %v", query, got, sent)
		}
		// those before the last page
		p = g.search(t, query+"&limit=3&before="+url.QueryEscape(p.Previous))
		if got := messageIDs(p.Events); !slices.Equal(got, sent[3:6]) {
			t.Errorf("%s, back from the end: %v, want %v", query, got, sent[3:6])
		}
		if p := g.search(t, query+"&before="+url.QueryEscape(first.Previous)); len(p.Events) != 0 ||
			p.Previous != first.Previous {
			t.Errorf("%s: newer than the newest are %v", query, messageIDs(p.Events))
		}
	}
	cursor := g.search(t, "order=stored").Previous
	g.post(t, envelope("new", "t", "")).want(t, 202)
	g.settle(t)
	if p := g.search(t, "order=stored&before="+cursor); !slices.Equal(messageIDs(p.Events),
		[]string{"new"}) {
		t.Errorf("the tail shows %v", messageIDs(p.Events))
	}
	third := g.list(t, "").Events[2]
	if got := messageIDs(g.search(t, "order=stored&key=t&limit=2&after="+
		third.ID).Events); !slices.Equal(got, []string{"evt-01", "evt-00"}) {
		t.Errorf("before the third of its key are %v", got)
	}
	for _, order := range []string{"newest", "oldest"} {
		if got := messageIDs(g.search(t, "order="+order+"&requestId="+
			third.RequestID).Events); !slices.Equal(got, []string{"evt-02"}) {
			t.Errorf("order %s: the request has %v", order, got)
		}
		if got := messageIDs(g.search(t, "order="+order+
			"&body=%22messageId%22:%22evt-05%22").Events); !slices.Equal(got, []string{"evt-05"}) {
			t.Errorf("order %s: the text is in %v", order, got)
		}
	}
}

// TestBadSearch asks for searches that cannot be.
func TestBadSearch(t *testing.T) {
	g := newGate(t, nil)
	g.fill(t, 1)
	for query, name := range map[string]string{
		"order=up":    "order",
		"order=":      "order",
		"requestId=x": "requestId",
		"body=":       "body",
		"body=" + strings.Repeat("x", maxBodyText+1): "body",
		"before=1":                         "before",
		"order=newest&before=1&after=1":    "before",
		"order=newest&before=x":            "before",
		"order=newest&after=x":             "after",
		"order=newest&type=t&after=1":      "after",
		"order=newest&limit=1001":          "limit",
		"order=stored&after=t1,1":          "after",
		"order=newest&prefix=e&after=m1,1": "after",
	} {
		a := g.admin(t, "GET", "/api/events?"+query, "").want(t, 400)
		checkRefusal(t, a)
		if told := a.errorText(t); !strings.HasPrefix(told, "parameter "+name+" ") {
			t.Errorf("%s: told %q, want it to name %s", query, told, name)
		}
	}
	checkRefusal(t, g.admin(t, "GET", "/api/events?order=newest", "", "Accept", ndjson).want(t, 400))
}

// find is an answer of /api/find.
type findAnswer struct {
	Query  string
	Events []struct {
		Matched string
		Event   listed
	}
	DeadLetters []struct {
		Matched    string
		DeadLetter struct{ ID, MessageID, RequestID string }
	}
	Requests []struct {
		Matched string
		Request struct{ RequestID, MessageID, Outcome, FirstRequestID string }
	}
	More    bool
	Waiting *int64
}

func (g *gate) lookFor(t *testing.T, q string) (f findAnswer) {
	t.Helper()
	must(t, json.Unmarshal(g.admin(t, "GET", "/api/find?q="+url.QueryEscape(q), "").want(t, 200).body,
		&f))
	if f.Query != q || f.Events == nil || f.DeadLetters == nil || f.Requests == nil ||
		f.Waiting == nil {
		t.Errorf("finding %q gives %+v", q, f)
	}
	return f
}

// summary says in a line what was found, and how.
func (f findAnswer) summary() string {
	var parts []string
	for _, e := range f.Events {
		parts = append(parts, "event "+e.Event.MessageID+" by "+e.Matched)
	}
	for _, d := range f.DeadLetters {
		parts = append(parts, "dead letter "+d.DeadLetter.MessageID+" by "+d.Matched)
	}
	for _, r := range f.Requests {
		parts = append(parts, r.Request.Outcome+" "+r.Request.MessageID+" by "+r.Matched)
	}
	return strings.Join(parts, ", ")
}

// TestFind looks for events, dead letters and duplicates by every id that they have, and for what
// is not stored.
func TestFind(t *testing.T) {
	g := newGate(t, nil)
	send := func(id string) string {
		return g.post(t, envelope(id, "t", "")).want(t, 202).json(t)["requestId"].(string)
	}
	first := send("inv-1")
	duplicate := send("inv-1")
	g.settle(t)
	dead := send("inv-2")
	g.settleBut(t, func(*hookgate.Record) bool { return true })
	event, letter := g.lookFor(t, first).Events[0].Event.ID,
		g.lookFor(t, dead).DeadLetters[0].DeadLetter.ID
	for q, want := range map[string]string{
		"inv-1":   "event inv-1 by messageId, persisted inv-1 by messageId, duplicate inv-1 by messageId",
		"inv-2":   "dead letter inv-2 by messageId, dead_lettered inv-2 by messageId",
		first:     "event inv-1 by requestId, persisted inv-1 by requestId",
		duplicate: "duplicate inv-1 by requestId",
		dead:      "dead letter inv-2 by requestId, dead_lettered inv-2 by requestId",
		"inv":     "event inv-1 by prefix, dead letter inv-2 by prefix",
		"INV":     "", "%": "", "999": "", "\x00": "",
		hookgate.RequestID{1}.String(): "",
	} {
		if got := g.lookFor(t, q).summary(); got != want {
			t.Errorf("%q finds %s, want %s", q, got, want)
		}
	}
	if got := g.lookFor(t, event); len(got.Events) != 1 || got.Events[0].Matched != "id" {
		t.Errorf("event %s is found as %s", event, got.summary())
	}
	if got := g.lookFor(t, letter); len(got.DeadLetters) != 1 || got.DeadLetters[0].Matched != "id" {
		t.Errorf("dead letter %s is found as %s", letter, got.summary())
	}
	if r := g.lookFor(t, duplicate).Requests[0].Request; r.FirstRequestID != first {
		t.Errorf("the duplicate is of %s, want %s", r.FirstRequestID, first)
	}
	send("late")
	if f := g.lookFor(t, "late"); f.summary() != "" || *f.Waiting != 1 {
		t.Errorf("what is queued is found as %q, with %d waiting", f.summary(), *f.Waiting)
	}
	for n := range maxFound + 1 {
		send(fmt.Sprint("many-", n))
	}
	g.settle(t)
	if f := g.lookFor(t, "many-"); len(f.Events) != maxFound || !f.More {
		t.Errorf("%d events and more %t", len(f.Events), f.More)
	}
	for _, query := range []string{"", "q=", "q=a&q=b", "p=a", "q=" + strings.Repeat("x", maxWanted+
		1)} {
		checkRefusal(t, g.admin(t, "GET", "/api/find?"+query, "").want(t, 400))
	}
}
