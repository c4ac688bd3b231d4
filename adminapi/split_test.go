package adminapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/ingest"
)

// several is a source whose requests carry several events.
func several(t testing.TB) ingest.Source {
	return ingest.Source{Name: "several", Kind: "none", KeepHeaders: []string{"X-Trace"},
		Scheme: newScheme(t, "none", admit.Options{
			Split: "json:@this", Places: admit.Places{MessageID: []admit.Place{{"json:id"}},
				EventType: []admit.Place{{"json:type"}}, OrderingKey: []admit.Place{{"json:key"}}},
		})}
}

type splitAnswer struct {
	Status, MessageID, RequestID, Note, FirstRequestID string
	Events                                             *int
}

// TestSplit: each element becomes an event with its exact bytes, however often and in whichever
// batch it comes again. The request's own bytes are stored once, and each event leads to them. A
// body that is no array is one event, and an empty array is none.
func TestSplit(t *testing.T) {
	g := newGate(t, func(s *setup) { s.sources = append(s.sources, several(t)) })
	post := func(body string, headers ...string) (a splitAnswer) {
		t.Helper()
		got := g.do(t, "POST", "/webhooks/several", strings.NewReader(body), headers...).want(t, 202)
		must(t, json.Unmarshal(got.body, &a))
		if a.RequestID != got.header.Get("X-Request-Id") || !strings.HasSuffix(a.RequestID, "0000") ||
			a.Events == nil {
			t.Errorf("answer %s with the request id %s", got.body, got.header.Get("X-Request-Id"))
		}
		return a
	}
	const first = ` [{"id":"1", "type":"a","key":"k"},{"id":"2","type":"b","key":"k"} ,{"id":"2",` +
		`"type":"b","key":"k"}]`
	a := post(first, "X-Trace", "x", hookgate.OriginHeader, "forged")
	if *a.Events != 3 || a.MessageID != "1" || a.Note != "" {
		t.Errorf("answer %+v", a)
	}
	if again := post(first); again.FirstRequestID != a.RequestID ||
		again.Note != "duplicate_detected" || *again.Events != 3 {
		t.Errorf("a repetition is answered %+v", again)
	}
	post(`[{"id":"1","type":"a","attempt":2},{"id":"3","type":"c"}]`)
	post(`{"id":"4","type":"d"}`)
	if empty := post(`[]`); *empty.Events != 0 || empty.Note != "" {
		t.Errorf("an empty array is answered %+v", empty)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	fmt.Fprint(w, `[{"id":"5","type":"e"}]`)
	must(t, w.Close())
	post(packed.String(), "Content-Encoding", "gzip")
	g.do(t, "POST", "/webhooks/several", strings.NewReader("["+strings.Repeat("0,", hookgate.MaxParts)+
		"0]")).want(t, 413)
	g.settle(t)

	var list struct {
		Events []struct {
			ID, MessageID, EventType, OrderingKey, RequestID string
			Partition                                        int
			Headers                                          []hookgate.Header
		}
	}
	must(t, json.Unmarshal(g.admin(t, "GET", "/api/events?source=several", "").want(t, 200).body,
		&list))
	var ids []string
	for _, e := range list.Events {
		ids = append(ids, e.MessageID)
		if e.Partition != list.Events[0].Partition {
			t.Errorf("event %s is in partition %d", e.MessageID, e.Partition)
		}
	}
	if !slices.Equal(ids, []string{"1", "2", "3", "4", "5"}) {
		t.Fatalf("stored are %v", ids)
	}
	for i, want := range []struct{ body, request string }{
		{`{"id":"1", "type":"a","key":"k"}`, first}, {`{"id":"2","type":"b","key":"k"}`, first},
		{`{"id":"3","type":"c"}`, `[{"id":"1","type":"a","attempt":2},{"id":"3","type":"c"}]`},
		{`{"id":"4","type":"d"}`, `{"id":"4","type":"d"}`}, {`{"id":"5","type":"e"}`, packed.String()},
	} {
		path := "/api/events/" + list.Events[i].ID
		if body := g.admin(t, "GET", path+"/body", "").want(t, 200).body; string(body) != want.body {
			t.Errorf("event %s has the body %q", ids[i], body)
		}
		if body := g.admin(t, "GET", path+"/request-body", "").want(t,
			200).body; string(body) != want.request {
			t.Errorf("event %s came in the request %q, want %q", ids[i], body, want.request)
		}
	}
	if h := list.Events[0].Headers; len(h) != 2 || h[0].Value != "x" ||
		!strings.HasPrefix(h[1].Value, a.RequestID+" part=1/3 sha256=") {
		t.Errorf("the first event has the headers %v", h)
	}
	// The request leads to all of its events, and those to others that carried them.
	var found struct {
		Events   []struct{ Event struct{ MessageID string } }
		Requests []struct {
			Request struct{ MessageID, Outcome string }
		}
	}
	must(t, json.Unmarshal(g.admin(t, "GET", "/api/find?q="+a.RequestID, "").want(t, 200).body,
		&found))
	if len(found.Events) != 2 || len(found.Requests) != 3 ||
		found.Requests[2].Request.Outcome != "duplicate" {
		t.Errorf("the request leads to %+v", found)
	}
	if text := string(g.admin(t, "GET", "/api/trace/2", "").want(t, 200).body); strings.Count(text,
		`"duplicate"`) != 3 {
		t.Errorf("the trace of the second event is %s", text)
	}
	var sources api.Sources
	must(t, json.Unmarshal(g.admin(t, "GET", "/api/sources", "").want(t, 200).body, &sources))
	i := slices.IndexFunc(sources.Sources, func(s api.Source) bool { return s.Name == "several" })
	if s := sources.Sources[i]; s.Accepted != 7 || s.Duplicates != 3 {
		t.Errorf("the source is shown with %d events and %d duplicates, want 7 and 3", s.Accepted,
			s.Duplicates)
	}
}

// TestSplitIsAllOrNothing: at the high-water mark nothing of a request is taken, and a source may
// not keep a header with the name of the gate's own.
func TestSplitIsAllOrNothing(t *testing.T) {
	q := &fakeQueue{}
	g := newGate(t, func(s *setup) {
		s.queue = q
		s.sources = append(s.sources, several(t))
	})
	g.do(t, "POST", "/webhooks/several", strings.NewReader(`[{"id":"1"},{"id":"2"}]`)).want(t, 202)
	if d := q.deliveries(); len(d) != 1 || len(d[0].Parts) == 0 {
		t.Errorf("two events reach the queue as %d records", len(d))
	}
	forged := several(t)
	forged.KeepHeaders = []string{strings.ToLower(hookgate.OriginHeader)}
	if _, err := ingest.New(ingest.Config{Logger: slog.Default()},
		[]ingest.Source{forged}); err == nil ||
		!strings.Contains(err.Error(), "keep_headers") {
		t.Errorf("error is %v", err)
	}
}
