package e2e

import (
	"strings"
	"testing"

	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/internal/redistest"
)

// TestPrivateCA uses Redis over TLS as an ACL user with minimal rights, and PostgreSQL with a
// verified certificate, each by a private CA. A certificate by an unknown CA ends the start.
func TestPrivateCA(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{TLS: true, AppendFsync: "everysec"})
	server.MustDo("ACL", "SETUSER", "gate", "on", ">p@ss word", "~hookgate:*", "resetchannels",
		"-@all",
		"+@connection", "+@scripting", "+@stream", "+@string", "+@hash", "+@sortedset", "+pexpire",
		"+del", "+time", "+info",
		"+config|get", "+cluster")
	redisURL, ca := server.TLSURL("gate:p%40ss%20word")
	cluster, database := startPostgres(t, pgtest.Options{TLS: true})
	postgresURL := strings.Replace(cluster.URL(database), "sslmode=disable", "sslmode=verify-full", 1)
	trusting := postgresURL + "&sslrootcert=" + cluster.CAFile()

	g := startGate(t, startOptions{env: []string{"REDIS_URL=" + redisURL, "HOOKGATE_REDIS_TLS_CA=" +
		ca, "DB_URL=" + trusting}})
	g.awaitStored(sendSome(t, g, "m", 10))
	g.await("the gate is well", func() bool { return g.health().Status == "ok" })
	if log := g.logs.String(); !strings.Contains(log, "appendfsync everysec") {
		t.Errorf("the log does not tell what a 202 is worth:\n%s", log)
	}

	for _, env := range [][]string{
		{"REDIS_URL=" + redisURL}, {"DB_URL=" + postgresURL + "&connect_timeout=60"},
		{"REDIS_URL=" + redisURL, "HOOKGATE_REDIS_TLS_CA=" + cluster.CAFile()},
	} {
		env = append(env, "HOOKGATE_QUEUE_TIMEOUT=30s", "HOOKGATE_REDIS_LEASE_TTL=60s")
		if code, _, errs := runBinary(t, env, "serve", "--listen", "127.0.0.1:0"); code != exitNoResult ||
			!strings.Contains(errs, "unknown authority") {
			t.Errorf("with %v serve ended with %d:\n%s", env, code, errs)
		}
	}
	for _, test := range []struct{ ca, want string }{
		{"/nowhere.pem", "/nowhere.pem"}, {dataDir(g.dir).keyFile(adminTokenName), "no certificate"},
	} {
		env := []string{"REDIS_URL=" + redisURL, "HOOKGATE_REDIS_TLS_CA=" + test.ca}
		if code, _, errs := runBinary(t, env, "serve", "--listen", "127.0.0.1:0"); code != exitNoResult ||
			!strings.Contains(errs, test.want) {
			t.Errorf("with %v serve ended with %d:\n%s", env, code, errs)
		}
	}
	env := []string{"REDIS_URL=" + server.URL(), "HOOKGATE_REDIS_TLS_CA=" + ca}
	if code, _, errs := runBinary(t, env, "serve", "--listen", "127.0.0.1:0"); code != exitNoResult ||
		!strings.Contains(errs, "rediss://") {
		t.Errorf("with a CA and no TLS serve ended with %d:\n%s", code, errs)
	}
}
