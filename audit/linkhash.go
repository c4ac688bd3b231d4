package audit

import (
	"crypto/sha256"
	"hash"
	"time"

	"github.com/hookgate/hookgate"
)

// ChainLink is one link of the chain that earlier releases kept for each partition. It covers the
// part of one transaction in that partition. Its hash covers the hash of the link before it.
//
// The hash of a link is the SHA-256 of the bytes below. An integer is 8 bytes, big-endian, two's
// complement. A time is an integer, in microseconds since 1970. A text is its length in bytes as an
// integer, followed by its bytes in UTF-8.
//
//	"hookgate link 1\n"
//	hash of the link before (32 bytes; zero for the first)
//	partition, sequence, processed at, persisted at, attempts (integers), last error, worker (text)
//	for each entry, events first, in the order stored:
//	    outcome, source, event type, message id, ordering key (text), sequence (integer),
//	    request id (16 bytes), first request's id (16 bytes; zero unless a duplicate),
//	    request id whose dead letter is replayed (16 bytes; zero unless a replay),
//	    received at, enqueued at, spooled at or 0, replayed at or 0 (integers),
//	    position, remote address, headers, reason (text),
//	    SHA-256 of the body (32 bytes; of no bytes for a duplicate)
//	for each dead letter of the partition that was purged, in that order:
//	    "purged" (text), its request id (16 bytes), by whom, why (text)
type ChainLink struct {
	Previous    [32]byte
	Partition   int
	Sequence    int64
	ProcessedAt time.Time
	PersistedAt time.Time
	Attempts    int
	LastError   string
	Worker      string
}

// linkHash computes the hash of one link. Only one goroutine may use it.
type linkHash struct {
	sum hash.Hash
	buf []byte
}

// begin starts the hash of a link and drops any earlier state.
func (h *linkHash) begin(l *ChainLink) {
	if h.sum == nil {
		h.sum = sha256.New()
	}
	h.sum.Reset()
	b := append(h.buf[:0], "hookgate link 1\n"...)
	b = append(b, l.Previous[:]...)
	b = appendInt(b, int64(l.Partition))
	b = appendInt(b, l.Sequence)
	b = appendInt(b, l.ProcessedAt.UnixMicro())
	b = appendInt(b, l.PersistedAt.UnixMicro())
	b = appendInt(b, int64(l.Attempts))
	b = appendText(b, l.LastError)
	b = appendText(b, l.Worker)
	h.sum.Write(b)
	h.buf = b
}

// add adds the next entry.
func (h *linkHash) add(e *Entry) {
	b := appendText(h.buf[:0], string(e.Outcome))
	b = appendText(b, e.Source)
	b = appendText(b, e.EventType)
	b = appendText(b, e.MessageID)
	b = appendText(b, e.OrderingKey)
	b = appendInt(b, e.Sequence)
	b = append(b, e.RequestID[:]...)
	b = append(b, e.FirstRequestID[:]...)
	b = append(b, e.RetryOf[:]...)
	b = appendInt(b, e.ReceivedAt.UnixMicro())
	b = appendInt(b, e.EnqueuedAt.UnixMicro())
	b = appendInt(b, e.SpooledMicros())
	b = appendInt(b, e.RetriedMicros())
	b = appendText(b, e.Position)
	b = appendText(b, e.RemoteAddr)
	b = appendText(b, e.HeadersJSON)
	b = appendText(b, e.Reason)
	b = append(b, e.BodySHA256[:]...)
	h.sum.Write(b)
	h.buf = b
}

// addPurge adds the next purged dead letter. Purges come after all entries.
func (h *linkHash) addPurge(requestID hookgate.RequestID, by, reason string) {
	b := appendText(h.buf[:0], string(hookgate.StagePurged))
	b = append(b, requestID[:]...)
	b = appendText(b, by)
	b = appendText(b, reason)
	h.sum.Write(b)
	h.buf = b
}

// result returns the hash of the link.
func (h *linkHash) result() (sum [32]byte) {
	h.sum.Sum(sum[:0])
	return sum
}
