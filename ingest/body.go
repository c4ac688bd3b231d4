package ingest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"

	"github.com/hookgate/hookgate/admit"
)

const (
	// firstRead is the size of a new body buffer. A longer one grows with the bytes that have arrived,
	// not with Content-Length.
	firstRead = 4 << 10
	// largeBody is the size from which a buffer is not kept for the next request, and leaves memory to
	// smaller ones.
	largeBody = 64 << 10
)

// readBody reads the whole body into x.
func (h *Handler) readBody(x *exchange, limit int64) *rejection {
	if x.http.ContentLength > limit {
		return tooLarge("body", limit)
	}
	if cap(x.body) > firstRead && !x.authentic && h.guard.Bodies().Crowded() {
		x.body = nil // reserve no more for a stranger than it has sent
	}
	if !h.reserve(x, &x.memory, max(firstRead, int64(cap(x.body)))) {
		return rejectedMemory
	}
	if x.body == nil {
		x.body = make([]byte, 0, firstRead)
	}
	body := x.body[:0]
	var arriving *arrival
	defer func() { arriving.end() }()
	for reads := 0; ; reads++ {
		if arriving == nil && reads > 0 && !x.authentic && (len(body) == cap(body) ||
			cap(body) > firstRead) {
			arriving = newArrival(&h.slowBodies, x.writer)
		}
		if len(body) == cap(body) {
			grown := min(2*int64(cap(body)), limit+1)
			if !h.reserve(x, &x.memory, grown) {
				return rejectedMemory
			}
			body = append(make([]byte, 0, grown), body...)
		}
		n, err := x.http.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		x.body = body
		arriving.received(len(body))
		switch {
		case int64(len(body)) > limit:
			return tooLarge("body", limit)
		case err == io.EOF:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded) && arriving.wasCut():
			return rejectedSlow
		case errors.Is(err, os.ErrDeadlineExceeded):
			return &rejection{status: http.StatusRequestTimeout, text: "the body did not arrive in time"}
		case err != nil:
			return &rejection{status: http.StatusBadRequest,
				text: "the body is truncated or its HTTP framing is malformed", cause: bodyError{err}}
		}
	}
}

// bodyError hides the error of a broken connection, so that errors.Is does not take it for an error
// of Append.
type bodyError struct{ error }

// unpack decompresses the body of an authentic request, to identify it. The store keeps the body as
// it was received.
func (h *Handler) unpack(x *exchange) *rejection {
	gzipped, err := admit.Gzipped(x.input.Header)
	if err != nil {
		return rejectedBy(err)
	}
	if !gzipped {
		return nil
	}
	reader, ok := h.unpackers.Get().(*gzip.Reader)
	if !ok {
		reader = new(gzip.Reader)
	}
	defer h.unpackers.Put(reader)
	if err := reader.Reset(bytes.NewReader(x.body)); err != nil {
		return rejectedGzip
	}
	limit := h.config.MaxUnpackedBytes
	if !h.reserve(x, &x.unpacked, max(firstRead, int64(cap(x.content)))) {
		return rejectedMemory
	}
	content := x.content[:0]
	if content == nil {
		content = make([]byte, 0, firstRead)
	}
	for {
		if len(content) == cap(content) {
			grown := min(2*int64(cap(content)), limit+1)
			if !h.reserve(x, &x.unpacked, grown) {
				return rejectedMemory
			}
			content = append(make([]byte, 0, grown), content...)
		}
		n, err := reader.Read(content[len(content):cap(content)])
		content = content[:len(content)+n]
		x.content = content
		switch {
		case int64(len(content)) > limit:
			return tooLarge("unpacked body", limit)
		case errors.Is(err, io.EOF):
			x.input.Content = content
			return nil
		case err != nil:
			return rejectedGzip
		}
	}
}

// dropContent gives back the memory of the unpacked body.
func (h *Handler) dropContent(x *exchange) {
	h.guard.Bodies().Release(x.unpacked)
	x.content, x.unpacked, x.input.Content = nil, 0, nil
}

// reserve raises the memory that is reserved for a buffer to n bytes. A stranger, who has not
// authenticated itself yet, gets less than others.
func (h *Handler) reserve(x *exchange, reserved *int64, n int64) bool {
	bodies, more := h.guard.Bodies(), n-*reserved
	if x.authentic {
		if !bodies.Reserve(more, n > largeBody) {
			return false
		}
		*reserved = n
		return true
	}
	if bodies.Crowded() {
		h.slowBodies.Cut()
	}
	if !bodies.ReserveForStranger(more, n > largeBody) {
		return false
	}
	*reserved = n
	x.stranger += more
	return true
}

// authenticated notes that the sender has proved who it is.
func (h *Handler) authenticated(x *exchange) {
	x.authentic = true
	h.guard.Bodies().Proved(x.stranger)
	x.stranger = 0
}

func tooLarge(what string, limit int64) *rejection {
	return &rejection{status: http.StatusRequestEntityTooLarge,
		text: what + " is larger than " + strconv.FormatInt(limit, 10) + " bytes"}
}
