package dashboard

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

// TestBodies: a body is shown as JSON, as text or as bytes, and cut where it is long; what is shown
// is what it has.
func TestBodies(t *testing.T) {
	long := strings.Repeat("é", shownBody)
	for name, test := range map[string]struct {
		body, pretty, raw, hex string // parts; empty: none
		cut                    int
	}{
		"empty": {},
		"JSON": {body: "{\"b\":1.0e2,\"a\":\"<b>\"}",
			pretty: "{\n  \"b\": 1.0e2,\n  \"a\": \"<b>\"\n}", raw: "{\"b\":1.0e2,\"a\":\"<b>\"}"},
		"JSON, laid out":  {body: "{\n  \"a\": 1\n}", raw: "{\n  \"a\": 1\n}"},
		"half of JSON":    {body: `{"a":`, raw: `{"a":`},
		"text":            {body: "\na=1&b=2\t", raw: "\na=1&b=2\t"},
		"bytes":           {body: "\x00\xffA", hex: "00000000  00 ff 41"},
		"control":         {body: "A\x1b[31m", hex: "41 1b 5b"},
		"no UTF-8":        {body: "caf\xe9", hex: "63 61 66 e9"},
		"long":            {body: "x" + long, raw: "x" + long[:shownBody-2], cut: shownBody - 1},
		"many bytes":      {body: strings.Repeat("\x00", shownHex+1), hex: "00000ff0", cut: shownHex},
		"a long one-line": {body: `["` + long + `"]`, raw: `["é`, pretty: "[\n  \"é", cut: shownBody},
	} {
		v := viewBody([]byte(test.body), "/download")
		if v.Size != int64(len(test.body)) || v.Cut != int64(test.cut) || v.Download != "/download" ||
			!strings.HasPrefix(v.Pretty, test.pretty) || (test.pretty == "") != (v.Pretty == "") ||
			!strings.HasPrefix(v.Raw, test.raw) || !strings.Contains(v.Hex, test.hex) ||
			(test.hex == "") != (v.Hex == "") {
			t.Errorf("%s: %d bytes cut at %d, laid out %.60q, raw %.60q, hex %.60q", name, v.Size, v.Cut,
				v.Pretty, v.Raw, v.Hex)
		}
		if test.cut == 0 && test.hex == "" && v.Raw != test.body {
			t.Errorf("%s is shown as %q", name, v.Raw)
		}
	}
	v := &Visitor{Read: func(_ context.Context, path string) (int, []byte) {
		return map[string]int{"/there": 200, "/purged": 410, "/broken": 503}[path], []byte("body")
	}}
	for path, want := range map[string]string{"/there": "body", "/purged": "", "/broken": "error"} {
		view, err := readBody(t.Context(), v, path, 4)
		if got := err != nil; got != (want == "error") || (view != nil) != (want == "body") ||
			view != nil && view.Raw != want {
			t.Errorf("%s is shown as %+v (error %v)", path, view, err)
		}
	}
	if view, err := readBody(t.Context(), v, "/broken", maxRead+1); err != nil || !view.TooLarge ||
		view.Size != maxRead+1 {
		t.Errorf("what is too large is shown as %+v (error %v)", view, err)
	}
	if !viewBody([]byte("a\r\nb"), "").Returns || viewBody([]byte("a\nb"), "").Returns {
		t.Error("carriage returns are not told")
	}
}

// TestEveryBodyHasAPage renders the pages of an event and of a dead letter with a body of every
// kind and size. A page that shows part of a body once panicked in its template.
func TestEveryBodyHasAPage(t *testing.T) {
	d := newDashboard()
	v := &Visitor{Name: "n", Role: "admin", CSRF: "c"}
	kinds := map[string]func(size int) string{
		"text": func(size int) string {
			return strings.Repeat("é", size/2) + strings.Repeat("x",
				size%2)
		},
		"binary": func(size int) string { return strings.Repeat("\x00", size) },
		"lines":  func(size int) string { return strings.Repeat("\r", size) },
		"JSON":   func(size int) string { return `"` + strings.Repeat("a", max(size, 2)-2) + `"` },
		"array":  func(size int) string { return "[1" + strings.Repeat(",1", max(size, 3)/2-1) + "]" },
		"nested": func(size int) string {
			return strings.Repeat("[", size/2) + strings.Repeat("]",
				size/2)
		},
	}
	for name, bodyOf := range kinds {
		for _, size := range []int{0, 1, 100, shownHex, shownHex + 1, shownBody, shownBody + 1, maxPretty,
			maxPretty + 1} {
			body := viewBody([]byte(bodyOf(size)), "/download")
			for page, data := range map[string]any{
				"event":      eventData{Event: event{api.Event{ID: "1"}}, Body: &body},
				"deadletter": letterData{DeadLetter: deadLetter{api.DeadLetter{ID: "1"}}, Body: &body},
			} {
				w := httptest.NewRecorder()
				d.render(w, 200, page, d.view(&somePage, v, data))
				text := w.Body.String()
				cut := strings.Contains(text, "the download has all")
				if !strings.Contains(text, "/download") || cut != (body.Cut > 0 || body.CutPretty) {
					t.Errorf("%s of %d bytes, page %s: says that it is cut: %t, cut at %d", name, size, page, cut,
						body.Cut)
				}
			}
		}
	}
	for page, data := range map[string]any{
		"event": eventData{Event: event{api.Event{ID: "1"}}, Body: &bodyView{Size: 1 << 40,
			TooLarge: true}},
		"deadletter": letterData{DeadLetter: deadLetter{api.DeadLetter{ID: "1"}}}, // purged
	} {
		w := httptest.NewRecorder()
		d.render(w, 200, page, d.view(&somePage, v, data))
		if w.Code != 200 {
			t.Errorf("page %s answers %d", page, w.Code)
		}
	}
}

var somePage = Page{Title: "t"}

// TestIndent compares indent with json.Indent, and shows that its memory is bounded by what it
// shows.
func TestIndent(t *testing.T) {
	for _, text := range []string{
		`{}`, `[]`, ` [ ] `, `{"a":[1,{"b":"x\\\"{},:[]"},[],{}],"c":null}`, "[ 1 ,\n2,{ \"k\" : [ ] }]",
		`"\u2028\\"`, `-1.5e3`, `[[[[]]]]`,
	} {
		var want bytes.Buffer
		if err := json.Indent(&want, []byte(text), "", "  "); err != nil {
			t.Fatal(err)
		}
		if got, cut := indent([]byte(text), 1000); got != strings.TrimSpace(want.String()) || cut {
			t.Errorf("%s becomes\n%s\nwant\n%s", text, got, want.String())
		}
		for limit := range len(text) {
			if got, _ := indent([]byte(text), limit); !strings.HasPrefix(want.String(), got) ||
				len(got) > limit {
				t.Errorf("%s cut at %d becomes %q", text, limit, got)
			}
		}
	}
	deep := []byte(strings.Repeat(`[1,`, 9500) + "1" + strings.Repeat("]", 9500))
	wide := []byte("[" + strings.Repeat("[],", maxPretty/3-1) + "1]")
	for _, body := range [][]byte{deep, wide} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		view := viewBody(body, "")
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 4<<20 || !view.CutPretty ||
			len(view.Pretty) > shownBody {
			t.Errorf("a body of %d bytes took %d bytes to show %d", len(body), took, len(view.Pretty))
		}
	}
}

// TestReadFilters: filters are in the address and nothing else is; times are taken as people write
// them.
func TestReadFilters(t *testing.T) {
	query := url.Values{"type": {"a&b"}, "from": {"2026-11-24 14:00"}, "to": {"yesterday"},
		"source": {""}, "after": {"5"}, "q": {"x"}, "colour": {"red"}}
	f := readFilters("/ui/events", query, eventFilters)
	if got := f.With(); got != "/ui/events?from=2026-11-24T14%3A00%3A00Z&to=yesterday&type=a%26b" {
		t.Errorf("the address is %s", got)
	}
	if got := f.With("type", "", "after",
		"7"); got != "/ui/events?after=7&from=2026-11-24T14%3A00%3A00Z&to=yesterday" {
		t.Errorf("the address of another page is %s", got)
	}
	if got := f.call("/api/events", "after",
		""); got != "/api/events?from=2026-11-24T14%3A00%3A00Z&to=yesterday&type=a%26b" {
		t.Errorf("the call is %s", got)
	}
	if f.With() != readFilters("/ui/events", query, eventFilters).With() || len(f.Chips) != 3 ||
		f.Chips[0].Value != "a&b" || f.Chips[1].Time == nil || f.Chips[2].Time != nil {
		t.Errorf("the filters that are on are %+v", f.Chips)
	}
	if got := readFilters("/ui/events", nil, eventFilters).With(); got != "/ui/events" {
		t.Errorf("without filters the address is %s", got)
	}
	for text, want := range map[string]string{"2026-11-24": "2026-11-24T00:00:00Z",
		"2026-11-24T14:00:01":          "2026-11-24T14:00:01Z",
		"2026-11-24T14:00:00.25+01:00": "2026-11-24T13:00:00.25Z", "14:00": "", "": ""} {
		if at, ok := readTime(text); ok != (want != "") || ok && at.Format(time.RFC3339Nano) != want {
			t.Errorf("%q is read as %s (%t), want %q", text, at, ok, want)
		}
	}
}

// TestPastedId: what stands around an id that was pasted does not make it unknown, unless it is
// part of one.
func TestPastedId(t *testing.T) {
	const found = `{"events":[{"matched":"messageId","event":{"id":"1","messageId":"evt-1"}}]}`
	for pasted, want := range map[string]string{"evt-1": "evt-1", " evt-1\t": "evt-1",
		`"evt-1",`: "evt-1", " own ": " own ", "'no' ": "no", " ": " "} {
		v := &Visitor{Role: control.RoleViewer, Read: func(_ context.Context, path string) (int,
			[]byte) {
			u, err := url.Parse(path)
			if q := u.Query().Get("q"); err == nil && (q == "evt-1" || q == " own ") {
				return 200, []byte(found)
			}
			return 200, []byte(`{"events":[]}`)
		}}
		w := httptest.NewRecorder()
		servePage(newDashboard(), w, httptest.NewRequest("GET", "/ui/events?"+
			url.Values{"q": {pasted}}.Encode(), nil), v)
		if page := w.Body.String(); !strings.Contains(page, `type="search" value="`+
			html.EscapeString(want)+`"`) || strings.Contains(page,
			"Nothing with this id") == (want == "evt-1" || want == " own ") {
			t.Errorf("%q: the page is\n%s", pasted, page)
		}
	}
}

// TestTailBeginsBeforeThePage: a live tail begins before the page is read, so that what is stored
// meanwhile is in one of them at least.
func TestTailBeginsBeforeThePage(t *testing.T) {
	for _, address := range []string{"/ui/events", "/ui/events?before=7"} {
		var asked []string
		v := &Visitor{Role: control.RoleViewer, Read: func(_ context.Context, path string) (int,
			[]byte) {
			switch {
			case !strings.HasPrefix(path, "/api/events"):
				return 200, []byte(`{"sources":[]}`)
			case strings.Contains(path, "order=stored"):
				asked = append(asked, path)
				return 200, []byte(`{"events":[],"previous":"41"}`)
			}
			asked = append(asked, path)
			return 200, []byte(`{"events":[]}`)
		}}
		w := httptest.NewRecorder()
		servePage(newDashboard(), w, httptest.NewRequest("GET", address, nil), v)
		n := len(asked)
		if !strings.Contains(w.Body.String(), `data-tail="41"`) || n < 2 ||
			!strings.Contains(asked[n-2], "order=stored") || strings.Contains(asked[n-1], "before") {
			t.Errorf("%s: asked %q", address, asked)
		}
	}
}

// TestTook writes durations of every size.
func TestTook(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 µs", 49 * time.Microsecond: "49 µs", 1500 * time.Microsecond: "1.5 ms",
		64130 * time.Microsecond: "64.13 ms", 999 * time.Millisecond: "999 ms",
		2 * time.Second: "2 s", 61 * time.Second: "1 min 1 s", 3*time.Hour + 5*time.Minute: "3 h 5 min",
		50 * time.Hour: "2 days", -2 * time.Millisecond: "−2 ms",
	} {
		if got := took(d); got != want {
			t.Errorf("%s is written %q, want %q", d, got, want)
		}
	}
}

// TestLineage: each stage has the time since the one before, what it tells in words, and the
// longest a full bar.
func TestLineage(t *testing.T) {
	const text = `{"requestId":"r2","source":"s","eventType":"t","stages":[
		{"stage":"received","timestamp":"2026-11-24T10:00:00Z","metadata":{"remoteAddr":"192.0.2.1:5"}},
		{"stage":"enqueued","timestamp":"2026-11-24T10:00:00.001Z","metadata":{"partition":3,"position":"0-12345678901234567890"}},
		{"stage":"retried","timestamp":"2026-11-24T10:00:05.001Z","metadata":{"attempts":4,"lastError":"<b>away</b>"}},
		{"stage":"odd","timestamp":"2026-11-24T10:00:05Z","metadata":{"b":1,"a":"x"}}]}`
	var r api.RequestTrail
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	l := lineageOf(&r, "r2")
	if !l.Own || l.Took != 5*time.Second || l.Outcome != "odd" || len(l.Stages) != 4 {
		t.Fatalf("the lineage is %+v", l)
	}
	for i, want := range []struct {
		since time.Duration
		share int
		notes string
	}{
		{0, 0, "from 192.0.2.1:5"}, {time.Millisecond, 0, "partition 3|position 0-12345678901234567890"},
		{5 * time.Second, 100, "attempts 4|last error <b>away</b>"}, {-time.Millisecond, 0, "a x|b 1"},
	} {
		if s := l.Stages[i]; s.Since != want.since || s.Share != want.share ||
			strings.Join(s.Notes, "|") != want.notes {
			t.Errorf("stage %d is %+v, want %+v", i, s, want)
		}
	}
}

// TestOthers: a request is shown only if neither its event nor its dead letter is shown, and a
// dead letter's selection is what its page shows.
func TestOthers(t *testing.T) {
	const text = `{"events":[{"matched":"messageId","event":{"id":"1","requestId":"r1"}}],"deadLetters":[{"matched":"messageId","deadLetter":{"id":"2","requestId":"r2"}}],
		"requests":[{"request":{"requestId":"r1"}},{"request":{"requestId":"r2"}},{"request":{"requestId":"r3","outcome":"duplicate"}}],"waiting":0}`
	var a foundAnswer
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatal(err)
	}
	if others := a.Others(); len(others) != 1 || others[0].RequestID != "r3" ||
		others[0].Says() != "found to be a duplicate" || a.None() || a.Some() != 0 || a.Waiting == nil {
		t.Errorf("found are %+v, others %+v", a, a.Others())
	}
	for query, want := range map[string]string{
		"": `{"filter":{"state":"open"}}`, "state=all": `{"all":true}`,
		"state=all&type=a":        `{"filter":{"type":"a"}}`,
		"state=stored&reason=<b>": `{"filter":{"reason":"\u003cb\u003e","state":"stored"}}`,
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		data := lettersData{filters: readFilters("/ui/dead-letters", values, letterFilters)}
		if got := data.selection(); got != want {
			t.Errorf("%s selects %s, want %s", query, got, want)
		}
	}
}

// TestHostileRecords checks that all data of an event or a dead letter stays text on its pages.
func TestHostileRecords(t *testing.T) {
	const hostile = `"><script>alert(1)</script><img src=x onerror=alert(2)>'{{.}}`
	d := newDashboard()
	at := time.Now()
	e := event{api.Event{ID: hostile, Source: hostile, MessageID: hostile, EventType: hostile,
		OrderingKey: hostile, RequestID: hostile, RemoteAddr: hostile,
		Position: hostile, SHA256: hostile, Headers: []hookgate.Header{{Name: hostile, Value: hostile}}}}
	l := deadLetter{api.DeadLetter{ID: hostile, State: hostile, Source: hostile, MessageID: hostile,
		EventType: hostile, OrderingKey: hostile, RequestID: hostile, Reason: hostile,
		RetryNote: api.RetryNote{RetryOf: hostile}, PurgeNote: api.PurgeNote{PurgedAt: api.At(at),
			PurgedBy: hostile, PurgeReason: hostile},
		Headers: []hookgate.Header{{Name: hostile, Value: hostile}}}}
	f := readFilters("/ui/"+hostile, url.Values{"type": {hostile}, "from": {hostile},
		"messageId": {hostile}}, eventFilters)
	way := []lineage{{RequestID: hostile, Outcome: hostile,
		Stages: []stage{{Name: hostile, Notes: []string{hostile}}}, Lanes: []lane{{
			Subscription: hostile, Link: "/?" + hostile, Says: hostile, Reason: hostile,
			Steps: []laneStep{{Says: hostile, Answer: hostile, By: hostile}}}}}}
	sub := &subscription{Subscription: api.Subscription{Name: hostile, State: hostile,
		PauseNote: api.PauseNote{PausedAt: api.At(at), PausedBy: hostile, PauseReason: hostile},
		Filter:    hookgate.Filter{Types: []string{hostile}}}}
	if err := json.Unmarshal(fmt.Appendf(nil, `{"Push":{"URL":%q,"Headers":{%[1]q:""}}}`, hostile),
		&sub.Configured); err != nil {
		t.Fatal(err)
	}
	body := viewBody([]byte(hostile), "javascript:alert(4)")
	var found foundAnswer
	foundText, _ := json.Marshal(map[string]any{"events": []any{map[string]any{"matched": hostile,
		"event": e}}, "deadLetters": []any{map[string]any{"matched": hostile, "deadLetter": l}},
		"requests": []any{map[string]any{"request": map[string]any{"requestId": hostile + "2",
			"messageId": hostile, "firstRequestId": hostile}}}})
	if err := json.Unmarshal(foundText, &found); err != nil {
		t.Fatal(err)
	}
	v := &Visitor{Name: "n", Role: "admin", CSRF: "c"}
	for name, pages := range map[string][]any{
		"events": {
			eventsData{filters: f, Page: eventsPage{eventsAnswer{Next: hostile, Partial: true,
				SearchedTo: api.At(at)}, []event{e}}, Sources: []string{hostile}, Older: "/?" + hostile,
				Newer: "/?" + hostile,
				Tail:  hostile},
			eventsData{filters: f, Query: hostile, Found: &found},
			eventsData{filters: f, Query: hostile, Found: &foundAnswer{}},
		},
		"event": {eventData{Event: e, Body: &body, Lineage: way, Others: 1,
			Subscriptions: []*subscription{sub}}},
		"deliveries": {&deliveriesData{Subscriptions: []*subscription{sub}}},
		"subscription": {
			&subscriptionData{subscription: sub, filters: f, State: tabAttempts,
				Attempts: []attempt{{api.Attempt{Event: hostile, Reason: hostile, By: hostile,
					MessageID: hostile, EventType: hostile, Key: hostile}}},
				Jobs: []job{{api.RedeliveryJob{ID: hostile, State: api.JobRunning, Key: hostile, By: hostile,
					Reason: hostile}}}},
			&subscriptionData{subscription: sub, filters: f, State: "parked", Selection: hostile,
				Exceptions: []exception{{api.Exception{Event: hostile, Reason: hostile, MessageID: hostile,
					EventType: hostile, Key: hostile}}}},
		},
		"admintrail": {trailData{filters: f, Actions: []action{{actionRow{By: hostile, Action: hostile,
			Target: hostile, Reason: hostile, Result: hostile}}}}},
		"deadletters": {lettersData{filters: f, Letters: []deadLetter{l}, Older: "/?" + hostile,
			Selection: hostile}},
		"deadletter": {letterData{DeadLetter: l, DeadLetterDetails: api.DeadLetterDetails{
			History: []api.FailedAttempt{{ID: hostile, State: hostile, Reason: hostile, LastError: hostile,
				Attempts: 2, RetryNote: api.RetryNote{RetryOf: hostile}}}},
			Body: &body, Lineage: way, Stored: &e}},
	} {
		for _, data := range pages {
			w := httptest.NewRecorder()
			d.render(w, 200, name, d.view(&Page{Title: "t"}, v, data))
			page := w.Body.String()
			if strings.Contains(page, "<script>alert") || strings.Contains(page, "<img") ||
				strings.Contains(page, hostile) || strings.Contains(page, `"javascript:`) ||
				!strings.Contains(page, "&lt;script&gt;alert(1)") {
				t.Errorf("%s: a text became something else:\n%s", name, page)
			}
		}
	}
	if !slices.Contains(eventsData{filters: f}.Hidden(), "messageId") {
		t.Error("a filter without a field is lost when the form is sent")
	}
}

// TestEventOfSeveral: the page of an event that came with others leads to them and to the request's
// bytes.
func TestEventOfSeveral(t *testing.T) {
	origin := hookgate.Origin{RequestID: hookgate.NewRequestID(time.Now()).WithoutPart(), Part: 2,
		Parts: 3}
	h := origin.Header()
	body := viewBody([]byte("{}"), "/")
	d, w := newDashboard(), httptest.NewRecorder()
	d.render(w, 200, "event", d.view(&Page{Title: "t"}, &Visitor{},
		eventData{Event: event{api.Event{ID: "7", Headers: []hookgate.Header{h}}}, Body: &body}))
	for _, want := range []string{"event 2 of 3", `href="/ui/events?q=` + origin.RequestID.String() +
		`"`, `href="/api/events/7/request-body"`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}

// TestLanes: a subscription has one lane. Failures that repeat are one step, and a person's skip is
// no attempt.
func TestLanes(t *testing.T) {
	at := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	r := api.RequestTrail{RequestID: "r"}
	for i, s := range []struct{ stage, metadata string }{
		{"received", `{}`},
		{"attempt_failed", `{"subscription":"a b","attempt":1,"status":500,"reason":"500: no"}`},
		{"delivered", `{"subscription":"z","attempt":1,"status":204,"durationMs":1.5}`},
		{"attempt_failed", `{"subscription":"a b","attempt":2,"status":500,"reason":"500: no"}`},
		{"attempt_failed", `{"subscription":"a b","attempt":3,"reason":"time-out"}`},
		{"skipped", `{"subscription":"a b","attempt":3,"by":"olga"}`},
	} {
		r.Stages = append(r.Stages, api.Stage{Stage: hookgate.Stage(s.stage),
			Timestamp: api.At(at.Add(time.Duration(i) * time.Second)), Metadata: []byte(s.metadata)})
	}
	l := lineageOf(&r, "r")
	if len(l.Stages) != 1 || len(l.Lanes) != 2 {
		t.Fatalf("the lineage is %+v", l)
	}
	a, z := l.Lanes[0], l.Lanes[1]
	if a.Link != "/ui/deliveries/a%20b" || a.Says != "skipped by a person" || len(a.Steps) != 3 ||
		a.Steps[0].First != 1 || a.Steps[0].Attempt != 2 || a.Steps[0].Until != 3*time.Second ||
		a.Steps[0].Since != time.Second || a.Steps[1].First != 0 || a.Steps[2].By != "olga" {
		t.Errorf("the first lane is %+v", a)
	}
	if z.Level != "good" || len(z.Steps) != 1 || z.Steps[0].Status != 204 ||
		z.Steps[0].Took != 1500*time.Microsecond {
		t.Errorf("the second lane is %+v", z)
	}
}
