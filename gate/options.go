package gate

import (
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/store/postgres"
)

// Options say what a gate does. There are two ways to make them:
//
//   - In Options that you write yourself, a field that is zero has its default, at every depth. Only
//     Listen and Admin.Listen stay empty: such a gate does not listen.
//   - DefaultOptions returns Options with all defaults. In these a zero counts as zero. Use it to set
//     a field to zero whose default is something else, such as Retention.WaitForSubscriptions.
//
// The tag of a field is the name of its setting. docs/reference/configuration.md describes each
// setting with its unit, default and limit. Package config fills the options from the
// configuration file, the environment and flags. Errors name the setting.
type Options struct {
	// complete reports that a zero field counts as zero.
	complete bool

	// Logger receives the log. If it is nil, nothing is logged.
	Logger *slog.Logger `setting:"-"`
	// Registerer receives the metrics of the gate in addition to /metrics; it may be nil. For two
	// gates on one registry, wrap it for each of them with prometheus.WrapRegistererWith.
	Registerer prometheus.Registerer `setting:"-"`
	// TracerProvider receives the spans of the gate; nil: Tracing decides. The gate does not shut it
	// down.
	TracerProvider trace.TracerProvider `setting:"-"`
	// Version is shown by /api/health, the dashboard and the metrics.
	Version string `setting:"-"`

	// Listen is the address that Run serves. If it is empty, the gate does not listen, and the
	// caller serves Handler and AdminHandler.
	Listen string `setting:"listen"`
	// Role is RoleAll, RoleIngest, RoleWorker or RoleDeliver.
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
	Sources Sources `setting:"sources"`

	// Subscriptions say which events go where, by name.
	Subscriptions map[string]SubscriptionOptions `setting:"subscriptions"`

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
	Release   ReleaseOptions   `setting:"release"`
	Canary    CanaryOptions    `setting:"canary"`
	Tracing   TracingOptions   `setting:"tracing"`
}

// The roles of a process.
const (
	RoleAll     = "all"
	RoleIngest  = "ingest"  // receives webhooks; other processes do the rest
	RoleWorker  = "worker"  // stores the webhooks that other processes received
	RoleDeliver = "deliver" // delivers the events of the subscriptions
)

// The kinds of queue; see Options.QueueKind.
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
	// SessionIdle is how long a session of the dashboard lasts without use.
	SessionIdle time.Duration `setting:"session_idle"`
	// SearchTime bounds one page of a search without an index; default 500 ms. The page then says how
	// far it came, and the next request continues.
	SearchTime time.Duration `setting:"-"`
}

// ApprovalOptions concern actions that a second person must approve.
type ApprovalOptions struct {
	// Required names the actions; by default there are none.
	Required []string `setting:"required"`
	// Expiry is how long after its request an approval can be given and used.
	Expiry time.Duration `setting:"expiry"`
}

// EvidenceOptions concern evidence bundles that POST /api/intake receives.
type EvidenceOptions struct {
	// MaxTotal bounds the disk of all bundles. One bundle may use a sixteenth of it, packed and
	// unpacked.
	MaxTotal Bytes `setting:"max_total"`
	// PublicKeys are files. One of the keys must have signed a bundle; without keys any signature
	// is accepted.
	PublicKeys []string `setting:"public_keys"`
	// Phases must have passed in evidence on which the canary leaves 0 percent; none means smoke,
	// load and full.
	Phases []string `setting:"phases"`
	// Profile is a file with the least numbers and greatest limits of these phases; empty means the
	// default profile of a certification.
	Profile string `setting:"profile"`
	// Check makes the check of these phases under this profile. The check returns the reason why the
	// bundle in a folder is not enough, or "". A program sets it to certify.NewCheck; without it no
	// evidence is enough. So a program that needs no evidence does not link the certifier.
	Check func(profile string, phases []string) (check func(dir string) (reason string, err error),
		err error) `setting:"-"`
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
	ReadTimeout  time.Duration `setting:"read_timeout"`
	WriteTimeout time.Duration `setting:"write_timeout"`
	IdleTimeout  time.Duration `setting:"idle_timeout"`
	// RetryAfter is the Retry-After of a 503.
	RetryAfter time.Duration `setting:"retry_after"`
	// TrustedProxies are addresses and networks whose X-Forwarded-For the gate believes.
	TrustedProxies []string `setting:"trusted_proxies"`
}

// QueueOptions concern the queue. Here and below, a field with the tag only:"redis" has no effect
// unless Redis is the queue.
type QueueOptions struct {
	// Partitions is the number of partitions that ordering keys are hashed onto.
	Partitions int `setting:"partitions"`
	// HighWater is the number of waiting webhooks, in Redis or in the spool, at which new ones get
	// 503.
	HighWater int64 `setting:"high_water"`
	// ClaimTTL is how long Redis recognises a duplicate. After that the store still does.
	ClaimTTL time.Duration `setting:"claim_ttl" only:"redis"`
	// Timeout is how long a webhook may wait for the store or for Redis before it is spooled.
	Timeout time.Duration `setting:"timeout"`
	// MinFreeDisk is the free disk space below which store.db and the spool take no webhooks.
	MinFreeDisk Bytes `setting:"min_free_disk"`
}

// RedisOptions concern the connection to Redis. They are used if URL is set.
type RedisOptions struct {
	URL string `setting:"url"`
	// Prefix begins every key.
	Prefix string `setting:"prefix" only:"redis"`
	// LeaseTTL is the time after which the partitions of a dead process go to other processes.
	LeaseTTL time.Duration `setting:"lease_ttl" only:"redis"`
	// AllowEviction permits a Redis that may evict acknowledged webhooks when its memory is full.
	AllowEviction bool `setting:"allow_eviction" only:"redis"`
	// TLSCA is a file of certificates to trust with rediss://.
	TLSCA string `setting:"tls_ca" only:"redis"`
}

// SpoolOptions say whether the gate spools webhooks to a local file while the store or Redis is
// away. The configuration has it as on or off.
type SpoolOptions struct {
	// Off makes the gate answer 503 instead.
	Off bool `setting:"-"`
}

// UnmarshalText parses "on" or "off".
func (s *SpoolOptions) UnmarshalText(text []byte) error {
	switch string(text) {
	case "off":
		s.Off = true
	case "on":
		s.Off = false
	default:
		return fmt.Errorf("spool is %q; it must be on or off", text)
	}
	return nil
}

// DatabaseOptions concern PostgreSQL. It is the store if URL is set.
type DatabaseOptions struct {
	// URL may have connect_timeout, in seconds, which bounds opening a connection and how long Open
	// waits for the database. The default is 5 s.
	URL string `setting:"url"`
	// Schema is the schema that holds the tables.
	Schema string `setting:"schema"`
	// MaxConnections bounds the connections of one process.
	MaxConnections int `setting:"max_connections"`
	// StatementTimeout bounds a statement, its wait for locks included.
	StatementTimeout time.Duration `setting:"statement_timeout"`
	// Migrate updates the schema. Without it Open fails if the schema is another one.
	Migrate bool `setting:"migrate"`
}

// WorkerOptions concern the workers, which store the records from Redis.
type WorkerOptions struct {
	// Count is the largest number of workers at a time.
	Count int `setting:"count" only:"redis"`
	// MaxRate bounds the records that the workers of a process store per second; 0: no limit.
	MaxRate int `setting:"max_rate" only:"redis"`
}

// RetentionOptions say what the gate removes from the store.
type RetentionOptions struct {
	// Events and Trail are how long the body of an event and its lineage are kept; 0: for ever.
	Events time.Duration `setting:"events"`
	Trail  time.Duration `setting:"trail"`
	// WaitForSubscriptions keeps the body of an event until all configured subscriptions have passed
	// it. Without it they miss the event if retention is faster.
	WaitForSubscriptions bool `setting:"wait_for_subscriptions"`
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
		complete:        true,
		Listen:          "127.0.0.1:8080",
		Role:            RoleAll,
		DataDir:         "data",
		ShutdownTimeout: 30 * time.Second,
		Sources:         Sources{ingest.DefaultSource: {Kind: "envelope"}},
		Admin:           AdminOptions{FailedLogins: 30, SessionIdle: 12 * time.Hour},
		Approvals:       ApprovalOptions{Expiry: time.Hour},
		Evidence:        EvidenceOptions{MaxTotal: 4 << 30},
		HTTP: HTTPOptions{
			MaxBody:         1 << 20,
			MaxBodyMemory:   256 << 20,
			MaxUnpacked:     8 << 20,
			MaxHeader:       16 << 10,
			MaxHeaderMemory: 64 << 20,
			MaxConnections:  10_000,
			MaxPerAddress:   1000,
			ReadTimeout:     30 * time.Second,
			WriteTimeout:    30 * time.Second,
			IdleTimeout:     2 * time.Minute,
			RetryAfter:      5 * time.Second,
		},
		Queue: QueueOptions{
			Partitions:  16,
			HighWater:   100_000,
			ClaimTTL:    7 * 24 * time.Hour,
			Timeout:     time.Second,
			MinFreeDisk: 256 << 20,
		},
		Redis: RedisOptions{Prefix: "hookgate", LeaseTTL: 5 * time.Second},
		Database: DatabaseOptions{
			Schema:           postgres.DefaultSchema,
			MaxConnections:   10,
			StatementTimeout: 30 * time.Second,
			Migrate:          true,
		},
		Worker:    WorkerOptions{Count: max(1, runtime.NumCPU()/2)},
		Retention: RetentionOptions{WaitForSubscriptions: true},
		Guard:     defaultGuard,
		Release:   defaultRelease,
		Canary:    defaultCanary,
		Tracing:   TracingOptions{Sample: 0.01},
	}
}

// withDefaults returns options in which a zero field counts as zero.
func (o Options) withDefaults() Options {
	if o.complete {
		return o
	}
	defaults := DefaultOptions()
	defaults.Listen = ""
	fillZeros(reflect.ValueOf(&o).Elem(), reflect.ValueOf(defaults))
	o.complete = true
	return o
}

// fillZeros sets the exported fields of a struct that are zero.
func fillZeros(to, defaults reflect.Value) {
	for i := range to.NumField() {
		switch field := to.Field(i); {
		case !to.Type().Field(i).IsExported():
		case field.Kind() == reflect.Struct:
			fillZeros(field, defaults.Field(i))
		case field.IsZero():
			field.Set(defaults.Field(i))
		}
	}
}

// receives reports whether the process takes webhooks.
func (o Options) receives() bool { return o.Role == RoleAll || o.Role == RoleIngest }

// delivers reports whether the process delivers events.
func (o Options) delivers() bool { return o.Role == RoleAll || o.Role == RoleDeliver }

// QueueKind returns QueueRedis if Redis.URL is set, and QueueDirect otherwise.
func (o Options) QueueKind() string {
	if o.Redis.URL != "" {
		return QueueRedis
	}
	return QueueDirect
}

// MaxBodyLimit is the largest permitted HTTPOptions.MaxBody. SQLite stores values of up to 1e9
// bytes.
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
