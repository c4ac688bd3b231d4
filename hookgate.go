// Package hookgate is the vocabulary of a webhook gate and the ports its parts meet at.
//
// A [Request] is one HTTP request of a source. [Queue.Append] claims its [Identity] and appends it
// durably in one step; then the sender gets its 202. A worker takes [Record] values from a
// [PartitionReader], stores them with [Store.Apply] in one transaction, and only then releases them
// with [PartitionReader.Commit]. A [Reader] shows the stored events and how they got there.
//
// This package imports the standard library only. Data flows one way: a backend implements one
// port and does not use the others.
package hookgate

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"
)

// NoSequence is the Sequence of a request whose sender does not number its events.
const NoSequence int64 = -1

// Identity names an event. Two requests with one identity carry the same event, even if their
// bodies differ. The gate keeps the event of the request that claims the identity first.
type Identity struct {
	Source    string
	EventType string
	MessageID string
}

// String returns the identity as source/type/id, for logs and error messages.
func (id Identity) String() string {
	return id.Source + "/" + id.EventType + "/" + id.MessageID
}

// Hash is the key of an identity's claim: the first 16 bytes of the SHA-256 of its three parts,
// each preceded by its length in 4 bytes, little-endian. A collision needs about 2^64 events within
// a claim's time to live. The hash must never change, because stored claims are named by it.
func (id Identity) Hash() [16]byte {
	var room [1024]byte // enough for three parts of the largest length
	b := room[:0]
	for _, part := range [...]string{id.Source, id.EventType, id.MessageID} {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}

// TestSource is the source of the test traffic that certify and replay --test send. No configured
// source may have its name. Listings leave its events out unless the caller asks for them.
const TestSource = "hookgate-certify"

// Header is one request header that the gate keeps with the event.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Request is one HTTP request of a source, authenticated and identified.
type Request struct {
	RequestID RequestID
	Identity
	// OrderingKey groups events that keep their order. Never empty.
	OrderingKey string
	// Keyed reports whether OrderingKey is the sender's own, and not the fallback to the event type.
	Keyed bool
	// Sequence is the sender's own number within the ordering key, or NoSequence.
	Sequence int64
	// Headers are the headers that the source's configuration selects.
	Headers []Header
	// Body has the bytes exactly as received. Append does not modify it.
	Body []byte
	// RemoteAddr is the address of the peer, host:port.
	RemoteAddr string
	// ReceivedAt is when the server had read the request's header, in microseconds.
	ReceivedAt time.Time
	// SpooledAt is when the request was appended to a local spool because the queue was away; zero if
	// it never was.
	SpooledAt time.Time
	// RetryOf is the request whose dead letter this request retries; zero unless it is a retry. A
	// retry has a RequestID, SpooledAt and RetriedAt of its own. Everything else is that of the first
	// request, ReceivedAt too.
	RetryOf RequestID
	// RetriedAt is when a person retried the dead letter; zero unless it is a retry.
	RetriedAt time.Time
	// TypeUnproven reports whether the sender's signature proves the message id, which is unique by
	// itself, but nothing proves the event type. A repetition under another type is then the same
	// event: only the sender may be able to make a second event of one.
	TypeUnproven bool
	// Parts are the events of a request that carries several, each as AppendPart writes it. Empty for
	// any other request. See SetParts.
	Parts []byte
}

// Claim returns the identity that r shares with its repetitions. It has no event type if
// TypeUnproven is set.
func (r *Request) Claim() Identity {
	id := r.Identity
	if r.TypeUnproven {
		id.EventType = ""
	}
	return id
}

// IsRetry reports whether r retries a dead letter.
func (r *Request) IsRetry() bool { return !r.RetryOf.IsZero() }

// SubmittedAt returns when r was received or, for a retry, when the person retried it.
func (r *Request) SubmittedAt() time.Time {
	if r.IsRetry() {
		return r.RetriedAt
	}
	return r.ReceivedAt
}

// SpooledMicros returns SpooledAt as Micros does.
func (r *Request) SpooledMicros() int64 { return Micros(r.SpooledAt) }

// SetSpooledMicros sets SpooledAt from what SpooledMicros returns.
func (r *Request) SetSpooledMicros(n int64) { r.SpooledAt = FromMicros(n) }

// RetriedMicros returns RetriedAt as Micros does.
func (r *Request) RetriedMicros() int64 { return Micros(r.RetriedAt) }

// SetRetriedMicros sets RetriedAt from what RetriedMicros returns.
func (r *Request) SetRetriedMicros(n int64) { r.RetriedAt = FromMicros(n) }

// Micros returns t in microseconds since 1970, and 0 for the zero time. Stores and queues keep
// times that may be missing in this form.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// FromMicros returns the time for which Micros returns n.
func FromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

// Partition returns the partition, from 0 to n-1, of an ordering key: FNV-1a of the key, finalised
// with the 64-bit mixer of MurmurHash3, modulo n. It must never change, because it has placed the
// records that are queued now.
func Partition(orderingKey string, n int) int {
	f := fnv.New64a()
	f.Write([]byte(orderingKey))
	h := f.Sum64()
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return int(h % uint64(n))
}

// Position is the place of a record in its partition. Positions are ordered and never reused within
// one queue. Only the queue that made a position knows what it means.
type Position struct {
	Major, Minor uint64
}

// Compare returns -1, 0 or +1 if p is before, at or after q.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Major, q.Major), cmp.Compare(p.Minor, q.Minor))
}

// String returns the position as "major-minor", the form that ParsePosition reads.
func (p Position) String() string {
	return string(p.Append(make([]byte, 0, 41)))
}

// Append appends the text form of p to dst.
func (p Position) Append(dst []byte) []byte {
	dst = strconv.AppendUint(dst, p.Major, 10)
	dst = append(dst, '-')
	return strconv.AppendUint(dst, p.Minor, 10)
}

// ParsePosition reads the text form of a position.
func ParsePosition(s string) (Position, error) {
	major, minor, ok := strings.Cut(s, "-")
	a, err1 := strconv.ParseUint(major, 10, 64)
	b, err2 := strconv.ParseUint(minor, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return Position{}, fmt.Errorf("position %q is not of the form major-minor", s)
	}
	return Position{a, b}, nil
}

// Record is a request in the queue.
type Record struct {
	Request
	Partition  int
	Position   Position
	EnqueuedAt time.Time
	// Lease changes each time a reader gets the partition. A worker must call Store.Acquire before it
	// stores the first record of a new lease.
	Lease uint64
	// DuplicateOf is the request that claimed this identity before; zero unless the record is a
	// duplicate. A duplicate has no body: it is queued for its lineage only.
	DuplicateOf RequestID
	// Corrupt is why the entry could not be decoded. Then Body has the raw entry, and the queue makes
	// the RequestID, the same one each time the record comes. The other fields of Request are empty.
	// The worker must make a dead letter of such a record and never drop it.
	Corrupt error
	// Whole is the request that carried this event among others; the store keeps it with the event.
	// Split sets it. nil if the request carried one event.
	Whole *Whole
}

// Receipt is the result of a successful Append.
type Receipt struct {
	Partition int
	Position  Position
	// DuplicateOf is the request that claimed the identity first; zero if this request did.
	DuplicateOf RequestID
}

// Duplicate reports whether another request had claimed the identity.
func (r Receipt) Duplicate() bool { return !r.DuplicateOf.IsZero() }

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
