// Package api has the types of the gate's HTTP interface and a client for it.
//
// The server writes these types and the client reads them, so each answer is declared once.
// docs/reference/openapi.yaml describes the same interface for other languages.
//
// The answer to a webhook is not here: the gate writes it by hand, because it is the only answer
// whose speed matters.
package api

import "time"

// timeFormat is RFC 3339 with microseconds, the precision that both stores keep.
const timeFormat = "2006-01-02T15:04:05.000000Z07:00"

// Time is a point in time. In JSON it is RFC 3339, in UTC, always with six digits after the second.
type Time struct{ time.Time }

// At returns t as a Time.
func At(t time.Time) Time { return Time{t.UTC()} }

// AtOrNull returns t as a Time, or nil if t is zero.
func AtOrNull(t time.Time) *Time {
	if t.IsZero() {
		return nil
	}
	at := At(t)
	return &at
}

// MarshalText implements encoding.TextMarshaler.
func (t Time) MarshalText() ([]byte, error) {
	return t.UTC().AppendFormat(nil, timeFormat), nil
}

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	return append(t.UTC().AppendFormat([]byte{'"'}, timeFormat), '"'), nil
}

// String returns the time as JSON has it, without quotation marks.
func (t Time) String() string { return t.UTC().Format(timeFormat) }
