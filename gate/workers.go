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

// postgresPruneTarget is the target duration of a step of retention in PostgreSQL. It is longer
// than with SQLite, because there it does not block other writers.
const postgresPruneTarget = 100 * time.Millisecond

func retentionConfigOf(o Options, paused func() bool, log *slog.Logger) retention.Config {
	r := retention.Config{
		Events: o.Retention.Events,
		Trail:  o.Retention.Trail,
		Paused: paused,
		Logger: log,

		PassSubscriptions: !o.Retention.WaitForSubscriptions,
	}
	if o.Database.URL != "" {
		r.StepTarget = postgresPruneTarget
	}
	return r
}

// retentionWaits returns the age at which retention waits for subscriptions; see
// metrics.Config.RetentionWaits.
func (o Options) retentionWaits() time.Duration {
	if !o.Retention.WaitForSubscriptions {
		return 0
	}
	return o.Retention.Events
}
