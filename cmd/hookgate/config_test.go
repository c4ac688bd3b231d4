package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"

	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/ingest"
)

// TestPrecedence: a flag wins over the environment, that over the file, that over the default.
func TestPrecedence(t *testing.T) {
	file := writeConfig(t, `
listen: 127.0.0.1:1
worker: {count: 1, linger: 7ms}
queue:
  high_water: 1
http: {max_body: 2MiB}
sources:
  default:
    keep_headers: [X-Trace]
`)
	env := []string{"HOOKGATE_CONFIG=" + file, "HOOKGATE_LISTEN=127.0.0.1:2", "WORKER_COUNT=2",
		"HOOKGATE_QUEUE_HIGH_WATER=22",
		"WEBHOOK_BEARER_KEY=one-key-long", "WEBHOOK_BEARER_KEY_NEXT=two-key-long", "HOME=/x",
		"HOOKGATE_SERVICE_HOST=10.0.0.1", "HOOKGATE_PORT_80_TCP=tcp://10.0.0.1:80"}
	c, err := loadConfig(env, map[string]any{"listen": "127.0.0.1:3"})
	if err != nil {
		t.Fatal(err)
	}
	want := defaultConfig()
	want.Listen = "127.0.0.1:3"
	want.Worker.Count, want.Worker.Linger = 2, 7*time.Millisecond
	want.Queue.HighWater = 22
	want.unused = []string{"queue.high_water", "worker.count", "worker.linger"}
	want.HTTP.MaxBody = 2 << 20
	want.Sources = map[string]sourceConfig{ingest.DefaultSource: {
		Kind: "envelope", BearerKeys: []string{"one-key-long", "two-key-long"},
		KeepHeaders: []string{"X-Trace"}}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got\n%+v, want\n%+v", c, want)
	}
}

// TestPlacesSetting: lists of places keep their composites, and text with commas in it.
func TestPlacesSetting(t *testing.T) {
	file := writeConfig(t, `sources: {a: {kind: none, ordering_key: [json:k], event_type: "json:a,const:b",
  message_id: [[json:envelope, "const:a,b"], sha256:body-without:x+y]}}`)
	c, err := loadConfig([]string{"HOOKGATE_CONFIG=" + file}, map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	s := c.Sources["a"]
	for _, f := range []struct{ got, want placeList }{
		{s.MessageID, placeList{{"json:envelope", "const:a,b"}, {"sha256:body-without:x+y"}}},
		{s.EventType, placeList{{"json:a"}, {"const:b"}}}, {s.OrderingKey, placeList{{"json:k"}}},
	} {
		if !reflect.DeepEqual(f.got, f.want) {
			t.Errorf("got %q, want %q", f.got, f.want)
		}
	}
}

// TestBadSettings: each is refused with a message that names it.
func TestBadSettings(t *testing.T) {
	for _, test := range []struct{ file, env, names string }{
		{"worker: {cuont: 3}", "", "cuont"},
		{"workers: 3", "", "workers"},
		{"sources: {github: {kind: github, secret: x}}", "", "secret"},
		{"sources: {github: {}}", "", "sources.github.kind"},
		{"sources: {'GitHub!': {kind: github}}", "", "GitHub!"},
		{"sources: {hookgate-certify: {kind: envelope}}", "", "reserved for test traffic"},
		{"worker: {linger: 5}", "", "linger"},
		{"worker: {linger: -5ms}", "", "worker.linger"},
		{"worker: {count: many}", "", "count"},
		{"worker: {backoff_min: 1m}", "", "worker.backoff_max"},
		{"http: {max_body: 2 potatoes}", "", "potatoes"},
		{"http: {max_body: 1GiB}", "", "http.max_body"},
		{"queue: {high_water: 0}", "", "queue.high_water"},
		{"queue: {partitions: 100000}", "", "queue.partitions"},
		{"log_level: loud", "", "loud"},
		{"approvals: {required: [dlq_purge, dlq]}", "", `"dlq"`},
		{"approvals: {expiry: 0s}", "", "approvals.expiry"},
		{"approvals: {max_pending: 0}", "", "approvals.max_pending"},
		{"", "HOOKGATE_APPROVALS_REQUIRED=canary,purge", `"purge"`},
		{"redis: {url: redis://x}\nretention: {events: 24h}", "", "queue.claim_ttl"},
		{"redis: {url: redis://x}\nretention: {events: 24h}", "", "retention.events"},
		{"retention: {events: 720h, trail: 719h}", "", "retention.trail"},
		{"retention: {trail: 720h}", "", "retention.events"},
		{"retention: {events: -1h}", "", "retention.events"},
		{"retention: {share_percent: 100}", "", "retention.share_percent"},
		{"retention: {events: 30}", "", "events"},
		{"listen: ''", "", "listen"},
		{"listen: [1", "", "hookgate.yaml"},
		{"", "HOOKGATE_QUEUE_HIGHWATER=3", "HOOKGATE_QUEUE_HIGHWATER"},
		{"", "HOOKGATE_ROLE=ingest", "database.url"},
		{"redis: {url: redis://x}", "HOOKGATE_ROLE=worker", "database.url"},
		{"database: {url: postgres://x}", "HOOKGATE_ROLE=worker", "without Redis each process stores"},
		{"queue: {kind: sqlite}", "", "queue.kind"},
		{"queue: {kind: redis}", "", "redis.url"},
		{"queue: {kind: direct}", "REDIS_URL=redis://x", "redis.url"},
		{"queue: {kind: direct}", "REDIS_URL=redis://x", "queue.kind"},
		{"queue: {cache: 1MiB}", "", "queue.cache was removed"},
		{"queue: {claim_filter: 1MiB}", "", "queue.claim_filter was removed"},
		{"failover: off", "", "spool: off"},
		{"", "HOOKGATE_FAILOVER=off", "spool: off"},
		{"", "HOOKGATE_QUEUE_CLAIM_FILTER=0", "HOOKGATE_QUEUE_CLAIM_FILTER"},
		{"spool: maybe", "", `"maybe"`},
		{"spool: {high_water: 0}", "", "spool.high_water"},
		{"spool: {size: 1}", "", "size"},
		{"queue: {timeout: 0s}", "", "queue.timeout"},
		{"role: boss", "", "role"},
		{"guard: {depth: {limit: 70}}", "", "guard.depth.clear"},
		{"guard: {depth: {limit: 101}}", "", "guard.depth.limit"},
		{"guard: {lag: {limit: 30s}}", "", "guard.lag.clear"},
		{"guard: {p95: {sustain: -1s}}", "", "guard.p95"},
		{"guard: {p95: {limit: 2}}", "", "limit"},
		{"guard: {in_flight: {min: 0}}", "", "guard.in_flight"},
		{"guard: {in_flight: {max: 50}}", "", "guard.in_flight"},
		{"guard: {in_flight: {max: -1}}", "", "guard.in_flight"},
		{"guard: {recovery: -1s}", "", "guard.recovery"},
		{"canary: {percent: 5}", "", "canary.upstream"},
		{"canary: {plan: [{percent: 5}]}", "", "canary.upstream"},
		{"canary: {upstream: 'old:80'}", "", "canary.upstream"},
		{"canary: {upstream: 'http://old'}", "", "admin.listen"},
		{"canary: {upstream: 'http://u:p@old'}", "", "canary.upstream"},
		{"canary: {upstream: 'http://old?a=b'}", "", "canary.upstream"},
		{"canary: {upstream: 'http://old', percent: 101}", "", "canary.percent"},
		{"canary: {upstream: 'http://old', timeout: 30s}", "", "http.write_timeout"},
		{"canary: {upstream: 'http://old', max_connections: 0}", "", "canary.max_connections"},
		{"canary: {upstream: 'http://old', plan: [{percent: 5, for: 1h}, {percent: 5}]}", "", "step 2"},
		{"canary: {upstream: 'http://old', plan: [{percent: 5, until: 1h}]}", "", "until"},
		{"canary: {upstream: 'http://old', plan: ['5:many']}", "", "5:many"},
		{"canary: {upstream: 'http://old'}", "HOOKGATE_CANARY_PLAN=5:1h,100:x", "100:x"},
		{"canary: {upstream: 'http://old', require_evidence: true}", "", "evidence.public_keys"},
		{"canary: {upstream: 'http://old', require_evidence: true, percent: 5}\nevidence: {public_keys: [a]}", "", "canary.percent"},
		{"canary: {upstream: 'http://old'}\nhttp: {max_body_memory: 32MiB}\nsources: {a: {kind: github, secrets: [x], max_body: 9MiB}}", "", "http.max_body_memory"},
		{"guard: {triggers: {p95: {action: explode}}}", "", "guard.triggers.p95.action"},
		{"guard: {triggers: {redis: {action: rollback}}}", "", "guard.rollback_command"},
		{"guard: {triggers: {redis: {action: canary_back}}}", "", "no canary"},
		{"guard: {triggers: {p95: {limit: 120}}}", "", "limit"},
		{"guard: {triggers: {p95: {limit: -1ms}}}", "", "guard.triggers.p95"},
		{"guard: {triggers: {error_rate: {limit: .nan}}}", "", "guard.triggers.error_rate"},
		{"guard: {triggers: {store_pool: {limit: 100}}}", "", "guard.triggers.store_pool"},
		{"guard: {triggers: {queue_depth: {sustain: -1s}}}", "", "guard.triggers.queue_depth"},
		{"guard: {triggers: {fewest: 0}}", "", "fewest"},
		{"guard: {alarm: {url: 'https://example.com/x'}}", "", "guard.alarm.secret"},
		{"guard: {alarm: {url: 'example.com', secret: whsec_abcdefgh}}", "", "guard.alarm.url"},
		{"guard: {alarm: {secret: whsec_abcdefgh}}", "", "guard.alarm.url"},
		{"guard: {alarm: {timeout: 0s}}", "", "guard.alarm"},
		{"guard: {rollback_cooldown: 0s}", "", "guard.rollback_cooldown"},
		{"rollback: {goal: 0s}", "", "rollback.goal"},
		{"rollback: {command: ['']}", "", "rollback.command"},
		{"worker: {max_rate: -5}", "", "worker.max_rate"},
		{"tracing: {sample: 1.5}", "", "tracing.sample"},
		{"tracing: {sample: .nan}", "", "tracing.sample"},
		{"redis: {allow_eviction: maybe}", "", "allow_eviction"},
		{"", "WORKER_COUNT=x", "count"},
		{"", "HOOKGATE_CONFIG=/no/such/file", "/no/such/file"},
	} {
		env := []string{test.env}
		if test.file != "" {
			env = append(env, "HOOKGATE_CONFIG="+writeConfig(t, test.file))
		}
		if _, err := loadConfig(env, nil); err == nil || !strings.Contains(err.Error(), test.names) {
			t.Errorf("%s %s: error %q does not name %s", test.file, test.env, err, test.names)
		}
	}
}

// TestSpoolSetting: the spool is switched off or on by one text, or bounded by a map, in the file
// and in the environment.
func TestSpoolSetting(t *testing.T) {
	for _, test := range []struct {
		file string
		env  []string
		want spoolConfig
	}{
		{want: spoolConfig{HighWater: defaultSpoolHighWater}},
		{file: "spool: off", want: spoolConfig{Off: true, HighWater: defaultSpoolHighWater}},
		{file: "spool: on", want: spoolConfig{HighWater: defaultSpoolHighWater}},
		{file: "spool: {high_water: 5}", want: spoolConfig{HighWater: 5}},
		{file: "spool: {high_water: 5}", env: []string{"HOOKGATE_SPOOL=off"}, want: spoolConfig{Off: true,
			HighWater: defaultSpoolHighWater}},
		{file: "spool: off", env: []string{"HOOKGATE_SPOOL_HIGH_WATER=6"},
			want: spoolConfig{HighWater: 6}},
		{env: []string{"HOOKGATE_SPOOL=on", "HOOKGATE_SPOOL_HIGH_WATER=6"},
			want: spoolConfig{HighWater: 6}},
	} {
		env := test.env
		if test.file != "" {
			env = append(env, "HOOKGATE_CONFIG="+writeConfig(t, test.file))
		}
		if c, err := loadConfig(env, nil); err != nil || c.Spool != test.want {
			t.Errorf("%s %v makes %+v, %v; want %+v", test.file, test.env, c.Spool, err, test.want)
		}
	}
	both := []string{"HOOKGATE_SPOOL=off", "HOOKGATE_SPOOL_HIGH_WATER=6"}
	if _, err := loadConfig(both, nil); err == nil ||
		!strings.Contains(err.Error(), "HOOKGATE_SPOOL_HIGH_WATER") {
		t.Errorf("off and a bound at once got %v", err)
	}
}

// TestQueueKindSetting: Redis is the queue if it has an address, or else the store takes the
// webhooks.
func TestQueueKindSetting(t *testing.T) {
	for _, test := range []struct {
		env  []string
		want string
	}{
		{nil, kindDirect},
		{[]string{"DB_URL=postgres://x"}, kindDirect},
		{[]string{"DB_URL=postgres://x", "HOOKGATE_ROLE=ingest"}, kindDirect},
		{[]string{"HOOKGATE_QUEUE_KIND=direct"}, kindDirect},
		{[]string{"REDIS_URL=redis://x"}, kindRedis},
		{[]string{"REDIS_URL=redis://x", "HOOKGATE_QUEUE_KIND=redis"}, kindRedis},
		{[]string{"REDIS_URL=redis://x", "DB_URL=postgres://x", "HOOKGATE_ROLE=worker"}, kindRedis},
	} {
		if c, err := loadConfig(test.env, nil); err != nil || c.Queue.Kind != test.want {
			t.Errorf("%v makes %q, %v; want %s", test.env, c.Queue.Kind, err, test.want)
		}
	}
}

// TestCanaryPlanSetting: a plan is written as a list of steps, as a list of texts, or as one text.
func TestCanaryPlanSetting(t *testing.T) {
	want := canaryPlan{{10, 30 * time.Minute}, {50, time.Hour}, {100, 0}}
	for _, test := range []struct{ file, env string }{
		{"admin: {listen: ':9'}\ncanary: {upstream: 'http://old', plan: [{percent: 10, for: 30m}, {percent: 50, for: 1h}, {percent: 100}]}", ""},
		{"admin: {listen: ':9'}\ncanary: {upstream: 'http://old', plan: ['10:30m', '50:1h', '100']}", ""},
		{"admin: {listen: ':9'}\ncanary: {upstream: 'http://old', plan: '10:30m,50:1h,100'}", ""},
		{"admin: {listen: ':9'}\ncanary: {upstream: 'http://old', plan: [{percent: 1}]}",
			"HOOKGATE_CANARY_PLAN=10:30m, 50:1h, 100"},
	} {
		c, err := loadConfig([]string{"HOOKGATE_CONFIG=" + writeConfig(t, test.file), test.env}, nil)
		if err != nil || !reflect.DeepEqual(c.Canary.Plan, want) {
			t.Errorf("%s %s makes %v, %v", test.file, test.env, c.Canary.Plan, err)
		}
	}
}

// TestSecrets: secrets come from the file, the environment and files, each of them whole; several
// are possible.
func TestSecrets(t *testing.T) {
	t.Setenv("PARTNER_SECRET", `correct horse, "battery", staple`)
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("from-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := resolveSecrets([]string{"from-the-setting", "env:PARTNER_SECRET", "file:" + path})
	if want := []string{"from-the-setting", `correct horse, "battery", staple`,
		"from-a-file"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"env:NOT_SET_ANYWHERE", "file:/no/such/file", "file:" + path, "short",
		""} {
		if _, err := resolveSecrets([]string{bad}); err == nil {
			t.Errorf("%q is taken for a secret", bad)
		}
	}
}

// TestSecretSettings: in no place is one secret cut into several. Where an earlier release made a
// list of a text, the start says how to write what is meant, and never shows the text.
func TestSecretSettings(t *testing.T) {
	const list = "the-new-secret,the-old-secret"
	for _, test := range []struct {
		file  string
		env   []string
		want  secretList // of sources.default.secrets
		names string     // in the error
	}{
		{env: []string{"WEBHOOK_HMAC_SECRET=a, b"}, want: secretList{"a, b"}},
		{env: []string{"WEBHOOK_HMAC_SECRET=exact:" + list}, want: secretList{"exact:" + list}},
		{env: []string{"WEBHOOK_HMAC_SECRET=one", "WEBHOOK_HMAC_SECRET_NEXT=two"}, want: secretList{"one",
			"two"}},
		{env: []string{"WEBHOOK_HMAC_SECRET=" + list}, names: "WEBHOOK_HMAC_SECRET_NEXT"},
		{env: []string{"WEBHOOK_HMAC_SECRET=one", "WEBHOOK_HMAC_SECRET_NEXT=" + list},
			names: "sources.default.secrets"},
		{env: []string{"WEBHOOK_HMAC_SECRET=" + list + ",the-oldest-secret"},
			names: "sources.default.secrets"},
		{env: []string{"WEBHOOK_HMAC_SECRET_NEXT=two"}, names: "WEBHOOK_HMAC_SECRET is not"},
		{env: []string{"WEBHOOK_HMAC_SECRET=with ${HOME} in it"}, names: "${HOME}"},
		{env: []string{"WEBHOOK_BEARER_KEY=" + list}, names: "WEBHOOK_BEARER_KEY_NEXT"},
		{env: []string{"ADMIN_TOKEN=" + list}, names: "ADMIN_TOKEN_NEXT"},
		{env: []string{"HOOKGATE_ADMIN_TOKENS=" + list}, names: "HOOKGATE_ADMIN_TOKENS_NEXT"},
		{env: []string{"ADMIN_TOKEN=one", "HOOKGATE_ADMIN_TOKENS=two"}, names: "set the same"},
		{env: []string{"EVIDENCE_TOKEN=" + list}, names: "EVIDENCE_TOKEN_NEXT"},
		{file: "{secrets: [one, 'the,two']}", want: secretList{"one", "the,two"}},
		{file: "{secrets: ['" + list + "']}", want: secretList{list}},
		{file: "{secrets: 'a, b'}", want: secretList{"a, b"}},
		{file: "{secrets: 'env:X'}", want: secretList{"env:X"}},
		{file: "{secrets: '" + list + "'}", names: "secrets"},
		{file: "{bearer_keys: '" + list + "'}", names: "bearer_keys"},
		{file: "{secrets: [0123456789]}", names: "quotation marks"},
		{file: "{secrets: 12345678901234567890123}", names: "quotation marks"},
	} {
		env := test.env
		if test.file != "" {
			env = append(env, "HOOKGATE_CONFIG="+writeConfig(t, "sources: {default: "+test.file+"}"))
		}
		c, err := loadConfig(env, nil)
		switch got := c.Sources[ingest.DefaultSource].Secrets; {
		case test.names == "" && (err != nil || !slices.Equal(got, test.want)):
			t.Errorf("%s%q makes %q, %v; want %q", test.file, test.env, got, err, test.want)
		case test.names != "" && (err == nil || !strings.Contains(err.Error(), test.names)):
			t.Errorf("%s%q: error %v does not name %s", test.file, test.env, err, test.names)
		case err != nil && strings.Contains(err.Error(), "the-"):
			t.Errorf("%s%q: error %v shows a secret", test.file, test.env, err)
		}
	}
}

// TestErrorsShowNoPassword: no setting that may hold a password is repeated by an error of the
// start about it.
func TestErrorsShowNoPassword(t *testing.T) {
	const password = "hunter2"
	for _, test := range []string{
		"public_url: 'ftp://me:hunter2@example.com'",
		"public_url: 'https://me:hunter2%@example.com'",
		"sources: {s: {kind: github, secrets: [a-secret-of-mine], public_url: 'https://me:hunter2@example.com?x=y'}}",
		"canary: {upstream: 'http://me:hunter2@10.0.0.1'}",
		"canary: {upstream: 'http://me:hunter2%@10.0.0.1'}",
		"guard: {alarm: {url: 'https://me:hunter2%@example.com', secret: whsec_AAAAAAAA}}",
		"guard: {alarm: {url: 'https://example.com', secret: [hunter2]}}",
		"redis: {url: ['redis://:hunter2@10.0.0.1']}",
		"database: {url: {a: 'postgres://u:hunter2@10.0.0.1/d'}}",
		"sources: {s: {kind: github, secrets: {a: hunter2}}}",
		"sources: {s: {kind: github, secrets: [[hunter2]]}}",
		"sources: {s: hunter2}",
		"admin_tokens: {hunter2: true}",
	} {
		_, err := loadConfig([]string{"HOOKGATE_CONFIG=" + writeConfig(t, test)}, nil)
		if err == nil || strings.Contains(err.Error(), password) {
			t.Errorf("%s: error %v", test, err)
		}
	}
	c := defaultConfig()
	c.Tracing.Endpoint = "me:" + password + "@10.0.0.1"
	if _, err := startTracing(c, nil); err == nil || strings.Contains(err.Error(), password) {
		t.Errorf("tracing: error %v", err)
	}
	c.PublicURL = "https://me:" + password + "@example.com"
	if text := shown(c.publicURL(ingest.DefaultSource)); strings.Contains(text, password) ||
		!strings.Contains(text, "example.com/webhooks") {
		t.Errorf("the source is shown with the URL %s", text)
	}
}

// TestShortTokens: a configured token that opens the gate itself could be guessed if it were short.
func TestShortTokens(t *testing.T) {
	for _, c := range []config{{AdminTokens: secretList{"fifteen-letters"}},
		{EvidenceTokens: secretList{"fifteen-letters"}}} {
		c.DataDir = dataDir(t.TempDir())
		if _, err := findCredentials(c); err == nil || !strings.Contains(err.Error(), "16 characters") {
			t.Errorf("error %v for a token of 15 characters", err)
		}
	}
}

// TestStrangersKeys: keys in the data directory that belong to somebody else, and links of theirs,
// are refused.
func TestStrangersKeys(t *testing.T) {
	if os.Geteuid() != 0 {
		return // only root can make a file that belongs to another
	}
	const stranger = 12345
	for _, name := range []string{"keys", "keys/admin_token", "keys/link", "queue.db", "store.db-wal",
		"hookgate.lock"} {
		d := dataDir(t.TempDir())
		must(t, os.Mkdir(d.keyDir(), 0o700))
		path := filepath.Join(string(d), name)
		switch name {
		case "keys":
		case "keys/link":
			path = d.keyFile(adminTokenName)
			elsewhere := filepath.Join(t.TempDir(), "token")
			must(t, os.WriteFile(elsewhere, []byte("a-token-that-a-stranger-knows"), 0o600))
			must(t, os.Symlink(elsewhere, path))
		default:
			must(t, os.WriteFile(path, []byte("a-token-that-a-stranger-knows"), 0o600))
		}
		must(t, os.Lchown(path, stranger, stranger))
		lock, err := d.lock()
		if err == nil {
			defer lock.unlock()
			_, _, err = d.key(adminTokenName)
		}
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s of a stranger: error %v", name, err)
		}
		must(t, os.Lchown(path, 0, 0))
	}
}

// TestFilesAreNotFollowed: neither the lock nor a rewritten file goes through a link to another
// file.
func TestFilesAreNotFollowed(t *testing.T) {
	d := dataDir(t.TempDir())
	other := filepath.Join(t.TempDir(), "other")
	must(t, os.WriteFile(other, []byte("precious"), 0o600))
	must(t, os.Symlink(other, d.modeFile()+".new"))
	must(t, d.keepMode(d.modeFile(), control.ModeReadOnly))
	must(t, os.Symlink(other, filepath.Join(string(d), "hookgate.lock")))
	if lock, err := d.lock(); err == nil {
		lock.unlock()
		t.Error("the lock is taken through a link")
	}
	if text, err := os.ReadFile(other); err != nil || string(text) != "precious" {
		t.Errorf("the other file holds %q, %v", text, err)
	}
}

// TestEverySettingIsDocumented: docs/reference/configuration.md names every setting, its environment variable
// and its default, and no other. It marks the settings that have an effect with Redis alone.
func TestEverySettingIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/reference/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	var forRedis []string
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "| `"); ok {
			if name, _, _ = strings.Cut(name, "`"); environment[name] == "" {
				documented[name] = true
			}
			if strings.Contains(line, "*Redis only.*") {
				forRedis = append(forRedis, name)
			}
		}
	}
	want := redisOnly(reflect.TypeFor[config](), "")
	slices.Sort(want)
	if slices.Sort(forRedis); !slices.Equal(forRedis, want) {
		t.Errorf("docs/reference/configuration.md says *Redis only.* of\n%q, want\n%q", forRedis, want)
	}
	paths := settingPaths(reflect.TypeFor[config](), "")
	paths = append(paths, settingPaths(reflect.TypeFor[sourceConfig](), "sources.NAME.")...)
	for _, path := range paths {
		if !documented[path] {
			t.Errorf("docs/reference/configuration.md does not have %s", path)
		}
		delete(documented, path)
	}
	for name := range environment {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/reference/configuration.md does not have %s", name)
		}
	}
	for name := range documented {
		t.Errorf("docs/reference/configuration.md has %s, which is no setting", name)
	}
}

// FuzzConfig: no text makes the configuration panic, and what is accepted is within its limits.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("listen: 127.0.0.1:8080\nworker: {count: 2}\n"))
	f.Add([]byte("sources: {github: {kind: github, secrets: [env:X], ordering_key: a.b}}"))
	f.Add([]byte("http: {max_body: 1MiB, read_timeout: 3s}\nadmin_tokens: [a, b]"))
	f.Add([]byte("queue: {high_water: 1e9}"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("worker: {linger: 9999999999h}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		k := koanf.New(".")
		if k.Load(rawbytes.Provider(text), yaml.Parser()) != nil {
			return
		}
		c, err := decodeConfig(k)
		if err != nil {
			return
		}
		if c.Worker.Linger <= 0 || c.HTTP.MaxBody <= 0 || c.HTTP.MaxBody > maxBodyLimit ||
			c.Queue.Partitions < 1 || c.Listen == "" {
			t.Errorf("accepted %+v", c)
		}
		for name, s := range c.Sources {
			if name == "" || s.Kind == "" {
				t.Errorf("accepted source %q: %+v", name, s)
			}
		}
	})
}

// TestShorterTokens: the error about a token names the length that a token needs, however short the
// token is.
func TestShorterTokens(t *testing.T) {
	for _, token := range []string{"short", "fifteen-letters"} {
		if _, err := resolveTokens([]string{token}); err == nil ||
			!strings.Contains(err.Error(), "fewer than 16 characters") {
			t.Errorf("%s: got %v", token, err)
		}
	}
	if _, err := resolveSecrets([]string{"short"}); err == nil ||
		!strings.Contains(err.Error(), "shorter than 8 bytes") {
		t.Errorf("a short secret got %v", err)
	}
}

// TestExampleConfiguration: the example is a valid configuration.
func TestExampleConfiguration(t *testing.T) {
	c, err := loadConfig([]string{"HOOKGATE_CONFIG=../../examples/hookgate.yaml"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c.Sources["github"].OrderingKey, placeList{{"json:repository.full_name"}}) ||
		c.Queue.HighWater != 500_000 {
		t.Errorf("the example reads as %+v", c)
	}
}
