package adminapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/attention"
)

// listed is an event as the read API shows it.
type listed struct {
	ID, Source, MessageID, EventType, OrderingKey string
	Sequence                                      *int64
	RequestID, RemoteAddr, Position, SHA256       string
	ReceivedAt, PersistedAt                       time.Time
	Size                                          int64
	Headers                                       []hookgate.Header
}

// page is an answer of /api/events.
type page struct {
	Events []listed
	Next   string
}

// list asks for one page; query is encoded.
func (g *gate) list(t *testing.T, query string) page {
	t.Helper()
	a := g.admin(t, "GET", "/api/events?"+query, "").want(t, 200)
	if h := a.header.Get("Content-Type"); h != "application/json" {
		t.Errorf("Content-Type %q", h)
	}
	var p page
	must(t, json.Unmarshal(a.body, &p))
	return p
}

func messageIDs(events []listed) (ids []string) {
	for _, e := range events {
		ids = append(ids, e.MessageID)
	}
	return ids
}

// fill sends n events, one partition each batch, and stores them one by one so that their order is
// known.
func (g *gate) fill(t *testing.T, n int) (ids []string) {
	t.Helper()
	for i := range n {
		ids = append(ids, fmt.Sprintf("evt-%02d", i))
		g.post(t, envelope(ids[i], "t", fmt.Sprintf(`,"sequence":%d`, i))).want(t, 202)
	}
	g.settle(t) // one event type, hence one ordering key and one partition
	return ids
}

// TestPages walks through the events with every page size; each walk must show all of them once, in
// order.
func TestPages(t *testing.T) {
	g := newGate(t, nil)
	if p := g.list(t, ""); p.Events == nil || len(p.Events) != 0 || p.Next != "" {
		t.Errorf("an empty store lists %+v", p)
	}
	want := g.fill(t, 7)
	for limit := 1; limit <= 8; limit++ {
		var got []string
		after, pages := "", 0
		for {
			query := fmt.Sprintf("limit=%d", limit)
			if after != "" {
				query += "&after=" + url.QueryEscape(after)
			}
			p := g.list(t, query)
			got = append(got, messageIDs(p.Events)...)
			if pages++; p.Next == "" || pages > 10 {
				break
			}
			if len(p.Events) != limit || p.Next != p.Events[limit-1].ID {
				t.Fatalf("limit %d: %d events and next %q", limit, len(p.Events), p.Next)
			}
			after = p.Next
		}
		if !slices.Equal(got, want) || pages != (len(want)+limit-1)/limit {
			t.Errorf("limit %d: %v on %d pages, want %v", limit, got, pages, want)
		}
	}
	if got := messageIDs(g.list(t, "").Events); !slices.Equal(got, want) {
		t.Errorf("without limit: %v", got)
	}
}

// TestFilters asks with each filter alone and with some of them together.
func TestFilters(t *testing.T) {
	g := newGate(t, nil)
	send := func(id, eventType, rest string) {
		g.post(t, envelope(id, eventType, rest)).want(t, 202)
		g.settle(t)
	}
	send("a-1", "order.paid", `,"orderingKey":"k1"`)
	send("a-2", "order.made", `,"orderingKey":"k1"`)
	hook := "{}"
	g.do(t, "POST", "/webhooks/github", strings.NewReader(hook), "X-Hub-Signature-256",
		hmacHex(githubSecret, hook),
		"X-GitHub-Delivery", "a-1", "X-GitHub-Event", "push").want(t, 202)
	g.settle(t)
	send("b%_\u00e9&1", "order.paid", `,"orderingKey":"k 2"`)

	all := []string{"a-1", "a-2", "a-1", "b%_\u00e9&1"}
	events := g.list(t, "").Events
	if got := messageIDs(events); !slices.Equal(got, all) {
		t.Fatalf("events %v, want %v", got, all)
	}
	third := events[2].ReceivedAt
	stamp := func(at time.Time) string { return at.Format(time.RFC3339Nano) }
	for _, c := range []struct {
		filter url.Values
		want   []string
	}{
		{url.Values{"source": {"github"}}, all[2:3]},
		{url.Values{"source": {"nobody"}}, nil},
		{url.Values{"type": {"order.paid"}}, []string{all[0], all[3]}},
		{url.Values{"key": {"k1"}}, all[:2]},
		{url.Values{"key": {"k 2"}}, all[3:]},
		{url.Values{"messageId": {"a-1"}}, []string{"a-1", "a-1"}},
		{url.Values{"messageId": {"a-1"}, "source": {"default"}}, all[:1]},
		{url.Values{"messageId": {all[3]}}, all[3:]},
		{url.Values{"prefix": {"a-"}}, all[:3]},
		{url.Values{"prefix": {"b%"}}, all[3:]},
		{url.Values{"prefix": {"%"}}, nil},
		{url.Values{"from": {stamp(third)}}, all[2:]},
		{url.Values{"to": {stamp(third)}}, all[:2]},
		{url.Values{"from": {stamp(third)}, "to": {stamp(third.Add(time.Microsecond))}}, all[2:3]},
		{url.Values{"from": {stamp(third.In(time.FixedZone("", 3600)))}}, all[2:]},
		{url.Values{"after": {events[1].ID}}, all[2:]},
		{url.Values{"after": {events[0].ID}, "type": {"order.paid"}, "limit": {"5"}}, all[3:]},
		{url.Values{"after": {events[3].ID}}, nil},
	} {
		if got := messageIDs(g.list(t, c.filter.Encode()).Events); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.filter.Encode(), got, c.want)
		}
		stream := g.admin(t, "GET", "/api/events?"+c.filter.Encode(), "", "Accept", ndjson).want(t, 200)
		if got := messageIDs(lines(t, stream)); !slices.Equal(got, c.want) {
			t.Errorf("%s: the stream has %v, want %v", c.filter.Encode(), got, c.want)
		}
	}
}

// lines parses a stream.
func lines(t *testing.T, a *answer) (events []listed) {
	t.Helper()
	if h := a.header; h.Get("Cache-Control") != "no-store" ||
		h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("a stream may be kept, or taken for something else: %v", h)
	}
	if h := a.header.Get("Content-Type"); h != ndjson {
		t.Errorf("Content-Type %q", h)
	}
	for line := range bytes.Lines(a.body) {
		var e listed
		must(t, json.Unmarshal(line, &e))
		events = append(events, e)
	}
	return events
}

// TestStream streams more events than a flush and a page hold, and compares lines with the listing.
func TestStream(t *testing.T) {
	g := newGate(t, func(s *setup) { s.reader = &fakeReader{n: 2*flushEvery + 1} })
	if got := lines(t, g.admin(t, "GET", "/api/events", "", "Accept", ndjson).want(t,
		200)); len(got) != 2*flushEvery+1 {
		t.Errorf("%d lines, want %d", len(got), 2*flushEvery+1)
	}
	g = newGate(t, nil)
	g.fill(t, 3)
	a := g.admin(t, "GET", "/api/events?limit=2", "", "Accept", "text/plain, "+ndjson).want(t, 200)
	listing := g.admin(t, "GET", "/api/events?limit=2", "").want(t, 200)
	for line := range bytes.Lines(a.body) {
		if !bytes.Contains(listing.body, bytes.TrimSpace(line)) {
			t.Errorf("line %s is not in the listing %s", line, listing.body)
		}
	}
	if n := len(lines(t, a)); n != 2 {
		t.Errorf("limit=2 streams %d lines", n)
	}
}

// TestBrokenStream lets the reader fail before the first event, and in the middle, before and after
// a flush. A stream that has begun must not end cleanly.
func TestBrokenStream(t *testing.T) {
	for _, n := range []int{0, 1, flushEvery - 1, flushEvery, flushEvery + 1, 5 * flushEvery} {
		g := newGate(t, func(s *setup) { s.reader = &fakeReader{n: n, err: errInjected} })
		a, err := g.try("GET", "/api/events", nil, "Accept", ndjson, "Authorization", "Bearer "+
			adminToken)
		switch {
		case n == 0:
			must(t, err)
			checkRefusal(t, a.want(t, 503))
		case err == nil:
			t.Errorf("%d events: the stream ended cleanly with status %d and %d bytes", n, a.status,
				len(a.body))
		case n >= flushEvery && !errors.Is(err, io.ErrUnexpectedEOF):
			t.Errorf("%d events: error %v, want an unexpected EOF", n, err)
		case !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF):
			t.Errorf("%d events: error %v, want an EOF", n, err)
		}
		if !strings.Contains(g.log.String(), errInjected.Error()) {
			t.Errorf("%d events: the log does not say why", n)
		}
		if strings.Contains(g.log.String(), "panic") {
			t.Errorf("%d events: a broken stream is logged as a panic", n)
		}
		g.do(t, "GET", "/livez", nil).want(t, 200)
	}
	g := newGate(t, func(s *setup) { s.reader = &fakeReader{n: 3, err: errInjected} })
	checkRefusal(t, g.admin(t, "GET", "/api/events", "").want(t, 503))
}

// pacedReader yields as many events as are flushed at once, pauses, and so on.
type pacedReader struct {
	fakeReader
	pause time.Duration
	pages int
}

func (r *pacedReader) Events(context.Context,
	hookgate.EventFilter) iter.Seq2[hookgate.StoredEvent, error] {
	return func(yield func(hookgate.StoredEvent, error) bool) {
		for range r.pages {
			for range flushEvery {
				if !yield(hookgate.StoredEvent{ID: "id"}, nil) {
					return
				}
			}
			<-time.After(r.pause)
		}
	}
}

// TestStreamOutlivesWriteTimeout streams for longer than WriteTimeout: a flush gives new time.
func TestStreamOutlivesWriteTimeout(t *testing.T) {
	const timeout, pages = time.Second, 4
	reader := &pacedReader{pause: timeout * 2 / 5, pages: pages}
	g := newGate(t, func(s *setup) {
		s.reader = reader
		s.config.WriteTimeout = timeout
	})
	a := g.admin(t, "GET", "/api/events", "", "Accept", ndjson).want(t, 200)
	if n := len(lines(t, a)); n != pages*flushEvery {
		t.Errorf("%d lines, want %d", n, pages*flushEvery)
	}
}

// endlessReader yields events until its consumer stops.
type endlessReader struct {
	fakeReader
	stopped chan struct{}
}

func (r *endlessReader) Events(context.Context,
	hookgate.EventFilter) iter.Seq2[hookgate.StoredEvent, error] {
	return func(yield func(hookgate.StoredEvent, error) bool) {
		defer close(r.stopped)
		for yield(hookgate.StoredEvent{ID: "id"}, nil) {
		}
	}
}

// TestStreamEndsWithItsClient reads the beginning of an endless stream and hangs up: the reader
// must be let go.
func TestStreamEndsWithItsClient(t *testing.T) {
	reader := &endlessReader{stopped: make(chan struct{})}
	g := newGate(t, func(s *setup) { s.reader = reader })
	conn := g.raw(t, "GET /api/events HTTP/1.1\r\nHost: gate\r\nAccept: "+ndjson+
		"\r\nAuthorization: Bearer "+adminToken+"\r\n\r\n")
	_, err := io.ReadFull(conn, make([]byte, 100_000))
	must(t, err)
	must(t, conn.Close())
	receive(t, reader.stopped, "the end of reading")
}

// haltingReader yields one event and then says that the time was up behind another one.
type haltingReader struct{ fakeReader }

func (r *haltingReader) Events(ctx context.Context,
	_ hookgate.EventFilter) iter.Seq2[hookgate.StoredEvent, error] {
	return func(yield func(hookgate.StoredEvent, error) bool) {
		if !yield(hookgate.StoredEvent{ID: "7"}, nil) {
			return
		}
		<-ctx.Done()
		yield(hookgate.StoredEvent{}, &hookgate.PartialError{After: "9", Err: ctx.Err()})
	}
}

// TestPageEndsInTime reads a page of a listing that would look for events for ever: the page has
// what was found in time, and says where to continue.
func TestPageEndsInTime(t *testing.T) {
	g := newGate(t, func(s *setup) {
		s.reader, s.config.SearchTime = &haltingReader{},
			time.Millisecond
	})
	var page struct {
		Events  []struct{ ID string }
		Next    string
		Partial bool
	}
	must(t, json.Unmarshal(g.admin(t, "GET", "/api/events?body=x", "").want(t, 200).body, &page))
	if len(page.Events) != 1 || page.Events[0].ID != "7" || page.Next != "9" || !page.Partial {
		t.Errorf("the page is %+v", page)
	}
}

// TestEvent compares one event and its body with what was sent and with what the listing shows.
func TestEvent(t *testing.T) {
	g := newGate(t, nil)
	body := "\t{\"messageId\":\"<m>\",\"eventType\":\"t\",\"sequence\":9223372036854775807," +
		"\"raw\":\"\xff\xfe</script>\"}\r\n"
	sent := g.do(t, "POST", "/webhooks", strings.NewReader(body), "Authorization", "Bearer "+bearerKey,
		"X-Kept", `a"b`, "X-Kept", "c").want(t, 202)
	g.settle(t)
	inList := g.list(t, "").Events
	if len(inList) != 1 {
		t.Fatalf("%d events", len(inList))
	}
	a := g.admin(t, "GET", "/api/events/"+inList[0].ID, "").want(t, 200)
	var e listed
	must(t, json.Unmarshal(a.body, &e))
	digest := sha256.Sum256([]byte(body))
	if e.MessageID != "<m>" || e.EventType != "t" || e.Source != "default" || e.OrderingKey != "t" ||
		e.Sequence == nil || *e.Sequence != 1<<63-1 || e.Size != int64(len(body)) ||
		e.SHA256 != hex.EncodeToString(digest[:]) ||
		e.RequestID != sent.header.Get("X-Request-Id") ||
		!slices.Equal(e.Headers, []hookgate.Header{{Name: "X-Kept", Value: `a"b`},
			{Name: "X-Kept", Value: "c"}}) {
		t.Errorf("event %s", a.body)
	}
	if e.ReceivedAt.IsZero() || e.PersistedAt.Before(e.ReceivedAt) {
		t.Errorf("received %v, persisted %v", e.ReceivedAt, e.PersistedAt)
	}
	if _, err := hookgate.ParsePosition(e.Position); err != nil {
		t.Error(err)
	}
	raw := g.admin(t, "GET", "/api/events/"+e.ID+"/body", "").want(t, 200)
	if string(raw.body) != body {
		t.Errorf("body %q, want it as sent: %q", raw.body, body)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff",
		"Content-Disposition": "attachment", "Cache-Control": "no-store",
	} {
		if got := raw.header.Get(name); got != want {
			t.Errorf("%s of a body is %q, want %q", name, got, want)
		}
	}
	for _, id := range []string{"999999", "nonsense", "-1", "%2e%2e", "", e.ID + "x", e.ID +
		"/other"} {
		checkRefusal(t, g.admin(t, "GET", "/api/events/"+id, "").want(t, 404))
		checkRefusal(t, g.admin(t, "GET", "/api/events/"+id+"/body", "").want(t, 404))
	}
	// A sender that numbers nothing.
	g.post(t, envelope("plain", "t", "")).want(t, 202)
	g.settle(t)
	if p := g.list(t, "messageId=plain"); len(p.Events) != 1 || p.Events[0].Sequence != nil ||
		p.Events[0].Headers != nil {
		t.Errorf("event without sequence and headers: %+v", p)
	}
}

// TestTrace follows a message id that was sent twice and one that has to be escaped in the path.
func TestTrace(t *testing.T) {
	g := newGate(t, nil)
	const odd = "a/b c%2F?\u00e9"
	first := g.post(t, envelope(odd, "t", "")).want(t, 202).header.Get("X-Request-Id")
	second := g.post(t, envelope(odd, "t", "")).want(t, 202).header.Get("X-Request-Id")
	g.settle(t)
	var trace struct {
		MessageID string
		Requests  []struct {
			RequestID, Source, EventType string
			Stages                       []struct {
				Stage     hookgate.Stage
				Timestamp time.Time
				Metadata  map[string]any
			}
		}
	}
	must(t, json.Unmarshal(g.admin(t, "GET", "/api/trace/"+url.PathEscape(odd), "").want(t, 200).body,
		&trace))
	if trace.MessageID != odd || len(trace.Requests) != 2 || trace.Requests[0].RequestID != first ||
		trace.Requests[1].RequestID != second {
		t.Fatalf("trace %+v, want the requests %s and %s", trace, first, second)
	}
	for i, last := range []hookgate.Stage{hookgate.StagePersisted, hookgate.StageDuplicate} {
		r := trace.Requests[i]
		var stages []hookgate.Stage
		var before time.Time
		for _, s := range r.Stages {
			stages = append(stages, s.Stage)
			if s.Timestamp.Before(before) || s.Metadata == nil {
				t.Errorf("stage %+v after %v", s, before)
			}
			before = s.Timestamp
		}
		if want := []hookgate.Stage{hookgate.StageReceived, hookgate.StageEnqueued,
			hookgate.StageProcessed, last}; !slices.Equal(stages, want) {
			t.Errorf("request %d: stages %v, want %v", i, stages, want)
		}
		if r.Source != "default" || r.EventType != "t" {
			t.Errorf("request %d: %+v", i, r)
		}
	}
	if a := g.admin(t, "GET", "/api/trace/unknown", "").want(t,
		200); string(a.body) != `{"messageId":"unknown","requests":[]}`+"\n" {
		t.Errorf("trace of nothing: %s", a.body)
	}
	checkRefusal(t, g.admin(t, "GET", "/api/trace/", "").want(t, 400))
	// These paths would not survive cleaning.
	for path, id := range map[string]string{"..": "..", "a//b": "a//b", "%2E/x/../y": "./x/../y",
		"https://example.com/%2f": "https://example.com//", "100%25": "100%"} {
		var trace struct{ MessageID string }
		must(t, json.Unmarshal(g.admin(t, "GET", "/api/trace/"+path, "").want(t, 200).body, &trace))
		if trace.MessageID != id {
			t.Errorf("%s is a trace of %q, want %q", path, trace.MessageID, id)
		}
	}
}

// TestBadParameters asks for listings that cannot be; the answer must name the parameter.
func TestBadParameters(t *testing.T) {
	g := newGate(t, nil)
	g.fill(t, 1)
	for query, name := range map[string]string{
		"limit=0":                               "limit",
		"limit=-1":                              "limit",
		"limit=x":                               "limit",
		"limit=1001":                            "limit",
		"limit=99999999999999999999":            "limit",
		"limit=":                                "limit",
		"limit=1&limit=2":                       "limit",
		"from=yesterday":                        "from",
		"to=2026-13-01T00:00:00Z":               "to",
		"to=":                                   "to",
		"source=":                               "source",
		"type=a&type=b":                         "type",
		"prefix=":                               "prefix",
		"messageId=":                            "messageId",
		"key=":                                  "key",
		"after=":                                "after",
		"after=nonsense":                        "after",
		"colour=red":                            `"colour"`,
		"Limit=1":                               `"Limit"`,
		"limit=%zz":                             "string",
		"from=2026-11-23T12:00:00Z;to=nonsense": "string",
	} {
		for _, accept := range []string{"application/json", ndjson} {
			if query == "limit=1001" && accept == ndjson {
				// a stream has no largest page
				g.admin(t, "GET", "/api/events?"+query, "", "Accept", accept).want(t, 200)
				continue
			}
			a := g.admin(t, "GET", "/api/events?"+query, "", "Accept", accept)
			checkRefusal(t, a.want(t, 400))
			if told := a.errorText(t); !strings.HasPrefix(told, "parameter "+name+" ") {
				t.Errorf("%s: told %q, want it to name %s", query, told, name)
			}
		}
	}
	g.list(t, "limit=1000") // the largest page
}

// TestAuthorised calls everything that takes a token without one, with wrong ones, and with both
// right ones.
func TestAuthorised(t *testing.T) {
	g := newGate(t, nil)
	g.fill(t, 1)
	for _, path := range []string{"/api/events", "/api/events/1", "/api/events/1/body",
		"/api/trace/evt-00", "/admin/maintenance"} {
		for _, credential := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Bearer " +
			adminToken + "x", "Bearer  " + adminToken,
			"Basic " + adminToken, adminToken, "Bearer " + bearerKey, "Bearer " +
				adminToken[:len(adminToken)-1]} {
			a := g.do(t, "GET", path, nil, "Authorization", credential)
			checkRefusal(t, a.want(t, 401))
			if h := a.header.Get("Www-Authenticate"); h != "Bearer" {
				t.Errorf("%s: Www-Authenticate %q", path, h)
			}
			if strings.Contains(string(a.body), "evt-00") {
				t.Errorf("%s with %q shows %s", path, credential, a.body)
			}
		}
		for _, token := range []string{adminToken, "admin-token-older-9910"} {
			if a := g.do(t, "GET", path, nil, "Authorization", "bearer "+token); a.status == 401 {
				t.Errorf("%s refuses a configured token", path)
			}
		}
	}
	a := g.do(t, "POST", "/admin/maintenance", strings.NewReader(`{"mode":"read_only"}`))
	if a.want(t, 401); g.settings.Mode() != control.ModeNormal {
		t.Error("the mode was set without a token")
	}
}

// TestHealth reads livez, readyz and health while all is well, read only, and while queue or
// store fail.
func TestHealth(t *testing.T) {
	well := hookgate.QueueStats{Depth: 3, HighWater: 10, Partitions: 4,
		OldestEnqueuedAt: time.Now().Add(-time.Hour)}
	full := well
	full.Depth = 10
	broken := well
	broken.Err = errInjected
	spooling := well
	spooling.Degraded, spooling.Spooled = errInjected, 2
	spoolFull := spooling
	spoolFull.Err = fmt.Errorf("spool: %w", hookgate.ErrFull)
	for _, c := range []struct {
		name          string
		stats         hookgate.QueueStats
		statsErr      error
		storeErr      error
		readOnly      bool
		ready, health string
	}{
		{"well", well, nil, nil, false, "", "ok"},
		{"read only", well, nil, nil, true, "mode is read_only", "ok"},
		{"full", full, nil, nil, false, "high-water", "degraded"},
		{"queue cannot write", broken, nil, nil, false, "cannot write", "degraded"},
		{"spooling", spooling, nil, nil, false, "", "degraded"},
		{"spool full", spoolFull, nil, nil, false, "full", "degraded"},
		{"queue does not answer", well, errInjected, nil, false, "does not answer", "degraded"},
		{"store away", well, nil, errInjected, false, "", "degraded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mode := &fakeMode{}
			mode.readOnly.Store(c.readOnly)
			g := newGate(t, func(s *setup) {
				s.queue = &fakeQueue{stats: func() (hookgate.QueueStats, error) { return c.stats, c.statsErr }}
				s.mode, s.reader = mode, &fakeReader{err: c.storeErr}
			})
			if a := g.do(t, "GET", "/livez", nil).want(t, 200); a.json(t)["status"] != "ok" {
				t.Errorf("livez %s", a.body)
			}
			ready := g.do(t, "GET", "/readyz", nil)
			if c.ready == "" {
				if ready.want(t, 200).json(t)["status"] != "ready" {
					t.Errorf("readyz %s", ready.body)
				}
			} else {
				checkRefusal(t, ready.want(t, 503))
				if !strings.Contains(ready.errorText(t), c.ready) || ready.header.Get("Retry-After") != "2" {
					t.Errorf("readyz told %q, Retry-After %q", ready.errorText(t), ready.header.Get("Retry-After"))
				}
			}
			a := g.do(t, "GET", "/api/health", nil).want(t, 200)
			var h api.Health
			decoder := json.NewDecoder(bytes.NewReader(a.body))
			decoder.DisallowUnknownFields()
			must(t, decoder.Decode(&h))
			wantMode := control.ModeNormal
			if c.readOnly {
				wantMode = control.ModeReadOnly
			}
			if h.Status != c.health || h.Mode != wantMode || h.Version != "test-version" ||
				(h.Store.Error != "") != (c.storeErr != nil) {
				t.Errorf("health %s", a.body)
			}
			if c.statsErr == nil && (h.Queue.Depth == nil || *h.Queue.Depth != c.stats.Depth ||
				h.Queue.Spooled != c.stats.Spooled ||
				(h.Queue.Degraded != "") != (c.stats.Degraded != nil) || h.Queue.HighWater != 10 ||
				h.Queue.Partitions != 4 ||
				h.Queue.OldestAgeSeconds < 3600 || h.Queue.OldestAgeSeconds > 3700) {
				t.Errorf("queue %+v", h.Queue)
			}
			if bytes.Contains(a.body, []byte("injected")) || bytes.Contains(ready.body, []byte("injected")) {
				t.Errorf("a cause is shown to everyone: %s %s", a.body, ready.body)
			}
		})
	}
	// Items that need a person's attention change neither the status nor the readiness.
	watched := &attention.List{}
	watched.Add(attention.FailedAudit(func() bool { return true }))
	g := newGate(t, func(s *setup) { s.attention = watched })
	g.do(t, "GET", "/readyz", nil).want(t, 200)
	var shown struct {
		Status    string
		Attention []attention.Item
	}
	must(t, json.Unmarshal(g.do(t, "GET", "/api/health", nil).want(t, 200).body, &shown))
	if shown.Status != "ok" || len(shown.Attention) != 1 || shown.Attention[0].Name != "audit" {
		t.Errorf("with something to look at the health is %+v", shown)
	}
	// With the real queue and store.
	g = newGate(t, nil)
	g.fill(t, 2)
	g.post(t, envelope("evt-00", "t", "")).want(t, 202)
	g.settle(t)
	g.post(t, envelope("waiting", "t", "")).want(t, 202)
	var h api.Health
	must(t, json.Unmarshal(g.do(t, "GET", "/api/health", nil).want(t, 200).body, &h))
	if h.Status != "ok" || h.Queue.Depth == nil || *h.Queue.Depth != 1 || h.Queue.Partitions != 1 ||
		h.Store != (api.StoreHealth{Events: 2, Duplicates: 1}) {
		t.Errorf("health %+v", h)
	}
}

// TestTestTrafficIsHidden: a listing leaves test traffic out, in every order, unless it is asked
// for.
func TestTestTrafficIsHidden(t *testing.T) {
	g := newGate(t, func(s *setup) {
		test := s.sources[0]
		test.Name = hookgate.TestSource
		s.sources = append(s.sources, test)
	})
	g.post(t, envelope("business", "t", "")).want(t, 202)
	g.do(t, "POST", "/webhooks/"+hookgate.TestSource, strings.NewReader(envelope("test", "t", "")),
		"Authorization", "Bearer "+bearerKey).want(t, 202)
	g.settle(t)
	for query, want := range map[string]string{
		"": "business", "type=t": "business", "order=newest": "business", "order=stored": "business",
		"order=newest&type=t": "business",
		"tests=false":         "business", "tests=true": "business test",
		"order=stored&tests=true":       "test business",
		"source=" + hookgate.TestSource: "test", "messageId=test": "test", "prefix=te": "test",
		"order=newest&messageId=test": "test",
	} {
		var page struct{ Events []struct{ MessageID string } }
		must(t, json.Unmarshal(g.admin(t, "GET", "/api/events?"+query, "").want(t, 200).body, &page))
		var got []string
		for _, e := range page.Events {
			got = append(got, e.MessageID)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q lists %v, want %s", query, got, want)
		}
	}
	g.admin(t, "GET", "/api/events?tests=yes", "").want(t, 400)
	if a := g.admin(t, "GET", "/api/sources", "").want(t, 200); bytes.Contains(a.body,
		[]byte(hookgate.TestSource)) {
		t.Errorf("the source of test traffic is listed: %s", a.body)
	}
}

// TestRemoveTests: an admin removes test traffic and nothing else, which the admin trail says with
// the reason, and the audit holds. Nobody else may, and not in the mode buffer.
func TestRemoveTests(t *testing.T) {
	const path = "/admin/test-events/remove"
	g := newGate(t, nil)
	tests := testsStep + 3 // more than one step
	epoch, err := g.store.Acquire(t.Context(), 7)
	must(t, err)
	b := &hookgate.Batch{Epochs: map[int]hookgate.Epoch{7: epoch}, Attempts: 1}
	for i := range tests {
		now := time.Now()
		b.Records = append(b.Records, hookgate.Record{Partition: 7, EnqueuedAt: now,
			Request: hookgate.Request{
				RequestID: hookgate.NewRequestID(now), Body: []byte("{}"), ReceivedAt: now,
				Identity: hookgate.Identity{Source: hookgate.TestSource, EventType: "certify.a",
					MessageID: fmt.Sprint("test", i)},
			}})
	}
	_, err = g.store.Apply(t.Context(), b)
	must(t, err)
	g.post(t, envelope("business", "t", "")).want(t, 202)
	g.settle(t)

	operator := g.create(t, `{"name":"olga","role":"operator"}`).Text
	checkRefusal(t, g.do(t, "POST", path, nil).want(t, 401))
	checkRefusal(t, g.do(t, "POST", path, nil, "Authorization", "Bearer "+operator).want(t, 403))
	checkRefusal(t, g.admin(t, "POST", path, `{"source":"default"}`).want(t, 400))
	g.admin(t, "POST", "/admin/maintenance", `{"mode":"buffer"}`).want(t, 200)
	checkRefusal(t, g.admin(t, "POST", path, "").want(t, 409))
	g.admin(t, "POST", "/admin/maintenance", `{"mode":"normal"}`).want(t, 200)
	if n := len(g.list(t, "tests=true&limit=1000").Events); n != tests+1 {
		t.Fatalf("%d events are stored, want %d", n, tests+1)
	}
	for _, want := range []string{fmt.Sprintf(`{"removed":%d,"more":false}`, tests),
		`{"removed":0,"more":false}`} {
		if a := g.admin(t, "POST", path, "", "X-Reason", "certified").want(t,
			200); string(a.body) != want+"\n" {
			t.Errorf("the answer is %s, want %s", a.body, want)
		}
	}
	if left := g.list(t, "tests=true&limit=1000").Events; len(left) != 1 ||
		left[0].MessageID != "business" {
		t.Errorf("left are %+v", left)
	}
	want := []string{"source hookgate-certify|begun|certified",
		fmt.Sprintf("source hookgate-certify|done: %d removed|certified", tests),
		"source hookgate-certify|begun|certified", "source hookgate-certify|done: 0 removed|certified"}
	var got []string
	for _, a := range g.trail(t) {
		if a.Action == "test_events_remove" {
			got = append(got, a.Target+"|"+a.Result+"|"+a.Reason)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the trail has %q, want %q", got, want)
	}
}

// TestMaintenance sets and shows the mode of the real queue, and tries what cannot be set.
func TestMaintenance(t *testing.T) {
	g := newGate(t, nil)
	show := func() string {
		t.Helper()
		return string(g.admin(t, "GET", "/admin/maintenance", "").want(t, 200).body)
	}
	if got := show(); got != `{"mode":"normal"}`+"\n" {
		t.Errorf("mode at first: %s", got)
	}
	if a := g.admin(t, "POST", "/admin/maintenance", ` {"mode":"read_only"} `).want(t,
		200); string(a.body) != `{"mode":"read_only"}`+"\n" {
		t.Errorf("answer %s", a.body)
	}
	if got := show(); got != `{"mode":"read_only"}`+"\n" || g.settings.Mode() != control.ModeReadOnly {
		t.Errorf("mode after it was set: %s, queue %s", got, g.settings.Mode())
	}
	g.post(t, envelope("m", "t", "")).want(t, 503)
	for name, body := range map[string]string{
		"empty":         "",
		"not JSON":      "normal",
		"no mode":       "{}",
		"null":          "null",
		"null mode":     `{"mode":null}`,
		"number":        `{"mode":1}`,
		"unknown mode":  `{"mode":"off"}`,
		"empty mode":    `{"mode":""}`,
		"other member":  `{"mode":"normal","for":"1h"}`,
		"two values":    `{"mode":"normal"}{"mode":"normal"}`,
		"list":          `[{"mode":"normal"}]`,
		"too large":     `{"mode":"normal"` + strings.Repeat(" ", maxAdminBody) + `}`,
		"trailing word": `{"mode":"normal"} x`,
		"extra brace":   `{"mode":"normal"}}`,
		"extra bracket": `{"mode":"normal"}]`,
		"other case":    `{"MODE":"normal"}`,
	} {
		checkRefusal(t, g.admin(t, "POST", "/admin/maintenance", body).want(t, 400))
		if g.settings.Mode() != control.ModeReadOnly {
			t.Errorf("%s: the mode was set", name)
		}
	}
	g.admin(t, "POST", "/admin/maintenance", `{"mode":"normal"}`).want(t, 200)
	g.post(t, envelope("m", "t", "")).want(t, 202)
	// In buffer webhooks are taken as ever, and the gate is ready for more.
	if a := g.admin(t, "POST", "/admin/maintenance", `{"mode":"buffer"}`).want(t,
		200); string(a.body) != `{"mode":"buffer"}`+"\n" {
		t.Errorf("answer %s", a.body)
	}
	g.post(t, envelope("b", "t", "")).want(t, 202)
	g.do(t, "GET", "/readyz", nil).want(t, 200)
	g.admin(t, "POST", "/admin/maintenance", `{"mode":"normal"}`).want(t, 200)
	// A mode that cannot be kept is not in effect.
	must(t, g.queue.Close())
	checkRefusal(t, g.admin(t, "POST", "/admin/maintenance", `{"mode":"read_only"}`).want(t, 503))
	if got := show(); got != `{"mode":"normal"}`+"\n" {
		t.Errorf("mode after a failure: %s", got)
	}
}
