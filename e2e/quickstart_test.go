package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestQuickstart runs the commands of docs/quickstart.md as they stand there, steps 2 to 4 and the
// stop, with other ports. The consumer of the page must print two events, and after its restart the
// one that was sent meanwhile.
func TestQuickstart(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/quickstart.md")
	must(t, err)
	page := string(text)
	steps, rest, _ := strings.Cut(page[strings.Index(page, "## 2. "):], "## 5. ")
	_, stop, ok := strings.Cut(rest, "## Stop")
	if !ok {
		t.Fatal("the quickstart has lost its steps")
	}
	address, consumer := freeAddress(t), freeAddress(t)

	var script strings.Builder
	script.WriteString("set -e\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n")
	block := regexp.MustCompile("(?s)```sh\n(.*?)```")
	for _, m := range block.FindAllStringSubmatch(steps, -1) {
		script.WriteString(m[1])
	}
	const until = "until [ \"$(grep -c '^[a-z]* test test-' consumer.log)\" = %d ];" +
		" do sleep 0.1; done\n"
	fmt.Fprintf(&script, until, 3)
	for _, m := range block.FindAllStringSubmatch(stop, -1) {
		script.WriteString(m[1])
	}
	script.WriteString("wait || true\n")
	commands := strings.NewReplacer(
		"127.0.0.1:8080", address,
		"127.0.0.1:3000", consumer,
		"go build -o", "sed -i s/127.0.0.1:3000/"+consumer+"/ consumer.go && go build -o",
		"sleep 1\ncat", fmt.Sprintf(until, 2)+"cat",
		"hookgate sources send", "hookgate sources send --target http://"+address,
		"hookgate events", "hookgate events --target http://"+address,
		"hookgate subscriptions list", "hookgate subscriptions list --target http://"+address,
	).Replace(script.String())

	dir := t.TempDir()
	repository, err := filepath.Abs("..")
	must(t, err)
	must(t, os.Symlink(repository, filepath.Join(dir, "hookgate")))
	must(t, os.Mkdir(filepath.Join(dir, "start"), 0o700)) // the page makes ../my-gate
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", commands)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Dir = filepath.Join(dir, "start")
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"),
		"HOOKGATE_LISTEN="+address)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// freeAddress returns an address on which nothing listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}
