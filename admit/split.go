package admit

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hookgate/hookgate"
)

// ErrTooManyEvents is wrapped by the error about a request with more than hookgate.MaxParts events.
// The HTTP handler answers 413 with the text.
var ErrTooManyEvents = errors.New("too many events")

// Splitter is a Scheme that may find several events in one request.
type Splitter interface {
	Scheme
	// Splits reports whether the source splits requests. If so, call Split instead of Identify.
	Splits() bool
	// Split returns the events of an authentic request, in order. An empty array has none. If the body
	// is not an array, there is one Part with End 0, which is the whole body. An element without a
	// message id at the source's places is identified by its bytes, so that it does not affect the
	// others. Split returns the errors of Identify, and ErrTooManyEvents.
	Split(r *Request) ([]hookgate.Part, error)
}

// thisBody is the path of the array if the body is the array.
const thisBody = "@this"

// splitting says where a source's requests have their events, and what identifies them.
type splitting struct {
	// at is the path of the array; empty if the body is the array.
	at      path
	element identity
}

// newSplitting parses the configured place of the array.
func newSplitting(text string, p Places) (*splitting, error) {
	kind, at, found := strings.Cut(text, ":")
	if !found {
		kind, at = "json", text
	}
	s := &splitting{}
	var err error
	switch {
	case kind != "json":
		err = errors.New("write it as json:PATH or json:@this")
	case at != thisBody:
		s.at, err = parsePath(at)
	}
	if err == nil {
		p.MessageID = append(slices.Clone(p.MessageID), list("sha256:body")...)
		s.element, err = newIdentity(p, bodyAny, "")
	}
	if err != nil {
		return nil, fmt.Errorf("split: %q: %w", text, err)
	}
	return s, nil
}

// Splits implements Splitter.
func (s *source) Splits() bool { return s.splitting != nil }

// Split implements Splitter.
func (s *source) Split(r *Request) ([]hookgate.Part, error) {
	if s.kind.identify == nil {
		if err := checkContentType(r.Header, s.identity.body, s.identity.expected); err != nil {
			return nil, err
		}
	}
	start := -1
	if s.kind.splits == nil || s.kind.splits(r) {
		var err error
		start, err = s.splitting.array(r.content())
		if err != nil && (s.kind.splits != nil || s.identity.body != bodyAny) {
			return nil, err
		}
	}
	if start < 0 {
		m, err := s.Identify(r)
		if err != nil {
			return nil, err
		}
		return []hookgate.Part{partOf(m, span{})}, nil
	}
	id, err := hookgate.ParseRequestID(r.ID)
	if err != nil {
		return nil, err
	}
	spans, err := elements(r.content(), start)
	if err != nil {
		return nil, err
	}
	element := Request{Method: r.Method, Header: r.Header, Query: r.Query, Time: r.Time}
	parts := make([]hookgate.Part, len(spans))
	for i, at := range spans {
		element.ID = id.Part(i).String()
		element.Body = r.content()[at.start:at.end]
		parts[i] = partOf(s.identifyElement(&element), at)
	}
	return parts, nil
}

// identifyElement finds what identifies an element. If its places have no value or an ambiguous
// one, its bytes identify it.
func (s *source) identifyElement(r *Request) Message {
	var m Message
	var err error
	if s.kind.element != nil {
		m, err = s.kind.element(r)
	} else {
		m, err = s.splitting.element.find(r)
	}
	if err != nil {
		return messageOfBody(r)
	}
	return m
}

func partOf(m Message, at span) hookgate.Part {
	return hookgate.Part{EventType: m.EventType, MessageID: m.MessageID, OrderingKey: m.OrderingKey,
		Keyed: m.Keyed, Sequence: m.Sequence, Start: at.start, End: at.end}
}

// array returns the position of the array in the body. It is negative if there is no array, or two.
// An error means that the body is not JSON.
func (s *splitting) array(body []byte) (start int, err error) {
	var f *finder
	if len(s.at) > 0 {
		f = &finder{}
		f.lookFor([]path{s.at}, len(s.at))
	}
	if err := scan(body, true, f); err != nil {
		return -1, err
	}
	switch {
	case f == nil:
		start = len(body) - len(bytes.TrimLeft(bytes.TrimPrefix(body, byteOrderMark), " \t\r\n"))
	case f.ambiguous != 0 || f.spans[0].end == 0:
		return -1, nil
	default:
		start = f.spans[0].start
	}
	if body[start] != '[' {
		return -1, nil
	}
	return start, nil
}

// elements returns the positions of the elements of the array at start, in a scanned body.
func elements(body []byte, start int) (spans []span, err error) {
	s := scanner{data: body, pos: start + 1}
	for {
		c, _ := s.peek()
		switch c {
		case ']':
			return spans, nil
		case ',':
			s.pos++
			continue
		}
		if len(spans) == hookgate.MaxParts {
			return nil, fmt.Errorf("%w: the request has more than %d", ErrTooManyEvents,
				hookgate.MaxParts)
		}
		at := span{start: s.pos}
		if err := s.value(); err != nil {
			return nil, err
		}
		at.end = s.pos
		spans = append(spans, at)
	}
}

// value skips a value of a scanned body.
func (s *scanner) value() error {
	for depth := 0; s.pos < len(s.data); {
		switch c := s.data[s.pos]; c {
		case '"':
			if err := s.string(); err != nil {
				return err
			}
		case '{', '[':
			depth++
			s.pos++
			continue
		case '}', ']':
			if depth == 0 {
				return nil // the array ends after a number or a literal
			}
			depth--
			s.pos++
		case ',', ' ', '\t', '\r', '\n', ':':
			if depth == 0 {
				return nil // the same
			}
			s.pos++
			continue
		default:
			s.pos++
			continue // a number or a literal
		}
		if depth == 0 {
			return nil
		}
	}
	return s.truncated()
}
