package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/hookgate/hookgate/tracing"
)

// tracingTimeout bounds the sending of the last spans when the gate ends.
const tracingTimeout = 5 * time.Second

// startTracing decorates queue and store, and returns what decorates the HTTP handler; nothing at all without an endpoint. stop
// sends what is left, after which the gate goes on untraced.
func startTracing(c config, b *backends, log *slog.Logger) (around func(http.Handler) http.Handler, stop func(), err error) {
	if c.Tracing.Endpoint == "" {
		return nil, func() {}, nil
	}
	t, err := tracing.New(tracing.Config{
		Endpoint: c.Tracing.Endpoint, Sample: c.Tracing.Sample, Version: versionText(), Process: processName(), Logger: log,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("tracing: %w", err)
	}
	b.queue, b.store = t.Queue(b.queue), t.Store(b.store)
	around = func(next http.Handler) http.Handler { return t.Handler(next, "/webhooks") }
	stop = func() {
		ending, cancel := context.WithTimeout(context.Background(), tracingTimeout)
		defer cancel()
		if err := t.Close(ending); err != nil {
			log.Warn("the last traces could not be sent", "error", err)
		}
	}
	return around, stop, nil
}
