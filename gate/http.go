package gate

import (
	"cmp"
	"errors"
	"log/slog"
	"net/http"

	"github.com/hookgate/hookgate/adminapi"
	"github.com/hookgate/hookgate/dashboard"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/httpserver"
)

func httpConfigOf(o Options, around func(http.Handler) http.Handler,
	log *slog.Logger) (httpserver.Config, error) {
	secure, err1 := newTLS(o.TLS, log)
	trusted, err2 := parsePrefixes(o.HTTP.TrustedProxies)
	return httpserver.Config{
		TLS:                      secure,
		TrustedProxies:           trusted,
		MaxHeaderBytes:           int(o.HTTP.MaxHeader),
		MaxHeaderMemory:          int64(o.HTTP.MaxHeaderMemory),
		MaxConnections:           o.HTTP.MaxConnections,
		MaxConnectionsPerAddress: o.HTTP.MaxPerAddress,
		ReadHeaderTimeout:        min(readHeaderTimeout, o.HTTP.ReadTimeout),
		ReadTimeout:              o.HTTP.ReadTimeout,
		WriteTimeout:             o.HTTP.WriteTimeout,
		IdleTimeout:              o.HTTP.IdleTimeout,
		RetryAfter:               o.HTTP.RetryAfter,
		Logger:                   log,
		Around:                   around,
	}, errors.Join(err1, err2)
}

func ingestConfigOf(o Options, edge httpserver.Config) ingest.Config {
	return ingest.Config{
		MaxBodyBytes:     int64(o.HTTP.MaxBody),
		MaxUnpackedBytes: int64(o.HTTP.MaxUnpacked),
		RetryAfter:       edge.RetryAfter,
		TrustedProxies:   edge.TrustedProxies,
		Logger:           edge.Logger,
	}
}

func adminConfigOf(o Options, k credentials, edge httpserver.Config) adminapi.Config {
	return adminapi.Config{
		WriteTimeout:   edge.WriteTimeout,
		RetryAfter:     edge.RetryAfter,
		TrustedProxies: edge.TrustedProxies,
		AdminTokens:    k.adminTokens,
		Approvals: adminapi.ApprovalRules{Required: o.Approvals.Required, Expiry: o.Approvals.Expiry,
			MaxPending: maxPendingApprovals},
		FailedLogins:    o.Admin.FailedLogins,
		SessionIdle:     o.Admin.SessionIdle,
		SessionMax:      maxSession,
		AuditTimeout:    auditTimeout,
		MaxEvidenceAge:  maxEvidenceAge,
		SearchTime:      cmp.Or(o.Admin.SearchTime, searchTime),
		EvidenceTokens:  k.evidenceTokens,
		MaxEvidence:     int64(o.Evidence.MaxTotal / evidenceParts),
		EvidenceTimeout: evidenceTimeout,
		MaxStreams:      maxEventStreams,
		QueueKind:       o.QueueKind(),
		Version:         o.Version,
		Logger:          edge.Logger,
	}
}

func dashboardConfigOf(o Options, l listeners, live *dashboard.Live,
	log *slog.Logger) dashboard.Config {
	d := dashboard.Config{Version: o.Version, Process: processName(), Live: live, Logger: log}
	switch {
	case l.public == nil: // the program that embeds the gate listens
		d.Base = o.PublicURL
	case l.separate():
		d.Base = urlOf(l.public, o.TLS.CertFile != "")
	}
	return d
}
