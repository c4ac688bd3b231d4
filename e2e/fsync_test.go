package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestFsyncBefore202 traces the system calls of the gate while one sender waits for each answer.
// Between two 202s there must be a write to the store's log, and then an fdatasync of it that has
// returned.
func TestFsyncBefore202(t *testing.T) {
	t.Parallel()
	const requests = 50
	trace := filepath.Join(t.TempDir(), "trace")
	g := startGate(t, startOptions{prefix: []string{"strace", "-f", "-y", "-qq", "-s", "64", "-o",
		trace,
		"-e", "trace=pwrite64,write,fdatasync,fsync"}})
	for i := range requests {
		if status, body := g.send(fmt.Sprintf(`{"messageId":"m%d","eventType":"t"}`,
			i)); status != http.StatusAccepted {
			t.Fatalf("request %d is answered %d %s", i, status, body)
		}
	}
	g.awaitDrained()
	g.kill()
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkTrace(string(text), requests); err != nil {
		t.Error(err)
	}
}

// checkTrace checks the order of calls in the output of strace -f. If another thread interrupts a
// call, the output has two lines for it, "… <unfinished ...>" and "<... NAME resumed> …". A sync
// counts when it has returned.
func checkTrace(text string, want int) error {
	const log = `store\.db-wal>`
	var (
		written  = regexp.MustCompile(`^\d+ +pwrite64\(\d+<[^>]*` + log)
		syncs    = regexp.MustCompile(`^(\d+) +f(?:data)?sync\(\d+<[^>]*` + log + `\)? *(.*)$`)
		resumed  = regexp.MustCompile(`^(\d+) +<\.\.\. f(?:data)?sync resumed>.*= (-?\d+)`)
		answered = regexp.MustCompile(`^\d+ +write\(.*"HTTP/1\.1 202`)
	)
	wrote, durable := false, false // since the last answer
	syncing := map[string]bool{}   // threads in a sync that began after the write
	answers := 0
	for n, line := range strings.Split(text, "\n") {
		if written.MatchString(line) {
			wrote = true
		} else if m := syncs.FindStringSubmatch(line); m != nil && wrote {
			if strings.HasSuffix(m[2], "= 0") {
				durable = true
			} else {
				syncing[m[1]] = true
			}
		} else if m := resumed.FindStringSubmatch(line); m != nil && syncing[m[1]] {
			delete(syncing, m[1])
			durable = durable || m[2] == "0"
		} else if answered.MatchString(line) {
			if !durable {
				return fmt.Errorf("line %d: a 202 leaves before the log is synced: %s", n+1, line)
			}
			answers++
			wrote, durable = false, false
			clear(syncing)
		}
	}
	if answers != want {
		return fmt.Errorf("the trace shows %d answers with 202, want %d", answers, want)
	}
	return nil
}

// TestCheckTrace checks that checkTrace finds each problem.
func TestCheckTrace(t *testing.T) {
	const (
		write   = "7 pwrite64(9</d/store.db-wal>, \"x\", 1, 0) = 1\n"
		sync    = "7 fdatasync(9</d/store.db-wal>) = 0\n"
		other   = "7 fdatasync(8</d/spool.db-wal>) = 0\n"
		failed  = "7 fdatasync(9</d/store.db-wal>) = -1 EIO\n"
		begun   = "7 fdatasync(9</d/store.db-wal> <unfinished ...>\n"
		resumed = "7 <... fdatasync resumed>) = 0\n"
		answer  = "8 write(5<socket:[1]>, \"HTTP/1.1 202 Accepted\", 21) = 21\n"
	)
	for text, good := range map[string]bool{
		write + sync + answer:               true,
		write + begun + resumed + answer:    true,
		write + answer:                      false,
		write + other + answer:              false,
		write + failed + answer:             false,
		write + begun + answer + resumed:    false,
		sync + write + answer:               false,
		write + sync + answer + write:       true,
		write + sync + "":                   false,
		write + sync + answer + answer + "": false,
	} {
		if err := checkTrace(text, 1); (err == nil) != good {
			t.Errorf("trace\n%s: %v", text, err)
		}
	}
}
