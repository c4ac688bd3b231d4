// Package hookgate is the vocabulary of a webhook gate and the ports its parts meet at.
//
// A [Request] is one HTTP request of a source. [Queue.Append] claims its [Identity] and
// appends it durably in one step, which is when the sender gets its 202. A worker takes
// [Record] values from a [PartitionReader], hands them to [Store.Apply] as one transaction, and only
// then releases them with [PartitionReader.Commit]. A [Reader] shows what was stored and how it got there.
//
// This package imports the standard library only. Data flows one way; a backend implements one
// port and knows nothing of the others.
package hookgate

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"
)

// NoSequence is the Sequence of a delivery whose sender numbers nothing.
const NoSequence int64 = -1

// Identity names an event. Two deliveries with one identity carry the same event, whatever their
// bodies say; the first to be claimed is kept.
type Identity struct {
	Source    string
	EventType string
	MessageID string
}

// String returns the identity as source/type/id, for logs and error messages.
func (id Identity) String() string {
	return id.Source + "/" + id.EventType + "/" + id.MessageID
}

// Hash stands for an identity in claims: the first 16 bytes of the SHA-256 of its three parts, each
// preceded by its length in 4 bytes, little-endian. For two to meet by chance takes about 2^64
// events within a claim's time to live. It must never change, because claims are kept by it.
func (id Identity) Hash() [16]byte {
	var room [1024]byte // enough for three parts of the greatest length
	b := room[:0]
	for _, part := range [...]string{id.Source, id.EventType, id.MessageID} {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}

// TestSource is the source of test traffic: what certify and replay --test send. No configured
// source may have its name. Listings leave its events out unless they are asked for.
const TestSource = "hookgate-certify"

// Header is one request header that is kept with its event.
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
	// Keyed says that OrderingKey is the sender's own, and not the fallback to the event type.
	Keyed bool
	// Sequence is the sender's own number within the ordering key, or NoSequence.
	Sequence int64
	// Headers are those that the source's configuration selects.
	Headers []Header
	// Body is kept exactly as received. Append does not modify it.
	Body []byte
	// RemoteAddr is the address of the peer, host:port.
	RemoteAddr string
	// ReceivedAt is when the request's header had been read, in microsecond precision.
	ReceivedAt time.Time
	// SpooledAt is when it was put into a local spool because the queue was away; zero if it never
	// was.
	SpooledAt time.Time
	// RetryOf is the request whose dead letter this delivery replays; zero unless it is a replay. All
	// but the request id, the times of the spool and of the replay is then that request's, ReceivedAt
	// too.
	RetryOf RequestID
	// RetriedAt is when a person had it replayed; zero unless it is a replay.
	RetriedAt time.Time
	// TypeUnproven says that the message id is proved by the sender's signature and unique by itself,
	// and that nothing proves the event type. A repetition under another type is the same event then,
	// as nobody but the sender must be able to make another event of one.
	TypeUnproven bool
	// Parts are the events that a request of several carries, each as AppendPart writes it; empty
	// for any other. See SetParts.
	Parts []byte
}

// Claim returns the identity that d shares with its repetitions. It has no event type if
// TypeUnproven is set.
func (d *Request) Claim() Identity {
	id := d.Identity
	if d.TypeUnproven {
		id.EventType = ""
	}
	return id
}

// IsRetry reports whether d replays a dead letter.
func (d *Request) IsRetry() bool { return !d.RetryOf.IsZero() }

// SubmittedAt returns when d set out for the queue: when it was received, or replayed if it is a
// replay.
func (d *Request) SubmittedAt() time.Time {
	if d.IsRetry() {
		return d.RetriedAt
	}
	return d.ReceivedAt
}

// SpooledMicros returns SpooledAt as Micros does.
func (d *Request) SpooledMicros() int64 { return Micros(d.SpooledAt) }

// SetSpooledMicros sets SpooledAt from what SpooledMicros returns.
func (d *Request) SetSpooledMicros(n int64) { d.SpooledAt = FromMicros(n) }

// RetriedMicros returns RetriedAt as Micros does.
func (d *Request) RetriedMicros() int64 { return Micros(d.RetriedAt) }

// SetRetriedMicros sets RetriedAt from what RetriedMicros returns.
func (d *Request) SetRetriedMicros(n int64) { d.RetriedAt = FromMicros(n) }

// Micros returns t in microseconds since 1970, and 0 for the zero time, as times that may be
// missing are stored.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// FromMicros returns the time that Micros makes n of.
func FromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

// Partition returns the partition, of n, that the ordering key belongs to.
// It is FNV-1a of the key, finalised with the 64-bit mixer of MurmurHash3, modulo n; it must never
// change, because records already queued were placed by it.
func Partition(orderingKey string, n int) int {
	f := fnv.New64a()
	f.Write([]byte(orderingKey))
	h := f.Sum64()
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return int(h % uint64(n))
}

// Position is where a record stands in its partition: ordered, never reused within one queue, and
// opaque to everything but the queue that gave it out.
type Position struct {
	Major, Minor uint64
}

// Compare returns -1, 0 or +1 as p stands before, at or after q.
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

// Record is a delivery as it stands in the queue.
type Record struct {
	Request
	Partition  int
	Position   Position
	EnqueuedAt time.Time
	// Lease changes each time the partition is given to a consumer anew. A worker that sees
	// a lease it does not know must call Store.Acquire before it applies the record.
	Lease uint64
	// DuplicateOf is the request that claimed this identity before. When it is not zero the record
	// carries no body: it is there for its lineage.
	DuplicateOf RequestID
	// Corrupt says why the entry could not be decoded. Body then holds the raw entry, RequestID is
	// made by the queue, the same each time the record comes, and the other fields of Request are
	// empty. Such a record must be dead-lettered, never dropped.
	Corrupt error
	// Whole is the request that the event is a part of, which the store keeps with the event. It is
	// set by Split; nil unless the request carried several events.
	Whole *Whole
}

// Receipt is what Append answers.
type Receipt struct {
	Partition int
	Position  Position
	// DuplicateOf is the request that claimed the identity first, or zero for a first delivery.
	DuplicateOf RequestID
}

// Duplicate reports whether another request had claimed the identity before.
func (r Receipt) Duplicate() bool { return !r.DuplicateOf.IsZero() }
