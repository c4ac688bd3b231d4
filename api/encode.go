package api

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"github.com/hookgate/hookgate"
)

// AppendLogEvent appends the JSON of LogEvent without its closing brace, so that the caller can
// append members.
//
// Pulls and streams write every event with it, so it uses no reflection.
func AppendLogEvent(b []byte, e *hookgate.Event) []byte {
	b = append(b, `{"id":"`...)
	b = strconv.AppendInt(b, e.ID, 10)
	b = append(b, `","webhookId":"`...)
	b = append(b, e.RequestID.String()...)
	b = append(b, `","source":`...)
	b = appendText(b, e.Source)
	b = append(b, `,"eventType":`...)
	b = appendText(b, e.EventType)
	b = append(b, `,"messageId":`...)
	b = appendText(b, e.MessageID)
	b = append(b, `,"orderingKey":`...)
	b = appendText(b, e.OrderingKey)
	if e.Keyed {
		b = append(b, `,"key":"k:`...)
		b = append(appendEscaped(b, e.OrderingKey), '"')
	} else {
		b = append(b, `,"key":"e:`...)
		b = append(strconv.AppendInt(b, e.ID, 10), '"')
	}
	b = append(b, `,"receivedAt":"`...)
	b = e.ReceivedAt.UTC().AppendFormat(b, timeFormat)
	b = append(b, `","persistedAt":"`...)
	b = e.StoredAt.UTC().AppendFormat(b, timeFormat)
	b = append(b, `","headers":[`...)
	for i := range e.Headers {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"name":`...)
		b = appendText(b, e.Headers[i].Name)
		b = append(b, `,"value":`...)
		b = append(appendText(b, e.Headers[i].Value), '}')
	}
	b = append(b, `],"body":"`...)
	return append(base64.StdEncoding.AppendEncode(b, e.Body), '"')
}

// AppendPulledEvent appends the JSON of PulledEvent.
func AppendPulledEvent(b []byte, e *hookgate.Event, attempt int, redelivery int64) []byte {
	b = append(AppendLogEvent(b, e), `,"attempt":`...)
	b = strconv.AppendInt(b, int64(attempt), 10)
	b = append(b, `,"redelivery":`...)
	return append(strconv.AppendInt(b, redelivery, 10), '}')
}

func appendText(b []byte, s string) []byte { return append(appendEscaped(append(b, '"'), s), '"') }

const hexDigits = "0123456789abcdef"

// appendEscaped appends s as it stands between the quotation marks of a JSON text. Bytes that are
// not UTF-8 become U+FFFD.
func appendEscaped(b []byte, s string) []byte {
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			if r, size := utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
			b = append(append(b, s[done:i]...), "\ufffd"...)
		} else if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		} else if b = append(b, s[done:i]...); c >= ' ' {
			b = append(b, '\\', c)
		} else {
			b = append(b, `\u00`...)
			b = append(b, hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		done = i
	}
	return append(b, s[done:]...)
}
