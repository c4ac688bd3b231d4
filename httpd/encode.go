package httpd

import (
	"encoding/hex"
	"strconv"
	"time"

	"github.com/hookgate/hookgate"
)

// timeFormat is RFC 3339 in microseconds.
const timeFormat = "2006-01-02T15:04:05.000000Z07:00"

// appendEvent appends the JSON of an event.
func appendEvent(b []byte, e *hookgate.Event) []byte {
	text := func(name, value string) {
		b = append(b, name...)
		b = hookgate.AppendJSONString(b, value)
	}
	number := func(name string, value int64) {
		b = append(b, name...)
		b = strconv.AppendInt(b, value, 10)
	}
	text(`{"id":`, e.ID)
	text(`,"source":`, e.Source)
	text(`,"messageId":`, e.MessageID)
	text(`,"eventType":`, e.EventType)
	text(`,"orderingKey":`, e.OrderingKey)
	if e.Sequence == hookgate.NoSequence {
		b = append(b, `,"sequence":null`...)
	} else {
		number(`,"sequence":`, e.Sequence)
	}
	text(`,"requestId":`, e.RequestID.String())
	text(`,"remoteAddr":`, e.RemoteAddr)
	b = appendTime(append(b, `,"receivedAt":"`...), e.ReceivedAt)
	b = appendTime(append(b, `,"persistedAt":"`...), e.PersistedAt)
	number(`,"partition":`, int64(e.Partition))
	text(`,"position":`, e.Position)
	number(`,"size":`, e.Size)
	b = append(b, `,"sha256":"`...)
	b = hex.AppendEncode(b, e.SHA256[:])
	b = append(b, '"')
	for i, h := range e.Headers {
		if i == 0 {
			b = append(b, `,"headers":[`...)
		} else {
			b = append(b, ',')
		}
		text(`{"name":`, h.Name)
		text(`,"value":`, h.Value)
		b = append(b, '}')
		if i == len(e.Headers)-1 {
			b = append(b, ']')
		}
	}
	return append(b, '}')
}

// appendTime appends a time and the closing quotation mark.
func appendTime(b []byte, t time.Time) []byte {
	return append(t.UTC().AppendFormat(b, timeFormat), '"')
}

// appendTrace appends the JSON of a trace.
func appendTrace(b []byte, messageID string, trails []hookgate.RequestTrail) []byte {
	b = append(b, `{"messageId":`...)
	b = hookgate.AppendJSONString(b, messageID)
	b = append(b, `,"requests":[`...)
	for i, t := range trails {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"requestId":"`...)
		b = append(b, t.RequestID.String()...)
		b = append(b, `","source":`...)
		b = hookgate.AppendJSONString(b, t.Source)
		b = append(b, `,"eventType":`...)
		b = hookgate.AppendJSONString(b, t.EventType)
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
	return append(b, "]}"...)
}
