package ingest

import (
	"cmp"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/metrics"
)

// rejection is the answer to a request that the gate does not take.
type rejection struct {
	status int
	text   string // the error text that the sender reads
	cause  error  // for the log only; may be nil
	// retry is true if the sender should repeat the request after Config.RetryAfter; after is a
	// Retry-After of its own.
	retry bool
	after string
	allow string // the Allow header of a 405
	// reason is the label of the metrics; empty for the usual one of the status.
	reason string
	// class is the reason by which the source counts it; empty for text.
	class string
}

var (
	rejectedMethod = &rejection{status: http.StatusMethodNotAllowed,
		text: "send webhooks with POST", allow: "POST, HEAD"}
	rejectedSource  = &rejection{status: http.StatusNotFound, text: "no such source"}
	rejectedAddress = &rejection{status: http.StatusForbidden,
		text: "this source does not accept requests from your address"}
	rejectedReadOnly = &rejection{status: http.StatusServiceUnavailable,
		text: "maintenance: the gate takes no webhooks now", retry: true, reason: metrics.ReasonReadOnly}
	rejectedOverload = &rejection{status: http.StatusServiceUnavailable,
		text: "overload: the gate takes no more webhooks until it has caught up", retry: true,
		reason: metrics.ReasonBreaker}
	rejectedBusy = &rejection{status: http.StatusServiceUnavailable,
		text: "too many webhooks in flight", retry: true, reason: metrics.ReasonInFlight}
	rejectedFull = &rejection{status: http.StatusServiceUnavailable, text: "the queue is full",
		retry: true, reason: metrics.ReasonQueueFull}
	rejectedMemory = &rejection{status: http.StatusServiceUnavailable,
		text: "too many bodies in flight", retry: true, reason: metrics.ReasonBodyMemory}
	rejectedSlow = &rejection{status: http.StatusServiceUnavailable,
		text: "the body arrives too slowly while many others arrive", retry: true,
		reason: metrics.ReasonBodyMemory}
	rejectedGzip = &rejection{status: http.StatusBadRequest,
		text: "Content-Encoding is gzip, but the body is not in gzip format"}
)

// rejectedRate tells the sender when its rate has room again.
func rejectedRate(wait time.Duration) *rejection {
	seconds := int64(math.Ceil(max(wait, time.Second).Seconds()))
	return &rejection{status: http.StatusTooManyRequests,
		text: "the source is over its rate limit", after: strconv.FormatInt(seconds, 10)}
}

// rejectedBy maps an error of a Scheme to an answer.
func rejectedBy(err error) *rejection {
	var malformed *admit.MalformedError
	switch {
	case errors.Is(err, admit.ErrUnauthenticated):
		return &rejection{status: http.StatusUnauthorized, text: "not authenticated", cause: err,
			class: classOf(err)}
	case errors.Is(err, admit.ErrUnavailable):
		return &rejection{status: http.StatusServiceUnavailable,
			text: "the gate cannot verify the sender now; retry", cause: err, retry: true}
	case errors.Is(err, admit.ErrTooManyEvents):
		return &rejection{status: http.StatusRequestEntityTooLarge, text: err.Error()}
	case errors.Is(err, admit.ErrUnsupportedMediaType):
		return &rejection{status: http.StatusUnsupportedMediaType, text: err.Error()}
	case errors.As(err, &malformed):
		return &rejection{status: http.StatusBadRequest, text: malformed.Error(),
			class: malformed.Class()}
	default:
		return &rejection{status: http.StatusInternalServerError,
			text: "the gate failed to check this request; its log has the reason", cause: err}
	}
}

// shown returns the reason for people: /api/sources counts by it, and /api/refused filters by it.
func (r *rejection) shown() string {
	return httpserver.Printable(cmp.Or(r.class, r.text), 2*httpserver.MaxLogged)
}

// logged returns what the log says of a rejection.
func (r *rejection) logged() httpserver.Rejection {
	return httpserver.Rejection{Status: r.status, Text: r.text, Cause: r.cause}
}

// reject counts, logs and answers a request that the gate does not take.
func (h *Handler) reject(x *exchange, why *rejection) (status int) {
	header := x.writer.Header()
	switch {
	case why.after != "":
		header["Retry-After"] = []string{why.after}
	case why.retry:
		header["Retry-After"] = h.retryAfter
	}
	if x.source != nil {
		x.source.counts.rejected.Add(1)
		x.source.rejections.count(why)
	}
	// A mode is the decision of a person, and a stranger must not be able to cause errors.
	if why.status >= 500 && why != rejectedReadOnly && x.authentic {
		h.guard.Failed()
	}
	switch why.status {
	case http.StatusUnauthorized:
		header["Www-Authenticate"] = []string{"Bearer"}
	case http.StatusMethodNotAllowed:
		header["Allow"] = []string{why.allow}
	}
	if why == rejectedSource {
		h.LogStray(x.http, x.info.IDText, why.status, why.text)
	} else {
		h.rejections.Log(x.http, x.info.IDText, why.logged())
	}
	h.keepRefused(x, why)
	h.metrics.Refused(why.reason, why.status)
	h.countAnswer(x, why.status)
	httpserver.WriteError(x.writer, why.status, why.text, x.info.IDText)
	return why.status
}

// maxReasons bounds the reasons that are counted for each status of a source. Each status has its
// own bound, so that strangers, who get 401, cannot use up those of the sender.
const maxReasons = 16

// otherReason counts the reasons beyond maxReasons.
const otherReason = "other"

// rejectionCounts counts the rejected requests of a source by status and reason.
type rejectionCounts struct {
	mu      sync.Mutex // guards the maps, for a few instructions at a time
	counts  map[statusReason]int64
	reasons map[int]int // by status: how many reasons counts has
}

type statusReason struct {
	status int
	text   string
}

func (c *rejectionCounts) count(why *rejection) {
	key := statusReason{why.status, why.shown()}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts, c.reasons = map[statusReason]int64{}, map[int]int{}
	}
	if _, known := c.counts[key]; !known {
		if c.reasons[key.status] >= maxReasons {
			key.text = otherReason
		} else {
			c.reasons[key.status]++
		}
	}
	c.counts[key]++
}

// RejectionCount is how often the requests of a source were rejected with a status and reason.
type RejectionCount struct {
	Status int
	Reason string
	Count  int64
}

// all returns the counts, the highest first.
func (c *rejectionCounts) all() (all []RejectionCount) {
	c.mu.Lock()
	for key, n := range c.counts {
		all = append(all, RejectionCount{key.status, key.text, n})
	}
	c.mu.Unlock()
	slices.SortFunc(all, func(a, b RejectionCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Status, b.Status),
			strings.Compare(a.Reason, b.Reason))
	})
	return all
}

// classOf returns the reason of a request that was not authenticated, without the parts that differ
// from one request to the next.
func classOf(err error) string {
	text := strings.TrimPrefix(err.Error(), admit.ErrUnauthenticated.Error()+": ")
	var malformed *admit.MalformedError
	if errors.As(err, &malformed) {
		text = strings.Replace(text, malformed.Error(), malformed.Class(), 1)
	}
	return text
}
