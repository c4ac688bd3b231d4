package admit

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hookgate/hookgate"
)

// splitOf divides a request as the edge does.
func splitOf(t testing.TB, s Scheme, body string) ([]hookgate.Part, error) {
	t.Helper()
	return s.(Splitter).Split(&Request{Header: header("Content-Type", "application/json"),
		ID: testRequestID, Body: []byte(body)})
}

// Goal: each element of the array is an event of its own, with its exact bytes; what is no array is
// one event, and no authentic event costs another. Method: a table.
func TestSplit(t *testing.T) {
	places := Places{MessageID: list("json:id"), EventType: list("json:type"),
		OrderingKey: list("json:key"), Sequence: list("json:n")}
	for _, c := range []struct{ name, split, body, want string }{
		{"the body", "json:@this", ` [ {"id":"1","type":"a","key":"k","n":7} , {"id":2,"key":"k"}]`,
			`1 a k 7 {"id":"1","type":"a","key":"k","n":7}; 2 event k -1 {"id":2,"key":"k"}`},
		{"a member", "data.events", `{"x":[1],"data":{"events":[{"id":"a]"},{"id":"b"}]}}`,
			`a] event event -1 {"id":"a]"}; b event event -1 {"id":"b"}`},
		{"byte order mark", "@this", "\xef\xbb\xbf[{\"id\":\"1\"}]", `1 event event -1 {"id":"1"}`},
		{"no id", "@this", `[{"id":"1"},{"a":[{"b":"]}"}]},{"id":"3"}]`, `1 event event -1 {"id":"1"}; ` +
			hashOf(`{"a":[{"b":"]}"}]}`) +
			` event event -1 {"a":[{"b":"]}"}]}; 3 event event -1 {"id":"3"}`},
		{"an id twice", "@this", `[{"id":"1","id":"2"}]`, hashOf(`{"id":"1","id":"2"}`) +
			` event event -1 {"id":"1","id":"2"}`},
		{"not objects", "@this", `[1 ,-2.5e3,"a,]",null,true,[{}]]`,
			fmt.Sprintf(`%s event event -1 1; %s event event -1 -2.5e3; %s event event -1 "a,]";`+
				` %s event event -1 null; %s event event -1 true; %s event event -1 [{}]`,
				hashOf("1"), hashOf("-2.5e3"), hashOf(`"a,]"`), hashOf("null"), hashOf("true"),
				hashOf("[{}]"))},
		{"empty", "@this", `[ ]`, ``},
		{"no array", "@this", `{"id":"1","type":"a"}`, `1 a a -1 `},
		{"no array, no id", "@this", `{"type":"a"}`, hashOf(`{"type":"a"}`) + ` a a -1 `},
		{"no such member", "data.events", `{"id":"1","data":[]}`, `1 event event -1 `},
		{"the member is no array", "data", `{"id":"1","data":{}}`, `1 event event -1 `},
		{"the member is there twice", "data", `{"id":"1","data":[{"id":"2"}],"data":[]}`,
			`1 event event -1 `},
		{"no JSON", "@this", `[{"id":"1"}`, hashOf(`[{"id":"1"}`) + ` event event -1 `},
	} {
		t.Run(c.name, func(t *testing.T) {
			parts, err := splitOf(t, newForTest(t, "bearer", Options{Secrets: []string{key1}, Places: places,
				Split: c.split}), c.body)
			var got []string
			for _, p := range parts {
				got = append(got, fmt.Sprintf("%s %s %s %d %s", p.MessageID, p.EventType, p.OrderingKey,
					p.Sequence, c.body[p.Start:p.End]))
			}
			if text := strings.Join(got, "; "); err != nil || text != c.want {
				t.Errorf("parts are\n%s\nwant\n%s\n(error %v)", text, c.want, err)
			}
		})
	}
}

// Goal: a batch that a sender has recomposed carries the same events. Method: HubSpot's and
// SendGrid's own forms, in two batches.
func TestSplitRecomposed(t *testing.T) {
	hubSpot := func(id, attempt int) string {
		return fmt.Sprintf(`{"eventId":%d,"portalId":6,"occurredAt":1564113600000,`+
			`"subscriptionType":"contact.creation","attemptNumber":%d,"objectId":%d}`, id, attempt, id)
	}
	sendGrid := func(id, _ int) string {
		return fmt.Sprintf(`{"email":"a@b.c","event":"open","sg_event_id":"id%d"}`, id)
	}
	for name, element := range map[string]func(id, attempt int) string{"hubspot": hubSpot,
		"sendgrid": sendGrid} {
		o := Options{Secrets: []string{secret1}, PublicURL: "https://example.com/"}
		if name == "sendgrid" {
			o.Secrets = []string{"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="}
		}
		s := newForTest(t, name, o)
		ids := map[string]bool{}
		for _, body := range []string{
			"[" + element(1, 0) + "," + element(2, 0) + "]", "[" + element(1, 1) + "," + element(3, 0) + "]",
			"[" + element(3, 2) + "]",
		} {
			parts, err := splitOf(t, s, body)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range parts {
				ids[p.MessageID] = true
			}
		}
		if len(ids) != 3 {
			t.Errorf("%s: three events have %d message ids: %v", name, len(ids), ids)
		}
	}
}

// Goal: the number of events is bounded, without a cut. Method: one at the bound and one above.
func TestSplitBound(t *testing.T) {
	s := newForTest(t, "bearer", Options{Secrets: []string{key1},
		Places: Places{MessageID: list("id")}, Split: "json:@this"})
	body := "[" + strings.Repeat("0,", hookgate.MaxParts-1) + "0"
	if parts, err := splitOf(t, s, body+"]"); err != nil || len(parts) != hookgate.MaxParts {
		t.Errorf("%d parts, error %v", len(parts), err)
	}
	if _, err := splitOf(t, s, body+",0]"); !errors.Is(err, ErrTooManyEvents) {
		t.Errorf("error is %v, want ErrTooManyEvents", err)
	}
	for _, wrong := range []string{"header:X", "json:a..b", "@that", "json:"} {
		if _, err := New("bearer", Options{Secrets: []string{key1}, Places: Places{MessageID: list("id")},
			Split: wrong}); err == nil || !strings.Contains(err.Error(), "split") {
			t.Errorf("split %q: error is %v", wrong, err)
		}
	}
}
