package gate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hookgate/hookgate/adminapi"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/store/postgres"
)

// Check finds options that cannot work, or not together.
func (c Options) Check() error {
	if c.DataDir == "" {
		return errors.New("data_dir is empty")
	}
	for name, v := range map[string]int64{
		"http.max_body": int64(c.HTTP.MaxBody), "http.max_header": int64(c.HTTP.MaxHeader),
		"http.max_body_memory":             int64(c.HTTP.MaxBodyMemory),
		"http.max_unpacked":                int64(c.HTTP.MaxUnpacked),
		"http.max_connections":             int64(c.HTTP.MaxConnections),
		"http.max_connections_per_address": int64(c.HTTP.MaxPerAddress),
		"http.read_header_timeout":         int64(c.HTTP.ReadHeaderTimeout),
		"http.read_timeout":                int64(c.HTTP.ReadTimeout),
		"http.write_timeout":               int64(c.HTTP.WriteTimeout),
		"http.idle_timeout":                int64(c.HTTP.IdleTimeout),
		"http.retry_after":                 int64(c.HTTP.RetryAfter),
		"shutdown_timeout":                 int64(c.ShutdownTimeout),
		"admin.failed_logins":              int64(c.Admin.FailedLogins),
		"admin.session_idle":               int64(c.Admin.SessionIdle),
		"admin.session_max":                int64(c.Admin.SessionMax),
		"admin.search_time":                int64(c.Admin.SearchTime),
		"admin.live_streams":               int64(c.Admin.LiveStreams),
		"admin.audit_timeout":              int64(c.Admin.AuditTimeout),
		"evidence.max_size":                int64(c.Evidence.MaxSize),
		"evidence.max_total":               int64(c.Evidence.MaxTotal),
		"evidence.max_bundles":             int64(c.Evidence.MaxBundles),
		"evidence.timeout":                 int64(c.Evidence.Timeout),
		"approvals.expiry":                 int64(c.Approvals.Expiry),
		"approvals.max_pending":            int64(c.Approvals.MaxPending),
		"redis.timeout":                    int64(c.Redis.Timeout),
		"redis.lease_ttl":                  int64(c.Redis.LeaseTTL),
		"spool.high_water":                 c.Spool.HighWater,
		"database.max_connections":         int64(c.Database.MaxConnections),
		"database.connect_timeout":         int64(c.Database.ConnectTimeout),
		"database.statement_timeout":       int64(c.Database.StatementTimeout),
		"queue.partitions":                 int64(c.Queue.Partitions),
		"queue.high_water":                 c.Queue.HighWater,
		"queue.claim_ttl":                  int64(c.Queue.ClaimTTL),
		"queue.timeout":                    int64(c.Queue.Timeout),
		"worker.count":                     int64(c.Worker.Count), "worker.min": int64(c.Worker.Min),
		"worker.max_records": int64(c.Worker.MaxRecords),
		"worker.max_bytes":   int64(c.Worker.MaxBytes), "worker.linger": int64(c.Worker.Linger),
		"worker.apply_target":  int64(c.Worker.ApplyTarget),
		"worker.apply_timeout": int64(c.Worker.ApplyTimeout),
		"worker.backoff_min":   int64(c.Worker.BackoffMin),
		"worker.backoff_max":   int64(c.Worker.BackoffMax),
	} {
		if v <= 0 {
			return fmt.Errorf("%s must be greater than zero", name)
		}
	}
	if err := cmp.Or(c.Guard.check(), c.Guard.checkTriggers(c.Canary.Upstream != "")); err != nil {
		return err
	}
	if err := c.Canary.check(c.HTTP.WriteTimeout, len(c.Evidence.PublicKeys)); err != nil {
		return err
	}
	switch {
	case !(c.Tracing.Sample >= 0 && c.Tracing.Sample <= 1):
		return fmt.Errorf("tracing.sample is %v; it is a share from 0 to 1", c.Tracing.Sample)
	case c.Worker.MaxRate < 0:
		return errors.New("worker.max_rate must not be negative; 0 means no bound")
	case c.HTTP.MaxBody > MaxBodyLimit:
		return fmt.Errorf("http.max_body is %v; the store can keep bodies of up to %v", c.HTTP.MaxBody,
			MaxBodyLimit)
	case c.HTTP.MaxBodyMemory < 2*c.HTTP.MaxBody:
		return fmt.Errorf("http.max_body_memory (%v) is less than twice http.max_body (%v)",
			c.HTTP.MaxBodyMemory, c.HTTP.MaxBody)
	case c.HTTP.MaxHeaderMemory < httpserver.LeastHeaderMemory(c.HTTP.MaxHeader):
		return fmt.Errorf("http.max_header_memory (%v) must be at least %v, for one header of http.max_header (%v)",
			c.HTTP.MaxHeaderMemory, httpserver.LeastHeaderMemory(c.HTTP.MaxHeader), c.HTTP.MaxHeader)
	case 2*c.HTTP.MaxUnpacked > c.HTTP.MaxBodyMemory:
		return fmt.Errorf("http.max_unpacked (%v) is more than half of http.max_body_memory (%v)",
			c.HTTP.MaxUnpacked, c.HTTP.MaxBodyMemory)
	case c.Canary.Upstream != "" && 4*(2*c.largestBody()+c.HTTP.MaxUnpacked) >= 3*c.HTTP.MaxBodyMemory:
		return fmt.Errorf("http.max_body_memory (%v) is too small for a canary, which holds a body twice: three quarters of it must be more than twice the largest max_body (%v) and http.max_unpacked (%v)",
			c.HTTP.MaxBodyMemory, c.largestBody(), c.HTTP.MaxUnpacked)
	case c.Canary.Upstream != "" && c.Listen != "" && c.Admin.Listen == "" && c.Role != RoleWorker:
		return errors.New("canary.upstream needs admin.listen: on one listener a page of the upstream would have the rights of the dashboard; set admin.listen to an address such as 127.0.0.1:8081")
	case (c.TLS.CertFile == "") != (c.TLS.KeyFile == ""):
		return errors.New("tls.cert_file and tls.key_file belong together: set both or none")
	case c.Worker.BackoffMin > c.Worker.BackoffMax:
		return fmt.Errorf("worker.backoff_min (%v) is greater than worker.backoff_max (%v)",
			c.Worker.BackoffMin, c.Worker.BackoffMax)
	case !slices.Contains([]string{RoleAll, RoleIngest, RoleWorker}, c.Role):
		return fmt.Errorf("role %q is not one of %s, %s, %s", c.Role, RoleAll, RoleIngest, RoleWorker)
	case c.Queue.Kind != QueueDirect && c.Queue.Kind != QueueRedis:
		return fmt.Errorf("queue.kind %q is neither %s nor %s", c.Queue.Kind, QueueDirect, QueueRedis)
	case c.Queue.Kind == QueueDirect && c.Redis.URL != "":
		return errors.New("queue.kind direct and redis.url contradict each other: the store takes the webhooks, and Redis is not used; remove one of them")
	case c.Queue.Kind == QueueRedis && c.Redis.URL == "":
		return errors.New("queue.kind redis needs redis.url")
	case c.Role == RoleWorker && c.Queue.Kind == QueueDirect:
		return errors.New("role worker needs queue.kind redis: without Redis each process stores the webhooks that it takes, and nothing is left for a worker; use role all")
	case c.Role != RoleAll && c.Database.URL == "":
		return fmt.Errorf("role %s needs database.url: what processes share must not lie in a data directory", c.Role)
	case c.Queue.MinFreeDisk < 0:
		return errors.New("queue.min_free_disk must not be negative; 0 means no bound")
	case c.Database.Schema == "":
		return errors.New("database.schema is empty")
	case postgres.CheckSchema(c.Database.Schema) != nil:
		return fmt.Errorf("database.schema: %w", postgres.CheckSchema(c.Database.Schema))
	case c.Redis.Prefix == "":
		return errors.New("redis.prefix is empty")
	case c.Queue.Partitions > 4096:
		return errors.New("queue.partitions must be at most 4096")
	}
	for _, action := range c.Approvals.Required {
		if !slices.Contains(adminapi.ApprovalActions(), action) {
			return fmt.Errorf("approvals.required: %q is none of %s", action,
				strings.Join(adminapi.ApprovalActions(), ", "))
		}
	}
	if err := c.Retention.check(c.Queue); err != nil {
		return err
	}
	if _, err := parsePrefixes(c.HTTP.TrustedProxies); err != nil {
		return fmt.Errorf("http.trusted_proxies: %w", err)
	}
	if err := checkPublicURL(c.PublicURL); err != nil {
		return fmt.Errorf("public_url %w", err)
	}
	for _, name := range c.SourceNames() {
		if err := c.Sources[name].check(name, c); err != nil {
			return err
		}
	}
	return nil
}

// check finds times that contradict each other, or the time for which the queue recognises a
// repetition: it must not call something a repetition of an event that is gone.
func (r RetentionOptions) check(q QueueOptions) error {
	switch {
	case r.Events < 0 || r.Trail < 0:
		return errors.New("retention.events and retention.trail must not be negative; 0 keeps for ever")
	case q.Kind == QueueRedis && r.Events > 0 && r.Events < q.ClaimTTL:
		return fmt.Errorf("retention.events (%v) is shorter than queue.claim_ttl (%v): a repetition would be acknowledged"+
			" as one of an event that is gone", r.Events, q.ClaimTTL)
	case r.Trail > 0 && r.Events == 0:
		return errors.New("retention.trail is set and retention.events is not: lineage cannot go before its events")
	case r.Trail > 0 && r.Trail < r.Events:
		return fmt.Errorf("retention.trail (%v) is shorter than retention.events (%v): lineage cannot go before its events", r.Trail, r.Events)
	case r.SharePercent < 1 || r.SharePercent > 90:
		return fmt.Errorf("retention.share_percent is %d; it must be from 1 to 90", r.SharePercent)
	}
	return nil
}
