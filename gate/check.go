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

// Check returns an error for options that cannot work, or contradict each other. It has every
// mistake in the subscriptions. Open calls it.
func (o Options) Check() error {
	o = o.withDefaults()
	return errors.Join(o.check(), o.CheckSubscriptions())
}

// check returns an error for the options that are not subscriptions.
func (o Options) check() error {
	if o.DataDir == "" {
		return errors.New("data_dir is empty")
	}
	for name, v := range map[string]int64{
		"http.max_body": int64(o.HTTP.MaxBody), "http.max_header": int64(o.HTTP.MaxHeader),
		"http.max_body_memory":             int64(o.HTTP.MaxBodyMemory),
		"http.max_unpacked":                int64(o.HTTP.MaxUnpacked),
		"http.max_connections":             int64(o.HTTP.MaxConnections),
		"http.max_connections_per_address": int64(o.HTTP.MaxPerAddress),
		"http.read_timeout":                int64(o.HTTP.ReadTimeout),
		"http.write_timeout":               int64(o.HTTP.WriteTimeout),
		"http.idle_timeout":                int64(o.HTTP.IdleTimeout),
		"http.retry_after":                 int64(o.HTTP.RetryAfter),
		"shutdown_timeout":                 int64(o.ShutdownTimeout),
		"admin.failed_logins":              int64(o.Admin.FailedLogins),
		"admin.session_idle":               int64(o.Admin.SessionIdle),
		"evidence.max_total":               int64(o.Evidence.MaxTotal),
		"approvals.expiry":                 int64(o.Approvals.Expiry),
		"redis.lease_ttl":                  int64(o.Redis.LeaseTTL),
		"database.max_connections":         int64(o.Database.MaxConnections),
		"database.statement_timeout":       int64(o.Database.StatementTimeout),
		"queue.partitions":                 int64(o.Queue.Partitions),
		"queue.high_water":                 o.Queue.HighWater,
		"queue.claim_ttl":                  int64(o.Queue.ClaimTTL),
		"queue.timeout":                    int64(o.Queue.Timeout),
		"worker.count":                     int64(o.Worker.Count),
	} {
		if v <= 0 {
			return fmt.Errorf("%s must be greater than zero", name)
		}
	}
	if err := cmp.Or(o.Guard.check(), o.Release.check(o.Canary.Upstream != "")); err != nil {
		return err
	}
	if err := o.Canary.check(o.HTTP.WriteTimeout, len(o.Evidence.PublicKeys)); err != nil {
		return err
	}
	switch {
	case !(o.Tracing.Sample >= 0 && o.Tracing.Sample <= 1):
		return fmt.Errorf("tracing.sample is %v; it must be from 0 to 1", o.Tracing.Sample)
	case o.Worker.MaxRate < 0:
		return errors.New("worker.max_rate must not be negative; 0 means no limit")
	case o.HTTP.MaxBody > MaxBodyLimit:
		return fmt.Errorf("http.max_body is %v; the store takes bodies of up to %v", o.HTTP.MaxBody,
			MaxBodyLimit)
	case o.HTTP.MaxBodyMemory < 2*o.HTTP.MaxBody:
		return fmt.Errorf("http.max_body_memory (%v) must be at least twice http.max_body (%v)",
			o.HTTP.MaxBodyMemory, o.HTTP.MaxBody)
	case o.HTTP.MaxHeaderMemory < httpserver.LeastHeaderMemory(o.HTTP.MaxHeader):
		return fmt.Errorf("http.max_header_memory (%v) must be at least %v, for one header of"+
			" http.max_header (%v)",
			o.HTTP.MaxHeaderMemory, httpserver.LeastHeaderMemory(o.HTTP.MaxHeader), o.HTTP.MaxHeader)
	case 2*o.HTTP.MaxUnpacked > o.HTTP.MaxBodyMemory:
		return fmt.Errorf("http.max_unpacked (%v) must be at most half of http.max_body_memory (%v)",
			o.HTTP.MaxUnpacked, o.HTTP.MaxBodyMemory)
	case o.Canary.Upstream != "" && 4*(2*o.largestBody()+o.HTTP.MaxUnpacked) >= 3*o.HTTP.MaxBodyMemory:
		return fmt.Errorf("http.max_body_memory (%v) is too small for a canary, which holds a body"+
			" twice:"+
			" three quarters of it must be more than twice the largest max_body (%v) plus"+
			" http.max_unpacked (%v)",
			o.HTTP.MaxBodyMemory, o.largestBody(), o.HTTP.MaxUnpacked)
	case o.Canary.Upstream != "" && o.Listen != "" && o.Admin.Listen == "" && o.receives():
		return errors.New("canary.upstream needs admin.listen, because on one listener a page of the" +
			" upstream would have the rights of the dashboard: set admin.listen to an address such as" +
			" 127.0.0.1:8081")
	case (o.TLS.CertFile == "") != (o.TLS.KeyFile == ""):
		return errors.New("tls.cert_file and tls.key_file belong together: set both or neither")
	case !slices.Contains([]string{RoleAll, RoleIngest, RoleWorker, RoleDeliver}, o.Role):
		return fmt.Errorf("role is %q; it must be %s, %s, %s or %s", o.Role, RoleAll, RoleIngest,
			RoleWorker, RoleDeliver)
	case o.Role == RoleWorker && o.QueueKind() == QueueDirect:
		return errors.New("role worker needs redis.url: without Redis each process stores the webhooks" +
			" that it takes, and a worker has nothing to do; set redis.url, or role: all")
	case o.Role != RoleAll && o.Database.URL == "":
		return fmt.Errorf("role %s needs database.url: several processes cannot share a data directory",
			o.Role)
	case o.Admin.SessionIdle > maxSession:
		return fmt.Errorf("admin.session_idle is %v; it must be at most %v, when every session ends",
			o.Admin.SessionIdle, maxSession)
	case o.Queue.MinFreeDisk < 0:
		return errors.New("queue.min_free_disk must not be negative; 0 means no limit")
	case o.Database.Schema == "":
		return errors.New("database.schema is empty")
	case postgres.CheckSchema(o.Database.Schema) != nil:
		return fmt.Errorf("database.schema: %w", postgres.CheckSchema(o.Database.Schema))
	case o.Redis.Prefix == "":
		return errors.New("redis.prefix is empty")
	case o.Queue.Partitions > 4096:
		return errors.New("queue.partitions must be at most 4096")
	}
	for _, action := range o.Approvals.Required {
		if !slices.Contains(adminapi.ApprovalActions(), action) {
			return fmt.Errorf("approvals.required: %q must be one of %s", action,
				strings.Join(adminapi.ApprovalActions(), ", "))
		}
	}
	if err := o.checkRetention(); err != nil {
		return err
	}
	if _, err := parsePrefixes(o.HTTP.TrustedProxies); err != nil {
		return fmt.Errorf("http.trusted_proxies: %w", err)
	}
	if err := checkPublicURL(o.PublicURL); err != nil {
		return fmt.Errorf("public_url %w", err)
	}
	for _, name := range o.SourceNames() {
		if err := o.Sources[name].check(name, o); err != nil {
			return err
		}
	}
	return nil
}

// checkRetention returns an error for durations that contradict each other. Redis must not
// recognise duplicates of an event that retention has removed: the gate would answer 202 and store
// nothing.
func (o Options) checkRetention() error {
	r, q := o.Retention, o.Queue
	switch {
	case r.Events < 0 || r.Trail < 0:
		return errors.New("retention.events and retention.trail must not be negative; 0 means for ever")
	case o.QueueKind() == QueueRedis && r.Events > 0 && r.Events < q.ClaimTTL:
		return fmt.Errorf("retention.events (%v) must not be shorter than queue.claim_ttl (%v): the gate"+
			" would answer 202 to a duplicate of an event that is removed", r.Events, q.ClaimTTL)
	case r.Trail > 0 && r.Events == 0:
		return errors.New("retention.trail needs retention.events: the lineage of an event is kept at" +
			" least" +
			" as long as the event")
	case r.Trail > 0 && r.Trail < r.Events:
		return fmt.Errorf("retention.trail (%v) must not be shorter than retention.events (%v)", r.Trail,
			r.Events)
	}
	return nil
}
