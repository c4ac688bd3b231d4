package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/tracing"
)

// tracingTimeout bounds sending the last spans when the gate is closed.
const tracingTimeout = 5 * time.Second

// traces adds tracing to the parts of a gate. The zero value adds nothing.
type traces struct {
	tracing *tracing.Tracing
	log     *slog.Logger
}

// startTracing starts tracing. Without an endpoint and a provider it returns the zero value.
func startTracing(o Options, log *slog.Logger) (traces, error) {
	switch {
	case o.TracerProvider != nil && o.Tracing.Endpoint != "":
		return traces{}, errors.New("tracing.endpoint and Options.TracerProvider exclude each other:" +
			" set one of them")
	case o.TracerProvider != nil:
		return traces{tracing.Over(o.TracerProvider), log}, nil
	case o.Tracing.Endpoint == "":
		return traces{}, nil
	}
	t, err := tracing.New(tracing.Config{
		Endpoint: o.Tracing.Endpoint, Sample: o.Tracing.Sample, Version: o.Version,
		Process: processName(), Logger: log,
	})
	if err != nil {
		return traces{}, fmt.Errorf("tracing: %w", err)
	}
	return traces{t, log}, nil
}

func (t traces) queue(q hookgate.Queue) hookgate.Queue {
	if t.tracing == nil {
		return q
	}
	return t.tracing.Queue(q)
}

func (t traces) store(s hookgate.Store) hookgate.Store {
	if t.tracing == nil {
		return s
	}
	return t.tracing.Store(s)
}

func (t traces) around(next http.Handler) http.Handler {
	if t.tracing == nil {
		return next
	}
	return t.tracing.Handler(next, "/webhooks")
}

// stop sends the last spans.
func (t traces) stop() error {
	if t.tracing == nil {
		return nil
	}
	ending, cancel := context.WithTimeout(context.Background(), tracingTimeout)
	defer cancel()
	if err := t.tracing.Close(ending); err != nil {
		t.log.Warn("cannot send the last traces", "error", err)
	}
	return nil
}
