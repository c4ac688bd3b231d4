package gate

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/adminapi"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/dashboard"
	"github.com/hookgate/hookgate/doctor"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/attention"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/persist"
	"github.com/hookgate/hookgate/store/retention"
)

func httpConfigOf(c Options, around func(http.Handler) http.Handler,
	log *slog.Logger) (httpserver.Config, error) {
	secure, err1 := newTLS(c.TLS, log)
	trusted, err2 := parsePrefixes(c.HTTP.TrustedProxies)
	return httpserver.Config{
		TLS:                      secure,
		TrustedProxies:           trusted,
		MaxHeaderBytes:           int(c.HTTP.MaxHeader),
		MaxHeaderMemory:          int64(c.HTTP.MaxHeaderMemory),
		MaxConnections:           c.HTTP.MaxConnections,
		MaxConnectionsPerAddress: c.HTTP.MaxPerAddress,
		ReadHeaderTimeout:        c.HTTP.ReadHeaderTimeout,
		ReadTimeout:              c.HTTP.ReadTimeout,
		WriteTimeout:             c.HTTP.WriteTimeout,
		IdleTimeout:              c.HTTP.IdleTimeout,
		RetryAfter:               c.HTTP.RetryAfter,
		Logger:                   log,
		Around:                   around,
	}, errors.Join(err1, err2)
}

func ingestConfigOf(c Options, edge httpserver.Config) ingest.Config {
	return ingest.Config{
		MaxBodyBytes:     int64(c.HTTP.MaxBody),
		MaxUnpackedBytes: int64(c.HTTP.MaxUnpacked),
		RetryAfter:       edge.RetryAfter,
		TrustedProxies:   edge.TrustedProxies,
		Logger:           edge.Logger,
	}
}

func adminConfigOf(c Options, k credentials, edge httpserver.Config) adminapi.Config {
	return adminapi.Config{
		WriteTimeout:    edge.WriteTimeout,
		RetryAfter:      edge.RetryAfter,
		TrustedProxies:  edge.TrustedProxies,
		AdminTokens:     k.adminTokens,
		Approvals:       adminapi.ApprovalRules(c.Approvals),
		FailedLogins:    c.Admin.FailedLogins,
		SessionIdle:     c.Admin.SessionIdle,
		SessionMax:      c.Admin.SessionMax,
		AuditTimeout:    c.Admin.AuditTimeout,
		MaxEvidenceAge:  c.Canary.MaxEvidenceAge,
		SearchTime:      c.Admin.SearchTime,
		EvidenceTokens:  k.evidenceTokens,
		MaxEvidence:     int64(c.Evidence.MaxSize),
		EvidenceTimeout: c.Evidence.Timeout,
		QueueKind:       c.Queue.Kind,
		Version:         c.Version,
		Logger:          edge.Logger,
	}
}

func dashboardConfigOf(c Options, l listeners, live *dashboard.Live,
	log *slog.Logger) dashboard.Config {
	d := dashboard.Config{Version: c.Version, Process: processName(), Live: live, Logger: log}
	switch {
	case l.public == nil: // the program that embeds the gate listens
		d.Base = c.PublicURL
	case l.separate():
		d.Base = urlOf(l.public, c.TLS.CertFile != "")
	}
	return d
}

func workerConfigOf(c Options, paused func() bool, log *slog.Logger) persist.Config {
	return persist.Config{
		Workers:      c.Worker.Count,
		MinWorkers:   c.Worker.Min,
		MaxRecords:   c.Worker.MaxRecords,
		MaxBytes:     int(c.Worker.MaxBytes),
		Linger:       c.Worker.Linger,
		ApplyTarget:  c.Worker.ApplyTarget,
		ApplyTimeout: c.Worker.ApplyTimeout,
		BackoffMin:   c.Worker.BackoffMin,
		BackoffMax:   c.Worker.BackoffMax,
		MaxRate:      c.Worker.MaxRate,
		Paused:       paused,
		Name:         processName(),
		Logger:       log,
	}
}

// postgresPruneTarget is how long a step of retention may take in PostgreSQL, where it is in
// nobody's way.
const postgresPruneTarget = 100 * time.Millisecond

func retentionConfigOf(c Options, paused func() bool, log *slog.Logger) retention.Config {
	r := retention.Config{
		Events: c.Retention.Events,
		Trail:  c.Retention.Trail,
		Share:  float64(c.Retention.SharePercent) / 100,
		Paused: paused,
		Logger: log,
	}
	if c.Database.URL != "" {
		r.StepTarget = postgresPruneTarget
	}
	return r
}

// metricsConfigOf says where the metrics ask what nobody reports to them. The queue may be opened
// later.
func metricsConfigOf(c Options, b *backends, letters *attention.DeadLetters, clock *attention.Clock,
	edge httpserver.Config) metrics.Config {
	m := metrics.Config{
		Queue: func(ctx context.Context) (hookgate.QueueStats,
			error) {
			return b.queue.Stats(ctx)
		},
		Store:           b.reader.Counts,
		Pool:            b.pool,
		Mode:            func() control.Mode { return b.settings.Mode() },
		Kind:            c.Queue.Kind,
		ClockBehind:     clock.Behind,
		OpenDeadLetters: letters.Open,
		DataDir:         func() (int64, int64, error) { return doctor.DiskSpace(c.DataDir) },
		Version:         c.Version,
	}
	if c.Queue.Kind == QueueRedis {
		m.Holdings = func() metrics.Holdings { return b.holdings() }
	}
	if edge.TLS != nil {
		m.CertificateExpiry = func() (time.Time, error) {
			cert, err := edge.TLS.GetCertificate(nil)
			if err != nil {
				return time.Time{}, err
			}
			return cert.Leaf.NotAfter, nil
		}
	}
	return m
}
