package hookgate

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestPartsRoundTrip: ParseParts returns the parts that AppendPart encoded. A truncated list is an
// error or a shorter list.
func TestPartsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []Part
		var data []byte
		for range rapid.IntRange(1, 5).Draw(t, "parts") {
			start := rapid.IntRange(0, 1<<30).Draw(t, "start")
			p := Part{rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "type"), rapid.String().Draw(t,
				"id"),
				rapid.SampledFrom([]string{"", "a", "ü"}).Draw(t, "key"), rapid.Bool().Draw(t, "keyed"),
				rapid.Int64().Draw(t, "sequence"), start, start + rapid.IntRange(0, 1000).Draw(t, "length")}
			want, data = append(want, p), AppendPart(data, p)
		}
		if got, err := ParseParts(data); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("read %+v (error %v), want %+v", got, err, want)
		}
		if got, err := ParseParts(data[:rapid.IntRange(0, len(data)-1).Draw(t, "cut")]); err == nil &&
			len(got) >= len(want) {
			t.Fatalf("a list that is cut reads as %+v", got)
		}
	})
}

// TestSplitCompressed: the events of a compressed request have decompressed bodies and no
// Content-Encoding. The request itself keeps its bytes.
func TestSplitCompressed(t *testing.T) {
	const content = `[{"a":1},{"b":2}]`
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	w.Write([]byte(content))
	w.Close()
	r := Record{Request: Request{RequestID: NewRequestID(time.Now()).WithoutPart(),
		Body:    packed.Bytes(),
		Headers: []Header{{"Content-Encoding", "gzip"}, {"X-A", "b"}}}}
	r.SetParts("s", []Part{{MessageID: "1", Start: 1, End: 8}, {MessageID: "2", Start: 9, End: 16}})
	events, err := r.Split()
	if err != nil || len(events) != 2 {
		t.Fatalf("%d events, error %v", len(events), err)
	}
	for i, want := range []string{`{"a":1}`, `{"b":2}`} {
		e := events[i]
		origin, ok := OriginOf(e.Headers)
		if string(e.Body) != want || len(e.Headers) != 2 || e.Headers[0].Name != "X-A" || !ok ||
			origin.Part != i+1 || origin.SHA256 != e.Whole.SHA256 {
			t.Errorf("event %d is %q with headers %v, of %+v", i, e.Body, e.Headers, origin)
		}
		if !bytes.Equal(e.Whole.Body, packed.Bytes()) {
			t.Errorf("the request is not what was sent")
		}
	}
	r.Body = r.Body[:len(r.Body)/2]
	if _, err := r.Split(); err == nil {
		t.Errorf("a request that was cut is divided")
	}
}

// TestRequestIDParts: a request id leads to the ids of its events and back; other ids have no
// parts.
func TestRequestIDParts(t *testing.T) {
	base := NewRequestID(time.Now()).WithoutPart()
	for _, i := range []int{0, 1, 255, 256, MaxParts - 1} {
		id := base.Part(i)
		first, last, ok := base.Parts()
		if s := id.String(); !ok || s <= first.String() || s > last.String() || id.WithoutPart() != base {
			t.Errorf("part %d is %s, outside of %s to %s, or does not lead back", i, id, first, last)
		}
		if _, _, ok := id.Parts(); ok {
			t.Errorf("part %d has parts", i)
		}
	}
	if _, _, ok := (RequestID{}).Parts(); ok {
		t.Error("no request has parts")
	}
	if fmt.Sprint(base.Part(0))[32:] != "0001" {
		t.Errorf("the first event of %s is %s", base, base.Part(0))
	}
}

// TestPartsWithoutTypes: if nothing proves the event types, a request with other types and the same
// message ids is a repetition. If they are proved, it is not.
func TestPartsWithoutTypes(t *testing.T) {
	claim := func(unproven bool, eventType string) Identity {
		d := Request{TypeUnproven: unproven}
		d.SetParts("s", []Part{{EventType: eventType, MessageID: "1", End: 1}, {EventType: eventType,
			MessageID: "2", End: 1}})
		return d.Claim()
	}
	if claim(true, "a") != claim(true, "b") || claim(false, "a") == claim(false, "b") {
		t.Error("the claim of a request does not depend on what proves its types")
	}
}
