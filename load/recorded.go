package load

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hookgate/hookgate"
)

// Recorded is one line of recorded traffic: a request without its authentication.
type Recorded struct {
	// AtMS is when it was received, in milliseconds after the first one.
	AtMS   float64           `json:"atMs"`
	Source string            `json:"source,omitempty"`
	Header []hookgate.Header `json:"header,omitempty"`
	// Body is the body if it is UTF-8; otherwise Base64 is.
	Body   string `json:"body,omitempty"`
	Base64 []byte `json:"base64,omitempty"`
}

// NewRecorded returns the record of a request. It leaves out headers that may contain a secret or a
// signature.
func NewRecorded(at time.Duration, source string, header []hookgate.Header, body []byte) Recorded {
	r := Recorded{AtMS: float64(at.Microseconds()) / 1000, Source: source}
	for _, h := range header {
		if !secretHeader(h.Name) {
			r.Header = append(r.Header, h)
		}
	}
	if utf8.Valid(body) {
		r.Body = string(body)
	} else {
		r.Base64 = body
	}
	return r
}

// StoredEvent is an event that a gate has stored.
type StoredEvent struct {
	ReceivedAt time.Time
	Source     string
	Header     []hookgate.Header
	Body       []byte
}

// Record writes events as recorded traffic, and returns how many it has written. Their order is
// that of the store, so an event that was received before the previous one gets the same time.
func Record(to io.Writer, events iter.Seq2[StoredEvent, error]) (n int, err error) {
	buffered := bufio.NewWriter(to)
	lines := json.NewEncoder(buffered)
	lines.SetEscapeHTML(false)
	var first time.Time
	var at time.Duration
	for e, err := range events {
		if err != nil {
			return n, err
		}
		if n == 0 {
			first = e.ReceivedAt
		}
		at = max(at, e.ReceivedAt.Sub(first))
		if err := lines.Encode(NewRecorded(at, e.Source, e.Header, e.Body)); err != nil {
			return n, fmt.Errorf("write recording: %w", err)
		}
		n++
	}
	return n, buffered.Flush()
}

// secretHeader reports whether a header may contain a secret. If in doubt it says yes.
func secretHeader(name string) bool {
	name = strings.ToLower(name)
	for _, part := range []string{"auth", "cookie", "secret", "signature", "token", "key", "hmac",
		"password", "credential", "session", "jwt"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

func (r *Recorded) gzipped() bool {
	return slices.ContainsFunc(r.Header, func(h hookgate.Header) bool {
		return strings.EqualFold(h.Name, "Content-Encoding") && strings.EqualFold(h.Value, "gzip")
	})
}

// unpack returns a compressed body without its compression.
func unpack(packed []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("has no gzip body: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(r, maxLineBytes+1))
	if err != nil {
		return nil, fmt.Errorf("has no gzip body: %w", err)
	}
	return body, nil // a longer one is rejected
}

// ReadRecorded yields the requests of recorded traffic, due speed times as fast as they were
// received; with speed 0 they have no times. It leaves out headers that the sender sets itself. A
// line that cannot be used is a *LineError, and the last.
func ReadRecorded(r io.Reader, speed float64) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		in := json.NewDecoder(r)
		before := 0.0
		for n := 1; ; n++ {
			var rec Recorded
			err := in.Decode(&rec)
			if err == io.EOF {
				return
			}
			m := Message{Body: rec.Base64}
			switch {
			case err != nil:
			case rec.Body != "" && rec.Base64 != nil:
				err = errors.New("has two bodies")
			case rec.AtMS < before:
				err = fmt.Errorf("is at %g ms, earlier than the previous one", rec.AtMS)
			case rec.Base64 == nil:
				m.Body = []byte(rec.Body)
			}
			if err == nil && rec.gzipped() {
				m.Gzip = m.Body
				m.Body, err = unpack(m.Gzip)
			}
			if err != nil {
				yield(Message{}, &LineError{Line: n, Err: err})
				return
			}
			before = rec.AtMS
			if speed > 0 {
				m.At = time.Duration(rec.AtMS / speed * float64(time.Millisecond))
			}
			for _, h := range rec.Header {
				if !isOwn(h.Name) {
					m.Header = append(m.Header, h)
				}
			}
			if !yield(m, nil) {
				return
			}
		}
	}
}
