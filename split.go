package hookgate

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// MaxParts is the largest number of events that one request can carry.
const MaxParts = 10_000

// Part is one event of a request that carries several. The queue appends such a request as one
// record, in one atomic step. Record.Split splits it when it is stored.
type Part struct {
	EventType, MessageID, OrderingKey string
	// Keyed is Request.Keyed of the event.
	Keyed bool
	// Sequence is the sender's own number, or NoSequence.
	Sequence int64
	// Start and End are the bounds of the event's bytes in the request's body, or in the decompressed
	// body if that is compressed. Both are 0 for the only event of a request whose body is not split;
	// that event is the request, with its id.
	Start, End int
}

// unusualKey precedes a part for which KeyedBy is wrong. Earlier releases, which do not know Keyed,
// reject such a list.
const unusualKey = 1 << 31

// KeyedBy is the value of Keyed for an event of a release that did not know Keyed: the ordering key
// is the sender's own unless it is the event type.
func KeyedBy(orderingKey, eventType string) bool { return orderingKey != eventType }

// AppendPart appends the encoded form of p to parts: Start, End and Sequence as varints, then event
// type, message id and ordering key, each after its length as a varint. If KeyedBy is wrong for p,
// 1<<31 as a varint comes first.
func AppendPart(parts []byte, p Part) []byte {
	if p.Keyed != KeyedBy(p.OrderingKey, p.EventType) {
		parts = binary.AppendUvarint(parts, unusualKey)
	}
	parts = binary.AppendUvarint(parts, uint64(p.Start))
	parts = binary.AppendUvarint(parts, uint64(p.End))
	parts = binary.AppendVarint(parts, p.Sequence)
	for _, s := range [...]string{p.EventType, p.MessageID, p.OrderingKey} {
		parts = binary.AppendUvarint(parts, uint64(len(s)))
		parts = append(parts, s...)
	}
	return parts
}

var errParts = errors.New("the list of the request's events does not parse")

// ParseParts decodes a list of parts that AppendPart has encoded.
func ParseParts(data []byte) (parts []Part, err error) {
	number := func() uint64 {
		n, size := binary.Uvarint(data)
		if size <= 0 || n > math.MaxInt32 {
			err = errParts
			return 0
		}
		data = data[size:]
		return n
	}
	text := func() string {
		n := number()
		if n > uint64(len(data)) {
			err = errParts
			return ""
		}
		s := string(data[:n])
		data = data[n:]
		return s
	}
	for len(data) > 0 {
		n, size := binary.Uvarint(data)
		unusual := n == unusualKey
		if unusual {
			data = data[size:]
		}
		p := Part{Start: int(number()), End: int(number())}
		sequence, size := binary.Varint(data)
		if size <= 0 {
			return nil, errParts
		}
		p.Sequence, data = sequence, data[size:]
		p.EventType, p.MessageID, p.OrderingKey = text(), text(), text()
		p.Keyed = KeyedBy(p.OrderingKey, p.EventType) != unusual
		if err != nil || p.Start > p.End || len(parts) == MaxParts {
			return nil, errParts
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// SetParts makes r a request that carries parts; there must be at least one. In the queue, all
// requests of a source that splits have the source's name as their ordering key, and so one
// partition. The order of each event's own key then holds within the source.
//
// The request claims the identities of its events together, in their order (without their types if
// TypeUnproven is set). So it is a repetition if all of them repeat. The store recognises single
// events that come again in another request.
func (r *Request) SetParts(source string, parts []Part) {
	r.Parts = r.Parts[:0]
	for _, p := range parts {
		r.Parts = AppendPart(r.Parts, p)
	}
	r.OrderingKey, r.Keyed, r.Sequence = source, true, NoSequence
	if isWhole(parts) {
		r.Identity = Identity{source, parts[0].EventType, parts[0].MessageID}
		return
	}
	sum := sha256.New()
	var room [2 * binary.MaxVarintLen64]byte
	for _, p := range parts {
		eventType := p.EventType
		if r.TypeUnproven {
			eventType = "" // as in Claim
		}
		b := binary.AppendUvarint(room[:0], uint64(len(eventType)))
		sum.Write(binary.AppendUvarint(b, uint64(len(p.MessageID))))
		io.WriteString(sum, eventType)
		io.WriteString(sum, p.MessageID)
	}
	r.Identity = Identity{source, "batch", hex.EncodeToString(sum.Sum(nil))}
}

// Whole is a request that carried several events, with its exact bytes.
type Whole struct {
	RequestID RequestID
	Body      []byte
	SHA256    [32]byte
}

// Split returns the events that r carries: r alone if its Parts are empty. Each event has the
// request's partition, position and lease, a request id of its own (see RequestID.Part), an
// OriginHeader and a Whole. A duplicate has no header and no Whole.
//
// An error means that r cannot be split; the caller must make a dead letter of it as it is.
func (r *Record) Split() ([]Record, error) {
	if len(r.Parts) == 0 {
		return []Record{*r}, nil
	}
	parts, err := ParseParts(r.Parts)
	if err != nil {
		return nil, err
	}
	if len(parts) == 0 {
		return nil, errParts
	}
	if isWhole(parts) {
		e := *r
		e.Parts = nil
		e.setPart(parts[0])
		return []Record{e}, nil
	}
	first := r.DuplicateOf
	if !first.IsZero() { // a duplicate has no body
		return r.split(parts, func(e *Record, i int) { e.DuplicateOf = first.Part(i) }), nil
	}
	content, headers, err := r.unpacked(parts)
	if err != nil {
		return nil, err
	}
	whole := &Whole{r.RequestID, r.Body, sha256.Sum256(r.Body)}
	return r.split(parts, func(e *Record, i int) {
		origin := Origin{r.RequestID, i + 1, len(parts), whole.SHA256}
		e.Headers = append(slices.Clip(headers), origin.Header())
		e.Body, e.Whole = content[parts[i].Start:parts[i].End:parts[i].End], whole
	}), nil
}

// isWhole reports whether the request is one event after all: its body is not split.
func isWhole(parts []Part) bool { return len(parts) == 1 && parts[0].End == 0 }

func (r *Record) split(parts []Part, finish func(e *Record, i int)) []Record {
	all := make([]Record, len(parts))
	for i := range all {
		e := &all[i]
		*e = *r
		e.Parts, e.Body, e.RequestID = nil, nil, r.RequestID.Part(i)
		e.setPart(parts[i])
		finish(e, i)
	}
	return all
}

func (r *Record) setPart(p Part) {
	r.EventType, r.MessageID, r.OrderingKey = p.EventType, p.MessageID, p.OrderingKey
	r.Keyed, r.Sequence = p.Keyed, p.Sequence
}

// unpacked returns the decompressed body, as far as the parts reach, and the headers without
// Content-Encoding.
func (r *Record) unpacked(parts []Part) (content []byte, headers []Header, err error) {
	end := 0
	for _, p := range parts {
		end = max(end, p.End)
	}
	packed := slices.IndexFunc(r.Headers, func(h Header) bool { return h.Name == "Content-Encoding" })
	if packed < 0 {
		if end > len(r.Body) {
			return nil, nil, errParts
		}
		return r.Body, r.Headers, nil
	}
	unpacking, err := gzip.NewReader(bytes.NewReader(r.Body))
	if err != nil {
		return nil, nil, fmt.Errorf("decompress the body of the request: %w", err)
	}
	content, err = io.ReadAll(io.LimitReader(unpacking, int64(end)))
	if err == nil && len(content) < end {
		err = errParts
	}
	if err != nil {
		return nil, nil, fmt.Errorf("decompress the body of the request: %w", err)
	}
	return content, slices.Delete(slices.Clone(r.Headers), packed, packed+1), nil
}

// OriginHeader is the name of the header that names the request of an event, if that carried
// several. A source cannot keep a header of this name that its sender sent.
const OriginHeader = "Hookgate-Request"

// Origin is the request of an event, if that carried several.
type Origin struct {
	RequestID RequestID
	// Part is the event's number, from 1 to Parts.
	Part, Parts int
	// SHA256 is the digest of the request's body.
	SHA256 [32]byte
}

// Header returns the header that names the origin.
func (o Origin) Header() Header {
	return Header{OriginHeader, fmt.Sprintf("%s part=%d/%d sha256=%x", o.RequestID, o.Part, o.Parts,
		o.SHA256)}
}

// OriginOf returns the origin in the headers of an event; false if there is none.
func OriginOf(headers []Header) (o Origin, ok bool) {
	for _, h := range headers {
		if h.Name != OriginHeader {
			continue
		}
		fields := strings.Split(h.Value, " ")
		if len(fields) != 3 {
			return o, false
		}
		part, parts, _ := strings.Cut(strings.TrimPrefix(fields[1], "part="), "/")
		var errs [4]error
		o.RequestID, errs[0] = ParseRequestID(fields[0])
		o.Part, errs[1] = strconv.Atoi(part)
		o.Parts, errs[2] = strconv.Atoi(parts)
		sum, err := hex.DecodeString(strings.TrimPrefix(fields[2], "sha256="))
		errs[3] = err
		return o, errors.Join(errs[:]...) == nil && copy(o.SHA256[:], sum) == len(o.SHA256)
	}
	return o, false
}
