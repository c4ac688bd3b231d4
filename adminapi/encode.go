package adminapi

import (
	"encoding/hex"
	"strconv"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/jsontext"
)

// timeFormat is RFC 3339 in microseconds.
const timeFormat = "2006-01-02T15:04:05.000000Z07:00"

// appendEvent appends the JSON of an event.
func appendEvent(b []byte, e *hookgate.Event) []byte {
	o := object{b: append(b, '{')}
	o.text("id", e.ID)
	o.text("source", e.Source)
	o.text("messageId", e.MessageID)
	o.text("eventType", e.EventType)
	o.text("orderingKey", e.OrderingKey)
	o.sequence(e.Sequence)
	o.text("requestId", e.RequestID.String())
	o.text("remoteAddr", e.RemoteAddr)
	o.time("receivedAt", e.ReceivedAt)
	o.time("persistedAt", e.PersistedAt)
	o.number("partition", int64(e.Partition))
	o.text("position", e.Position)
	o.number("size", e.Size)
	o.hex("sha256", e.SHA256[:])
	o.headers(e.Headers)
	return append(o.b, '}')
}

// object appends the members of a JSON object, whose names need no escapes.
type object struct {
	b     []byte
	begun bool
}

func (o *object) name(name string) {
	if o.begun {
		o.b = append(o.b, ',')
	}
	o.begun = true
	o.b = append(o.b, '"')
	o.b = append(o.b, name...)
	o.b = append(o.b, `":`...)
}

func (o *object) text(name, value string) {
	o.name(name)
	o.b = jsontext.AppendString(o.b, value)
}

func (o *object) number(name string, value int64) {
	o.name(name)
	o.b = strconv.AppendInt(o.b, value, 10)
}

func (o *object) hex(name string, value []byte) {
	o.name(name)
	o.b = append(o.b, '"')
	o.b = append(hex.AppendEncode(o.b, value), '"')
}

func (o *object) time(name string, value time.Time) {
	o.name(name)
	o.b = appendTime(append(o.b, '"'), value)
}

func (o *object) sequence(value int64) {
	if value == hookgate.NoSequence {
		o.name("sequence")
		o.b = append(o.b, "null"...)
		return
	}
	o.number("sequence", value)
}

// headers appends the headers, unless there are none.
func (o *object) headers(all []hookgate.Header) {
	if len(all) == 0 {
		return
	}
	o.name("headers")
	o.b = append(o.b, '[')
	for i, h := range all {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		one := object{b: append(o.b, '{')}
		one.text("name", h.Name)
		one.text("value", h.Value)
		o.b = append(one.b, '}')
	}
	o.b = append(o.b, ']')
}

// appendTime appends a time and the closing quotation mark.
func appendTime(b []byte, t time.Time) []byte {
	return append(t.UTC().AppendFormat(b, timeFormat), '"')
}

// appendTrace appends the JSON of a page of a trace: at most limit of the requests, and where to
// continue if there are more.
func appendTrace(b []byte, messageID string, trails []hookgate.RequestTrail, limit int) []byte {
	b = append(b, `{"messageId":`...)
	b = jsontext.AppendString(b, messageID)
	b = append(b, `,"requests":`...)
	if len(trails) <= limit {
		return append(appendTrails(b, trails), '}')
	}
	b = appendTrails(b, trails[:limit])
	b = append(b, `,"next":"`...)
	b = append(b, trails[limit-1].RequestID.String()...)
	return append(b, `"}`...)
}

// appendTrails appends the JSON of the lineage of requests.
func appendTrails(b []byte, trails []hookgate.RequestTrail) []byte {
	b = append(b, '[')
	for i, t := range trails {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"requestId":"`...)
		b = append(b, t.RequestID.String()...)
		b = append(b, `","source":`...)
		b = jsontext.AppendString(b, t.Source)
		b = append(b, `,"eventType":`...)
		b = jsontext.AppendString(b, t.EventType)
		b = append(b, `,"stages":[`...)
		for j, e := range t.Entries {
			if j > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"stage":"`...)
			b = append(b, e.Stage...)
			b = appendTime(append(b, `","timestamp":"`...), e.Timestamp)
			b = append(b, `,"metadata":`...)
			b = append(b, e.Metadata...)
			b = append(b, '}')
		}
		b = append(b, "]}"...)
	}
	return append(b, ']')
}
