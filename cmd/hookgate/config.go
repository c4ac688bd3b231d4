package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"

	"github.com/hookgate/hookgate/adminapi"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/secret"
	"github.com/hookgate/hookgate/store/postgres"
)

// config is everything that can be set. docs/reference/configuration.md describes it to users; a test
// compares the two.
type config struct {
	Listen          string        `koanf:"listen"`
	Role            string        `koanf:"role"`
	DataDir         dataDir       `koanf:"data_dir"`
	ShutdownTimeout time.Duration `koanf:"shutdown_timeout"`
	AdminTokens     secretList    `koanf:"admin_tokens"`
	EvidenceTokens  secretList    `koanf:"evidence_tokens"`
	LogLevel        string        `koanf:"log_level"`
	PublicURL       string        `koanf:"public_url"`

	AllowUnauthenticated bool `koanf:"allow_unauthenticated"`

	Admin     adminConfig             `koanf:"admin"`
	Approvals approvalsConfig         `koanf:"approvals"`
	Evidence  evidenceConfig          `koanf:"evidence"`
	HTTP      httpConfig              `koanf:"http"`
	TLS       tlsConfig               `koanf:"tls"`
	Queue     queueConfig             `koanf:"queue"`
	Redis     redisConfig             `koanf:"redis"`
	Spool     spoolConfig             `koanf:"spool"`
	Database  databaseConfig          `koanf:"database"`
	Worker    workerConfig            `koanf:"worker"`
	Retention retentionConfig         `koanf:"retention"`
	Guard     guardConfig             `koanf:"guard"`
	Canary    canaryConfig            `koanf:"canary"`
	Rollback  rollbackConfig          `koanf:"rollback"`
	Tracing   tracingConfig           `koanf:"tracing"`
	Sources   map[string]sourceConfig `koanf:"sources"`

	// unused are settings that were made although this kind of queue does not use them.
	unused []string
}

// removedSettings are settings of earlier releases, with what to do instead.
var removedSettings = map[string]string{
	"failover":           "write `spool: off` for `failover: off`; remove `failover: on`, which is the default",
	"queue.cache":        "remove it; nothing is needed in its place, because the store takes the webhooks",
	"queue.claim_filter": "remove it; nothing is needed in its place, because the store recognises repetitions",
}

// redisOnly returns the paths of the settings that have an effect with Redis as the queue alone.
func redisOnly(t reflect.Type, prefix string) []string {
	var paths []string
	for f := range t.Fields() {
		path := prefix + f.Tag.Get("koanf")
		if f.Tag.Get("only") == kindRedis {
			paths = append(paths, path)
		} else if f.Type.Kind() == reflect.Struct {
			paths = append(paths, redisOnly(f.Type, path+".")...)
		}
	}
	return paths
}

// The roles of a process.
const (
	roleAll    = "all"
	roleIngest = "ingest" // takes webhooks
	roleWorker = "worker" // stores what others have taken
)

// The kinds of queue.
const (
	kindDirect = "direct" // the store takes the appends
	kindRedis  = "redis"  // Redis takes the appends, and workers store them
)

// adminConfig is about everything but webhooks.
type adminConfig struct {
	Listen       string `koanf:"listen"`
	FailedLogins int    `koanf:"failed_logins"`
	// SessionIdle and SessionMax bound a session of the dashboard, LiveStreams the browsers that are
	// shown live numbers.
	SessionIdle time.Duration `koanf:"session_idle"`
	SessionMax  time.Duration `koanf:"session_max"`
	LiveStreams int           `koanf:"live_streams"`
	// AuditTimeout bounds GET /api/audit/verify.
	AuditTimeout time.Duration `koanf:"audit_timeout"`
	// SearchTime is how long a page of a search may look for events.
	SearchTime time.Duration `koanf:"search_time"`
}

// approvalsConfig is about what one person does and another must approve.
type approvalsConfig struct {
	Required   []string      `koanf:"required"`
	Expiry     time.Duration `koanf:"expiry"`
	MaxPending int           `koanf:"max_pending"`
}

// evidenceConfig is about evidence that others hand in.
type evidenceConfig struct {
	MaxSize    byteSize      `koanf:"max_size"`
	MaxTotal   byteSize      `koanf:"max_total"`
	MaxBundles int           `koanf:"max_bundles"`
	Timeout    time.Duration `koanf:"timeout"`
	PublicKeys []string      `koanf:"public_keys"` // files
}

type httpConfig struct {
	MaxBody           byteSize      `koanf:"max_body"`
	MaxBodyMemory     byteSize      `koanf:"max_body_memory"`
	MaxUnpacked       byteSize      `koanf:"max_unpacked"`
	MaxHeader         byteSize      `koanf:"max_header"`
	MaxHeaderMemory   byteSize      `koanf:"max_header_memory"`
	MaxConnections    int           `koanf:"max_connections"`
	MaxPerAddress     int           `koanf:"max_connections_per_address"`
	ReadHeaderTimeout time.Duration `koanf:"read_header_timeout"`
	ReadTimeout       time.Duration `koanf:"read_timeout"`
	WriteTimeout      time.Duration `koanf:"write_timeout"`
	IdleTimeout       time.Duration `koanf:"idle_timeout"`
	RetryAfter        time.Duration `koanf:"retry_after"`
	TrustedProxies    []string      `koanf:"trusted_proxies"`
}

// Fields with the tag only:"redis" have no effect with another kind of queue.
type queueConfig struct {
	// Kind is never empty after loadConfig.
	Kind        string        `koanf:"kind"`
	Partitions  int           `koanf:"partitions"`
	HighWater   int64         `koanf:"high_water" only:"redis"`
	ClaimTTL    time.Duration `koanf:"claim_ttl" only:"redis"`
	Timeout     time.Duration `koanf:"timeout"`
	MinFreeDisk byteSize      `koanf:"min_free_disk"`
}

// redisConfig is used if URL is set.
type redisConfig struct {
	URL           string        `koanf:"url"`
	Prefix        string        `koanf:"prefix" only:"redis"`
	Timeout       time.Duration `koanf:"timeout" only:"redis"`
	LeaseTTL      time.Duration `koanf:"lease_ttl" only:"redis"`
	AllowEviction bool          `koanf:"allow_eviction" only:"redis"`
	TLSCA         string        `koanf:"tls_ca" only:"redis"`
}

// spoolConfig is written as off, as on, or as a map.
type spoolConfig struct {
	Off       bool  `koanf:"-"`
	HighWater int64 `koanf:"high_water"`
}

const defaultSpoolHighWater = 100_000

// UnmarshalText reads off and on.
func (s *spoolConfig) UnmarshalText(text []byte) error {
	switch string(text) {
	case "off":
		*s = spoolConfig{Off: true, HighWater: defaultSpoolHighWater}
	case "on":
		*s = spoolConfig{HighWater: defaultSpoolHighWater}
	default:
		return fmt.Errorf("spool %q is neither off nor on", text)
	}
	return nil
}

// databaseConfig is used if URL is set.
type databaseConfig struct {
	URL              string        `koanf:"url"`
	Schema           string        `koanf:"schema"`
	MaxConnections   int           `koanf:"max_connections"`
	ConnectTimeout   time.Duration `koanf:"connect_timeout"`
	StatementTimeout time.Duration `koanf:"statement_timeout"`
	Migrate          bool          `koanf:"migrate"`
}

type workerConfig struct {
	Count        int           `koanf:"count" only:"redis"`
	Min          int           `koanf:"min" only:"redis"`
	MaxRecords   int           `koanf:"max_records" only:"redis"`
	MaxBytes     byteSize      `koanf:"max_bytes" only:"redis"`
	Linger       time.Duration `koanf:"linger" only:"redis"`
	ApplyTarget  time.Duration `koanf:"apply_target" only:"redis"`
	ApplyTimeout time.Duration `koanf:"apply_timeout" only:"redis"`
	BackoffMin   time.Duration `koanf:"backoff_min" only:"redis"`
	BackoffMax   time.Duration `koanf:"backoff_max" only:"redis"`
	MaxRate      int           `koanf:"max_rate" only:"redis"`
}

// tracingConfig is used if Endpoint is set.
type tracingConfig struct {
	Endpoint string  `koanf:"endpoint"`
	Sample   float64 `koanf:"sample"`
}

// retentionConfig says what is removed from the store, and when; 0 is never.
type retentionConfig struct {
	Events time.Duration `koanf:"events"`
	Trail  time.Duration `koanf:"trail"`
	// SharePercent is the part of the store's time that removal may take.
	SharePercent int `koanf:"share_percent"`
}

func defaultConfig() config {
	return config{
		Listen:          "127.0.0.1:8080",
		Role:            roleAll,
		DataDir:         "data",
		ShutdownTimeout: 30 * time.Second,
		LogLevel:        "info",
		Approvals:       approvalsConfig{Expiry: time.Hour, MaxPending: 20},
		Admin: adminConfig{FailedLogins: 30, AuditTimeout: 10 * time.Minute,
			SearchTime: 500 * time.Millisecond, SessionIdle: 12 * time.Hour, SessionMax: 7 * 24 * time.Hour,
			LiveStreams: 20},
		Evidence: evidenceConfig{MaxSize: 256 << 20, MaxTotal: 4 << 30, MaxBundles: 1000,
			Timeout: 10 * time.Minute},
		HTTP: httpConfig{
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
		Queue: queueConfig{Kind: kindDirect, Partitions: 16, HighWater: 100_000,
			ClaimTTL: 7 * 24 * time.Hour, Timeout: time.Second, MinFreeDisk: 256 << 20},
		Redis: redisConfig{Prefix: "hookgate", Timeout: time.Second, LeaseTTL: 5 * time.Second},
		Spool: spoolConfig{HighWater: defaultSpoolHighWater},
		Database: databaseConfig{Schema: postgres.DefaultSchema, MaxConnections: 10,
			ConnectTimeout: 5 * time.Second, StatementTimeout: 30 * time.Second, Migrate: true},
		Worker: workerConfig{
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
		Retention: retentionConfig{SharePercent: 10},
		Guard:     defaultGuardConfig,
		Canary:    defaultCanaryConfig,
		Rollback:  defaultRollbackConfig,
		Tracing:   tracingConfig{Sample: 0.01},
		Sources:   map[string]sourceConfig{ingest.DefaultSource: {Kind: "envelope"}},
	}
}

// loadConfig puts together the defaults, the file, the environment (entries as os.Environ gives
// them) and the flags, each over the one before. An unknown setting is an error that names it.
func loadConfig(environ []string, flags map[string]any) (config, error) {
	env, configFile, err := readEnvironment(environ)
	if err != nil {
		return config{}, err
	}
	if f, ok := flags["config"].(string); ok {
		configFile = f
		delete(flags, "config")
	}
	k := koanf.New(".")
	if configFile == "" {
		if _, err := os.Stat("hookgate.yaml"); err == nil {
			configFile = "hookgate.yaml"
		} else if !errors.Is(err, fs.ErrNotExist) {
			return config{}, fmt.Errorf("read configuration: %w", err)
		}
	}
	if configFile != "" {
		if err := k.Load(file.Provider(configFile), yaml.Parser()); err != nil {
			return config{}, fmt.Errorf("read configuration %s: %w", configFile, err)
		}
	}
	for _, settings := range []map[string]any{env, flags} {
		if err := k.Load(confmap.Provider(settings, "."), nil); err != nil {
			return config{}, err
		}
	}
	c, err := decodeConfig(k)
	if err != nil && configFile != "" {
		return c, fmt.Errorf("configuration (%s, environment and flags): %w", configFile, err)
	} else if err != nil {
		return c, fmt.Errorf("configuration (environment and flags): %w", err)
	}
	return c, nil
}

// decodeConfig lays the settings over the defaults and checks them.
func decodeConfig(k *koanf.Koanf) (config, error) {
	c := defaultConfig()
	c.Queue.Kind = ""
	for _, path := range slices.Sorted(maps.Keys(removedSettings)) {
		if k.Exists(path) {
			return c, fmt.Errorf("%s was removed: %s", path, removedSettings[path])
		}
	}
	err := k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result:           &c,
		TagName:          "koanf",
		ErrorUnused:      true,
		WeaklyTypedInput: true, // environment and flags are text
		DecodeHook: mapstructure.ComposeDecodeHookFunc(
			wholeSecrets,
			singleTexts,
			strictNumbers,
			mapstructure.StringToTimeDurationHookFunc(),
			mapstructure.TextUnmarshallerHookFunc(),
			mapstructure.StringToSliceHookFunc(","),
		),
	}})
	if err != nil {
		return c, err
	}
	switch {
	case c.Queue.Kind != "":
	case c.Redis.URL != "":
		c.Queue.Kind = kindRedis
	default:
		c.Queue.Kind = kindDirect
	}
	if c.Queue.Kind == kindDirect {
		for _, path := range redisOnly(reflect.TypeFor[config](), "") {
			if k.Exists(path) {
				c.unused = append(c.unused, path)
			}
		}
	}
	if s, ok := c.Sources[ingest.DefaultSource]; ok && s.Kind == "" {
		s.Kind = "envelope"
		c.Sources[ingest.DefaultSource] = s
	}
	return c, c.check()
}

// singleTexts keeps lists and maps out of settings that are one text, whose value an error of the
// decoder would show.
func singleTexts(from, to reflect.Type, value any) (any, error) {
	if to.Kind() == reflect.String && (from.Kind() == reflect.Slice || from.Kind() == reflect.Map) {
		return nil, errors.New("it takes one text, and no list or map")
	}
	return value, nil
}

// strictNumbers keeps numbers without a unit out of settings that need one: "30" is not 30 seconds.
func strictNumbers(from, to reflect.Type, value any) (any, error) {
	if to == reflect.TypeFor[time.Duration]() && from.Kind() != reflect.String && value != 0 {
		return nil, fmt.Errorf("%v has no unit: write it like 500ms, 30s or 2m", value)
	}
	if to.Kind() == reflect.Bool && from.Kind() != reflect.Bool && value != "true" &&
		value != "false" {
		return nil, fmt.Errorf("%v is neither true nor false", value)
	}
	if from.Kind() == reflect.Bool && to.Kind() != reflect.Bool {
		return nil, fmt.Errorf("%v is not the kind of value that is wanted here", value)
	}
	return value, nil
}

// secretList are secrets, or references to them; see package secret. Unlike other lists they are
// never made of one text by cutting it at commas.
type secretList []string

// wholeSecrets takes a text that stands where a list of secrets may stand for one of them. A number
// is no secret: YAML writes 0123 and 1e5 in its own way.
func wholeSecrets(_, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[secretList]() {
		return value, nil
	}
	switch v := value.(type) {
	case string:
		if n := secret.OldList(v); n > 0 && !strings.HasPrefix(v, secret.Exact) {
			return nil, fmt.Errorf("holds a comma, where earlier releases cut it into %d secrets: write a list,"+
				" [env:ONE, env:TWO], or put %s before it if it is one secret", n, secret.Exact)
		}
		return []string{v}, nil
	case []any:
		for i, element := range v {
			if _, ok := element.(string); !ok {
				return nil, fmt.Errorf("key %d is not text: put it in quotation marks", i+1)
			}
		}
	case []string:
	default:
		return nil, errors.New("it is neither a text nor a list of texts: put it in quotation marks")
	}
	return value, nil
}

// environment has the names that do not follow from the name of the setting.
var environment = map[string]string{
	"REDIS_URL":           "redis.url",
	"DB_URL":              "database.url",
	"WORKER_COUNT":        "worker.count",
	"WEBHOOK_BEARER_KEY":  "sources.default.bearer_keys",
	"WEBHOOK_HMAC_SECRET": "sources.default.secrets",
	"ADMIN_TOKEN":         "admin_tokens",
	"EVIDENCE_TOKEN":      "evidence_tokens",
}

const envPrefix = "HOOKGATE_"

// noSettings are variables that begin as settings do and are for others: for the commands that ask
// a gate, and for a roll-back command, which may start a gate.
var noSettings = []string{tokenVariable, rollbackIDVariable, rollbackReasonVariable,
	rollbackFromVariable}

// readEnvironment returns the settings that the environment makes, by path, and the configuration
// file that it names. HOOKGATE_QUEUE_HIGH_WATER sets queue.high_water, and so on for each single
// value.
func readEnvironment(environ []string) (settings map[string]any, configFile string, err error) {
	settings = map[string]any{}
	secrets := secretVariables{}
	paths := map[string]string{}
	for _, path := range settingPaths(reflect.TypeFor[config](), "") {
		paths[envPrefix+strings.ToUpper(strings.ReplaceAll(path, ".", "_"))] = path
	}
	for name, path := range environment {
		paths[name] = path
	}
	for path, instead := range removedSettings {
		name := envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
		if slices.ContainsFunc(environ, func(entry string) bool {
			value, set := strings.CutPrefix(entry, name+"=")
			return set && value != ""
		}) {
			return nil, "", fmt.Errorf("%s (environment variable %s) was removed: %s", path, name, instead)
		}
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		path, known := paths[name]
		switch {
		case value == "" || slices.Contains(noSettings, name):
		case secrets.take(name, value):
		case name == envPrefix+"CONFIG":
			configFile = value
		case known:
			settings[path] = value
		case strings.HasPrefix(name, envPrefix) && !isServiceLink(name):
			return nil, "", fmt.Errorf("environment variable %s is not a setting", name)
		}
	}
	if _, bound := settings["spool.high_water"]; bound { // a map and a text cannot both be spool
		switch settings["spool"] {
		case "on":
			delete(settings, "spool")
		case nil:
		default:
			return nil, "", errors.New("HOOKGATE_SPOOL and HOOKGATE_SPOOL_HIGH_WATER contradict each other")
		}
	}
	return settings, configFile, secrets.add(settings)
}

// isServiceLink reports whether Kubernetes or Docker set the variable for a service called
// hookgate.
func isServiceLink(name string) bool {
	rest := strings.TrimPrefix(name, envPrefix)
	return rest == "PORT" || strings.HasPrefix(rest, "PORT_") || strings.HasPrefix(rest, "SERVICE_") ||
		rest == "NAME"
}

// settingPaths returns the paths of all settings that are a single value or a list.
func settingPaths(t reflect.Type, prefix string) []string {
	var paths []string
	for f := range t.Fields() {
		path := prefix + f.Tag.Get("koanf")
		switch {
		case !f.IsExported() || f.Tag.Get("koanf") == "-":
		case f.Type.Kind() == reflect.Struct:
			if f.Type == reflect.TypeFor[spoolConfig]() { // it can be one text, too
				paths = append(paths, path)
			}
			paths = append(paths, settingPaths(f.Type, path+".")...)
		case f.Type.Kind() != reflect.Map:
			paths = append(paths, path)
		}
	}
	return paths
}

// check finds settings that cannot work, or not together.
func (c config) check() error {
	if c.Listen == "" {
		return errors.New("listen is empty: set it to an address such as 127.0.0.1:8080")
	}
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
	if err := cmp.Or(c.Guard.check(), c.Guard.checkTriggers(c.Canary.Upstream != ""),
		c.Rollback.check()); err != nil {
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
	case c.HTTP.MaxBody > maxBodyLimit:
		return fmt.Errorf("http.max_body is %v; the store can keep bodies of up to %v", c.HTTP.MaxBody,
			maxBodyLimit)
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
	case c.Canary.Upstream != "" && c.Admin.Listen == "" && c.Role != roleWorker:
		return errors.New("canary.upstream needs admin.listen: on one listener a page of the upstream would have the rights of the dashboard; set admin.listen to an address such as 127.0.0.1:8081")
	case (c.TLS.CertFile == "") != (c.TLS.KeyFile == ""):
		return errors.New("tls.cert_file and tls.key_file belong together: set both or none")
	case c.Worker.BackoffMin > c.Worker.BackoffMax:
		return fmt.Errorf("worker.backoff_min (%v) is greater than worker.backoff_max (%v)",
			c.Worker.BackoffMin, c.Worker.BackoffMax)
	case !slices.Contains([]string{roleAll, roleIngest, roleWorker}, c.Role):
		return fmt.Errorf("role %q is not one of %s, %s, %s", c.Role, roleAll, roleIngest, roleWorker)
	case c.Queue.Kind != kindDirect && c.Queue.Kind != kindRedis:
		return fmt.Errorf("queue.kind %q is neither %s nor %s", c.Queue.Kind, kindDirect, kindRedis)
	case c.Queue.Kind == kindDirect && c.Redis.URL != "":
		return errors.New("queue.kind direct and redis.url contradict each other: the store takes the webhooks, and Redis is not used; remove one of them")
	case c.Queue.Kind == kindRedis && c.Redis.URL == "":
		return errors.New("queue.kind redis needs redis.url")
	case c.Role == roleWorker && c.Queue.Kind == kindDirect:
		return errors.New("role worker needs queue.kind redis: without Redis each process stores the webhooks that it takes, and nothing is left for a worker; use role all")
	case c.Role != roleAll && c.Database.URL == "":
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
	case !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel):
		return fmt.Errorf("log_level %q is not one of debug, info, warn, error", c.LogLevel)
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
	for _, name := range c.sourceNames() {
		if err := c.Sources[name].check(name, c); err != nil {
			return err
		}
	}
	return nil
}

// check finds times that contradict each other, or the time for which the queue recognises a
// repetition: it must not call something a repetition of an event that is gone.
func (r retentionConfig) check(q queueConfig) error {
	switch {
	case r.Events < 0 || r.Trail < 0:
		return errors.New("retention.events and retention.trail must not be negative; 0 keeps for ever")
	case q.Kind == kindRedis && r.Events > 0 && r.Events < q.ClaimTTL:
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

// maxBodyLimit is well below what SQLite takes in one value, 1e9 bytes.
const maxBodyLimit byteSize = 256 << 20

// byteSize is a number of bytes, written with a unit: 512KiB, 1MiB.
type byteSize int64

// UnmarshalText reads a number with or without a unit.
func (b *byteSize) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > 1<<50 {
		return fmt.Errorf("%q is not a size: write it like 512KiB or 1MiB", text)
	}
	*b = byteSize(n)
	return nil
}

// String returns the size with a unit.
func (b byteSize) String() string { return humanize.IBytes(uint64(b)) }
