package gate

import (
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/store/postgres"
)

// Options say what a gate does. Start from DefaultOptions and change what you need.
//
// The tag of a field is the name of its setting. docs/reference/configuration.md describes each
// setting with its unit, default and limit. Package config fills the options from the
// configuration file, the environment and flags. Errors name the setting.
type Options struct {
	// Logger receives the log. If it is nil, nothing is logged.
	Logger *slog.Logger `setting:"-"`
	// Registerer receives the metrics of the gate in addition to /metrics; it may be nil.
	Registerer prometheus.Registerer `setting:"-"`
	// Version is shown by /api/health, the dashboard and the metrics.
	Version string `setting:"-"`

	// Listen is the address that Run serves. If it is empty, the gate does not listen, and the
	// caller serves Handler and AdminHandler.
	Listen string `setting:"listen"`
	// Role is RoleAll, RoleIngest or RoleWorker.
	Role string `setting:"role"`
	// DataDir is the folder of the store, the spool and the keys. One process at a time uses it.
	DataDir string `setting:"data_dir"`
	// ShutdownTimeout is how long Run lets requests in flight finish when its context ends.
	ShutdownTimeout time.Duration `setting:"shutdown_timeout"`
	// AdminTokens have the role admin. Without any, Open makes one in DataDir.
	AdminTokens Secrets `setting:"admin_tokens"`
	// EvidenceTokens open /api/intake and nothing else.
	EvidenceTokens Secrets `setting:"evidence_tokens"`
	// PublicURL is the base URL under which senders reach the gate. Some senders sign it.
	PublicURL string `setting:"public_url"`
	// AllowUnauthenticated permits sources of the kind "none" on an address other than loopback.
	AllowUnauthenticated bool `setting:"allow_unauthenticated"`

	// Sources are the senders, by name. The source "default" receives POST /webhooks, every other
	// one POST /webhooks/NAME.
	Sources map[string]SourceOptions `setting:"sources"`

	Admin     AdminOptions     `setting:"admin"`
	Approvals ApprovalOptions  `setting:"approvals"`
	Evidence  EvidenceOptions  `setting:"evidence"`
	HTTP      HTTPOptions      `setting:"http"`
	TLS       TLSOptions       `setting:"tls"`
	Queue     QueueOptions     `setting:"queue"`
	Redis     RedisOptions     `setting:"redis"`
	Spool     SpoolOptions     `setting:"spool"`
	Database  DatabaseOptions  `setting:"database"`
	Worker    WorkerOptions    `setting:"worker"`
	Retention RetentionOptions `setting:"retention"`
	Guard     GuardOptions     `setting:"guard"`
	Canary    CanaryOptions    `setting:"canary"`
	Tracing   TracingOptions   `setting:"tracing"`
}

// The roles of a process.
const (
	RoleAll    = "all"
	RoleIngest = "ingest" // receives webhooks; other processes do retention and, with Redis, store
	RoleWorker = "worker" // stores the webhooks that other processes received
)

// The kinds of queue.
const (
	QueueDirect = "direct" // the store takes the appends
	QueueRedis  = "redis"  // Redis takes the appends, and workers store them
)

// AdminOptions concern the dashboard, the admin API and the read API.
type AdminOptions struct {
	// Listen is a separate address for everything but webhooks; empty: they share Options.Listen.
	Listen string `setting:"listen"`
	// FailedLogins is how many calls with an unknown token an address may make per minute.
	FailedLogins int `setting:"failed_logins"`
	// SessionIdle and SessionMax are how long a session of the dashboard lasts without use, and at
	// most.
	SessionIdle time.Duration `setting:"session_idle"`
	SessionMax  time.Duration `setting:"session_max"`
	// LiveStreams is how many browsers may receive live numbers at a time.
	LiveStreams int `setting:"live_streams"`
	// AuditTimeout bounds GET /api/audit/verify.
	AuditTimeout time.Duration `setting:"audit_timeout"`
	// SearchTime bounds one page of a search.
	SearchTime time.Duration `setting:"search_time"`
}

// ApprovalOptions concern actions that a second person must approve.
type ApprovalOptions struct {
	// Required names the actions; by default there are none.
	Required []string `setting:"required"`
	// Expiry is how long after its request an approval can be given and used.
	Expiry time.Duration `setting:"expiry"`
	// MaxPending is how many requests of one person may be pending.
	MaxPending int `setting:"max_pending"`
}

// EvidenceOptions concern evidence bundles that POST /api/intake receives.
type EvidenceOptions struct {
	// MaxSize bounds one bundle, packed and unpacked; MaxTotal and MaxBundles bound all together.
	MaxSize    Bytes `setting:"max_size"`
	MaxTotal   Bytes `setting:"max_total"`
	MaxBundles int   `setting:"max_bundles"`
	// Timeout is how long a bundle may take to arrive.
	Timeout time.Duration `setting:"timeout"`
	// PublicKeys are files. One of the keys must have signed a bundle; without keys any signature
	// is accepted.
	PublicKeys []string `setting:"public_keys"`
}

// HTTPOptions are limits of the HTTP server.
type HTTPOptions struct {
	// MaxBody bounds a body, MaxUnpacked a body after gzip is removed, MaxBodyMemory the buffers of
	// all bodies in flight.
	MaxBody       Bytes `setting:"max_body"`
	MaxBodyMemory Bytes `setting:"max_body_memory"`
	MaxUnpacked   Bytes `setting:"max_unpacked"`
	// MaxHeader bounds the header of a request, MaxHeaderMemory the headers of all requests.
	MaxHeader       Bytes `setting:"max_header"`
	MaxHeaderMemory Bytes `setting:"max_header_memory"`
	// MaxConnections bounds the connections of a listener, MaxPerAddress those of one address.
	MaxConnections int `setting:"max_connections"`
	MaxPerAddress  int `setting:"max_connections_per_address"`
	// The time-outs are those of net/http's Server.
	ReadHeaderTimeout time.Duration `setting:"read_header_timeout"`
	ReadTimeout       time.Duration `setting:"read_timeout"`
	WriteTimeout      time.Duration `setting:"write_timeout"`
	IdleTimeout       time.Duration `setting:"idle_timeout"`
	// RetryAfter is the Retry-After of a 503.
	RetryAfter time.Duration `setting:"retry_after"`
	// TrustedProxies are addresses and networks whose X-Forwarded-For the gate believes.
	TrustedProxies []string `setting:"trusted_proxies"`
}

// QueueOptions concern the queue. Here and below, a field with the tag only:"redis" has no effect
// unless Redis is the queue.
type QueueOptions struct {
	// Kind is QueueDirect or QueueRedis; empty: Options.QueueKind chooses.
	Kind string `setting:"kind"`
	// Partitions is the number of partitions that ordering keys are hashed onto.
	Partitions int `setting:"partitions"`
	// HighWater is the number of queued records at which new webhooks get 503.
	HighWater int64 `setting:"high_water" only:"redis"`
	// ClaimTTL is how long Redis recognises a duplicate. After that the store still does.
	ClaimTTL time.Duration `setting:"claim_ttl" only:"redis"`
	// Timeout is how long a webhook may wait for the store before it is spooled.
	Timeout time.Duration `setting:"timeout"`
	// MinFreeDisk is the free disk space below which store.db and the spool take no webhooks.
	MinFreeDisk Bytes `setting:"min_free_disk"`
}

// RedisOptions concern the connection to Redis. They are used if URL is set.
type RedisOptions struct {
	URL string `setting:"url"`
	// Prefix begins every key.
	Prefix string `setting:"prefix" only:"redis"`
	// Timeout bounds one operation. After that webhooks are spooled.
	Timeout time.Duration `setting:"timeout" only:"redis"`
	// LeaseTTL is the time after which the partitions of a dead process go to other processes.
	LeaseTTL time.Duration `setting:"lease_ttl" only:"redis"`
	// AllowEviction permits a Redis that may evict acknowledged webhooks when its memory is full.
	AllowEviction bool `setting:"allow_eviction" only:"redis"`
	// TLSCA is a file of certificates to trust with rediss://.
	TLSCA string `setting:"tls_ca" only:"redis"`
}

// SpoolOptions concern the local file that takes webhooks while the store or Redis is away. The
// configuration file has them as off, as on, or as a map.
type SpoolOptions struct {
	// Off answers 503 instead of spooling.
	Off bool `setting:"-"`
	// HighWater is the number of spooled webhooks at which new ones get 503.
	HighWater int64 `setting:"high_water"`
}

// DefaultSpoolHighWater is the default of SpoolOptions.HighWater, in webhooks.
const DefaultSpoolHighWater = 100_000

// UnmarshalText reads "off" and "on".
func (s *SpoolOptions) UnmarshalText(text []byte) error {
	switch string(text) {
	case "off":
		*s = SpoolOptions{Off: true, HighWater: DefaultSpoolHighWater}
	case "on":
		*s = SpoolOptions{HighWater: DefaultSpoolHighWater}
	default:
		return fmt.Errorf("spool %q is neither off nor on", text)
	}
	return nil
}

// DatabaseOptions concern PostgreSQL. It is the store if URL is set.
type DatabaseOptions struct {
	URL string `setting:"url"`
	// Schema is the schema that holds the tables.
	Schema string `setting:"schema"`
	// MaxConnections bounds the connections of one process.
	MaxConnections int `setting:"max_connections"`
	// ConnectTimeout bounds opening a connection, and how long Open waits for the database.
	ConnectTimeout time.Duration `setting:"connect_timeout"`
	// StatementTimeout bounds a statement, its wait for locks included.
	StatementTimeout time.Duration `setting:"statement_timeout"`
	// Migrate updates the schema. Without it Open fails if the schema is another one.
	Migrate bool `setting:"migrate"`
}

// WorkerOptions concern the workers, which store the records from Redis.
type WorkerOptions struct {
	// Count and Min are the most and the fewest workers at a time.
	Count int `setting:"count" only:"redis"`
	Min   int `setting:"min" only:"redis"`
	// MaxRecords and MaxBytes bound one batch.
	MaxRecords int   `setting:"max_records" only:"redis"`
	MaxBytes   Bytes `setting:"max_bytes" only:"redis"`
	// Linger is how long a worker waits for a fuller batch.
	Linger time.Duration `setting:"linger" only:"redis"`
	// ApplyTarget is the duration of a transaction above which the next batches are smaller.
	ApplyTarget time.Duration `setting:"apply_target" only:"redis"`
	// ApplyTimeout bounds one attempt to store a batch.
	ApplyTimeout time.Duration `setting:"apply_timeout" only:"redis"`
	// BackoffMin and BackoffMax are the first and the longest pause after a failed attempt.
	BackoffMin time.Duration `setting:"backoff_min" only:"redis"`
	BackoffMax time.Duration `setting:"backoff_max" only:"redis"`
	// MaxRate bounds the records that the workers of a process store per second; 0: no limit.
	MaxRate int `setting:"max_rate" only:"redis"`
}

// RetentionOptions say what the gate removes from the store.
type RetentionOptions struct {
	// Events and Trail are how long the body of an event and its lineage are kept; 0: for ever.
	Events time.Duration `setting:"events"`
	Trail  time.Duration `setting:"trail"`
	// SharePercent is the percentage of the store's time that removal may use.
	SharePercent int `setting:"share_percent"`
}

// TracingOptions concern OpenTelemetry. They are used if Endpoint is set.
type TracingOptions struct {
	// Endpoint is the base URL of a receiver of OTLP over HTTP.
	Endpoint string `setting:"endpoint"`
	// Sample is the share of the traces that is recorded, from 0 to 1.
	Sample float64 `setting:"sample"`
}

// DefaultOptions returns the options of a gate that needs no other service. It listens on loopback
// and keeps everything in the folder data.
func DefaultOptions() Options {
	return Options{
		Listen:          "127.0.0.1:8080",
		Role:            RoleAll,
		DataDir:         "data",
		ShutdownTimeout: 30 * time.Second,
		Sources:         map[string]SourceOptions{ingest.DefaultSource: {Kind: "envelope"}},
		Admin: AdminOptions{
			FailedLogins: 30,
			SessionIdle:  12 * time.Hour,
			SessionMax:   7 * 24 * time.Hour,
			LiveStreams:  20,
			AuditTimeout: 10 * time.Minute,
			SearchTime:   500 * time.Millisecond,
		},
		Approvals: ApprovalOptions{Expiry: time.Hour, MaxPending: 20},
		Evidence: EvidenceOptions{
			MaxSize:    256 << 20,
			MaxTotal:   4 << 30,
			MaxBundles: 1000,
			Timeout:    10 * time.Minute,
		},
		HTTP: HTTPOptions{
			MaxBody:           1 << 20,
			MaxBodyMemory:     256 << 20,
			MaxUnpacked:       8 << 20,
			MaxHeader:         16 << 10,
			MaxHeaderMemory:   64 << 20,
			MaxConnections:    10_000,
			MaxPerAddress:     1000,
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       30 * time.Second,
			WriteTimeout:      30 * time.Second,
			IdleTimeout:       2 * time.Minute,
			RetryAfter:        5 * time.Second,
		},
		Queue: QueueOptions{
			Partitions:  16,
			HighWater:   100_000,
			ClaimTTL:    7 * 24 * time.Hour,
			Timeout:     time.Second,
			MinFreeDisk: 256 << 20,
		},
		Redis: RedisOptions{Prefix: "hookgate", Timeout: time.Second, LeaseTTL: 5 * time.Second},
		Spool: SpoolOptions{HighWater: DefaultSpoolHighWater},
		Database: DatabaseOptions{
			Schema:           postgres.DefaultSchema,
			MaxConnections:   10,
			ConnectTimeout:   5 * time.Second,
			StatementTimeout: 30 * time.Second,
			Migrate:          true,
		},
		Worker: WorkerOptions{
			Count:        max(1, runtime.NumCPU()/2),
			Min:          1,
			MaxRecords:   2000,
			MaxBytes:     8 << 20,
			Linger:       100 * time.Millisecond,
			ApplyTarget:  250 * time.Millisecond,
			ApplyTimeout: 30 * time.Second,
			BackoffMin:   50 * time.Millisecond,
			BackoffMax:   15 * time.Second,
		},
		Retention: RetentionOptions{SharePercent: 10},
		Guard:     defaultGuard,
		Canary:    defaultCanary,
		Tracing:   TracingOptions{Sample: 0.01},
	}
}

// QueueKind returns Queue.Kind. If that is empty, it returns QueueRedis if Redis.URL is set, and
// QueueDirect otherwise.
func (o Options) QueueKind() string {
	switch {
	case o.Queue.Kind != "":
		return o.Queue.Kind
	case o.Redis.URL != "":
		return QueueRedis
	}
	return QueueDirect
}

// MaxBodyLimit is the largest permitted HTTPOptions.MaxBody. SQLite stores values of up to 1e9 bytes.
const MaxBodyLimit Bytes = 256 << 20

// Bytes is a size in bytes.
type Bytes int64

// UnmarshalText reads a size with or without a unit, such as 512KiB.
func (b *Bytes) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > 1<<50 {
		return fmt.Errorf("%q is not a size: write it like 512KiB or 1MiB", text)
	}
	*b = Bytes(n)
	return nil
}

// String returns the size with a unit.
func (b Bytes) String() string { return humanize.IBytes(uint64(b)) }

// Secrets are secrets or references to them: "env:NAME" is the value of an environment variable,
// "file:PATH" the content of a file, and a secret after "exact:" is taken as it is. All of them are
// valid at the same time. A secret is never split at commas.
type Secrets []string
