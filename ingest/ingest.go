package ingest

import (
	"cmp"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/jsontext"
)

// exchange is the state of one request. A pool keeps it for the next one.
type exchange struct {
	writer http.ResponseWriter
	http   *http.Request
	info   httpserver.Request

	source  *servedSource // nil if no source has the path
	input   admit.Request // for the Scheme
	body    []byte
	content []byte // the body without its Content-Encoding
	// greeting is the answer to a request that is a handshake and no event.
	greeting *admit.Answer
	request  hookgate.Request // for the queue
	parts    []hookgate.Part  // of a source that splits its requests
	kept     []hookgate.Header
	answer   []byte

	// authentic is true once the sender has proved who it is. Only from then on is an error the
	// gate's.
	authentic bool
	// overload is the reason why the gate takes no webhooks now; nil if it does.
	overload *rejection
	// began is when the body had arrived.
	began time.Time

	// The resources of the guard that the request holds: a place in flight, and bytes for body,
	// content and parts.
	inFlight                 bool
	memory, unpacked, listed int64
	// stranger is the part of memory that was reserved before the request was authentic.
	stranger int64
}

// begin takes an exchange from the pool.
func (h *Handler) begin(w http.ResponseWriter, r *http.Request, q httpserver.Request) *exchange {
	x := h.exchanges.Get().(*exchange)
	x.writer, x.http, x.info, x.body = w, r, q, x.body[:0]
	return x
}

// recycle returns x to the pool. x must not be used after that.
func (h *Handler) recycle(x *exchange) {
	if cap(x.body) > largeBody {
		return
	}
	if cap(x.content) > largeBody {
		x.content = nil
	}
	x.request, x.input, x.greeting, x.source, x.parts = hookgate.Request{}, admit.Request{}, nil,
		nil, nil
	clear(x.kept) // it refers to the request's header
	x.authentic, x.overload, x.writer, x.http = false, nil, nil, nil
	h.exchanges.Put(x)
}

// ingest handles a webhook that the gate takes.
func (h *Handler) ingest(w http.ResponseWriter, r *http.Request,
	q httpserver.Request) (status int) {
	x := h.begin(w, r, q)
	status = h.finish(x, (*Handler).accept)
	h.recycle(x)
	return status
}

// accept admits a request and commits its events. It answers nothing. x has a greeting afterwards
// if the request was a handshake.
func (h *Handler) accept(x *exchange) (receipt hookgate.Receipt, rejected *rejection) {
	defer h.release(x) // also if a Scheme or the queue panics
	if rejected = h.admit(x, true); rejected != nil || x.greeting != nil {
		return receipt, rejected
	}
	return h.commit(x)
}

// admit does everything that precedes the queue: it authenticates the request and finds its events.
// It checks the header before it reads the body, and authenticates before it parses anything.
//
//	source ─► [greet] ─► header ─► [overload] ─► body, signature ─► [enter] ─► identity
//
// The steps in brackets have effects or depend on the load of the gate. admit skips them unless the
// gate takes the request: during a canary that depends on the identity, so take does them later.
func (h *Handler) admit(x *exchange, taken bool) *rejection {
	source := h.sources[x.http.URL.Path]
	x.source, x.greeting = source, nil
	switch {
	case source == nil:
		return rejectedSource
	case !h.allows(source, x.http):
		return rejectedAddress
	case !taken && x.http.Method != http.MethodPost:
		return rejectedMethod
	}
	x.input = schemeRequest(x)
	if taken {
		if rejected := h.greet(x); rejected != nil || x.greeting != nil {
			return rejected
		}
	}
	if err := source.Scheme.CheckHeader(&x.input); err != nil {
		if taken {
			if x.greeting = h.ping(x); x.greeting != nil {
				return nil
			}
		}
		return rejectedBy(err)
	}
	x.authentic = admit.ProvenByHeader(source.Scheme, &x.input)
	if taken {
		// Some requests are authenticated although the gate is overloaded. They tell the guard's error
		// rate of senders that only their body proves.
		x.overload = h.overloaded()
		if x.overload != nil && (x.authentic || !h.sampled.Allow()) {
			return x.overload
		}
	}
	if rejected := h.readBody(x, source.MaxBodyBytes); rejected != nil {
		return rejected
	}
	x.began = time.Now()
	x.input.Body = x.body
	if err := source.Scheme.Authenticate(&x.input); err != nil {
		return rejectedBy(err)
	}
	h.authenticated(x)
	if taken {
		if rejected := h.enter(x); rejected != nil || x.greeting != nil {
			return rejected
		}
	}
	if rejected := h.unpack(x); rejected != nil {
		return rejected
	}
	return h.identify(x)
}

// greet answers requests that are no events before their header is checked: HEAD, and handshakes
// without a body. It rejects wrong methods, and everything else while the mode is read_only.
func (h *Handler) greet(x *exchange) (rejected *rejection) {
	switch {
	case !slices.Contains(x.source.methods, x.http.Method):
		return x.source.rejectedMethod()
	case x.http.Method == http.MethodHead:
		x.greeting = headAnswer
		return nil
	case h.config.Mode() == control.ModeReadOnly:
		return rejectedReadOnly
	}
	x.greeting, rejected = x.source.greet(&x.input)
	return rejected
}

// overloaded returns the reason why the gate takes no webhooks now; nil if it takes them.
func (h *Handler) overloaded() *rejection {
	switch {
	case !h.guard.Admit():
		return rejectedOverload
	case h.guard.Busy():
		return rejectedBusy
	}
	return nil
}

// enter takes a place in flight and one request of the source's rate. It answers handshakes that
// come like an event. It is called for authentic requests only, so that nobody else can use these
// up, and after the body has arrived, because a slow sender is no load.
func (h *Handler) enter(x *exchange) (rejected *rejection) {
	x.source.use(x.input.Credential, x.info.Received)
	if x.overload != nil {
		return x.overload
	}
	if x.inFlight = h.guard.Enter(); !x.inFlight {
		return rejectedBusy
	}
	if x.greeting, rejected = x.source.reply(&x.input); x.greeting != nil || rejected != nil {
		return rejected
	}
	if wait, over := x.source.overRate(x.info.Received); over {
		return rejectedRate(wait)
	}
	return nil
}

// partBytes is about what an event of a request with several takes in memory, beside its bytes.
const partBytes = 512

// identify finds the identity of an authentic request, or those of its events.
func (h *Handler) identify(x *exchange) *rejection {
	source := x.source
	if source.splitter == nil {
		m, err := source.Scheme.Identify(&x.input)
		if err != nil {
			return rejectedBy(err)
		}
		x.request = hookgate.Request{
			Identity: hookgate.Identity{Source: source.Name, EventType: m.EventType,
				MessageID: m.MessageID},
			OrderingKey: m.OrderingKey,
			Keyed:       m.Keyed,
			Sequence:    m.Sequence,
		}
		return nil
	}
	var err error
	if x.parts, err = source.splitter.Split(&x.input); err != nil {
		return rejectedBy(err)
	}
	if !h.reserve(x, &x.listed, partBytes*int64(len(x.parts))) {
		return rejectedMemory
	}
	x.request = hookgate.Request{}
	if len(x.parts) > 0 {
		x.request.SetParts(source.Name, x.parts)
	}
	return nil
}

// commit appends an admitted request to the queue. After it has returned without an error the
// request survives a crash, and may be answered with 202.
func (h *Handler) commit(x *exchange) (receipt hookgate.Receipt, rejected *rejection) {
	source := x.source
	d := &x.request
	d.RequestID, d.Body, d.RemoteAddr = x.info.ID, x.body, x.http.RemoteAddr
	d.ReceivedAt = x.info.Received.Truncate(time.Microsecond)
	d.TypeUnproven = source.typeUnproven
	x.kept = source.appendKept(x.kept[:0], x.http.Header, x.input.Content != nil)
	d.Headers = x.kept
	if source.splitter != nil {
		if len(x.parts) == 0 {
			return receipt, nil // an empty array: there is nothing to store
		}
		d.Headers = withEncoding(d.Headers, x.input.Content != nil)
	}
	appending := time.Now()
	receipt, err := h.config.Queue.Append(x.http.Context(), d)
	now := time.Now()
	h.metrics.Appended(now.Sub(appending), err)
	switch {
	case err == nil:
		h.guard.Accepted(now.Sub(x.began))
		return receipt, nil
	case errors.Is(err, hookgate.ErrFull):
		return receipt, rejectedFull
	default:
		return receipt, &rejection{status: http.StatusServiceUnavailable,
			text: "the gate cannot store the event durably now; retry", cause: err, retry: true}
	}
}

// release gives back what x holds of the guard.
func (h *Handler) release(x *exchange) {
	bodies := h.guard.Bodies()
	bodies.Proved(x.stranger)
	bodies.Release(x.memory + x.unpacked + x.listed)
	x.stranger, x.memory, x.unpacked, x.listed = 0, 0, 0, 0
	if x.inFlight {
		x.inFlight = false
		h.guard.Leave()
	}
}

// finish has a request accepted, and answers it.
func (h *Handler) finish(x *exchange,
	accept func(*Handler, *exchange) (hookgate.Receipt, *rejection)) (status int) {
	panicked := true
	defer func() {
		if panicked && x.authentic {
			h.guard.Failed()
		}
	}()
	receipt, rejected := accept(h, x)
	panicked = false
	switch {
	case rejected != nil:
		return h.reject(x, rejected)
	case x.greeting != nil:
		return h.answerHandshake(x)
	}
	return h.answerAccepted(x, receipt)
}

// answerAccepted counts the events of an accepted request and answers the sender.
func (h *Handler) answerAccepted(x *exchange, receipt hookgate.Receipt) (status int) {
	d, source, duplicate := &x.request, x.source, receipt.Duplicate()
	messageID, events := d.MessageID, notSplit
	if source.splitter == nil {
		h.metrics.Accepted(d.EventType, duplicate)
		source.count(1, duplicate, x.info.Received)
	} else {
		messageID, events = "", len(x.parts)
		if events > 0 {
			messageID = x.parts[0].MessageID
		}
		for i := range x.parts {
			h.metrics.Accepted(x.parts[i].EventType, duplicate)
		}
		source.count(events, duplicate, x.info.Received)
	}
	if h.config.Logger.Enabled(x.http.Context(), slog.LevelDebug) {
		h.config.Logger.Debug("accepted", "request_id", x.info.IDText, "event", d.Identity.String(),
			"partition", receipt.Partition, "duplicate", duplicate)
	}
	took := time.Since(x.info.Received)
	source.answered.Accepted(cmp.Or(source.Success.Status, http.StatusAccepted), duplicate, took)
	if source.Success.Status != 0 {
		return writeSuccess(x.writer, source.Success)
	}
	x.answer = appendAccepted(x.answer[:0], messageID, events, x.info.IDText, receipt, took)
	x.writer.Header()["Content-Type"] = jsonType
	x.writer.WriteHeader(http.StatusAccepted)
	// A sender that has gone will repeat the request, and that will be a duplicate.
	x.writer.Write(x.answer)
	return http.StatusAccepted
}

// jsonType is shared by all answers. It must not be modified.
var jsonType = []string{"application/json"}

// countAnswer counts an answer for the source that it belongs to.
func (h *Handler) countAnswer(x *exchange, status int) {
	if x.source != nil {
		x.source.answered.Count(status)
	}
}

// schemeRequest returns what a Scheme sees of a request whose body has not been read.
func schemeRequest(x *exchange) admit.Request {
	r := x.http
	return admit.Request{
		Method: r.Method, Header: r.Header, Query: r.URL.RawQuery,
		Slash: strings.HasSuffix(r.URL.Path, "/"), ID: x.info.IDText, Time: x.info.Received,
	}
}

// appendKept appends the headers to store, and the Content-Encoding of a compressed body.
func (s *servedSource) appendKept(kept []hookgate.Header, h http.Header,
	compressed bool) []hookgate.Header {
	if compressed && !slices.Contains(s.kept, "Content-Encoding") {
		kept = append(kept, hookgate.Header{Name: "Content-Encoding", Value: "gzip"})
	}
	add := func(name string) {
		for _, value := range h[name] {
			kept = append(kept, hookgate.Header{Name: name, Value: value})
		}
	}
	for _, name := range s.kept {
		add(name)
	}
	for _, prefix := range s.keptPrefixes {
		for _, name := range slices.Sorted(maps.Keys(h)) {
			if strings.HasPrefix(name, prefix) && !slices.Contains(s.kept, name) {
				add(name)
			}
		}
	}
	return kept
}

// withEncoding returns headers with a Content-Encoding if the body is compressed, and without one
// if not: the store unpacks a request of several events by that header.
func withEncoding(headers []hookgate.Header, compressed bool) []hookgate.Header {
	headers = slices.DeleteFunc(headers,
		func(h hookgate.Header) bool { return h.Name == "Content-Encoding" })
	if compressed {
		headers = append(headers, hookgate.Header{Name: "Content-Encoding", Value: "gzip"})
	}
	return headers
}

// notSplit is the number of events for a source whose requests are one event each.
const notSplit = -1

// appendAccepted appends the JSON of a 202. It is written by hand because encoding/json would
// allocate for every webhook.
func appendAccepted(dst []byte, messageID string, events int, requestID string,
	receipt hookgate.Receipt, took time.Duration) []byte {
	dst = append(dst, `{"status":"accepted","messageId":`...)
	dst = jsontext.AppendString(dst, messageID)
	if events != notSplit {
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
