package gate

import (
	"log/slog"
	"time"

	"github.com/hookgate/hookgate/persist"
	"github.com/hookgate/hookgate/store/retention"
)

func workerConfigOf(o Options, paused func() bool, log *slog.Logger) persist.Config {
	return persist.Config{
		Workers:      o.Worker.Count,
		MinWorkers:   o.Worker.Min,
		MaxRecords:   o.Worker.MaxRecords,
		MaxBytes:     int(o.Worker.MaxBytes),
		Linger:       o.Worker.Linger,
		ApplyTarget:  o.Worker.ApplyTarget,
		ApplyTimeout: o.Worker.ApplyTimeout,
		BackoffMin:   o.Worker.BackoffMin,
		BackoffMax:   o.Worker.BackoffMax,
		MaxRate:      o.Worker.MaxRate,
		Paused:       paused,
		Name:         processName(),
		Logger:       log,
	}
}

// postgresPruneTarget is how long a step of retention may take in PostgreSQL, where it is in
// nobody's way.
const postgresPruneTarget = 100 * time.Millisecond

func retentionConfigOf(o Options, paused func() bool, log *slog.Logger) retention.Config {
	r := retention.Config{
		Events: o.Retention.Events,
		Trail:  o.Retention.Trail,
		Share:  float64(o.Retention.SharePercent) / 100,
		Paused: paused,
		Logger: log,
	}
	if o.Database.URL != "" {
		r.StepTarget = postgresPruneTarget
	}
	return r
}
