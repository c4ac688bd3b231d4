package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/internal/redistest"
	"github.com/hookgate/hookgate/store/postgres"
)

func TestMain(m *testing.M) {
	// rueidis starts it to look at a sentinel's or a cluster's topology a little later, and nothing
	// ends it before.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(
		"github.com/redis/rueidis.(*call).DelayDo.func1"))
}

// levels returns the level of what was looked at in an area.
func levels(r *Report, area string) map[string]Level {
	all := map[string]Level{}
	for _, f := range r.Findings {
		if f.Area == area {
			all[f.What] = max(all[f.What], f.Level)
		}
	}
	return all
}

// mustFind checks levels in an area. A finding that is worse than advice must say what to do.
func mustFind(t *testing.T, r *Report, area string, want map[string]Level) {
	t.Helper()
	got := levels(r, area)
	for what, level := range want {
		if have, looked := got[what]; !looked || have != level {
			t.Errorf("%s, %s is %q, want %q (all: %v)", area, what, have, level, got)
		}
	}
	for _, f := range r.Findings {
		if f.Area == area && f.Level >= Warning && f.Level != Unknown && f.Do == "" {
			t.Errorf("%s, %s says nothing to do: %+v", area, f.What, f)
		}
	}
}

func examine(t *testing.T, c Config) *Report {
	t.Helper()
	c.Timeout = 2 * time.Minute
	if c.DataDir.Path == "" {
		c.DataDir.Path = t.TempDir()
	}
	return Examine(t.Context(), c)
}

// TestRedisSetWrongly: each setting by which Redis would lose webhooks is found, and memory that
// the claims would not fit in.
func TestRedisSetWrongly(t *testing.T) {
	s := redistest.Start(t, redistest.Options{MaxMemory: "3mb", MaxMemoryPolicy: "allkeys-lru"})
	redis := Redis{URL: s.URL(), Prefix: "hookgate", ClaimTTL: time.Hour, Rate: 100, HighWater: 1000,
		RecordBytes: 2048}
	mustFind(t, examine(t, Config{Redis: redis}), "redis", map[string]Level{
		"appendonly": LosesData, "maxmemory-policy": LosesData, "memory for claims": Warning,
		"version": OK, "clock": OK, "maxmemory": OK,
	})
	for _, setting := range [][]string{{"appendonly", "yes"}, {"appendfsync", "no"},
		{"maxmemory-policy", "noeviction"}, {"maxmemory", "0"}} {
		s.Await("OK", "CONFIG", "SET", setting[0], setting[1])
	}
	mustFind(t, examine(t, Config{Redis: redis}), "redis", map[string]Level{
		"appendfsync": LosesData, "maxmemory-policy": OK, "maxmemory": Advice, "memory for claims": OK,
	})
	s.Await("OK", "CONFIG", "SET", "appendfsync", "always")
	s.Await("OK", "CONFIG", "SET", "maxmemory", "1gb")
	r := examine(t, Config{Redis: redis})
	mustFind(t, r, "redis", map[string]Level{"appendfsync": OK, "maxmemory": OK})
	for what, level := range levels(r, "redis") {
		if level >= Warning {
			t.Errorf("of a Redis that is set well, %s is %v: %+v", what, level, r.Findings)
		}
	}
	s.Await("OK", "CONFIG", "SET", "appendfsync", "everysec")
	mustFind(t, examine(t, Config{Redis: redis}), "redis", map[string]Level{"appendfsync": Advice})
}

// TestClaimsMeasured: claims that are there are measured, and tell the rate if nobody gives one.
func TestClaimsMeasured(t *testing.T) {
	s := redistest.Start(t, redistest.Options{AppendFsync: "always"})
	for n := range 150 {
		s.Await("OK", "SET", fmt.Sprintf("hookgate:{%d}:claim:%016d", n%16, n), strings.Repeat("x", 32),
			"PX", "100000")
	}
	r := examine(t, Config{Redis: Redis{URL: s.URL(), Prefix: "hookgate", ClaimTTL: time.Hour,
		HighWater: 1, RecordBytes: 1}})
	i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.What == "memory for claims" })
	if seen := r.Findings[i].Seen; !strings.Contains(seen, "measured") ||
		!strings.Contains(seen, "as so far") || strings.Contains(seen, "for 0/s") {
		t.Errorf("seen was %q, want a measured size and a measured rate", seen)
	}
}

// TestPostgresSetWrongly: settings by which PostgreSQL would lose events, too few connections, a
// schema that is behind.
func TestPostgresSetWrongly(t *testing.T) {
	c, err := pgtest.Start(t.Context(), pgtest.Options{Settings: []string{"synchronous_commit=off",
		"max_connections=20", "shared_buffers=16MB"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	name, err := c.NewDatabase(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	db := Postgres{URL: c.URL(name), Pool: 10, Processes: 2}
	mustFind(t, examine(t, Config{Postgres: db}), "postgres", map[string]Level{
		"fsync": LosesData, "full_page_writes": LosesData, "synchronous_commit": Advice,
		"max_connections": Warning, "shared_buffers": Advice,
		"migrations": Warning, "version": OK, "clock": OK,
	})
	db.Migrates, db.Pool, db.Processes = true, 15, 1
	mustFind(t, examine(t, Config{Postgres: db}), "postgres", map[string]Level{"migrations": Advice,
		"max_connections": Advice})
	if err := postgres.Migrate(t.Context(), db.URL, ""); err != nil {
		t.Fatal(err)
	}
	db.Pool = 5
	mustFind(t, examine(t, Config{Postgres: db}), "postgres", map[string]Level{"migrations": OK,
		"max_connections": OK})
	b, err := pgtest.StartBouncer(t.Context(), c, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	db.URL, db.Processes = b.URL(name), 1000
	r := examine(t, Config{Postgres: db})
	i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.What == "max_connections" })
	if i < 0 || !strings.Contains(r.Findings[i].Seen, "pooler") {
		t.Errorf("a pooler is not recognised: %+v", r.Findings)
	}
}

// TestUnreachable: a service that does not answer is a finding, and no password is in any.
func TestUnreachable(t *testing.T) {
	const secret = "s3cret-passw0rd"
	for _, c := range []Config{
		{Redis: Redis{URL: "redis://user:" + secret + "@127.0.0.1:1"},
			Postgres: Postgres{URL: "postgres://user:" + secret + "@127.0.0.1:1/x"}},
		{Redis: Redis{URL: "redis://user:" + secret + "@127.0.0.1:port"},
			Postgres: Postgres{URL: "postgres://user:" + secret + "@127.0.0.1:port/x"}},
		{Redis: Redis{URL: "http://user:" + secret + "@127.0.0.1"},
			Postgres: Postgres{URL: "http://user:" + secret + "@127.0.0.1:1/x"}},
		{Redis: Redis{URL: "redis://user:" + secret + "%zz@127.0.0.1"},
			Postgres: Postgres{URL: "host=127.0.0.1 port=1 password=" + secret + " bad"}},
	} {
		r := examine(t, c)
		for _, area := range []string{"redis", "postgres"} {
			mustFind(t, r, area, map[string]Level{"connection": Unknown})
		}
		text, err := json.Marshal(r)
		if err != nil || strings.Contains(string(text), secret) {
			t.Errorf("the report shows a password (error %v): %s", err, text)
		}
	}
}

// TestDataDir: what is wrong with a folder and the keys in it is found.
func TestDataDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join("keys", "bearer_key")
	if err := os.WriteFile(filepath.Join(dir, key), []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := DataDir{Path: dir, KeyFiles: []string{key, "keys/missing"}, Records: 1, RecordBytes: 1,
		MaxBytes: 1}
	mustFind(t, examine(t, Config{DataDir: d}), "data directory", map[string]Level{"folder": OK,
		"key file": OK, "free space": OK})
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Join(dir, key), 0o644)); err != nil {
		t.Fatal(err)
	}
	d.Records, d.MaxBytes = 1<<20, 1<<40
	mustFind(t, examine(t, Config{DataDir: d}), "data directory", map[string]Level{"folder": Warning,
		"key file": Warning, "free space": Advice})
	d.RecordBytes = 1 << 40
	mustFind(t, examine(t, Config{DataDir: d}), "data directory",
		map[string]Level{"free space": Warning})
	mustFind(t, examine(t, Config{DataDir: DataDir{Path: filepath.Join(dir, "not", "yet")}}),
		"data directory", map[string]Level{"folder": Advice})
	mustFind(t, examine(t, Config{DataDir: DataDir{Path: filepath.Join(dir, key)}}), "data directory",
		map[string]Level{"folder": Warning})
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("the doctor leaves behind %v (error %v)", left, err)
	}
	if _, err := os.Stat("/dev/shm"); err == nil {
		if kind, err := filesystemOf("/dev/shm"); err != nil || kind != "tmpfs" && kind != "" {
			t.Errorf("/dev/shm is %q (error %v)", kind, err)
		}
	}
}

// TestSettings: addresses, connections and keys are judged by themselves.
func TestSettings(t *testing.T) {
	for _, test := range []struct {
		settings Settings
		area     string
		want     map[string]Level
	}{
		{Settings{Listen: "127.0.0.1:1"}, "network", map[string]Level{"listen": OK}},
		{Settings{Listen: "localhost:1"}, "network", map[string]Level{"listen": OK}},
		{Settings{Listen: "[::1]:1"}, "network", map[string]Level{"listen": OK}},
		{Settings{Listen: ":80"}, "network", map[string]Level{"listen": Advice, "admin.listen": Advice}},
		{Settings{Listen: "0.0.0.0:80", AdminListen: "127.0.0.1:81", Open: []string{"x"}}, "network",
			map[string]Level{"listen": Warning, "admin.listen": OK}},
		{Settings{Listen: "10.0.0.1:80", AdminListen: "0.0.0.0:81"}, "network",
			map[string]Level{"admin.listen": Advice}},
		{Settings{MaxConnections: 10}, "machine", map[string]Level{"open files": OK}},
		{Settings{MaxConnections: 1 << 40}, "machine", map[string]Level{"open files": Warning}},
		{Settings{KeyError: errors.New("x")}, "keys", map[string]Level{"keys": Warning}},
		{Settings{Sources: []string{"a"}, AdminTokens: true}, "keys", map[string]Level{"sources": OK,
			"admin token": OK}},
	} {
		mustFind(t, examine(t, Config{Settings: test.settings}), test.area, test.want)
	}
}

// TestSkew checks that clocks are reported if they differ by more than the round trip explains, in
// either direction.
func TestSkew(t *testing.T) {
	for _, test := range []struct {
		ahead, roundTrip time.Duration
		want             Level
	}{
		{0, 0, OK}, {50 * time.Millisecond, 0, OK}, {500 * time.Millisecond, time.Millisecond, Advice},
		{-500 * time.Millisecond, time.Millisecond, Advice},
		{-2 * time.Second, 0, Warning}, {2 * time.Second, 0, Warning}, {2 * time.Second, 4 * time.Second,
			OK},
	} {
		r := &Report{}
		r.area("a").skew(test.ahead, test.roundTrip)
		if got := r.Worst(); got != test.want {
			t.Errorf("%v ahead with a round trip of %v is %v, want %v", test.ahead, test.roundTrip, got,
				test.want)
		}
	}
}
