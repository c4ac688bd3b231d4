package ingest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/release/canary"
)

// share gives a delivery to the gate or to the upstream.
//
//	percent                 0                100                          between
//	                        │                 │                              │
//	                        │                 │     look: source, POST, header, body, credentials, identity
//	                        ▼                 ▼       │ cannot be told now        │ not ours        │ ours and the key below percent
//	                     upstream           ingest   503, 408, 400            upstream           ingest
//
// The gate takes what it can authenticate and identify and whose ordering key is in its share.
// Everything else goes to the upstream, which is the authority as long as it takes part: what the
// gate would refuse because of a wrong setting of its own must not be lost to a canary.
func (h *Handler) share(w http.ResponseWriter, r *http.Request, id hookgate.RequestID, idText string,
	received time.Time) (status int) {
	if climbs(r.URL.Path) {
		return h.turnAway(w, r, idText)
	}
	// once, so that a change meanwhile does not give one delivery to both or to none
	percent := h.canary.Percent()
	switch {
	case percent >= 100:
		return h.take(w, r, id, idText, received)
	case percent <= 0:
		return h.pass(w, r, idText, metrics.PassedShare)
	}
	x, done := h.exchanges.Get().(*exchange), false
	defer func() {
		if h.leave(x); done {
			h.recycle(x)
		}
	}()
	x.writer = w
	key, refused := h.look(x, r, idText, received)
	switch {
	case refused != nil && undecided(refused):
		status, done = h.refuse(w, r, x, idText, refused), true
		h.metrics.Shared(metrics.SideGate, status)
		return status
	case refused == nil && control.CanaryIncludes(key, percent):
		// What follows looks at everything once more: twice the work for a share of the deliveries during
		// a canary, for which nothing on the way of all others has to know of it.
		r.Body = io.NopCloser(bytes.NewReader(x.body))
		h.dropContent(x)
		status, done = h.take(w, r, id, idText, received), true
		return status
	}
	h.dropContent(x)
	if len(x.body) > 0 {
		r.Header.Del("Expect") // the sender has been told to go on
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(x.body), r.Body), r.Body}
	}
	// x is not kept for another: the connection to the upstream may read from its body for a moment
	// after it has the answer.
	if refused == nil {
		return h.pass(w, r, idText, metrics.PassedShare)
	}
	h.unshared.Log(r, idText, refused.logged())
	return h.pass(w, r, idText, h.metrics.Reason(refused.reason, refused.status))
}

// take lets the gate take a delivery.
func (h *Handler) take(w http.ResponseWriter, r *http.Request, id hookgate.RequestID, idText string,
	received time.Time) (status int) {
	status = h.ingest(w, r, id, idText, received)
	h.metrics.Shared(metrics.SideGate, status)
	if status < 300 {
		h.canary.Accepted()
	}
	return status
}

// turnAway answers a delivery whose path names something else than webhooks.
func (h *Handler) turnAway(w http.ResponseWriter, r *http.Request, idText string) (status int) {
	x := h.exchanges.Get().(*exchange)
	defer h.recycle(x)
	x.source = nil
	status = h.refuse(w, r, x, idText, refusedSource)
	h.metrics.Shared(metrics.SideGate, status)
	return status
}

// maxDecodings is how many more times than once a path is decoded in search of dots. Some upstreams
// decode twice.
const maxDecodings = 4

// climbs reports whether a path, in whatever the upstream takes for a separator and however often
// it decodes, leads out of the folder of webhooks: a request must not reach other paths of the
// upstream.
func climbs(path string) bool {
	for range maxDecodings {
		if hasDots(path) {
			return true
		}
		decoded := decodeOnce(path)
		if decoded == path {
			return false
		}
		path = decoded
	}
	return true // no sender encodes a path so often
}

// overlong are encodings of a dot and of separators that are no UTF-8 and that some decoders take.
var overlong = strings.NewReplacer("\xc0\xae", ".", "\xc0\xaf", "/", "\xc1\x9c", "\\",
	"\xe0\x80\xae", ".", "\xe0\x80\xaf", "/")

// hasDots reports whether a segment of a path is "..", up to what some upstreams cut off.
func hasDots(path string) bool {
	if strings.IndexByte(path, 0xc0) >= 0 || strings.IndexByte(path, 0xc1) >= 0 ||
		strings.IndexByte(path, 0xe0) >= 0 {
		path = overlong.Replace(path)
	}
	if !strings.Contains(path, "..") {
		return false
	}
	for segment := range strings.FieldsFuncSeq(path, func(c rune) bool {
		return c == '/' ||
			c == '\\'
	}) {
		end := strings.IndexFunc(segment, func(c rune) bool { return c != '.' && c != ' ' })
		if end < 0 {
			end = len(segment)
		}
		ends := end == len(segment) || segment[end] == ';' || segment[end] < 0x20 || segment[end] == 0x7f
		if ends && strings.Trim(segment[:end], " ") == ".." {
			return true
		}
	}
	return false
}

// decodeOnce decodes what is encoded with a percent sign, and leaves what only looks so.
func decodeOnce(path string) string {
	i := strings.IndexByte(path, '%')
	if i < 0 {
		return path
	}
	decoded := []byte(path[:i])
	for ; i < len(path); i++ {
		if path[i] == '%' && i+2 < len(path) {
			if c, err := hex.DecodeString(path[i+1 : i+3]); err == nil {
				decoded = append(decoded, c[0])
				i += 2
				continue
			}
		}
		decoded = append(decoded, path[i])
	}
	return string(decoded)
}

// dropContent gives back what a delivery has been unpacked to.
func (h *Handler) dropContent(x *exchange) {
	h.guard.Bodies().Release(x.unpacked)
	x.content, x.unpacked, x.request.Content = nil, 0, nil
}

// look finds out whose a delivery is: its ordering key, or why the gate would refuse it. What has
// been read of the body is in x afterwards. It has no effect: the rate, handshakes and places in
// flight are for what the gate takes.
func (h *Handler) look(x *exchange, r *http.Request, idText string, received time.Time) (key string,
	refused *refusal) {
	x.body = x.body[:0]
	source := h.sources[r.URL.Path]
	x.source = source
	switch {
	case source == nil:
		return "", refusedSource
	case !h.allows(source, r):
		return "", refusedAddress
	case r.Method != http.MethodPost:
		return "", refusedMethod
	}
	x.request = requestOf(r, idText, received)
	if err := source.Scheme.CheckHeader(&x.request); err != nil {
		return "", refusedBy(err)
	}
	x.authentic = admit.ProvenByHeader(source.Scheme, &x.request)
	if refused := h.readBody(x, r, source.MaxBodyBytes); refused != nil {
		return "", refused
	}
	x.request.Body = x.body
	if err := source.Scheme.Authenticate(&x.request); err != nil {
		return "", refusedBy(err)
	}
	h.proved(x)
	if refused := h.unpack(x); refused != nil {
		return "", refused
	}
	if refused := h.identify(x); refused != nil {
		return "", refused
	}
	if source.splitter != nil {
		return source.Name, nil // its events go one way
	}
	return x.delivery.OrderingKey, nil
}

// undecided reports whether a refusal says that a delivery could not be looked at now, or never
// will be because its sender does not send it. To pass it on could split its key; to refuse it
// makes the sender repeat it.
func undecided(refused *refusal) bool {
	var cut errBody
	return refused.status == http.StatusServiceUnavailable ||
		refused.status == http.StatusRequestTimeout || errors.As(refused.cause, &cut)
}

// pass sends a delivery to the upstream and its answer back.
func (h *Handler) pass(w http.ResponseWriter, r *http.Request, idText, reason string) (status int) {
	began := time.Now()
	outcome := h.canary.Forward(w, r)
	h.metrics.Passed(reason, outcome, time.Since(began))
	if outcome.Failure == "" {
		return outcome.Status
	}
	failed := &refusal{status: outcome.Status, told: "passed on: " + string(outcome.Failure),
		cause: outcome.Err}
	h.failedPasses.Log(r, idText, failed.logged())
	if outcome.Partial {
		panic(http.ErrAbortHandler) // else the sender would take what it has for the whole answer
	}
	if outcome.Failure != canary.Sender {
		w.Header()["Retry-After"] = h.retryAfter
	}
	httpserver.WriteError(w, outcome.Status, toldOf[outcome.Failure], idText)
	return outcome.Status
}

// toldOf is what the sender is told when the upstream has not answered.
var toldOf = map[canary.Failure]string{
	canary.Unreachable: "the service behind the gate cannot be reached now",
	canary.TimedOut:    "the service behind the gate does not answer in time",
	canary.Broken:      "the service behind the gate broke the connection off",
	canary.Busy:        "too many webhooks at a time for the service behind the gate",
	canary.Sender:      "the body did not arrive",
}
