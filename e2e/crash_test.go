package e2e

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/load"
)

// TestCrash kills the gate with SIGKILL at random moments during a replay, and restarts it.
// auditStore checks the result.
func TestCrash(t *testing.T) {
	t.Parallel()
	count, leastKills := modeltest.Pick(1_500, 10_000), modeltest.Pick(3, 10)
	var input bytes.Buffer
	if err := (load.Generator{Count: count, Keys: 200, DuplicatePercent: 5, Size: 500,
		Seed: rand.Uint64()}).Generate(t.Context(), &input); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	inputFile, ledgerFile := filepath.Join(dir, "events.ndjson"), filepath.Join(dir, "ledger.ndjson")
	if err := os.WriteFile(inputFile, input.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	g := startGate(t, startOptions{})
	replay := exec.Command(binary, "replay", "--input", inputFile, "--target", g.url, "--output",
		ledgerFile,
		"--data-dir", g.dir, "--rate-limit", "800", "--retries", "1000", "--retry-time", "5m")
	summary := &output{}
	replay.Stdout, replay.Stderr = summary, summary
	if err := replay.Start(); err != nil {
		t.Fatal(err)
	}
	replayed := make(chan error, 1)
	go func() { replayed <- replay.Wait() }()
	defer replay.Process.Kill()

	kills := 0
	for running := true; running; {
		select {
		case err := <-replayed:
			if err != nil {
				t.Fatalf("replay: %v\n%s", err, summary)
			}
			running = false
		case <-time.After(time.Duration(50+rand.IntN(modeltest.Pick(250, 1000))) * time.Millisecond):
			g.kill()
			kills++
			g = startGate(t, startOptions{dir: g.dir, listen: strings.TrimPrefix(g.url, "http://")})
		}
	}
	if kills < leastKills {
		t.Fatalf("the replay was over after %d kills, want %d at least", kills, leastKills)
	}
	g.awaitDrained()
	t.Logf("%d kills\n%s", kills, summary)
	auditStore(t, g, input.Bytes(), ledgerFile)
	g.stop()
}
