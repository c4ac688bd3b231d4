package api_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

// FuzzAppendPulledEvent: the JSON that is written by hand reads back as encoding/json would write
// it, for any texts and any body.
func FuzzAppendPulledEvent(f *testing.F) {
	f.Add(int64(1764460800000000), "stripe", "invoice.paid", "evt \"1\"\\", "k\x00\x1f\u2028", true,
		[]byte(`{"a":1}`))
	f.Add(int64(1), "", "\xff\xc3", "ü€😀", "", false, []byte{})
	f.Add(int64(7), "a\nb\tc\x7f", "<&>", "\ufffd", "\xed\xa0\x80", true, []byte{0, 255, 10})
	f.Fuzz(func(t *testing.T, id int64, source, eventType, messageID, key string, keyed bool,
		body []byte) {
		at := time.UnixMicro(id & (1<<50 - 1))
		e := &hookgate.Event{ID: id, OrderingKey: key, Keyed: keyed, ReceivedAt: at,
			StoredAt: at.Add(time.Millisecond), Body: body,
			Identity: hookgate.Identity{Source: source, EventType: eventType, MessageID: messageID},
			Headers:  []hookgate.Header{{Name: source, Value: key}, {Name: "X-A", Value: messageID}}}
		want, err := json.Marshal(api.PulledEvent{LogEvent: api.LogEvent{ID: api.EventID(id),
			WebhookID: e.RequestID.String(), Source: source, EventType: eventType, MessageID: messageID,
			OrderingKey: key, Key: e.Key(), ReceivedAt: api.At(at), PersistedAt: api.At(e.StoredAt),
			Headers: e.Headers, Body: append([]byte{}, body...)}, Attempt: 3, Redelivery: 2})
		if err != nil {
			t.Fatal(err)
		}
		got := api.AppendPulledEvent(nil, e, 3, 2)
		var one, other map[string]any
		if err := json.Unmarshal(got, &one); err != nil {
			t.Fatalf("%s: %v", got, err)
		}
		if err := json.Unmarshal(want, &other); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(one, other) {
			t.Errorf("wrote\n%s, want\n%s", got, want)
		}
	})
}

// TestAppendAllocates: writing an event costs the text of its request id and nothing else.
func TestAppendAllocates(t *testing.T) {
	e := &hookgate.Event{ID: 1, Body: make([]byte, 1000), Identity: hookgate.Identity{Source: "a"},
		Headers: []hookgate.Header{{Name: "A", Value: "b"}}}
	b := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { b = api.AppendPulledEvent(b[:0], e, 1, 0) }); n > 1 {
		t.Errorf("%v allocations for an event", n)
	}
}
