package hookgate

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"
)

// RequestID names one request. It is a UUID of version 7 (RFC 9562, section 5.7) whose rand_a field
// has the fraction of the millisecond (section 6.2, method 3). So the ids of one process sort by
// time to about a quarter of a microsecond.
type RequestID [16]byte

// NewRequestID returns a fresh id for a request received at t.
func NewRequestID(t time.Time) RequestID {
	var id RequestID
	rand.Read(id[8:]) // never fails: crypto/rand ends the process rather than return an error
	nanos := t.UnixNano()
	millis, rest := nanos/int64(time.Millisecond), nanos%int64(time.Millisecond)
	binary.BigEndian.PutUint64(id[:8], uint64(millis)<<16|uint64(rest<<12/int64(time.Millisecond)))
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// FirstRequestID returns the lowest id of a request received in the millisecond of t.
func FirstRequestID(t time.Time) RequestID {
	const last = 1<<48 - 1 // the last millisecond that fits into an id
	var id RequestID
	binary.BigEndian.PutUint64(id[:8], uint64(min(max(t.UnixMilli(), 0), last))<<16)
	id[6], id[8] = 0x70, 0x80
	return id
}

// partBits is how many bits of a request id number the events of a request that carries several.
const partBits = 16

// WithoutPart returns id without a part number. The id of a request that carries several events has
// this form.
func (id RequestID) WithoutPart() RequestID {
	id[14], id[15] = 0, 0
	return id
}

// Part returns the id of the i-th event, from 0, of a request that carries several.
func (id RequestID) Part(i int) RequestID {
	binary.BigEndian.PutUint16(id[14:], uint16(i+1))
	return id
}

// Parts returns the first and the last id of the request's events. ok is false if id is not that of
// a request that carries several.
func (id RequestID) Parts() (first, last RequestID, ok bool) {
	if id != id.WithoutPart() || id.IsZero() {
		return id, id, false
	}
	return id, id.Part(1<<partBits - 2), true
}

// IsZero reports whether id names no request.
func (id RequestID) IsZero() bool { return id == RequestID{} }

// String returns the 36 characters of the UUID.
func (id RequestID) String() string {
	var b [36]byte
	hex.Encode(b[0:8], id[0:4])
	b[8] = '-'
	hex.Encode(b[9:13], id[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], id[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], id[8:10])
	b[23] = '-'
	hex.Encode(b[24:36], id[10:16])
	return string(b[:])
}

// MarshalText implements encoding.TextMarshaler, so that JSON and the log show an id as text.
func (id RequestID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. It reads the form that String writes.
func (id *RequestID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseRequestID(string(text))
	return err
}

// ParseRequestID reads the form that String writes.
func ParseRequestID(s string) (RequestID, error) {
	var id RequestID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, fmt.Errorf("request id %q is not a UUID", s)
	}
	compact := s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36]
	if _, err := hex.Decode(id[:], []byte(compact)); err != nil {
		return RequestID{}, fmt.Errorf("request id %q is not a UUID", s)
	}
	return id, nil
}
