package adminapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/guard"
)

// healthTimeout bounds what a health check asks of queue and store.
const healthTimeout = 2 * time.Second

// livez says that the process answers.
func (s *API) livez(c *call) { c.json(api.Status{Status: "ok"}) }

// readyz says whether webhooks are taken now. The store does not matter: while it is away the queue
// buffers.
func (s *API) readyz(c *call) {
	q := s.queueHealth(c.request.Context())
	reason := q.Error
	if mode := s.settings.Mode(); mode == control.ModeReadOnly {
		reason = "mode is " + string(mode)
	}
	if state := s.guard.Status(); state.Breaker == guard.Open {
		reason = "breaker is open because of " + state.Reason
	}
	if s.canary != nil && s.canary.Percent() < 100 && s.webhooks.Sources() > 0 {
		reason = "" // what goes on to the upstream must not be held up by what the gate cannot do
	}
	if reason != "" {
		c.Header()["Retry-After"] = s.retryAfter
		c.fail(http.StatusServiceUnavailable, "not ready: "+reason)
		return
	}
	c.json(api.Status{Status: "ready"})
}

func (s *API) health(c *call) {
	a := api.Health{
		Status:        api.StatusOK,
		Version:       s.config.Version,
		Mode:          s.settings.Mode(),
		UptimeSeconds: int64(time.Since(s.started).Seconds()),
		Queue:         s.queueHealth(c.request.Context()),
		Store:         s.storeHealth(c.request.Context()),
		Guard:         guardOf(s.guard.Status()),
		Attention:     attentionOf(s.attention.Items(c.request.Context())),
	}
	if a.Guard.Breaker != string(guard.Closed) || a.Queue.Error != "" || a.Queue.Degraded != "" ||
		a.Store.Error != "" {
		a.Status = api.StatusDegraded
	}
	c.json(a)
}

func (s *API) queueHealth(ctx context.Context) api.QueueHealth {
	h, _ := s.lookAtQueue(ctx)
	return h
}

// lookAtQueue returns the state of the queue, and the cause of what is wrong with it, which is not
// for everyone; nil if nothing is.
func (s *API) lookAtQueue(ctx context.Context) (h api.QueueHealth, cause error) {
	h.Kind = s.config.QueueKind
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	stats, err := s.queue.Stats(ctx)
	if err != nil {
		h.Error = told(err, "queue does not answer; the log has the reason")
		return h, err
	}
	h.Depth, h.HighWater, h.Partitions, h.Spooled = &stats.Depth, stats.HighWater, stats.Partitions,
		stats.Spooled
	if !stats.OldestEnqueuedAt.IsZero() {
		h.OldestAgeSeconds = max(0, time.Since(stats.OldestEnqueuedAt).Seconds())
	}
	if stats.Degraded != nil {
		h.Degraded = degraded(stats.Degraded, s.settings.Mode())
	}
	switch {
	case errors.Is(stats.Err, hookgate.ErrFull):
		h.Error = "queue is full"
	case errors.As(stats.Err, new(*hookgate.LeftoverError)):
		h.Error = "webhooks are refused until those of an earlier configuration are moved"
	case stats.Err != nil:
		h.Error = told(stats.Err, "queue cannot write; the log has the reason")
	case stats.HighWater > 0 && stats.Depth >= stats.HighWater:
		h.Error = "queue is at its high-water mark"
	}
	if stats.Err != nil {
		return h, stats.Err
	}
	return h, stats.Degraded
}

// degraded says what is wrong with a queue that takes webhooks.
func degraded(err error, mode control.Mode) string {
	var leftover *hookgate.LeftoverError
	if !errors.As(err, &leftover) {
		reason := told(err, "store or queue is away; the log has the reason")
		if mode == control.ModeBuffer {
			reason = "mode is buffer"
		}
		return reason + "; webhooks are spooled, and a 202 is worth this machine's disk"
	}
	text := fmt.Sprintf("%d webhooks of an earlier configuration in %s are moved to the queue",
		leftover.Left, leftover.File)
	if leftover.Err != nil {
		text += ", when that is there: " + told(leftover.Err, "it is away; the log has the reason")
	}
	return text
}

func (s *API) storeHealth(ctx context.Context) (h api.StoreHealth) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	counts, err := s.stored.Counts(ctx)
	err = errors.Join(err, s.stored.Ping(ctx)) // which may know the reason
	h.Events, h.Duplicates, h.DeadLetters = counts.Events, counts.Duplicates, counts.DeadLetters
	if err != nil {
		h.Error = told(err, "store cannot be read or written; the log has the reason")
	}
	return h
}

// told returns what anyone may read of an error: the reason why a backend must not be used, or else
// the text given.
func told(err error, otherwise string) string {
	var unfit *hookgate.MisconfiguredError
	if errors.As(err, &unfit) {
		return unfit.Reason
	}
	return otherwise
}

func (s *API) showMetrics(c *call) { s.metrics.Handler().ServeHTTP(c, c.request) }
