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
// Each field has the setting of docs/reference/configuration.md as its tag; package config fills
// the options from a file, the environment and flags, and errors name the setting.
type Options struct {
	// Logger gets the log; nil discards it.
	Logger *slog.Logger `setting:"-"`
	// Version is shown in the health, the dashboard and the metrics.
	Version string `setting:"-"`
	// Registerer gets the metrics of the gate too; nil: they are at /metrics alone.
	Registerer prometheus.Registerer `setting:"-"`

	// Listen is the address that Run serves; empty: none, the caller serves Handler.
	Listen          string        `setting:"listen"`
	Role            string        `setting:"role"`
	DataDir         string        `setting:"data_dir"`
	ShutdownTimeout time.Duration `setting:"shutdown_timeout"`
	AdminTokens     Secrets       `setting:"admin_tokens"`
	EvidenceTokens  Secrets       `setting:"evidence_tokens"`
	PublicURL       string        `setting:"public_url"`

	AllowUnauthenticated bool `setting:"allow_unauthenticated"`

	Admin     AdminOptions             `setting:"admin"`
	Approvals ApprovalOptions          `setting:"approvals"`
	Evidence  EvidenceOptions          `setting:"evidence"`
	HTTP      HTTPOptions              `setting:"http"`
	TLS       TLSOptions               `setting:"tls"`
	Queue     QueueOptions             `setting:"queue"`
	Redis     RedisOptions             `setting:"redis"`
	Spool     SpoolOptions             `setting:"spool"`
	Database  DatabaseOptions          `setting:"database"`
	Worker    WorkerOptions            `setting:"worker"`
	Retention RetentionOptions         `setting:"retention"`
	Guard     GuardOptions             `setting:"guard"`
	Canary    CanaryOptions            `setting:"canary"`
	Tracing   TracingOptions           `setting:"tracing"`
	Sources   map[string]SourceOptions `setting:"sources"`
}

// The roles of a process.
const (
	RoleAll    = "all"
	RoleIngest = "ingest" // takes webhooks
	RoleWorker = "worker" // stores what others have taken
)

// The kinds of queue.
const (
	QueueDirect = "direct" // the store takes the appends
	QueueRedis  = "redis"  // Redis takes the appends, and workers store them
)

// AdminOptions is about everything but webhooks.
type AdminOptions struct {
	Listen       string `setting:"listen"`
	FailedLogins int    `setting:"failed_logins"`
	// SessionIdle and SessionMax bound a session of the dashboard, LiveStreams the browsers that are
	// shown live numbers.
	SessionIdle time.Duration `setting:"session_idle"`
	SessionMax  time.Duration `setting:"session_max"`
	LiveStreams int           `setting:"live_streams"`
	// AuditTimeout bounds GET /api/audit/verify.
	AuditTimeout time.Duration `setting:"audit_timeout"`
	// SearchTime is how long a page of a search may look for events.
	SearchTime time.Duration `setting:"search_time"`
}

// ApprovalOptions is about what one person does and another must approve.
type ApprovalOptions struct {
	Required   []string      `setting:"required"`
	Expiry     time.Duration `setting:"expiry"`
	MaxPending int           `setting:"max_pending"`
}

// EvidenceOptions is about evidence that others hand in.
type EvidenceOptions struct {
	MaxSize    Bytes         `setting:"max_size"`
	MaxTotal   Bytes         `setting:"max_total"`
	MaxBundles int           `setting:"max_bundles"`
	Timeout    time.Duration `setting:"timeout"`
	PublicKeys []string      `setting:"public_keys"` // files
}

type HTTPOptions struct {
	MaxBody           Bytes         `setting:"max_body"`
	MaxBodyMemory     Bytes         `setting:"max_body_memory"`
	MaxUnpacked       Bytes         `setting:"max_unpacked"`
	MaxHeader         Bytes         `setting:"max_header"`
	MaxHeaderMemory   Bytes         `setting:"max_header_memory"`
	MaxConnections    int           `setting:"max_connections"`
	MaxPerAddress     int           `setting:"max_connections_per_address"`
	ReadHeaderTimeout time.Duration `setting:"read_header_timeout"`
	ReadTimeout       time.Duration `setting:"read_timeout"`
	WriteTimeout      time.Duration `setting:"write_timeout"`
	IdleTimeout       time.Duration `setting:"idle_timeout"`
	RetryAfter        time.Duration `setting:"retry_after"`
	TrustedProxies    []string      `setting:"trusted_proxies"`
}

// Fields with the tag only:"redis" have no effect with another kind of queue.
type QueueOptions struct {
	// Kind is never empty after loadConfig.
	Kind        string        `setting:"kind"`
	Partitions  int           `setting:"partitions"`
	HighWater   int64         `setting:"high_water" only:"redis"`
	ClaimTTL    time.Duration `setting:"claim_ttl" only:"redis"`
	Timeout     time.Duration `setting:"timeout"`
	MinFreeDisk Bytes         `setting:"min_free_disk"`
}

// RedisOptions is used if URL is set.
type RedisOptions struct {
	URL           string        `setting:"url"`
	Prefix        string        `setting:"prefix" only:"redis"`
	Timeout       time.Duration `setting:"timeout" only:"redis"`
	LeaseTTL      time.Duration `setting:"lease_ttl" only:"redis"`
	AllowEviction bool          `setting:"allow_eviction" only:"redis"`
	TLSCA         string        `setting:"tls_ca" only:"redis"`
}

// SpoolOptions is written as off, as on, or as a map.
type SpoolOptions struct {
	Off       bool  `setting:"-"`
	HighWater int64 `setting:"high_water"`
}

const DefaultSpoolHighWater = 100_000

// UnmarshalText reads off and on.
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

// DatabaseOptions is used if URL is set.
type DatabaseOptions struct {
	URL              string        `setting:"url"`
	Schema           string        `setting:"schema"`
	MaxConnections   int           `setting:"max_connections"`
	ConnectTimeout   time.Duration `setting:"connect_timeout"`
	StatementTimeout time.Duration `setting:"statement_timeout"`
	Migrate          bool          `setting:"migrate"`
}

type WorkerOptions struct {
	Count        int           `setting:"count" only:"redis"`
	Min          int           `setting:"min" only:"redis"`
	MaxRecords   int           `setting:"max_records" only:"redis"`
	MaxBytes     Bytes         `setting:"max_bytes" only:"redis"`
	Linger       time.Duration `setting:"linger" only:"redis"`
	ApplyTarget  time.Duration `setting:"apply_target" only:"redis"`
	ApplyTimeout time.Duration `setting:"apply_timeout" only:"redis"`
	BackoffMin   time.Duration `setting:"backoff_min" only:"redis"`
	BackoffMax   time.Duration `setting:"backoff_max" only:"redis"`
	MaxRate      int           `setting:"max_rate" only:"redis"`
}

// TracingOptions is used if Endpoint is set.
type TracingOptions struct {
	Endpoint string  `setting:"endpoint"`
	Sample   float64 `setting:"sample"`
}

// RetentionOptions says what is removed from the store, and when; 0 is never.
type RetentionOptions struct {
	Events time.Duration `setting:"events"`
	Trail  time.Duration `setting:"trail"`
	// SharePercent is the part of the store's time that removal may take.
	SharePercent int `setting:"share_percent"`
}

func DefaultOptions() Options {
	return Options{
		Listen:          "127.0.0.1:8080",
		Role:            RoleAll,
		DataDir:         "data",
		ShutdownTimeout: 30 * time.Second,
		Approvals:       ApprovalOptions{Expiry: time.Hour, MaxPending: 20},
		Admin: AdminOptions{FailedLogins: 30, AuditTimeout: 10 * time.Minute,
			SearchTime: 500 * time.Millisecond, SessionIdle: 12 * time.Hour, SessionMax: 7 * 24 * time.Hour,
			LiveStreams: 20},
		Evidence: EvidenceOptions{MaxSize: 256 << 20, MaxTotal: 4 << 30, MaxBundles: 1000,
			Timeout: 10 * time.Minute},
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
		Queue: QueueOptions{Partitions: 16, HighWater: 100_000,
			ClaimTTL: 7 * 24 * time.Hour, Timeout: time.Second, MinFreeDisk: 256 << 20},
		Redis: RedisOptions{Prefix: "hookgate", Timeout: time.Second, LeaseTTL: 5 * time.Second},
		Spool: SpoolOptions{HighWater: DefaultSpoolHighWater},
		Database: DatabaseOptions{Schema: postgres.DefaultSchema, MaxConnections: 10,
			ConnectTimeout: 5 * time.Second, StatementTimeout: 30 * time.Second, Migrate: true},
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
		Sources:   map[string]SourceOptions{ingest.DefaultSource: {Kind: "envelope"}},
	}
}

// QueueKind returns Queue.Kind or, if it is empty, the kind that the other options choose:
// QueueRedis if there is a Redis.URL, else QueueDirect.
func (o Options) QueueKind() string {
	switch {
	case o.Queue.Kind != "":
		return o.Queue.Kind
	case o.Redis.URL != "":
		return QueueRedis
	}
	return QueueDirect
}

// MaxBodyLimit is well below what SQLite takes in one value, 1e9 bytes.
const MaxBodyLimit Bytes = 256 << 20

// Bytes is a number of bytes, written with a unit: 512KiB, 1MiB.
type Bytes int64

// UnmarshalText reads a number with or without a unit.
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

// Secrets are secrets, or references to them; see package secret. Unlike other lists they are
// never made of one text by cutting it at commas.
type Secrets []string
