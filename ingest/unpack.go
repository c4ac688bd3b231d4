package ingest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/hookgate/hookgate/admit"
)

// unpack decompresses the body of an authentic request for identification; what is kept is the body
// as it came. The memory counts as that of a body does.
func (h *Handler) unpack(x *exchange) *refusal {
	gzipped, err := admit.Gzipped(x.request.Header)
	if err != nil {
		return refusedBy(err)
	}
	if !gzipped {
		return nil
	}
	source := bytes.NewReader(x.body)
	reader, ok := h.unpackers.Get().(*gzip.Reader)
	if !ok {
		reader = new(gzip.Reader)
	}
	defer h.unpackers.Put(reader)
	if err := reader.Reset(source); err != nil {
		return refusedGzip
	}
	limit := h.config.MaxUnpackedBytes
	if !h.reserve(x, &x.unpacked, max(firstRead, int64(cap(x.content)))) {
		return refusedMemory
	}
	content := x.content[:0]
	if content == nil {
		content = make([]byte, 0, firstRead)
	}
	for {
		if len(content) == cap(content) {
			grown := min(2*int64(cap(content)), limit+1)
			if !h.reserve(x, &x.unpacked, grown) {
				return refusedMemory
			}
			content = append(make([]byte, 0, grown), content...)
		}
		n, err := reader.Read(content[len(content):cap(content)])
		content = content[:len(content)+n]
		x.content = content
		switch {
		case int64(len(content)) > limit:
			return &refusal{status: http.StatusRequestEntityTooLarge,
				told: "unpacked body is larger than " + strconv.FormatInt(limit, 10) + " bytes"}
		case errors.Is(err, io.EOF):
			x.request.Content = content
			return nil
		case err != nil:
			return refusedGzip
		}
	}
}

var refusedGzip = &refusal{status: http.StatusBadRequest,
	told: "body is not what gzip makes, though its Content-Encoding says so"}
