package ingest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/release/canary"
)

// withCanary handles a webhook during a canary: the gate handles it or forwards it to the upstream.
//
//	percent                 0               100                        between
//	                        │                │                            │
//	                        │                │                          admit
//	                        │                │     cannot tell now │ not admitted │ admitted
//	                        ▼                ▼          ▼          │              │ key included? yes: handle
//	                     upstream         ingest   503, 408, 400   └─► upstream ◄─┘ no
//
// The gate takes a request that it can authenticate and identify, if the canary includes its
// ordering key, and all test traffic. Everything else goes to the upstream, which decides as
// before: a wrong setting of the gate must not lose a request.
func (h *Handler) withCanary(w http.ResponseWriter, r *http.Request,
	q httpserver.Request) (status int) {
	if climbs(r.URL.Path) {
		x := h.begin(w, r, q)
		defer h.recycle(x)
		return h.ours(h.reject(x, rejectedSource))
	}
	// Read once, so that a change in between gives no request to both or to none.
	percent := h.config.Canary.Percent()
	switch {
	case percent >= 100:
		return h.ours(h.ingest(w, r, q))
	case h.isTest(r):
		return h.ingest(w, r, q)
	case percent <= 0:
		return h.forward(w, r, q, metrics.ForwardedByKey)
	}
	x, forwarded := h.begin(w, r, q), false
	defer func() {
		// The connection to the upstream may read the body for a moment after the answer has arrived.
		if h.release(x); !forwarded {
			h.recycle(x)
		}
	}()
	rejected := h.admit(x, false)
	switch {
	case rejected != nil && undecided(rejected):
		return h.ours(h.reject(x, rejected))
	case rejected == nil && control.CanaryIncludes(x.key(), percent):
		return h.ours(h.finish(x, (*Handler).take))
	}
	forwarded = true
	h.dropContent(x)
	if len(x.body) > 0 {
		r.Header.Del("Expect") // the sender is sending the body already
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(x.body), r.Body), r.Body}
	}
	if rejected == nil {
		return h.forward(w, r, q, metrics.ForwardedByKey)
	}
	h.wouldReject.Log(r, q.IDText, rejected.logged())
	return h.forward(w, r, q, h.metrics.Reason(rejected.reason, rejected.status))
}

// isTest reports whether a request is test traffic. The gate takes it at any percentage, because
// the upstream does not know its source, so that people can certify a gate before it has a share.
// It does not count for the plan.
func (h *Handler) isTest(r *http.Request) bool {
	source := h.sources[r.URL.Path]
	return source != nil && source.Name == hookgate.TestSource
}

// ours counts an answer of the gate itself, and returns its status.
func (h *Handler) ours(status int) int {
	h.metrics.CanaryAnswered(metrics.SideGate, status)
	if status < 300 {
		h.config.Canary.Accepted()
	}
	return status
}

// take accepts a request that was admitted before it was known that the gate takes it.
func (h *Handler) take(x *exchange) (receipt hookgate.Receipt, rejected *rejection) {
	defer h.release(x)
	if rejected = h.greet(x); rejected != nil || x.greeting != nil {
		return receipt, rejected
	}
	x.overload = h.overloaded()
	if rejected = h.enter(x); rejected != nil || x.greeting != nil {
		return receipt, rejected
	}
	return h.commit(x)
}

// key returns what decides on which side an admitted request is: its ordering key, or the source if
// it has several events, which must not be divided.
func (x *exchange) key() string {
	if x.source.splitter != nil {
		return x.source.Name
	}
	return x.request.OrderingKey
}

// undecided reports whether a rejection means that the gate cannot tell now on which side a request
// is, or that its sender has not sent it completely. Passing it on could divide its ordering key.
// After a rejection the sender repeats it.
func undecided(why *rejection) bool {
	var broken bodyError
	return why.status == http.StatusServiceUnavailable ||
		why.status == http.StatusRequestTimeout || errors.As(why.cause, &broken)
}

// forward sends a request to the upstream and the answer back.
func (h *Handler) forward(w http.ResponseWriter, r *http.Request, q httpserver.Request,
	reason string) (status int) {
	began := time.Now()
	outcome := h.config.Canary.Forward(w, r)
	h.metrics.CanaryForwarded(reason, outcome, time.Since(began))
	if outcome.Failure == "" {
		return outcome.Status
	}
	h.failedForwards.Log(r, q.IDText, httpserver.Rejection{Status: outcome.Status,
		Text: "upstream: " + string(outcome.Failure), Cause: outcome.Err})
	if outcome.Partial {
		panic(http.ErrAbortHandler) // the sender must not take a part of the answer for the whole
	}
	if outcome.Failure != canary.Sender {
		w.Header()["Retry-After"] = h.retryAfter
	}
	httpserver.WriteError(w, outcome.Status, failureTexts[outcome.Failure], q.IDText)
	return outcome.Status
}

// failureTexts is what the sender reads when the upstream has not answered.
var failureTexts = map[canary.Failure]string{
	canary.Unreachable: "the service behind the gate cannot be reached now",
	canary.TimedOut:    "the service behind the gate did not answer in time",
	canary.Broken:      "the service behind the gate closed the connection",
	canary.Busy:        "the service behind the gate has too many requests in flight",
	canary.Sender:      "the body did not arrive",
}
