package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate/control"
)

// as runs a command with a token.
func (g *gate) as(token string, args ...string) (code int, out, errs string) {
	g.t.Helper()
	return runBinary(g.t, []string{"HOOKGATE_TOKEN=" + token}, append(args, "--target", g.api())...)
}

// approvals lists the approvals with the command, as JSON.
func (g *gate) approvals(token string, args ...string) (all []approval) {
	g.t.Helper()
	code, out, errs := g.as(token, append([]string{"approvals", "list", "--json"}, args...)...)
	if code != 0 {
		g.t.Fatalf("approvals: %d %s", code, errs)
	}
	for line := range strings.Lines(out) {
		var a approval
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			g.t.Fatal(err)
		}
		all = append(all, a)
	}
	return all
}

// TestApprovalOfManyProcesses uses the commands with two processes on one Redis and PostgreSQL. One
// process refuses an action and names the approval that it needs; an admin approves it at the
// other. If two use the approval at the same moment, one succeeds. Nobody approves their own
// request, an expired approval is refused, and the admin trail has all of it.
func TestApprovalOfManyProcesses(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	const root = "configured-admin-token"
	env := []string{"ADMIN_TOKEN=" + root, "HOOKGATE_APPROVALS_REQUIRED=dlq_purge,dlq_retry_all"}
	gates := []*gate{s.start(roleIngest, env...), s.start(roleWorker, env...)}
	here, there := gates[0], gates[1]
	join := func(name string) string {
		code, out, errs := here.as(root, "token", "create", "--name", name, "--role", "admin")
		if code != 0 {
			t.Fatalf("create a token: %d %s", code, errs)
		}
		return strings.TrimSpace(out)
	}
	alice, bob := join("alice"), join("bob")

	purge := []string{"dlq", "purge", "--all", "--lose-events"}
	if code, _, errs := here.as(alice, purge...); code != 2 ||
		!strings.Contains(errs, "give a reason in the header X-Reason") {
		t.Errorf("without a reason: %d %s", code, errs)
	}
	purge = append(purge, "--reason", "they are tests")
	code, out, errs := here.as(alice, purge...)
	if code != 2 || !strings.Contains(errs, "hookgate approvals approve 1 --reason WHY") ||
		!strings.Contains(errs, "--approval 1") || out != "" {
		t.Fatalf("without an approval: %d %s%s", code, out, errs)
	}
	code, out, errs = there.as(alice, "approvals", "approve", "1", "--reason", "I am sure")
	if code != 2 || !strings.Contains(errs, "nobody may approve their own request") {
		t.Errorf("alice's own: %d %s%s", code, out, errs)
	}
	if code, _, errs := there.as(bob, "approvals", "approve", "1"); code != 2 || !strings.Contains(errs, "reason") {
		t.Errorf("without a reason: %d %s", code, errs)
	}
	code, out, errs = there.as(bob, "approvals", "approve", "1", "--reason", "looked at them")
	if code != 0 || out != "approved 1: dlq_purge of all losing events, requested by alice:"+
		" they are tests\n" {
		t.Errorf("approve: %d %s%s", code, out, errs)
	}
	if _, out, _ := here.as(bob, "approvals", "list"); !strings.Contains(out, "they are tests") ||
		!strings.Contains(out, "approved") || strings.Count(out, "\n") != 2 {
		t.Errorf("the list is\n%s", out)
	}

	var using sync.WaitGroup
	codes := make([]int, len(gates))
	for i, g := range gates {
		using.Go(func() {
			cmd := exec.Command(binary, append(purge, "--approval", "1", "--target", g.url)...)
			cmd.Env = append(cmd.Environ(), "HOOKGATE_TOKEN="+alice)
			text, _ := cmd.CombinedOutput()
			if codes[i] = cmd.ProcessState.ExitCode(); codes[i] != 0 &&
				!strings.Contains(string(text), " used it") {
				t.Errorf("purge: %s", text)
			}
		})
	}
	using.Wait()
	if codes[0]+codes[1] != 2 || codes[0] == codes[1] {
		t.Errorf("of two uses of an approval one ended with %d and the other with %d", codes[0], codes[1])
	}

	// With --wait a command continues after the approval and fails after a denial.
	for _, c := range []struct {
		verb, says string
		code       int
	}{{"approve", "0 retried", 0}, {"deny", "bob has denied approval 3: not today", 1}} {
		waiting := &output{}
		cmd := exec.Command(binary, "dlq", "retry", "--type", c.verb, "--wait", "--reason", "fixed",
			"--target", here.url)
		cmd.Env = append(cmd.Environ(), "HOOKGATE_TOKEN="+alice)
		cmd.Stdout, cmd.Stderr = waiting, waiting
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		here.await("the command waits", func() bool {
			return strings.Contains(waiting.String(),
				"waits for approval")
		})
		pending := there.approvals(bob, "--state", "pending")
		if len(pending) != 1 || pending[0].Target != fmt.Sprintf("type=%q", c.verb) ||
			pending[0].RequestedBy != "alice" {
			t.Fatalf("pending are %+v", pending)
		}
		if code, _, errs := there.as(bob, "approvals", c.verb, pending[0].ID, "--reason", "not today"); code != 0 {
			t.Errorf("%s: %d %s", c.verb, code, errs)
		}
		cmd.Wait()
		if cmd.ProcessState.ExitCode() != c.code || !strings.Contains(waiting.String(), c.says) {
			t.Errorf("the command that waited ended with %d:\n%s", cmd.ProcessState.ExitCode(), waiting)
		}
	}
	if all := here.approvals(bob, "--all"); len(all) != 3 || all[0].State != control.ApprovalUsed ||
		all[1].State != control.ApprovalUsed || all[2].State != control.ApprovalDenied {
		t.Errorf("all are %+v", all)
	}
	if _, out, _ := here.as(bob, "audit", "actions"); !strings.Contains(out,
		"all losing events (approval 1)") || strings.Count(out, "approval_approve") != 2 ||
		strings.Count(out, "approval_request") != 3 || strings.Count(out, "approval_deny") != 1 {
		t.Errorf("the trail is\n%s", out)
	}
	here.stop()

	// At a third process approvals expire at once.
	quick := s.start(roleIngest, append(env, "HOOKGATE_APPROVALS_EXPIRY=1ms")...)
	if code, _, _ := quick.as(alice, purge...); code != 2 {
		t.Errorf("ended with %d", code)
	}
	last := there.approvals(bob, "4")
	quick.await("it expires", func() bool { return time.Now().After(last[0].ExpiresAt) })
	if code, _, errs := quick.as(bob, "approvals", "approve", "4", "--reason", "late"); code != 2 ||
		!strings.Contains(errs, "expired at") {
		t.Errorf("approve what has expired: %d %s", code, errs)
	}
	if code, _, errs := quick.as(alice, append(purge, "--approval", "4")...); code != 2 ||
		!strings.Contains(errs, "expired at") {
		t.Errorf("use what has expired: %d %s", code, errs)
	}
	if all := there.approvals(bob, "--state", "expired"); len(all) != 1 || all[0].ID != "4" {
		t.Errorf("expired are %+v", all)
	}
	if code, out, errs := runBinary(t, s.env(), "audit", "verify", "--data-dir",
		filepath.Join(t.TempDir(), "none")); code != 0 {
		t.Errorf("audit verify: %d %s%s", code, out, errs)
	}
}
