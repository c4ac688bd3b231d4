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

// healthTimeout bounds what a health check asks of the queue and of the store.
const healthTimeout = 2 * time.Second

// livez answers that the process runs.
func (s *API) livez(c *call) { c.json(api.Status{Status: "ok"}) }

// readyz answers whether the gate takes webhooks now. The state of the store does not matter,
// because the queue buffers while the store is away.
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
		reason = "" // the gate can still forward to the upstream
	}
	if reason != "" {
		c.Header()["Retry-After"] = s.retryAfter
		c.fail(http.StatusServiceUnavailable, "not ready: "+reason)
		return
	}
	c.json(api.Status{Status: "ready"})
}

// health answers the state of the gate.
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
	h, _ := s.queueState(ctx)
	return h
}

// queueState returns the state of the queue, and the cause of a problem, which is not public; nil
// if there is none.
func (s *API) queueState(ctx context.Context) (h api.QueueHealth, cause error) {
	h.Kind = s.config.QueueKind
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	stats, err := s.queue.Stats(ctx)
	if err != nil {
		h.Error = publicReason(err, "the queue does not answer; see the log for the reason")
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
		h.Error = "the queue is full"
	case errors.As(stats.Err, new(*hookgate.LeftoverError)):
		h.Error = "the gate rejects webhooks until those of an earlier configuration are moved"
	case stats.Err != nil:
		h.Error = publicReason(stats.Err, "the queue cannot write; see the log for the reason")
	case stats.HighWater > 0 && stats.Depth >= stats.HighWater:
		h.Error = "the queue is at its high-water mark"
	}
	if stats.Err != nil {
		return h, stats.Err
	}
	return h, stats.Degraded
}

// degraded describes a problem of a queue that still takes webhooks.
func degraded(err error, mode control.Mode) string {
	var leftover *hookgate.LeftoverError
	if !errors.As(err, &leftover) {
		reason := publicReason(err, "the store or queue is away; see the log for the reason")
		if mode == control.ModeBuffer {
			reason = "the mode is buffer"
		}
		return reason + "; webhooks are spooled, so a 202 is worth this machine's disk"
	}
	text := fmt.Sprintf("%d webhooks of an earlier configuration in %s are moved to the queue",
		leftover.Left, leftover.File)
	if leftover.Err != nil {
		text += " when it is available: " +
			publicReason(leftover.Err, "it is away; see the log for the reason")
	}
	return text
}

func (s *API) storeHealth(ctx context.Context) (h api.StoreHealth) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	counts, err := s.stored.Counts(ctx)
	err = errors.Join(err, s.stored.Ping(ctx)) // Ping may know the reason
	h.Events, h.Duplicates, h.DeadLetters = counts.Events, counts.Duplicates, counts.DeadLetters
	if err != nil {
		h.Error = publicReason(err, "the store cannot be read or written; see the log for the reason")
	}
	return h
}

// publicReason returns the part of an error that anyone may read: the reason why a backend is
// misconfigured, or else the text given.
func publicReason(err error, otherwise string) string {
	var unusable *hookgate.MisconfiguredError
	if errors.As(err, &unusable) {
		return unusable.Reason
	}
	return otherwise
}

func (s *API) showMetrics(c *call) { s.metrics.Handler().ServeHTTP(c, c.request) }
