package ingest

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/jsontext"
	"github.com/hookgate/hookgate/internal/metrics"
)

const (
	webhookPath   = httpserver.WebhookPath
	webhookPrefix = webhookPath + "/"

	// firstRead is the size of a fresh body buffer. A longer one grows with what has arrived,
	// whatever Content-Length promises.
	firstRead = 4 << 10
	// largeBody is the size beyond which a body's buffer is not kept for another, and has to leave
	// memory to smaller ones.
	largeBody = 64 << 10
)

// exchange is what one delivery needs, kept for the next one.
type exchange struct {
	request  admit.Request
	delivery hookgate.Request
	parts    []hookgate.Part // of a source that divides its requests
	body     []byte
	content  []byte // room for the body without its Content-Encoding
	answer   []byte
	// memory is what the body has reserved of guard.Bodies, unpacked what content has, listed what
	// parts have, and inFlight whether it has a place in flight.
	memory, unpacked, listed int64
	// strange is how much of memory was reserved before the sender has proved who it is.
	strange int64
	// writer is the answer's, by which the arrival of the body can be ended.
	writer   http.ResponseWriter
	inFlight bool
	source   *servedSource // nil if there is none at the path
	// authentic says that the sender has proved who it is. Only then is an error the gate's.
	authentic bool
	greeting  *admit.Answer // set if the request was a handshake
}

// refusal is a status that ends a delivery, with what the sender is told and what the log is.
type refusal struct {
	status int
	told   string
	cause  error // nil if the log needs no more than told
	retry  bool
	// reason is the label of the metrics; the status has one if it is empty.
	reason string
	// class is what it is counted by for its source, if that is not told.
	class string
	after string // Retry-After, if it is not that of all
	allow string // Allow, of a status that has it
}

// logged returns what the log says of a refusal.
func (r *refusal) logged() httpserver.Rejection {
	return httpserver.Rejection{Status: r.status, Text: r.told, Cause: r.cause}
}

var (
	refusedMethod = &refusal{status: http.StatusMethodNotAllowed,
		told: "webhooks are sent with POST", allow: "POST, HEAD"}
	refusedSource   = &refusal{status: http.StatusNotFound, told: "no such source"}
	refusedAddress  = &refusal{status: http.StatusForbidden, told: "not from this address"}
	refusedReadOnly = &refusal{status: http.StatusServiceUnavailable,
		told: "maintenance: the gate takes no webhooks now", retry: true, reason: metrics.ReasonReadOnly}
	refusedOverload = &refusal{status: http.StatusServiceUnavailable,
		told: "overload: the gate takes no more webhooks until it has caught up", retry: true,
		reason: metrics.ReasonBreaker}
	refusedBusy = &refusal{status: http.StatusServiceUnavailable,
		told: "too many webhooks at a time", retry: true, reason: metrics.ReasonInFlight}
	refusedFull = &refusal{status: http.StatusServiceUnavailable, told: "the queue is full",
		retry: true, reason: metrics.ReasonQueueFull}
	refusedMemory = &refusal{status: http.StatusServiceUnavailable,
		told: "too many bodies at a time", retry: true, reason: metrics.ReasonBodyMemory}
	refusedSlow = &refusal{status: http.StatusServiceUnavailable,
		told: "the body arrives too slowly while many others arrive", retry: true,
		reason: metrics.ReasonBodyMemory}
)

// jsonType is shared by all answers and must not be modified.
var jsonType = []string{"application/json"}

// ingest takes one delivery. It authenticates before it reads the body, as far as the header
// allows, and before it parses anything; and it answers 202 only after Append has returned without
// an error.
func (h *Handler) ingest(w http.ResponseWriter, r *http.Request, id hookgate.RequestID,
	idText string, received time.Time) (status int) {
	x := h.exchanges.Get().(*exchange)
	x.writer = w
	settled := false
	defer func() {
		if !settled && x.authentic { // a panic
			h.guard.Failed()
		}
	}()
	receipt, refused := h.accept(x, r, id, idText, received)
	settled = true
	if refused != nil {
		status = h.refuse(w, r, x, idText, refused)
		h.recycle(x)
		return status
	}
	header := w.Header()
	header["Content-Type"] = jsonType
	if x.greeting != nil {
		x.source.counts.handshakes.Add(1)
		h.refusals.Info("handshake answered", "request_id", idText, "source", x.source.Name,
			"method", r.Method, "remote", r.RemoteAddr)
		delete(header, "Content-Type")
		status = writeAnswer(w, x.greeting)
		if x.authentic { // else a stranger could make a source look alive, or its refusals few
			h.answered(x, status)
		}
		h.recycle(x)
		return status
	}
	d := &x.delivery
	if x.source.splitter == nil {
		h.metrics.Accepted(d.EventType, receipt.Duplicate())
		x.source.count(1, receipt.Duplicate(), received)
	} else {
		for i := range x.parts {
			h.metrics.Accepted(x.parts[i].EventType, receipt.Duplicate())
		}
		x.source.count(len(x.parts), receipt.Duplicate(), received)
	}
	if h.log.Enabled(r.Context(), slog.LevelDebug) {
		h.log.Debug("accepted", "request_id", idText, "event", d.Identity.String(), "partition",
			receipt.Partition, "duplicate", receipt.Duplicate())
	}
	success := x.source.Success
	h.answered(x, cmp.Or(success.Status, http.StatusAccepted))
	if success.Status != 0 {
		h.recycle(x)
		return writeSuccess(w, success)
	}
	if x.source.splitter == nil {
		x.answer = appendAccepted(x.answer[:0], d.MessageID, noCount, idText, receipt,
			time.Since(received))
	} else {
		first := ""
		if len(x.parts) > 0 {
			first = x.parts[0].MessageID
		}
		x.answer = appendAccepted(x.answer[:0], first, len(x.parts), idText, receipt,
			time.Since(received))
	}
	w.WriteHeader(http.StatusAccepted)
	w.Write(x.answer) // a sender that is gone will repeat the event, and it will be a duplicate
	h.recycle(x)
	return http.StatusAccepted
}

// refuse answers a delivery that is not taken.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, x *exchange, idText string,
	refused *refusal) (status int) {
	header := w.Header()
	switch {
	case refused.after != "":
		header["Retry-After"] = []string{refused.after}
	case refused.retry:
		header["Retry-After"] = h.retryAfter
	}
	if x.source != nil {
		x.source.counts.refused.Add(1)
		x.source.refusals.count(refused)
	}
	// A mode is somebody's wish, and a stranger must not be able to make errors.
	if refused.status >= 500 && refused != refusedReadOnly && x.authentic {
		h.guard.Failed()
	}
	switch refused.status {
	case http.StatusUnauthorized:
		header["Www-Authenticate"] = []string{"Bearer"}
	case http.StatusMethodNotAllowed:
		header["Allow"] = []string{refused.allow}
	}
	if refused == refusedSource {
		h.LogStray(r, idText, refused.status, refused.told)
	} else {
		h.refusals.Log(r, idText, refused.logged())
	}
	h.metrics.Refused(refused.reason, refused.status)
	h.answered(x, refused.status)
	httpserver.WriteError(w, refused.status, refused.told, idText)
	return refused.status
}

// accept does everything up to the Append. The delivery is in x afterwards, or the answer to a
// handshake. The rate of a source and places in flight are counted after authentication, so that
// strangers cannot use them up.
func (h *Handler) accept(x *exchange, r *http.Request, id hookgate.RequestID, idText string,
	received time.Time) (hookgate.Receipt, *refusal) {
	defer h.leave(x) // a panic in a Scheme or in the queue must not keep the memory counted for ever
	var receipt hookgate.Receipt
	x.greeting = nil
	source := h.sources[r.URL.Path]
	x.source = source
	switch {
	case source == nil:
		return receipt, refusedSource
	case !h.allows(source, r):
		return receipt, refusedAddress
	case !slices.Contains(source.methods, r.Method):
		return receipt, source.refusedMethod()
	case r.Method == http.MethodHead:
		x.greeting = headAnswer
		return receipt, nil
	case h.config.Mode() == control.ModeReadOnly:
		return receipt, refusedReadOnly
	}
	x.request = requestOf(r, idText, received)
	var refused *refusal
	if x.greeting, refused = source.greet(&x.request); x.greeting != nil || refused != nil {
		return receipt, refused
	}
	if err := source.Scheme.CheckHeader(&x.request); err != nil {
		if x.greeting = h.ping(x, r); x.greeting != nil {
			return receipt, nil
		}
		return receipt, refusedBy(err)
	}
	x.authentic = admit.ProvenByHeader(source.Scheme, &x.request)
	overload := h.overload()
	if overload != nil && (x.authentic || !h.judged.Allow()) {
		return receipt, overload
	}
	if refused := h.readBody(x, r, source.MaxBodyBytes); refused != nil {
		return receipt, refused
	}
	began := time.Now()
	x.request.Body = x.body
	if err := source.Scheme.Authenticate(&x.request); err != nil {
		return receipt, refusedBy(err)
	}
	h.proved(x)
	source.use(x.request.Credential, received)
	if overload != nil {
		return receipt, overload
	}
	// From here on, because a sender that is slow with its body is no load, and a stranger must take
	// no place.
	if x.inFlight = h.guard.Enter(); !x.inFlight {
		return receipt, refusedBusy
	}
	if x.greeting, refused = source.reply(&x.request); x.greeting != nil || refused != nil {
		return receipt, refused
	}
	if wait, over := source.overRate(received); over {
		return receipt, refusedRate(wait)
	}
	if refused := h.unpack(x); refused != nil {
		return receipt, refused
	}
	if refused := h.identify(x); refused != nil {
		return receipt, refused
	}
	d := &x.delivery
	d.RequestID, d.Body, d.RemoteAddr, d.ReceivedAt = id, x.body, r.RemoteAddr,
		received.Truncate(time.Microsecond)
	d.TypeUnproven = source.typeUnproven
	d.Headers = keptHeaders(r.Header, source.KeepHeaders, x.request.Content != nil)
	if source.splitter != nil {
		if len(x.parts) == 0 {
			return receipt, nil // an empty array: there is nothing to keep
		}
		d.Headers = withEncoding(d.Headers, x.request.Content != nil)
	}
	appending := time.Now()
	receipt, err := h.queue.Append(r.Context(), &x.delivery)
	now := time.Now()
	h.metrics.Appended(now.Sub(appending), err)
	switch {
	case err == nil:
		h.guard.Accepted(now.Sub(began))
		return receipt, nil
	case errors.Is(err, hookgate.ErrFull):
		return receipt, refusedFull
	default:
		return receipt, &refusal{status: http.StatusServiceUnavailable,
			told: "the event cannot be made durable now", cause: err, retry: true}
	}
}

// partBytes is about what an event of a request of several takes in memory, beside its bytes.
const partBytes = 512

// identify finds the identity of an authentic request, or those of its events.
func (h *Handler) identify(x *exchange) *refusal {
	source := x.source
	if source.splitter == nil {
		m, err := source.Scheme.Identify(&x.request)
		if err != nil {
			return refusedBy(err)
		}
		x.delivery = hookgate.Request{
			Identity: hookgate.Identity{Source: source.Name, EventType: m.EventType,
				MessageID: m.MessageID},
			OrderingKey: m.OrderingKey,
			Keyed:       m.Keyed,
			Sequence:    m.Sequence,
		}
		return nil
	}
	var err error
	if x.parts, err = source.splitter.Split(&x.request); err != nil {
		return refusedBy(err)
	}
	if !h.reserve(x, &x.listed, partBytes*int64(len(x.parts))) {
		return refusedMemory
	}
	x.delivery = hookgate.Request{TypeUnproven: source.typeUnproven}
	if len(x.parts) > 0 {
		x.delivery.SetParts(source.Name, x.parts)
	}
	return nil
}

// judgedPerSecond is how many requests a second the gate authenticates although it will refuse them
// for overload. They tell the guard's error rate of senders that only their body proves.
const judgedPerSecond = 10

// overload returns how the gate refuses webhooks now, before their bodies; nil if it takes them.
func (h *Handler) overload() *refusal {
	switch {
	case !h.guard.Admit():
		return refusedOverload
	case h.guard.Busy():
		return refusedBusy
	}
	return nil
}

// requestOf is what a Scheme may see of a request whose body has not been read.
func requestOf(r *http.Request, idText string, received time.Time) admit.Request {
	return admit.Request{
		Method: r.Method, Header: r.Header, Query: r.URL.RawQuery,
		Slash: strings.HasSuffix(r.URL.Path, "/"), ID: idText, Time: received,
	}
}

// refusedBy maps an error of a Scheme.
func refusedBy(err error) *refusal {
	var malformed *admit.MalformedError
	switch {
	case errors.Is(err, admit.ErrUnauthenticated):
		return &refusal{status: http.StatusUnauthorized, told: "not authenticated", cause: err,
			class: classOf(err)}
	case errors.Is(err, admit.ErrUnavailable):
		return &refusal{status: http.StatusServiceUnavailable, told: "the sender cannot be verified now",
			cause: err, retry: true}
	case errors.Is(err, admit.ErrTooManyEvents):
		return &refusal{status: http.StatusRequestEntityTooLarge, told: err.Error()}
	case errors.Is(err, admit.ErrUnsupportedMediaType):
		return &refusal{status: http.StatusUnsupportedMediaType, told: err.Error()}
	case errors.As(err, &malformed):
		return &refusal{status: http.StatusBadRequest, told: malformed.Error(), class: malformed.Class()}
	default:
		return &refusal{status: http.StatusInternalServerError,
			told: "the gate cannot judge this request; its log has the reason", cause: err}
	}
}

// readBody reads the whole body into x.
func (h *Handler) readBody(x *exchange, r *http.Request, limit int64) *refusal {
	if r.ContentLength > limit {
		return tooLarge(limit)
	}
	if cap(x.body) > firstRead && !x.authentic && h.guard.Bodies().Crowded() {
		x.body = nil // a stranger gets no more than it has sent
	}
	if !h.reserve(x, &x.memory, max(firstRead, int64(cap(x.body)))) {
		return refusedMemory
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
				return refusedMemory
			}
			body = append(make([]byte, 0, grown), body...)
		}
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		x.body = body
		arriving.received(len(body))
		switch {
		case int64(len(body)) > limit:
			return tooLarge(limit)
		case err == io.EOF:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded) && arriving.wasCut():
			return refusedSlow
		case errors.Is(err, os.ErrDeadlineExceeded):
			return &refusal{status: http.StatusRequestTimeout, told: "the body did not arrive in time"}
		case err != nil:
			return &refusal{status: http.StatusBadRequest, told: "body is truncated or not framed as HTTP",
				cause: errBody{err}}
		}
	}
}

// reserve makes what a buffer has of the memory for bodies n bytes.
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
	x.strange += more
	return true
}

// proved notes that the sender has proved who it is.
func (h *Handler) proved(x *exchange) {
	x.authentic = true
	h.guard.Bodies().Proved(x.strange)
	x.strange = 0
}

// leave gives back what a delivery held in the guard.
func (h *Handler) leave(x *exchange) {
	h.guard.Bodies().Proved(x.strange)
	x.strange = 0
	h.guard.Bodies().Release(x.memory + x.unpacked + x.listed)
	x.memory, x.unpacked, x.listed = 0, 0, 0
	if x.inFlight {
		x.inFlight = false
		h.guard.Leave()
	}
}

// answered counts an answer for the source that it belongs to.
func (h *Handler) answered(x *exchange, status int) {
	if x.source != nil {
		x.source.answered.Count(status)
	}
}

// errBody hides what a broken connection's error is, so that it is not taken for one of Append.
type errBody struct{ error }

func tooLarge(limit int64) *refusal {
	return &refusal{status: http.StatusRequestEntityTooLarge, told: "body is larger than " +
		strconv.FormatInt(limit, 10) + " bytes"}
}

// keptHeaders returns the headers of these names, and of a compressed body what it is compressed
// with.
func keptHeaders(h http.Header, names []string, compressed bool) (kept []hookgate.Header) {
	if compressed && !slices.Contains(names, "Content-Encoding") {
		kept = append(kept, hookgate.Header{Name: "Content-Encoding", Value: "gzip"})
	}
	for _, name := range names {
		for _, value := range h[name] {
			kept = append(kept, hookgate.Header{Name: name, Value: value})
		}
	}
	return kept
}

// withEncoding returns headers with a Content-Encoding if the body is compressed, and without it if
// not: the store unpacks by it what a request of several events carries.
func withEncoding(headers []hookgate.Header, compressed bool) []hookgate.Header {
	headers = slices.DeleteFunc(headers,
		func(h hookgate.Header) bool { return h.Name == "Content-Encoding" })
	if compressed {
		headers = append(headers, hookgate.Header{Name: "Content-Encoding", Value: "gzip"})
	}
	return headers
}

// recycle keeps x for the next delivery, unless its buffer has become large.
func (h *Handler) recycle(x *exchange) {
	if cap(x.body) > largeBody {
		return
	}
	if cap(x.content) > largeBody {
		x.content = nil
	}
	x.delivery, x.request, x.greeting, x.source, x.parts = hookgate.Request{}, admit.Request{}, nil,
		nil, nil
	x.authentic, x.writer = false, nil
	h.exchanges.Put(x)
}

// noCount is the number of events of a source whose requests are one event each.
const noCount = -1

// appendAccepted appends the JSON of a 202.
func appendAccepted(dst []byte, messageID string, events int, requestID string,
	receipt hookgate.Receipt, took time.Duration) []byte {
	dst = append(dst, `{"status":"accepted","messageId":`...)
	dst = jsontext.AppendString(dst, messageID)
	if events != noCount {
		dst = append(dst, `,"events":`...)
		dst = strconv.AppendInt(dst, int64(events), 10)
	}
	dst = append(dst, `,"requestId":"`...)
	dst = append(dst, requestID...)
	dst = append(dst, `","jobId":"`...)
	dst = strconv.AppendInt(dst, int64(receipt.Partition), 10)
	dst = append(dst, ':')
	dst = receipt.Position.Append(dst)
	dst = append(dst, `","queue":"webhooks","latency_ms":`...)
	dst = strconv.AppendFloat(dst, float64(took.Microseconds())/1000, 'f', 3, 64)
	if receipt.Duplicate() {
		dst = append(dst, `,"note":"duplicate_detected","firstRequestId":"`...)
		dst = append(dst, receipt.DuplicateOf.String()...)
		dst = append(dst, '"')
	}
	return append(dst, "}\n"...)
}
