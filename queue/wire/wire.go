// Package wire is the form of a queued record as bytes, shared by the queues.
//
//	 0       1         5          9
//	+-------+---------+----------+----------------+----------------+
//	| 0x01  | CRC-32C | length   | fields         | body           |
//	|       | of rest | of fields| (length bytes) | (what is left) |
//	+-------+---------+----------+----------------+----------------+
//
// Fixed-width numbers are little-endian. The fields, in order: request id (16 bytes), the first
// request's id (16 bytes, zero unless a duplicate), received, enqueued and spooled in microseconds
// since 1970 (spooled 0 if it never was) and the sequence (signed varints), then as strings
// (unsigned varint of the length, bytes): source, event type, message id, ordering key, remote
// address; then the number of headers (unsigned varint) and each one's name and value as strings;
// then, of a retry, retried in microseconds since 1970 (signed varint) and the id of the request
// whose dead letter is retried (16 bytes). A request that carries several events has 0x02 as its
// first byte, and its parts (as hookgate.AppendPart writes them) in place of a retry. The first
// byte has its highest bit set if the event type is not proved (hookgate.Request.TypeUnproven);
// the lowest byte of the checksum has its highest bit turned over then. The same goes for the
// second highest bit, which is set if hookgate.Request.Keyed is not what hookgate.KeyedBy says of
// the ordering key and the event type. Releases that do not know Keyed refuse such a record, and
// read all others.
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
	// versionParts is that of a record with parts, which earlier releases must not take for another.
	versionParts = 2
	// unprovenType is added to the version of a record with TypeUnproven.
	unprovenType = 0x80
	// unusualKey is added to the version of a record whose Keyed is not what its ordering key
	// suggests.
	unusualKey = 0x40
	flags      = unprovenType | unusualKey
	// PrefixSize is the number of bytes before the fields.
	PrefixSize = 9
	// maxHeaders bounds what a corrupt count can make Decode allocate.
	maxHeaders = 1 << 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrCorrupt is wrapped by every error of Decode.
var ErrCorrupt = errors.New("corrupt queue entry")

// Append appends the encoded record to dst. A duplicate, where duplicateOf is not zero, is encoded
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

// checksum is that of what stands behind it, and of the bits of the first byte that could be others
// without making the version unknown.
func checksum(first byte, rest []byte) uint32 {
	return crc32.Checksum(rest, castagnoli) ^ uint32(first&flags)
}

// Bare returns what the first bytes of an encoded record become when its body is cut off behind the
// fields.
func Bare(record []byte) (prefix [PrefixSize]byte) {
	copy(prefix[:], record)
	fields := record[5 : PrefixSize+int(binary.LittleEndian.Uint32(record[5:]))]
	binary.LittleEndian.PutUint32(prefix[1:], checksum(prefix[0], fields))
	return prefix
}

// Size returns an upper bound of what Append adds for d.
func Size(d *hookgate.Request) int {
	n := PrefixSize + 48 + 7*binary.MaxVarintLen64 + 5*binary.MaxVarintLen32 +
		len(d.Source) + len(d.EventType) + len(d.MessageID) + len(d.OrderingKey) + len(d.RemoteAddr) +
		len(d.Parts) + len(d.Body)
	for _, h := range d.Headers {
		n += len(h.Name) + len(h.Value) + 2*binary.MaxVarintLen32
	}
	return n
}

// Decode fills r's request, DuplicateOf and EnqueuedAt from an encoded record. Body and all text
// refer to data, which must not change any more. An error wraps ErrCorrupt and leaves r's fields
// undefined.
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

// fields reads what is left of s; bad is set, and zero values are returned, once it runs short.
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
