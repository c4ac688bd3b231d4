package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"pgregory.net/rapid"
)

func drawRequest(t *rapid.T) *hookgate.Request {
	d := &hookgate.Request{
		RequestID: hookgate.NewRequestID(time.Now()),
		Identity: hookgate.Identity{
			Source:    rapid.String().Draw(t, "source"),
			EventType: rapid.String().Draw(t, "type"),
			MessageID: rapid.String().Draw(t, "id"),
		},
		OrderingKey: rapid.String().Draw(t, "key"),
		Sequence:    rapid.Int64().Draw(t, "sequence"),
		Body:        rapid.SliceOf(rapid.Byte()).Draw(t, "body"),
		RemoteAddr:  rapid.String().Draw(t, "remote"),
		ReceivedAt:  time.UnixMicro(rapid.Int64Range(-1e15, 1e16).Draw(t, "received")).UTC(),
	}
	if rapid.Bool().Draw(t, "spooled") {
		d.SpooledAt = time.UnixMicro(rapid.Int64Range(1, 1e16).Draw(t, "spooled at")).UTC()
	}
	if rapid.Bool().Draw(t, "retry") {
		d.RetryOf = hookgate.NewRequestID(time.Now())
		d.RetriedAt = time.UnixMicro(rapid.Int64Range(1, 1e16).Draw(t, "retried at")).UTC()
	}
	if d.RetryOf.IsZero() && rapid.Bool().Draw(t, "of several") {
		d.Parts = rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "parts")
	}
	d.TypeUnproven = rapid.Bool().Draw(t, "type unproven")
	if rapid.Bool().Draw(t, "key is type") {
		d.OrderingKey = d.EventType
	}
	d.Keyed = rapid.Bool().Draw(t, "keyed")
	for range rapid.IntRange(0, 3).Draw(t, "headers") {
		d.Headers = append(d.Headers, hookgate.Header{Name: rapid.String().Draw(t, "name"),
			Value: rapid.String().Draw(t, "value")})
	}
	return d
}

// Goal: Decode returns the record that Append encoded, and Size is an upper bound. Method: random
// requests, encoded after a prefix and decoded.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawRequest(t)
		var first hookgate.RequestID
		if rapid.Bool().Draw(t, "duplicate") {
			first = hookgate.NewRequestID(time.Now())
		}
		at := time.UnixMicro(1_700_000_000_000_001).UTC()
		data := Append([]byte("prefix"), d, first, at)[len("prefix"):]
		if len(data) > Size(d) {
			t.Fatalf("encoded to %d bytes, Size said %d", len(data), Size(d))
		}
		var r hookgate.Record
		if err := Decode(data, &r); err != nil {
			t.Fatal(err)
		}
		want := *d
		if !first.IsZero() {
			want.Body = nil
		}
		if !bytes.Equal(r.Body, want.Body) || r.DuplicateOf != first || !r.EnqueuedAt.Equal(at) {
			t.Fatalf("decoded %+v from %+v", r, want)
		}
		r.Body, want.Body = nil, nil
		if !reflect.DeepEqual(r.Request, want) {
			t.Fatalf("decoded %+v, want %+v", r.Request, want)
		}
	})
}

// Goal: TestRoundTrip covers each field of a request, also one that is added later. Method: each
// field has a value in at least one of many random requests.
func TestRoundTripCoversEveryField(t *testing.T) {
	requests := rapid.Custom(drawRequest)
	filled := map[string]bool{}
	for seed := range 200 {
		d := reflect.ValueOf(*requests.Example(seed))
		for i := range d.NumField() {
			if !d.Field(i).IsZero() {
				filled[d.Type().Field(i).Name] = true
			}
		}
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[hookgate.Request]()) {
		if len(f.Index) == 1 && !filled[f.Name] {
			t.Errorf("drawRequest never sets %s: add it there, to Append and to Decode", f.Name)
		}
	}
}

// Goal: Decode detects every changed byte. Method: flip each bit of an encoded record, and cut the
// record at each length.
func TestCorruptionIsFound(t *testing.T) {
	d := &hookgate.Request{Identity: hookgate.Identity{Source: "s", EventType: "t", MessageID: "m"},
		OrderingKey: "k", Body: []byte(`{"a":1}`)}
	data := Append(nil, d, hookgate.RequestID{}, time.Now())
	var r hookgate.Record
	for i := range data {
		for bit := range 8 {
			data[i] ^= 1 << bit
			if err := Decode(data, &r); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("bit %d of byte %d flipped: %v", bit, i, err)
			}
			data[i] ^= 1 << bit
		}
		if err := Decode(data[:i], &r); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
}

// Goal: a record of an earlier release is keyed unless its key is the event type. Earlier releases
// can read the records of this one unless they would get another Keyed. Method: compare the version
// byte, which earlier releases compare with 1 and 2 (and the bit of an unproven type).
func TestKeyedOfEarlierReleases(t *testing.T) {
	for _, c := range []struct {
		key   string
		keyed bool
		known bool
	}{{"type", false, true}, {"key", true, true}, {"type", true, false}, {"key", false, false}} {
		for _, parts := range []string{"", "p"} {
			d := &hookgate.Request{OrderingKey: c.key, Keyed: c.keyed, Parts: []byte(parts)}
			d.EventType = "type"
			data := Append(nil, d, hookgate.RequestID{}, time.Now())
			if known := data[0] == 1 || data[0] == 2; known != c.known {
				t.Errorf("key %s, keyed %v, parts %q: the first byte is %#x", c.key, c.keyed, parts, data[0])
			}
			var r hookgate.Record
			if err := Decode(data, &r); err != nil || r.Keyed != c.keyed {
				t.Errorf("key %s, keyed %v reads as %v, error %v", c.key, c.keyed, r.Keyed, err)
			}
		}
	}
}

// Goal: no input makes Decode panic or allocate more than its size. Method: fuzzing, with a valid
// checksum so that the fields are reached.
func FuzzDecode(f *testing.F) {
	f.Add(Append(nil, &hookgate.Request{Body: []byte("x")}, hookgate.RequestID{}, time.Now()))
	f.Add(Append(nil, &hookgate.Request{Body: []byte("x"), RetryOf: hookgate.RequestID{1},
		RetriedAt: time.UnixMicro(1)}, hookgate.RequestID{}, time.Now()))
	f.Add(Append(nil, &hookgate.Request{Body: []byte("x"), Parts: []byte("p")}, hookgate.RequestID{},
		time.Now()))
	f.Add(Append(nil, &hookgate.Request{Body: []byte("x"), Keyed: true}, hookgate.RequestID{},
		time.Now()))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r hookgate.Record
		_ = Decode(data, &r)
		if len(data) >= PrefixSize {
			data[0] = version + data[0]%2 | data[0]&flags
			binary.LittleEndian.PutUint32(data[1:], checksum(data[0], data[5:]))
			_ = Decode(data, &r)
		}
	})
}

func BenchmarkAppendDecode(b *testing.B) {
	d := &hookgate.Request{Identity: hookgate.Identity{Source: "default", EventType: "order.created",
		MessageID: "0192f0c4-0000-7000-8000-000000000000"},
		OrderingKey: "customer-1", Body: make([]byte, 600), RemoteAddr: "127.0.0.1:54321",
		ReceivedAt: time.Now(),
		Headers:    []hookgate.Header{{Name: "Content-Type", Value: "application/json"}}}
	buf := make([]byte, 0, Size(d))
	var r hookgate.Record
	b.ReportAllocs()
	for b.Loop() {
		buf = Append(buf[:0], d, hookgate.RequestID{}, d.ReceivedAt)
		if err := Decode(buf, &r); err != nil {
			b.Fatal(err)
		}
	}
}
