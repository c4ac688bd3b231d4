// Package wire encodes queued records. All queues share it.
//
//	 0       1         5          9
//	+-------+---------+----------+----------------+----------------+
//	| 0x01  | CRC-32C | length   | fields         | body           |
//	|       | of rest | of fields| (length bytes) | (the rest)     |
//	+-------+---------+----------+----------------+----------------+
//
// Fixed-width numbers are little-endian. Times are in microseconds since 1970. A string is its
// length as an unsigned varint and its bytes. The fields, in order:
//
//	request id          16 bytes
//	first request's id  16 bytes; zero unless the record is a duplicate
//	received, enqueued  signed varints
//	spooled             signed varint; 0 if the request was not spooled
//	sequence            signed varint
//	source, event type, message id, ordering key, remote address: strings
//	number of headers   unsigned varint; then the name and the value of each as strings
//	of a retry: the time of the retry (signed varint), and the id of the request whose dead letter
//	is retried (16 bytes)
//
// A request that carries several events has 0x02 as its first byte, and its parts (see
// hookgate.AppendPart) in place of the fields of a retry.
//
// Two bits of the first byte are flags. For each flag that is set, the same bit of the checksum's
// lowest byte is inverted.
//
//	0x80  the event type is not proved (hookgate.Request.TypeUnproven)
//	0x40  hookgate.KeyedBy is wrong for hookgate.Request.Keyed. Releases that do not know Keyed
//	      reject such a record and read all others
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
	"unsafe"

	"github.com/hookgate/hookgate"
)

const (
	version = 1
	// versionParts is the version of a record with parts, so that earlier releases reject it.
	versionParts = 2
	// unprovenType is the flag of a record with TypeUnproven.
	unprovenType = 0x80
	// unusualKey is the flag of a record for which hookgate.KeyedBy is wrong.
	unusualKey = 0x40
	flags      = unprovenType | unusualKey
	// PrefixSize is the number of bytes before the fields.
	PrefixSize = 9
	// maxHeaders bounds the memory that Decode allocates for a corrupt count.
	maxHeaders = 1 << 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrCorrupt is wrapped by every error of Decode.
var ErrCorrupt = errors.New("corrupt queue entry")

// Append appends the encoded record to dst. A duplicate (duplicateOf is not zero) is encoded
// without its body.
func Append(dst []byte, d *hookgate.Request, duplicateOf hookgate.RequestID,
	enqueuedAt time.Time) []byte {
	start := len(dst)
	dst = append(dst, version, 0, 0, 0, 0, 0, 0, 0, 0)
	dst = append(dst, d.RequestID[:]...)
	dst = append(dst, duplicateOf[:]...)
	dst = binary.AppendVarint(dst, d.ReceivedAt.UnixMicro())
	dst = binary.AppendVarint(dst, enqueuedAt.UnixMicro())
	dst = binary.AppendVarint(dst, d.SpooledMicros())
	dst = binary.AppendVarint(dst, d.Sequence)
	for _, s := range [...]string{d.Source, d.EventType, d.MessageID, d.OrderingKey, d.RemoteAddr} {
		dst = appendString(dst, s)
	}
	dst = binary.AppendUvarint(dst, uint64(len(d.Headers)))
	for _, h := range d.Headers {
		dst = appendString(dst, h.Name)
		dst = appendString(dst, h.Value)
	}
	if d.IsRetry() {
		dst = binary.AppendVarint(dst, d.RetriedMicros())
		dst = append(dst, d.RetryOf[:]...)
	}
	if len(d.Parts) > 0 {
		dst[start] = versionParts
		dst = append(dst, d.Parts...)
	}
	if d.TypeUnproven {
		dst[start] |= unprovenType
	}
	if d.Keyed != hookgate.KeyedBy(d.OrderingKey, d.EventType) {
		dst[start] |= unusualKey
	}
	binary.LittleEndian.PutUint32(dst[start+5:], uint32(len(dst)-start-PrefixSize))
	if duplicateOf.IsZero() {
		dst = append(dst, d.Body...)
	}
	binary.LittleEndian.PutUint32(dst[start+1:], checksum(dst[start], dst[start+5:]))
	return dst
}

// checksum covers the bytes after it and the flags of the first byte. A change of the other bits of
// the first byte makes the version unknown.
func checksum(first byte, rest []byte) uint32 {
	return crc32.Checksum(rest, castagnoli) ^ uint32(first&flags)
}

// Bare returns the prefix of an encoded record without its body.
func Bare(record []byte) (prefix [PrefixSize]byte) {
	copy(prefix[:], record)
	fields := record[5 : PrefixSize+int(binary.LittleEndian.Uint32(record[5:]))]
	binary.LittleEndian.PutUint32(prefix[1:], checksum(prefix[0], fields))
	return prefix
}

// Size returns an upper bound of the number of bytes that Append appends for d.
func Size(d *hookgate.Request) int {
	n := PrefixSize + 48 + 7*binary.MaxVarintLen64 + 5*binary.MaxVarintLen32 +
		len(d.Source) + len(d.EventType) + len(d.MessageID) + len(d.OrderingKey) + len(d.RemoteAddr) +
		len(d.Parts) + len(d.Body)
	for _, h := range d.Headers {
		n += len(h.Name) + len(h.Value) + 2*binary.MaxVarintLen32
	}
	return n
}

// Decode sets r.Request, r.DuplicateOf and r.EnqueuedAt from an encoded record. The body and all
// text refer to data, which must not change afterwards. An error wraps ErrCorrupt and leaves these
// fields undefined.
func Decode(data []byte, r *hookgate.Record) error {
	form := byte(0)
	if len(data) >= PrefixSize {
		form = data[0] &^ flags
	}
	if form != version && form != versionParts {
		return fmt.Errorf("%w: %d bytes without a prefix of version %d or %d", ErrCorrupt, len(data),
			version, versionParts)
	}
	if checksum(data[0], data[5:]) != binary.LittleEndian.Uint32(data[1:]) {
		return fmt.Errorf("%w: checksum of %d bytes does not match", ErrCorrupt, len(data))
	}
	n := binary.LittleEndian.Uint32(data[5:])
	if uint64(n) > uint64(len(data)-PrefixSize) {
		return fmt.Errorf("%w: fields end behind the entry", ErrCorrupt)
	}
	body := data[PrefixSize+int(n):]
	f := fields{s: unsafe.String(unsafe.SliceData(data[PrefixSize:]), int(n))}
	copy(r.RequestID[:], f.next(16))
	copy(r.DuplicateOf[:], f.next(16))
	r.ReceivedAt = time.UnixMicro(f.varint()).UTC()
	r.EnqueuedAt = time.UnixMicro(f.varint()).UTC()
	r.SetSpooledMicros(f.varint())
	r.Sequence = f.varint()
	r.Source = f.string()
	r.EventType = f.string()
	r.MessageID = f.string()
	r.OrderingKey = f.string()
	r.RemoteAddr = f.string()
	headers := f.uvarint()
	if headers > maxHeaders {
		return fmt.Errorf("%w: %d headers", ErrCorrupt, headers)
	}
	r.Headers = nil
	if headers > 0 {
		r.Headers = make([]hookgate.Header, headers)
		for i := range r.Headers {
			r.Headers[i] = hookgate.Header{Name: f.string(), Value: f.string()}
		}
	}
	r.RetryOf, r.RetriedAt, r.Parts = hookgate.RequestID{}, time.Time{}, nil
	r.TypeUnproven = data[0]&unprovenType != 0
	r.Keyed = hookgate.KeyedBy(r.OrderingKey, r.EventType) != (data[0]&unusualKey != 0)
	if form == versionParts {
		r.Parts = []byte(f.next(len(f.s)))
		f.bad = f.bad || len(r.Parts) == 0
	} else if f.s != "" {
		r.SetRetriedMicros(f.varint())
		copy(r.RetryOf[:], f.next(16))
		f.bad = f.bad || !r.IsRetry()
	}
	if f.bad || f.s != "" {
		return fmt.Errorf("%w: fields do not parse", ErrCorrupt)
	}
	r.Body = body
	return nil
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// fields reads s from its beginning. If s is too short, it sets bad and returns zero values.
type fields struct {
	s   string
	bad bool
}

func (f *fields) next(n int) string {
	if n < 0 || n > len(f.s) {
		f.bad, f.s = true, ""
		return ""
	}
	v := f.s[:n]
	f.s = f.s[n:]
	return v
}

func (f *fields) uvarint() uint64 {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		b := f.next(1)
		if b == "" {
			return 0
		}
		v |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			return v
		}
	}
	f.bad = true
	return 0
}

func (f *fields) varint() int64 {
	u := f.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (f *fields) string() string {
	n := f.uvarint()
	if n > uint64(len(f.s)) {
		f.bad, f.s = true, ""
		return ""
	}
	return f.next(int(n))
}
