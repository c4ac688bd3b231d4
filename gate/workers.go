package gate

import (
	"log/slog"
	"time"

	"github.com/hookgate/hookgate/persist"
	"github.com/hookgate/hookgate/store/retention"
)

func workerConfigOf(o Options, paused func() bool, log *slog.Logger) persist.Config {
	return persist.Config{
		Workers: o.Worker.Count,
		MaxRate: o.Worker.MaxRate,
		Paused:  paused,
		Name:    processName(),
		Logger:  log,
	}
}

// postgresPruneTarget is how long a step of retention may take in PostgreSQL, where it is in
// nobody's way.
const postgresPruneTarget = 100 * time.Millisecond

func retentionConfigOf(o Options, paused func() bool, log *slog.Logger) retention.Config {
	r := retention.Config{
		Events: o.Retention.Events,
		Trail:  o.Retention.Trail,
		Paused: paused,
		Logger: log,
	}
	if o.Database.URL != "" {
		r.StepTarget = postgresPruneTarget
	}
	return r
}
