package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/redistest"
	"github.com/hookgate/hookgate/release/canary"
)

// before is the previous service, to which the canary sends its share. It answers 200 and counts
// requests.
type before struct {
	*httptest.Server
	got atomic.Int64
}

func startBefore(t *testing.T) *before {
	t.Helper()
	b := &before{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		b.got.Add(1)
		io.WriteString(w, "theirs")
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *before) env(more ...string) []string {
	return append([]string{"HOOKGATE_CANARY_UPSTREAM=" + b.URL, "HOOKGATE_ADMIN_LISTEN=127.0.0.1:0"},
		more...)
}

// canary returns the state of the canary.
func (g *gate) canary() (s canaryState) {
	g.t.Helper()
	status, body := g.request(http.MethodGet, canaryPath, "")
	if err := json.Unmarshal([]byte(body), &s); status != http.StatusOK || err != nil {
		g.t.Fatalf("the canary is %d %q: %v", status, body, err)
	}
	return s
}

// sides sends one event for each of n ordering keys and reports which of them the gate took.
func (g *gate) sides(run string, n int) []bool {
	g.t.Helper()
	here := make([]bool, n)
	for i := range here {
		switch status, body := g.send(fmt.Sprintf(
			`{"messageId":"%s-%d","eventType":"t","orderingKey":"key-%d"}`, run, i, i)); {
		case status == http.StatusAccepted:
			here[i] = true
		case status != http.StatusOK || body != "theirs":
			g.t.Fatalf("key %d got %d %s", i, status, body)
		}
	}
	return here
}

// hookgate runs a command against the gate.
func (g *gate) hookgate(args ...string) (code int, out, errs string) {
	g.t.Helper()
	return runBinary(g.t, g.env, append(args, "--target", g.api(), "--data-dir", g.dir)...)
}

// TestCanaryPlan runs a plan of short steps up to 100 percent, with a restart on the way. Then the
// breaker opens and the guard takes the canary back. Until then the gate keeps every ordering key
// that it has taken.
func TestCanaryPlan(t *testing.T) {
	t.Parallel()
	b := startBefore(t)
	env := b.env("HOOKGATE_CANARY_PLAN=20:1s,60:1s,100:1h", "HOOKGATE_GUARD_DEPTH_LIMIT=40",
		"HOOKGATE_QUEUE_HIGH_WATER=600", "HOOKGATE_WORKER_MAX_RATE=1", "HOOKGATE_GUARD_IN_FLIGHT_MAX=0",
		"REDIS_URL="+redistest.Start(t, redistest.Options{}).URL(), "HOOKGATE_SPOOL=off")
	g := startGate(t, startOptions{env: env})
	const keys = 40
	moved := make([]bool, keys)
	check := func(run string) {
		t.Helper()
		percent := g.canary().Percent
		sides := g.sides(run, keys)
		still := g.canary().Percent == percent // otherwise a step came in between
		for i, here := range sides {
			if still && here != control.CanaryIncludes(fmt.Sprintf("key-%d", i), percent) {
				t.Errorf("at %d percent key %d is with the gate: %t", percent, i, here)
			}
			if moved[i] && !here {
				t.Errorf("at %d percent key %d has left the gate", percent, i)
			}
			moved[i] = moved[i] || here
		}
	}
	check("before")
	code, out, errs := g.hookgate("canary", "start", "--reason", "release 7")
	if code != 0 || !strings.Contains(out, "20 percent here, everything else to "+b.URL) ||
		!strings.Contains(out, "release 7") || !strings.Contains(out, "step 1:  20 percent for 1s  <-") {
		t.Fatalf("start: %d\n%s%s", code, out, errs)
	}
	check("first")
	g.stop()
	g = startGate(t, startOptions{env: env, dir: g.dir})
	if s := g.canary(); s.Percent < 20 || s.Step < 1 {
		t.Errorf("after a restart the canary is %+v", s)
	}
	check("restarted")
	g.await("the second step", func() bool { return g.canary().Step >= 2 })
	check("second")
	g.await("the third step", func() bool { return g.canary().Step == 3 })
	if s := g.canary(); s.Percent != 100 || s.By != canary.ActorPlan {
		t.Errorf("at the third step the canary is %+v", s)
	}
	check("third")
	if status, body := g.send(`{"messageId":"last","eventType":"t"}`); status != http.StatusAccepted {
		t.Errorf("at 100 percent a webhook got %d %s", status, body)
	}
	sent := 0
	g.await("the canary goes back", func() bool { // more than the worker may store
		g.send(fmt.Sprintf(`{"messageId":"load-%d","eventType":"t","orderingKey":"key-0"}`, sent))
		sent++
		return g.canary().Percent == 0
	})
	if s := g.canary(); s.By != canary.ActorGuard || !strings.Contains(s.Reason, "breaker") ||
		s.Step != 0 {
		t.Errorf("back again the canary is %+v", s)
	}
	if status, body := g.send(`{"messageId":"after","eventType":"t"}`); status != http.StatusOK ||
		body != "theirs" {
		t.Errorf("back again a webhook got %d %s", status, body)
	}
	var trail string
	g.await("the admin trail, which is written after it is done, has it", func() bool {
		_, trail, _ = g.hookgate("audit", "actions")
		return strings.Contains(trail, "release triggers fired")
	})
	for _, row := range []string{"plan start", "60 percent (step 2 of 3)", "100 percent (step 3 of 3)",
		"0 percent (back)", "release triggers fired"} {
		if !strings.Contains(trail, row) {
			t.Errorf("the admin trail has no %q:\n%s", row, trail)
		}
	}
	for _, wrong := range []string{"101", "up", "-1"} {
		if code, _, errs := runBinary(t, nil, "canary", "set", "--target", g.api(), "--data-dir", g.dir, "--",
			wrong); code != 2 || !strings.Contains(errs, "not a percentage") {
			t.Errorf("canary %s: %d %s", wrong, code, errs)
		}
	}
}

// TestCanaryShared runs two processes on one Redis. Both follow a change made at either, agree on
// the side of each key, and go back together. While Redis is away a change back applies at once in
// the process that got it, and in the other when Redis returns.
func TestCanaryShared(t *testing.T) {
	t.Parallel()
	b := startBefore(t)
	redis := redistest.Start(t, redistest.Options{AppendFsync: "always"})
	env := b.env("REDIS_URL="+redis.URL(), "HOOKGATE_QUEUE_TIMEOUT=300ms",
		"WEBHOOK_BEARER_KEY=the-key-of-both")
	one, two := startGate(t, startOptions{env: env}), startGate(t, startOptions{env: env})
	for _, g := range []*gate{one, two} {
		if err := os.WriteFile(dataDir(g.dir).keyFile(bearerKeyName), []byte("the-key-of-both\n"),
			0o600); err != nil {
			t.Fatal(err)
		}
	}
	set := func(g *gate, percent int) {
		t.Helper()
		if status, body := g.request(http.MethodPost, canaryPath, fmt.Sprintf(`{"percent":%d}`,
			percent)); status != http.StatusOK {
			t.Fatalf("set %d percent: %d %s", percent, status, body)
		}
	}
	set(one, 50)
	two.await("the other process follows", func() bool { return two.canary().Percent == 50 })
	first, second := one.sides("one", 30), two.sides("two", 30)
	for i := range first {
		if want := control.CanaryIncludes(fmt.Sprintf("key-%d", i), 50); first[i] != want ||
			second[i] != want {
			t.Errorf("key %d is with the gate: %t at one process, %t at the other, want %t", i, first[i],
				second[i], want)
		}
	}
	set(two, 60)
	one.await("the first process follows", func() bool { return one.canary().Percent == 60 })

	redis.Kill()
	if status, body := one.request(http.MethodPost, canaryPath,
		`{"percent":70}`); status != http.StatusServiceUnavailable {
		t.Errorf("a rise without Redis got %d %s", status, body)
	}
	if status, body := one.request(http.MethodPost, canaryPath,
		`{"plan":"back"}`); status != http.StatusServiceUnavailable || !strings.Contains(body,
		"going back") {
		t.Errorf("back without Redis got %d %s", status, body)
	}
	if s, other := one.canary(), two.canary(); s.Percent != 0 || s.Stored || other.Percent != 60 {
		t.Errorf("without Redis the canaries are %+v and %+v", s, other)
	}
	redis.Restart()
	two.await("the other process goes back too", func() bool {
		return two.canary().Percent == 0 &&
			one.canary().Stored
	})

	// A gate that starts without Redis uses the canary that it saw last.
	set(one, 30)
	two.await("the other process follows", func() bool { return two.canary().Percent == 30 })
	two.await("it remembers", func() bool {
		kept, err := dataDir(two.dir).canary()
		return err == nil && kept.Percent == 30
	})
	two.kill()
	redis.Kill()
	two = startGate(t, startOptions{env: env, dir: two.dir})
	if s := two.canary(); s.Percent != 30 {
		t.Errorf("after a start without Redis the canary is %+v", s)
	}
}

// TestPromote checks that the canary leaves 0 percent only with evidence about this gate, signed by
// a known key, of enough events, under limits that are strict enough. The gate is certified at 0
// percent, where it takes only test traffic. The admin trail names the evidence. If approvals are
// on, a second person must approve.
func TestPromote(t *testing.T) {
	t.Parallel()
	b := startBefore(t)
	work := t.TempDir()
	key, dir := filepath.Join(work, "evidence.key"), filepath.Join(work, "evidence")
	if code, _, errs := runBinary(t, nil, "evidence", "keygen", "--out", key); code != 0 {
		t.Fatal(errs)
	}
	g := startGate(t, startOptions{env: b.env(append(demanding(t, 60),
		"HOOKGATE_CANARY_PLAN=10:1h,100", "HOOKGATE_CANARY_REQUIRE_EVIDENCE=true",
		"HOOKGATE_EVIDENCE_PUBLIC_KEYS="+key+".pub", "HOOKGATE_APPROVALS_REQUIRED=promote")...)})
	v, code := certifyBinary(t, g, dir, "--phase", "smoke", "--events", "60", "--key", key)
	mustPass(t, v, code)
	if n := b.got.Load(); n != 0 {
		t.Errorf("the previous service got %d requests of the certification", n)
	}
	for _, args := range [][]string{{"canary", "start"}, {"canary", "set", "5"}} {
		if code, _, errs := g.hookgate(args...); code == 0 ||
			!strings.Contains(errs, "only with evidence") {
			t.Errorf("%v without evidence: %d %s", args, code, errs)
		}
	}
	if code, _, errs := g.hookgate("canary", "start", "--public-key", key+".pub", "--evidence",
		filepath.Join(work, "none")); code != 2 || !strings.Contains(errs, "no folder") {
		t.Errorf("promote without a folder: %d %s", code, errs)
	}
	candidate := startGate(t, startOptions{})
	for _, test := range []struct {
		name    string
		of      *gate
		certify []string // nil: the evidence of the line before
		start   []string
		says    string
	}{
		{"unsigned", g, []string{"--events", "20"}, nil, "nothing is proven"},
		{"unsigned", g, nil, []string{"--accept-unproven"}, "not a known one"},
		{"small", g, []string{"--events", "20", "--key", key}, []string{"--public-key", key + ".pub"},
			"stored 20 events"},
		{"lax", g, []string{"--events", "60", "--p95", "0", "--key", key},
			[]string{"--public-key", key + ".pub"}, "laxer"},
		{"failed", g, []string{"--events", "20", "--p95", "0.000001", "--key", key},
			[]string{"--public-key", key + ".pub"}, "not PASS"},
		{"of another gate", candidate, []string{"--events", "60", "--key", key},
			[]string{"--public-key", key + ".pub"}, "of another gate"},
	} {
		folder := filepath.Join(work, test.name)
		if test.certify != nil {
			v, _ := certifyBinary(t, test.of, folder, append(test.certify, "--phase", "smoke", "--rate",
				"1000")...)
			if (v.Status != "PASS") != (test.name == "failed") {
				t.Fatalf("%s: the certification says %s", test.name, v.Status)
			}
		}
		if code, _, errs := g.hookgate(append([]string{"canary", "start", "--evidence", folder},
			test.start...)...); code != 1 || !strings.Contains(errs, test.says) {
			t.Errorf("%s: %d %s, want %q", test.name, code, errs, test.says)
		}
	}

	second, began := g.newToken("another", control.RoleAdmin, ""), time.Now().Truncate(time.Second)
	start := []string{"canary", "start", "--evidence", dir, "--public-key", key + ".pub"}
	code, _, errs := g.hookgate(append(start, "--reason", "release 7")...)
	if code != 2 || !strings.Contains(errs, "needs an approval, number 1") {
		t.Fatalf("promote without approval: %d %s", code, errs)
	}
	if code, _, errs := runBinary(t, []string{"HOOKGATE_TOKEN=" + second}, "approvals", "approve", "1", "--reason",
		"looks good", "--target", g.api()); code != 0 {
		t.Fatalf("approve: %d %s", code, errs)
	}
	code, out, errs := g.hookgate(append(start, "--reason", "release 7", "--approval", "1")...)
	if code != 0 || !strings.Contains(out, "10 percent here") ||
		!strings.Contains(out, "on evidence ") {
		t.Fatalf("promote: %d\n%s%s", code, out, errs)
	}
	s := g.canary()
	if s.Step != 1 || len(s.Evidence) != 64 || s.At.Before(began) {
		t.Errorf("the canary is %+v", s)
	}
	if _, trail, _ := g.hookgate("audit", "actions"); !strings.Contains(trail, "plan start, evidence "+
		s.Evidence) {
		t.Errorf("the admin trail does not name the evidence:\n%s", trail)
	}
	if code, _, errs := g.hookgate(append(start, "--reason", "again")...); code != 1 ||
		!strings.Contains(errs, "is running") {
		t.Errorf("a second promotion: %d %s", code, errs)
	}
}
