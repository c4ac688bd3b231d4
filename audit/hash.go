package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"time"

	"github.com/hookgate/hookgate"
)

// StageAnchored is the outcome of a log entry that anchors the admin trail in the audit chain.
const StageAnchored hookgate.Stage = "anchored"

// Entry is one entry of the log as the audit chain covers it: an event, a duplicate or a dead
// letter. The ids of all entries come from one counter, in the order of commits. The hash of each
// entry covers the hash of the entry before it.
//
// The hash of an entry is the SHA-256 of the bytes below. An integer is 8 bytes, big-endian, two's
// complement. A time is an integer, in microseconds since 1970, 0 if it is not set. A text is its
// length in bytes as an integer, followed by its bytes in UTF-8.
//
//	"hookgate entry 1\n"
//	hash of the entry before (32 bytes)
//	id (integer), outcome (text)
//
// followed, for an event, a duplicate or a dead letter, by
//
//	batch (integer), source, event type, message id, ordering key (text), keyed (0 or 1), sequence (integers),
//	request id (16 bytes), first request's id (16 bytes; zero unless a duplicate),
//	request id whose dead letter is replayed (16 bytes; zero unless a replay),
//	received at, enqueued at, spooled at, replayed at, processed at, persisted at (integers),
//	partition (integer), position, remote address, headers, reason, worker (text),
//	attempts (integer), last error (text),
//	SHA-256 of the body (32 bytes; of no bytes for a duplicate)
//
// For a purge the rest is: the id of the purged request (16 bytes), by whom, why (text), at
// (integer). For an anchor it is: the sequence (integer) and the hash (32 bytes) of the last row of
// the admin trail.
type Entry struct {
	ID int64
	// Batch is the ID of the first entry that the same call of Apply added.
	Batch int64
	*hookgate.Request
	// Outcome is StagePersisted, StageDuplicate or StageDeadLettered.
	Outcome    hookgate.Stage
	EnqueuedAt time.Time
	Partition  int
	// Position is the position in the queue. It is empty if the store took the request itself.
	Position string
	// FirstRequestID is the request that first carried the event, if this entry is a duplicate.
	FirstRequestID hookgate.RequestID
	// HeadersJSON is the text in which the store keeps the headers.
	HeadersJSON string
	// Reason is why the event became a dead letter.
	Reason     string
	BodySHA256 [32]byte

	ProcessedAt, PersistedAt time.Time
	Worker                   string
	Attempts                 int
	LastError                string
}

// EntryHash computes the hashes of entries. Only one goroutine may use it.
type EntryHash struct {
	sum hash.Hash
	buf []byte
}

func (h *EntryHash) begin(previous [32]byte, id int64, outcome hookgate.Stage) []byte {
	if h.sum == nil {
		h.sum = sha256.New()
	}
	h.sum.Reset()
	b := append(h.buf[:0], "hookgate entry 1\n"...)
	b = append(b, previous[:]...)
	b = appendInt(b, id)
	return appendText(b, string(outcome))
}

func (h *EntryHash) end(b []byte) (sum [32]byte) {
	h.sum.Write(b)
	h.buf = b
	h.sum.Sum(sum[:0])
	return sum
}

// Entry returns the hash of an entry that follows one with the hash previous. It ignores the Body
// and Headers of the request: BodySHA256 and HeadersJSON stand for them.
func (h *EntryHash) Entry(previous [32]byte, e *Entry) [32]byte {
	b := h.begin(previous, e.ID, e.Outcome)
	b = appendInt(b, e.Batch)
	b = appendText(b, e.Source)
	b = appendText(b, e.EventType)
	b = appendText(b, e.MessageID)
	b = appendText(b, e.OrderingKey)
	keyed := int64(0)
	if e.Keyed {
		keyed = 1
	}
	b = appendInt(b, keyed)
	b = appendInt(b, e.Sequence)
	b = append(b, e.RequestID[:]...)
	b = append(b, e.FirstRequestID[:]...)
	b = append(b, e.RetryOf[:]...)
	b = appendInt(b, hookgate.Micros(e.ReceivedAt))
	b = appendInt(b, hookgate.Micros(e.EnqueuedAt))
	b = appendInt(b, e.SpooledMicros())
	b = appendInt(b, e.RetriedMicros())
	b = appendInt(b, hookgate.Micros(e.ProcessedAt))
	b = appendInt(b, hookgate.Micros(e.PersistedAt))
	b = appendInt(b, int64(e.Partition))
	b = appendText(b, e.Position)
	b = appendText(b, e.RemoteAddr)
	b = appendText(b, e.HeadersJSON)
	b = appendText(b, e.Reason)
	b = appendText(b, e.Worker)
	b = appendInt(b, int64(e.Attempts))
	b = appendText(b, e.LastError)
	b = append(b, e.BodySHA256[:]...)
	return h.end(b)
}

// Purge returns the hash of the entry of a purged dead letter.
func (h *EntryHash) Purge(previous [32]byte, id int64, requestID hookgate.RequestID, by, reason string,
	at time.Time) [32]byte {
	b := h.begin(previous, id, hookgate.StagePurged)
	b = append(b, requestID[:]...)
	b = appendText(b, by)
	b = appendText(b, reason)
	b = appendInt(b, hookgate.Micros(at))
	return h.end(b)
}

// Anchor returns the hash of the entry that anchors the admin trail up to the row with that
// sequence.
func (h *EntryHash) Anchor(previous [32]byte, id, sequence int64, trail [32]byte) [32]byte {
	b := h.begin(previous, id, StageAnchored)
	b = appendInt(b, sequence)
	b = append(b, trail[:]...)
	return h.end(b)
}

// ChainHead is the last link of a chain that an earlier release wrote. There was one chain for each
// partition.
type ChainHead struct {
	Partition int
	Sequence  int64
	Hash      [32]byte
}

// FirstHash returns the hash that the first entry of a log follows. It is the SHA-256 of "hookgate
// chain 2\n" followed, for each head in the order of partitions, by its partition, its sequence
// (integers) and its hash. So the chain of the log covers the older chains.
func FirstHash(heads []ChainHead) [32]byte {
	b := []byte("hookgate chain 2\n")
	for _, h := range heads {
		b = appendInt(b, int64(h.Partition))
		b = appendInt(b, h.Sequence)
		b = append(b, h.Hash[:]...)
	}
	return sha256.Sum256(b)
}

func appendInt(b []byte, n int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }

func appendText(b []byte, s string) []byte { return append(appendInt(b, int64(len(s))), s...) }
