package e2e

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate/load"
)

// TestDiskFull limits the size of the gate's files, which has the effect of a full disk. The gate
// answers 503, stays up, reports the problem in its health, and loses nothing acknowledged. It
// continues by itself when there is room again.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{
		prefix: []string{"prlimit", "--fsize=3000000:unlimited"},
	})
	var input bytes.Buffer
	if err := (load.Generator{Count: 1500, Keys: 20, Size: 4000, Seed: 7}).Generate(t.Context(),
		&input); err != nil {
		t.Fatal(err)
	}
	sent := input.Bytes()
	ledgerFile := filepath.Join(t.TempDir(), "ledger.ndjson")
	key := g.key(hmacSecretName)
	done := make(chan error, 1)
	go func() {
		f, err := os.Create(ledgerFile)
		if err != nil {
			done <- err
			return
		}
		defer f.Close()
		summary, err := load.Replay(t.Context(), load.Config{
			Input: bytes.NewReader(sent), Target: g.url, Credentials: load.Credentials{HMACSecret: key},
			Ledger: f, Retry: load.Retry{
				Attempts: 10_000, Time: waitFor, Base: 10 * time.Millisecond, Max: 100 * time.Millisecond,
				MaxRetryAfter: 100 * time.Millisecond},
		})
		if err == nil && !summary.OK() {
			t.Errorf("replay: %+v", summary)
		}
		done <- err
	}()
	g.await("the disk is full", func() bool { return g.health().Queue.Error != "" })
	if status, body := g.request(http.MethodGet, "/readyz",
		""); status != http.StatusServiceUnavailable {
		t.Errorf("with a full disk /readyz answers %d %s", status, body)
	}
	// A small event may still fit into the last page.
	if status, body := g.send(`{"messageId":"while-full","eventType":"t","x":"` + strings.Repeat("x",
		900_000) + `"}`); status != http.StatusServiceUnavailable {
		t.Errorf("with a full disk a webhook is answered %d %s", status, body)
	}
	if status, _ := g.request(http.MethodGet, "/livez", ""); status != http.StatusOK {
		t.Errorf("with a full disk /livez answers %d", status)
	}
	if out, err := exec.Command("prlimit", "--fsize=unlimited", "--pid",
		strconv.Itoa(g.cmd.Process.Pid)).CombinedOutput(); err != nil {
		t.Fatalf("raise the limit: %v %s", err, out)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	g.await("the gate is well again", func() bool { return g.health().Status == "ok" })
	g.awaitDrained()
	auditStore(t, g, sent, ledgerFile)
	g.stop()
}
