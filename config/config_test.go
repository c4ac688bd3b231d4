package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/gate"
	"github.com/hookgate/hookgate/ingest"
)

// TestPrecedence: a flag overrides the environment, which overrides the file, which overrides the
// default.
func TestPrecedence(t *testing.T) {
	file := writeConfig(t, `
listen: 127.0.0.1:1
worker: {count: 1}
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
	c, err := Load(env, map[string]any{"listen": "127.0.0.1:3"})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Listen = "127.0.0.1:3"
	want.Worker.Count = 2
	want.Queue.HighWater = 22
	want.Unused = []string{"worker.count"}
	want.HTTP.MaxBody = 2 << 20
	want.Sources = map[string]gate.SourceOptions{ingest.DefaultSource: {
		Kind: "envelope", BearerKeys: []string{"one-key-long", "two-key-long"},
		KeepHeaders: []string{"X-Trace"}}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got\n%+v, want\n%+v", c, want)
	}
}

// TestPlacesSetting: a list of places keeps its composites, and commas inside a place.
func TestPlacesSetting(t *testing.T) {
	file := writeConfig(t, `sources: {a: {kind: none, ordering_key: [json:k], event_type: "json:a,const:b",
  message_id: [[json:envelope, "const:a,b"], sha256:body-without:x+y]}}`)
	c, err := Load([]string{"HOOKGATE_CONFIG=" + file}, map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	s := c.Sources["a"]
	for _, f := range []struct{ got, want gate.Places }{
		{s.MessageID, gate.Places{{"json:envelope", "const:a,b"}, {"sha256:body-without:x+y"}}},
		{s.EventType, gate.Places{{"json:a"}, {"const:b"}}}, {s.OrderingKey, gate.Places{{"json:k"}}},
	} {
		if !reflect.DeepEqual(f.got, f.want) {
			t.Errorf("got %q, want %q", f.got, f.want)
		}
	}
}

// TestBadSettings: the error for each setting names it.
func TestBadSettings(t *testing.T) {
	for _, test := range []struct{ file, env, names string }{
		{"worker: {cuont: 3}", "", "cuont"},
		{"workers: 3", "", "workers"},
		{"sources: {github: {kind: github, secret: x}}", "", "secret"},
		{"sources: {github: {}}", "", "sources.github.kind"},
		{"sources: {'GitHub!': {kind: github}}", "", "GitHub!"},
		{"sources: {hookgate-certify: {kind: envelope}}", "", "reserved for test traffic"},
		{"queue: {timeout: 5}", "", "timeout"},
		{"worker: {count: many}", "", "count"},
		{"http: {max_body: 2 potatoes}", "", "potatoes"},
		{"http: {max_body: 1GiB}", "", "http.max_body"},
		{"queue: {high_water: 0}", "", "queue.high_water"},
		{"queue: {partitions: 100000}", "", "queue.partitions"},
		{"log_level: loud", "", "loud"},
		{"approvals: {required: [dlq_purge, dlq]}", "", `"dlq"`},
		{"approvals: {expiry: 0s}", "", "approvals.expiry"},
		{"", "HOOKGATE_APPROVALS_REQUIRED=canary,purge", `"purge"`},
		{"redis: {url: redis://x}\nretention: {events: 24h}", "", "queue.claim_ttl"},
		{"redis: {url: redis://x}\nretention: {events: 24h}", "", "retention.events"},
		{"retention: {events: 720h, trail: 719h}", "", "retention.trail"},
		{"retention: {trail: 720h}", "", "retention.events"},
		{"retention: {events: -1h}", "", "retention.events"},
		{"retention: {events: 30}", "", "events"},
		{"listen: ''", "", "listen"},
		{"listen: [1", "", "hookgate.yaml"},
		{"", "HOOKGATE_QUEUE_HIGHWATER=3", "HOOKGATE_QUEUE_HIGHWATER"},
		{"", "HOOKGATE_ROLE=ingest", "database.url"},
		{"redis: {url: redis://x}", "HOOKGATE_ROLE=worker", "database.url"},
		{"database: {url: postgres://x}", "HOOKGATE_ROLE=worker", "without Redis each process stores"},
		{"redis: {url: redis://x, timeout: 1s}", "", "set queue.timeout"},
		{"queue: {kind: direct}", "REDIS_URL=redis://x", "queue.kind was removed"},
		{"queue: {cache: 1MiB}", "", "queue.cache was removed"},
		{"queue: {claim_filter: 1MiB}", "", "queue.claim_filter was removed"},
		{"failover: off", "", "spool: off"},
		{"", "HOOKGATE_FAILOVER=off", "spool: off"},
		{"", "HOOKGATE_QUEUE_CLAIM_FILTER=0", "HOOKGATE_QUEUE_CLAIM_FILTER"},
		{"spool: maybe", "", `"maybe"`},
		{"spool: {size: 1}", "", "size"},
		{"queue: {timeout: 0s}", "", "queue.timeout"},
		{"role: boss", "", "role"},
		{"guard: {depth: {limit: 101}}", "", "guard.depth.limit"},
		{"guard: {p95: {limit: -1s}}", "", "guard.p95"},
		{"guard: {in_flight: {latency: 0s}}", "", "guard.in_flight"},
		{"guard: {p95: {limit: 2}}", "", "limit"},
		{"guard: {in_flight: {max: -1}}", "", "guard.in_flight"},
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
		{"canary: {upstream: 'http://old', require_evidence: true, percent: 5}\nevidence:" +
			" {public_keys: [a]}", "", "canary.percent"},
		{"canary: {upstream: 'http://old'}\nhttp: {max_body_memory: 32MiB}\nsources: {a: {kind:" +
			" github, secrets: [x], max_body: 9MiB}}", "", "http.max_body_memory"},
		{"release: {triggers: {p95: {action: explode}}}", "", "release.triggers.p95.action"},
		{"release: {triggers: {redis: {action: rollback}}}", "", "release.rollback_command"},
		{"release: {triggers: {redis: {action: canary_back}}}", "", "no canary"},
		{"release: {triggers: {p95: {limit: 120}}}", "", "limit"},
		{"release: {triggers: {p95: {limit: -1ms}}}", "", "release.triggers.p95"},
		{"release: {triggers: {error_rate: {limit: .nan}}}", "", "release.triggers.error_rate"},
		{"release: {triggers: {store_pool: {limit: 100}}}", "", "release.triggers.store_pool"},
		{"release: {triggers: {sustain: -1s}}", "", "release.triggers.sustain"},
		{"guard: {triggers: {sustain: 1s}}", "", "set release.triggers"},
		{"", "HOOKGATE_GUARD_TRIGGERS_P95_LIMIT=1s", "set release.triggers"},
		{"", "HOOKGATE_GUARD_LAG_LIMIT=1s", "guard.lag"},
		{"rollback: {command_timeout: 0s}", "", "rollback.command_timeout"},
		{"admin: {session_idle: 200h}", "", "admin.session_idle"},
		{"release: {alarm: {url: 'https://example.com/x'}}", "", "release.alarm.secret"},
		{"release: {alarm: {url: 'example.com', secret: whsec_abcdefgh}}", "", "release.alarm.url"},
		{"release: {alarm: {secret: whsec_abcdefgh}}", "", "release.alarm.url"},
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
		if _, err := Load(env, nil); err == nil || !strings.Contains(err.Error(), test.names) {
			t.Errorf("%s %s: error %q does not name %s", test.file, test.env, err, test.names)
		}
	}
}

// TestOneDocument: settings after "---" would be ignored, so the start fails. A file may begin or
// end with "---".
func TestOneDocument(t *testing.T) {
	_, err := Load([]string{"HOOKGATE_CONFIG=" +
		writeConfig(t, "listen: 127.0.0.1:1\n---\nlisten: 127.0.0.1:2\n")}, nil)
	if err == nil || !strings.Contains(err.Error(), "second YAML document") {
		t.Errorf("two documents: error %v", err)
	}
	for _, text := range []string{"---\nlisten: 127.0.0.1:1\n", "", "# nothing\n"} {
		if _, err := Load([]string{"HOOKGATE_CONFIG=" + writeConfig(t, text)}, nil); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestSpoolSetting: the spool is on or off, in the file and in the environment.
func TestSpoolSetting(t *testing.T) {
	for _, test := range []struct {
		file string
		env  []string
		off  bool
	}{
		{},
		{file: "spool: off", off: true},
		{file: "spool: on"},
		{file: "spool: on", env: []string{"HOOKGATE_SPOOL=off"}, off: true},
		{file: "spool: off", env: []string{"HOOKGATE_SPOOL=on"}},
	} {
		env := test.env
		if test.file != "" {
			env = append(env, "HOOKGATE_CONFIG="+writeConfig(t, test.file))
		}
		if c, err := Load(env, nil); err != nil || c.Spool.Off != test.off {
			t.Errorf("%s %v makes %+v, %v", test.file, test.env, c.Spool, err)
		}
	}
	for _, text := range []string{"spool: {high_water: 5}", "spool: {off: true}", "spool: 1"} {
		if _, err := Load([]string{"HOOKGATE_CONFIG=" + writeConfig(t, text)}, nil); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
}

// TestRemovedSettings: a removed setting stops the start, in the file and in the environment, with
// what to do instead. No setting that exists is in the table.
func TestRemovedSettings(t *testing.T) {
	for path, instead := range removedSettings {
		file := "x: y"
		for name := range strings.SplitSeq(path, ".") {
			file = strings.Replace(file, "x: y", name+": {x: y}", 1)
		}
		for _, env := range []string{"HOOKGATE_CONFIG=" + writeConfig(t, file), variableOf(path) + "=1",
			variableOf(path) + "_X=1"} {
			if _, err := Load([]string{env}, nil); err == nil || !strings.Contains(err.Error(), path) ||
				!strings.Contains(err.Error(), instead) {
				t.Errorf("%s, %s: error %v", path, env, err)
			}
		}
	}
	for _, path := range settingPaths(reflect.TypeFor[Config](), "") {
		if removedVariable(variableOf(path)) != "" {
			t.Errorf("%s is a setting and in the table of removed ones", path)
		}
	}
}

// TestQueueKindSetting: Redis is the queue if it has a URL; otherwise the store is.
func TestQueueKindSetting(t *testing.T) {
	for _, test := range []struct {
		env  []string
		want string
	}{
		{nil, gate.QueueDirect},
		{[]string{"DB_URL=postgres://x"}, gate.QueueDirect},
		{[]string{"DB_URL=postgres://x", "HOOKGATE_ROLE=ingest"}, gate.QueueDirect},
		{[]string{"REDIS_URL=redis://x"}, gate.QueueRedis},
		{[]string{"REDIS_URL=redis://x", "DB_URL=postgres://x", "HOOKGATE_ROLE=worker"}, gate.QueueRedis},
	} {
		if c, err := Load(test.env, nil); err != nil || c.QueueKind() != test.want {
			t.Errorf("%v makes %q, %v; want %s", test.env, c.QueueKind(), err, test.want)
		}
	}
}

// TestCanaryPlanSetting: a plan can be a list of steps, a list of texts, or one text.
func TestCanaryPlanSetting(t *testing.T) {
	want := gate.CanaryPlan{{Percent: 10, For: 30 * time.Minute}, {Percent: 50, For: time.Hour},
		{Percent: 100}}
	for _, test := range []struct{ file, env string }{
		{"admin: {listen: ':9'}\ncanary: {upstream: 'http://old', plan: [{percent: 10, for: 30m}," +
			" {percent: 50, for: 1h}, {percent: 100}]}", ""},
		{"admin: {listen: ':9'}\ncanary: {upstream: 'http://old', plan: ['10:30m', '50:1h', '100']}", ""},
		{"admin: {listen: ':9'}\ncanary: {upstream: 'http://old', plan: '10:30m,50:1h,100'}", ""},
		{"admin: {listen: ':9'}\ncanary: {upstream: 'http://old', plan: [{percent: 1}]}",
			"HOOKGATE_CANARY_PLAN=10:30m, 50:1h, 100"},
	} {
		c, err := Load([]string{"HOOKGATE_CONFIG=" + writeConfig(t, test.file), test.env}, nil)
		if err != nil || !reflect.DeepEqual(c.Canary.Plan, want) {
			t.Errorf("%s %s makes %v, %v", test.file, test.env, c.Canary.Plan, err)
		}
	}
}

// TestSecretSettings: no form of a setting splits one secret into several. For a text that an
// earlier version split, the error says what to write, and does not show the text.
func TestSecretSettings(t *testing.T) {
	const list = "the-new-secret,the-old-secret"
	for _, test := range []struct {
		file  string
		env   []string
		want  gate.Secrets // of sources.default.secrets
		names string       // in the error
	}{
		{env: []string{"WEBHOOK_HMAC_SECRET=a, b"}, want: gate.Secrets{"a, b"}},
		{env: []string{"WEBHOOK_HMAC_SECRET=exact:" + list}, want: gate.Secrets{"exact:" + list}},
		{env: []string{"WEBHOOK_HMAC_SECRET=one", "WEBHOOK_HMAC_SECRET_NEXT=two"},
			want: gate.Secrets{"one",
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
		{file: "{secrets: [one, 'the,two']}", want: gate.Secrets{"one", "the,two"}},
		{file: "{secrets: ['" + list + "']}", want: gate.Secrets{list}},
		{file: "{secrets: 'a, b'}", want: gate.Secrets{"a, b"}},
		{file: "{secrets: 'env:X'}", want: gate.Secrets{"env:X"}},
		{file: "{secrets: '" + list + "'}", names: "secrets"},
		{file: "{bearer_keys: '" + list + "'}", names: "bearer_keys"},
		{file: "{secrets: [0123456789]}", names: "quotation marks"},
		{file: "{secrets: 12345678901234567890123}", names: "quotation marks"},
	} {
		env := test.env
		if test.file != "" {
			env = append(env, "HOOKGATE_CONFIG="+writeConfig(t, "sources: {default: "+test.file+"}"))
		}
		c, err := Load(env, nil)
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

// TestErrorsShowNoPassword: no error shows the value of a setting that may hold a password.
func TestErrorsShowNoPassword(t *testing.T) {
	const password = "hunter2"
	for _, test := range []string{
		"public_url: 'ftp://me:hunter2@example.com'",
		"public_url: 'https://me:hunter2%@example.com'",
		"sources: {s: {kind: github, secrets: [a-secret-of-mine], public_url:" +
			" 'https://me:hunter2@example.com?x=y'}}",
		"canary: {upstream: 'http://me:hunter2@10.0.0.1'}",
		"canary: {upstream: 'http://me:hunter2%@10.0.0.1'}",
		"release: {alarm: {url: 'https://me:hunter2%@example.com', secret: whsec_AAAAAAAA}}",
		"release: {alarm: {url: 'https://example.com', secret: [hunter2]}}",
		"redis: {url: ['redis://:hunter2@10.0.0.1']}",
		"database: {url: {a: 'postgres://u:hunter2@10.0.0.1/d'}}",
		"sources: {s: {kind: github, secrets: {a: hunter2}}}",
		"sources: {s: {kind: github, secrets: [[hunter2]]}}",
		"sources: {s: hunter2}",
		"admin_tokens: {hunter2: true}",
	} {
		_, err := Load([]string{"HOOKGATE_CONFIG=" + writeConfig(t, test)}, nil)
		if err == nil || strings.Contains(err.Error(), password) {
			t.Errorf("%s: error %v", test, err)
		}
	}
}

// TestEverySettingIsDocumented: docs/reference/configuration.md has every setting and no other. It
// marks those that have an effect only with Redis.
func TestEverySettingIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/reference/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	var forRedis []string
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "| `"); ok {
			if name, _, _ = strings.Cut(name, "`"); Variables[name] == "" {
				documented[name] = true
			}
			if strings.Contains(line, "*Redis only.*") {
				forRedis = append(forRedis, name)
			}
		}
	}
	want := redisOnly(reflect.TypeFor[Config](), "")
	slices.Sort(want)
	if slices.Sort(forRedis); !slices.Equal(forRedis, want) {
		t.Errorf("docs/reference/configuration.md says *Redis only.* of\n%q, want\n%q", forRedis, want)
	}
	paths := settingPaths(reflect.TypeFor[Config](), "")
	paths = append(paths, settingPaths(reflect.TypeFor[gate.SourceOptions](), "sources.NAME.")...)
	paths = append(paths, settingPaths(reflect.TypeFor[gate.SubscriptionOptions](),
		"subscriptions.NAME.")...)
	for _, path := range paths {
		if !documented[path] {
			t.Errorf("docs/reference/configuration.md does not have %s", path)
		}
		delete(documented, path)
	}
	for name := range Variables {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/reference/configuration.md does not have %s", name)
		}
	}
	for name := range documented {
		t.Errorf("docs/reference/configuration.md has %s, which is no setting", name)
	}
}

// FuzzConfig: no file makes the decoder panic, and accepted values are within their limits.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("listen: 127.0.0.1:8080\nworker: {count: 2}\n"))
	f.Add([]byte("sources: {github: {kind: github, secrets: [env:X], ordering_key: a.b}}"))
	f.Add([]byte("http: {max_body: 1MiB, read_timeout: 3s}\nadmin_tokens: [a, b]"))
	f.Add([]byte("queue: {high_water: 1e9}"))
	f.Add([]byte("subscriptions: {a: {push: {url: 'http://a/'}, start: 5, retry: {final: [400]}}}"))
	f.Add([]byte("subscriptions: {a: {pull: }, b: [], 1: {push: x}}"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("queue: {timeout: 9999999999h}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		k := koanf.New(".")
		if k.Load(rawbytes.Provider(text), yaml.Parser()) != nil {
			return
		}
		c, err := decode(k)
		if err != nil {
			return
		}
		if c.Queue.Timeout <= 0 || c.HTTP.MaxBody <= 0 || c.HTTP.MaxBody > gate.MaxBodyLimit ||
			c.Queue.Partitions < 1 || c.Listen == "" {
			t.Errorf("accepted %+v", c)
		}
		for name, s := range c.Sources {
			if name == "" || s.Kind == "" {
				t.Errorf("accepted source %q: %+v", name, s)
			}
		}
		for name, s := range c.Subscriptions {
			if name == "" || (s.Push == nil) == (s.Pull == nil) ||
				s.Push != nil && (s.Push.URL == "" || s.Push.Timeout <= 0 || s.Push.Concurrency < 1) {
				t.Errorf("accepted subscription %q: %+v", name, s)
			}
		}
	})
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hookgate.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSourceSettings: the error for a setting of a source that cannot work names it.
func TestSourceSettings(t *testing.T) {
	t.Parallel()
	for text, names := range map[string]string{
		"listen: 0.0.0.0:1\nsources: {x: {kind: none, message_id:" +
			" [request:id]}}": "allow_unauthenticated",
		"listen: :1\nsources: {x: {kind: none, message_id: [request:id]}}": "allow_unauthenticated",
		"sources: {x: {kind: nonesuch}}":                                   "nonesuch",
		"sources: {x: {kind: stripe, success_status: 500}}":                "sources.x.success_status",
		"sources: {x: {kind: stripe, success_body: ok}}":                   "sources.x.success_body",
		"sources: {x: {kind: stripe, rate_limit: -1}}":                     "sources.x.rate_limit",
		"sources: {x: {kind: stripe, rate_burst: 5}}":                      "sources.x.rate_burst",
		"sources: {x: {kind: stripe, allow_ips: [10.0.0.0/33]}}":           "sources.x.allow_ips",
		"sources: {x: {kind: stripe, max_body: 1GiB}}":                     "sources.x.max_body",
		"sources: {x: {kind: square, public_url: hooks.example.com}}":      "sources.x.public_url",
		"sources: {x: {kind: square, public_url: 'https://e.com/?a=b'}}":   "sources.x.public_url",
		"sources: {x: {kind: stripe, tolerance: -5m}}":                     "sources.x.tolerance",
		"http: {trusted_proxies: [x]}":                                     "http.trusted_proxies",
		"http: {max_unpacked: 1GiB}":                                       "http.max_unpacked",
		"public_url: x":                                                    "public_url",
		"tls: {cert_file: a.pem}":                                          "tls.key_file",
	} {
		if _, err := Load([]string{"HOOKGATE_CONFIG=" + writeConfig(t, text)}, nil); err == nil ||
			!strings.Contains(err.Error(), names) {
			t.Errorf("%s: error %v does not name %s", text, err, names)
		}
	}
	for _, text := range []string{
		"sources: {x: {kind: none, message_id: [request:id]}}",
		"listen: 'localhost:1'\nsources: {x: {kind: none}}",
		"listen: '[::1]:1'\nsources: {x: {kind: none}}",
		"listen: 0.0.0.0:1\nallow_unauthenticated: true\nsources: {x: {kind: none}}",
		"sources: {x: {kind: stripe, allow_ips: [192.0.2.1, '2001:db8::/32'], rate_limit: 0.5," +
			" success_status: 204, tolerance: 1h}}",
	} {
		if _, err := Load([]string{"HOOKGATE_CONFIG=" + writeConfig(t, text)}, nil); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestAnswersAreDocumented: docs/reference/senders.md has the answer of each preset.
func TestAnswersAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/reference/senders.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## Answers\n")
	table, _, _ = strings.Cut(table, "\n## ")
	own := []string{"envelope", "hmac", "bearer", "basic", "api_key", "none"}
	rows := strings.Count(table, "\n| `")
	for _, name := range admit.Names() {
		if slices.Contains(own, name) {
			continue
		}
		kind, _ := admit.Find(name)
		want := "202"
		if kind.Success.Status != 0 {
			want = strconv.Itoa(kind.Success.Status)
		}
		if kind.Success.Body != "" {
			want += " `" + kind.Success.Body + "`"
		}
		rows--
		if !strings.Contains(table, "\n| `"+name+"` | "+want+" | ") {
			t.Errorf("docs/reference/senders.md does not say that %s is answered %s", name, want)
		}
	}
	if rows != 0 {
		t.Errorf("the table has %d rows more than there are presets", rows)
	}
}

// TestSignaturePrefixes: a prefix is one text, which may have commas, or a list of texts.
func TestSignaturePrefixes(t *testing.T) {
	for text, want := range map[string]admit.Prefixes{
		`"v1,"`: {"v1,"}, `["v1=", "v2="]`: {"v1=", "v2="}, `["v1,", "v2,"]`: {"v1,", "v2,"},
	} {
		c, err := Load([]string{"HOOKGATE_CONFIG=" +
			writeConfig(t, "sources: {x: {kind: hmac, signature: {prefix: "+text+"}}}")}, nil)
		if got := c.Sources["x"].Signature.Prefix; err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
}

// TestEverySenderIsDocumented: docs/reference/senders.md has a row for each kind, and its examples
// are valid configurations.
func TestEverySenderIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/reference/senders.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range admit.Names() {
		if !strings.Contains(string(text), "\n| `"+name+"` |") {
			t.Errorf("docs/reference/senders.md has no row for %s", name)
		}
	}
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").
		FindAllStringSubmatch(string(text), -1) {
		t.Setenv("STRIPE_WEBHOOK_SECRET", "whsec_a-secret-of-stripe")
		t.Setenv("MUX_SECRET", "a-secret-of-mux")
		c, err := Load([]string{"HOOKGATE_CONFIG=" + writeConfig(t, block[1])}, nil)
		if err != nil {
			t.Errorf("%v:\n%s", err, block[1])
			continue
		}
		if _, err := c.CheckSources(); err != nil {
			t.Errorf("%v:\n%s", err, block[1])
		}
	}
}

// TestExampleConfiguration: the example is a valid configuration.
func TestExampleConfiguration(t *testing.T) {
	c, err := Load([]string{"HOOKGATE_CONFIG=../examples/hookgate.yaml"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c.Sources["github"].OrderingKey,
		gate.Places{{"json:repository.full_name"}}) ||
		c.Queue.HighWater != 500_000 || c.Subscriptions["billing"].Push == nil {
		t.Errorf("the example reads as %+v", c)
	}
}
