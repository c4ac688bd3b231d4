package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hookgate/hookgate/certify"
)

// certifyArgs are time limits that a loaded machine can meet. The tests check whether the gate is
// correct, not how fast this machine is.
var certifyArgs = []string{"--p95", "20000", "--p99", "20000", "--max", "60000",
	"--lag-p99", "20000", "--latency-gap", "20000", "--timeout", "60", "--drain", "60", "--json"}

// demanding are the settings of a gate that a short certification with certifyArgs is enough for.
func demanding(t *testing.T, events int) []string {
	t.Helper()
	profile := writeConfig(t, fmt.Sprintf("settle_s: 0.1\nphases: {smoke: {events: %d, p95_ms: 20000,"+
		" p99_ms: 20000, max_ms: 60000, lag_p99_ms: 20000, latency_gap_ms: 20000, timeout_s: 60,"+
		" drain_s: 60}}", events))
	return []string{"HOOKGATE_EVIDENCE_PHASES=smoke", "HOOKGATE_EVIDENCE_PROFILE=" + profile}
}

// certifyBinary certifies a gate with the command and returns the verdict. Without a --profile it
// does not wait long before it reads everything again.
func certifyBinary(t *testing.T, g *gate, dir string, args ...string) (certify.Verdict, int) {
	t.Helper()
	args = append(append([]string{"certify", "--target", g.url, "--api", g.api(), "--data-dir", g.dir,
		"--evidence", dir}, certifyArgs...), args...)
	if !slices.Contains(args, "--profile") {
		args = append(args, "--profile", writeConfig(t, "settle_s: 0.1\n"))
	}
	code, out, errs := runBinary(t, g.env, args...)
	var v certify.Verdict
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("exit code %d: %v\n%s%s", code, err, out, errs)
	}
	return v, code
}

// mustPass fails the test with the criteria that did not pass.
func mustPass(t *testing.T, v certify.Verdict, code int) {
	t.Helper()
	if v.Status == certify.Pass && code == 0 {
		return
	}
	t.Errorf("the verdict is %s, the exit code %d", v.Status, code)
	for _, c := range v.Criteria {
		if c.Status != certify.Pass {
			t.Errorf("%s %s: %s, limit %s; %s %v", c.Status, c.ID, c.ValueText(), c.LimitText(), c.Note,
				c.Findings)
		}
	}
}

// TestCertify certifies an embedded gate: all criteria pass. It signs and verifies the evidence,
// finds a change to it, and hands it to the gate once, from an address that has sent too many
// unknown tokens. Then it removes the test events, and the audit still passes.
func TestCertify(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{env: []string{"EVIDENCE_TOKEN=an-evidence-token",
		"HOOKGATE_QUEUE_TIMEOUT=30s"}}) // on a slow machine the spool would take some, without claims
	work := t.TempDir()
	key, dir, junit := filepath.Join(work, "evidence.key"), filepath.Join(work, "evidence"),
		filepath.Join(work, "junit.xml")
	if code, out, errs := runBinary(t, nil, "evidence", "keygen", "--out", key); code != 0 ||
		!strings.Contains(out, "SHA256:") {
		t.Fatalf("keygen: %d %s%s", code, out, errs)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key has the mode %v (%v)", info.Mode(), err)
	}
	if code, _, errs := runBinary(t, nil, "evidence", "keygen", "--out", key); code != 2 ||
		!strings.Contains(errs, "exists") {
		t.Errorf("a key is written over: %d %s", code, errs)
	}
	v, code := certifyBinary(t, g, dir, "--phase", "smoke,load", "--events", "250", "--key", key,
		"--junit", junit, "--profile", writeConfig(t, "{}\n"))
	mustPass(t, v, code)
	if text, err := os.ReadFile(junit); err != nil ||
		!strings.Contains(string(text), `<testsuite name="load"`) ||
		strings.Contains(string(text), "<failure") {
		t.Errorf("JUnit: %v\n%s", err, text)
	}
	if code, _, errs := runBinary(t, nil, "certify", "--target", g.url, "--data-dir", g.dir,
		"--evidence", dir); code != 2 || !strings.Contains(errs, "not empty") {
		t.Errorf("evidence is written over: %d %s", code, errs)
	}

	if code, out, errs := runBinary(t, nil, "evidence", "verify", dir, "--public-key",
		key+".pub"); code != 0 || !strings.Contains(out, "PASS") {
		t.Errorf("verify: %d %s%s", code, out, errs)
	}
	other := filepath.Join(work, "other.key")
	runBinary(t, nil, "evidence", "keygen", "--out", other)
	if code, _, errs := runBinary(t, nil, "evidence", "verify", dir, "--public-key", other+
		".pub"); code != 1 || !strings.Contains(errs, "not a known one") {
		t.Errorf("verify with another key: %d %s", code, errs)
	}

	submit := []string{"evidence", "submit", dir, "--url", g.url + "/api/intake", "--gate",
		"release-7"}
	// The certification has tried unknown tokens from this address too. Too many of them are answered
	// 429, and a valid token still works.
	g.await("unknown tokens are answered 429", func() bool {
		status, _ := g.request("GET", "/api/intake", "", "Authorization", "Bearer another-token")
		return status == http.StatusTooManyRequests
	})
	code, out, errs := runBinary(t, []string{"EVIDENCE_TOKEN=another-token"}, submit...)
	if code != 1 || !strings.Contains(errs, "401") && !strings.Contains(errs, "429") {
		t.Errorf("submit with a wrong token: %d %s%s", code, out, errs)
	}
	code, out, errs = runBinary(t, []string{"EVIDENCE_TOKEN=an-evidence-token"}, submit...)
	if code != 0 || !strings.Contains(out, `"verdict":"PASS"`) ||
		!strings.Contains(out, `"gate":"release-7"`) {
		t.Errorf("submit: %d %s%s", code, out, errs)
	}
	if code, _, errs := runBinary(t, []string{"EVIDENCE_TOKEN=an-evidence-token"},
		submit...); code != 1 || !strings.Contains(errs, "already has this evidence") {
		t.Errorf("submit twice: %d %s", code, errs)
	}
	ledger := filepath.Join(dir, "load", "ledger.ndjson")
	text, err := os.ReadFile(ledger)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ledger, []byte(strings.Replace(string(text), `"status":202`, `"status":503`,
		1)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"evidence", "verify", dir}, submit} {
		if code, _, errs := runBinary(t, []string{"EVIDENCE_TOKEN=an-evidence-token"},
			args...); code != 1 || !strings.Contains(errs, "load/ledger.ndjson") {
			t.Errorf("%v of changed evidence: %d %s", args, code, errs)
		}
	}

	g.accept(`{"messageId":"real","eventType":"t"}`)
	g.awaitDrained()
	for _, want := range []string{"[1-9][0-9]+ removed", "0 removed"} {
		code, out, errs := runBinary(t, nil, "events", "remove-tests", "--reason", "certified",
			"--target", g.url, "--data-dir", g.dir)
		if ok, _ := regexp.MatchString("^"+want+"\n$", out); code != 0 || !ok {
			t.Errorf("the removal of test traffic ended with %d: %s%s", code, out, errs)
		}
	}
	_, events := g.request("GET", "/api/events?tests=true", "")
	if strings.Count(events, "messageId") != 1 || !strings.Contains(events, `"real"`) {
		t.Errorf("left are %s", events)
	}
	code, out, errs = runBinary(t, nil, "audit", "verify", "--data-dir", g.dir)
	if code != 0 || !strings.Contains(out, "removed test traffic: the bodies of ") {
		t.Errorf("audit verify ended with %d: %s%s", code, out, errs)
	}
}

// TestCertifyShared certifies two processes on one Redis and PostgreSQL, one that takes webhooks
// and one that stores them. The metrics of both are added up.
func TestCertifyShared(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	keys := []string{"WEBHOOK_HMAC_SECRET=the-secret-of-both", "ADMIN_TOKEN=the-token-of-both",
		// a moment without Redis would lead to the spool, which has no claims
		"HOOKGATE_QUEUE_TIMEOUT=30s"}
	ingest, worker := s.start("ingest", keys...), s.start("worker", keys...)
	profile := filepath.Join(t.TempDir(), "profile.yaml")
	if err := os.WriteFile(profile, []byte("settle_s: 0.1\nmetrics: ["+ingest.url+"/metrics, "+
		worker.url+"/metrics]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	v, code := certifyBinary(t, ingest, filepath.Join(t.TempDir(), "evidence"), "--phase",
		"smoke,load", "--events", "120", "--profile", profile)
	mustPass(t, v, code)

	// The metrics of one process alone are incomplete, and the verdict must say so.
	v, code = certifyBinary(t, ingest, filepath.Join(t.TempDir(), "evidence"), "--phase", "smoke",
		"--events", "50")
	if v.Status != certify.Fail || code != 1 {
		t.Errorf("without the metrics of the worker the verdict is %s", v.Status)
	}
	for _, c := range v.Criteria {
		if (c.Status == certify.Fail) != (c.ID == "smoke/counters") {
			t.Errorf("%s is %s", c.ID, c.Status)
		}
	}
}

// TestRecordAndCertify records the events of one gate and certifies another with them. A gate that
// already has the events fails. Then a ramp finds the highest of its rates.
func TestRecordAndCertify(t *testing.T) {
	t.Parallel()
	from, to := startGate(t, startOptions{}), startGate(t, startOptions{})
	for i, body := range []string{
		`{"messageId":"m-1","eventType":"a","orderingKey":"k","text":"<&\u2028>"}`,
		`{"messageId":"m-2","eventType":"b","orderingKey":"k"}`,
		"{\n\"messageId\":\"m-3\", \"eventType\":\"a\"}",
		`{"messageId":"m-1","eventType":"a","orderingKey":"k"}`,
	} {
		if status, answer := from.send(body); status != 202 {
			t.Fatalf("event %d: %d %s", i, status, answer)
		}
	}
	from.awaitDrained()
	recording := filepath.Join(t.TempDir(), "recorded.ndjson")
	if code, _, errs := runBinary(t, nil, "replay", "record", "--target", from.url, "--data-dir", from.dir,
		"--out", recording); code != 0 || !strings.Contains(errs, "3 events") {
		t.Fatalf("record: %d %s", code, errs)
	}
	v, code := certifyBinary(t, to, filepath.Join(t.TempDir(), "evidence"), "--phase", "smoke",
		"--input", recording, "--speed", "1")
	mustPass(t, v, code)
	if v.Phases[0].Events != 3 || v.Phases[0].Stored != 3 {
		t.Errorf("the phase is %+v", v.Phases[0])
	}
	v, code = certifyBinary(t, to, filepath.Join(t.TempDir(), "evidence"), "--phase", "smoke",
		"--input", recording)
	if v.Status != certify.Fail || code != 1 {
		t.Errorf("a gate that has the events already is certified: %s", v.Status)
	}

	profile := filepath.Join(t.TempDir(), "profile.yaml")
	if err := os.WriteFile(profile,
		[]byte("settle_s: 0.1\nphases: {ramp: {steps: [50, 100], seconds: 1}, soak: {rate: 50}}\n"),
		0o644); err != nil {
		t.Fatal(err)
	}
	evidence := filepath.Join(t.TempDir(), "evidence")
	v, code = certifyBinary(t, to, evidence, "--phase", "ramp,soak", "--profile", profile, "--seconds",
		"1")
	mustPass(t, v, code)
	if v.Criteria[len(v.Criteria)-1].ID != "roles" || len(v.Phases) != 3 ||
		v.Phases[1].Phase != "ramp-100" || v.Phases[2].Phase != "soak" {
		t.Errorf("the phases are %+v", v.Phases)
	}
	for _, c := range v.Criteria {
		if c.ID == "ramp/highest_rate" && c.Value != 100 {
			t.Errorf("the highest rate is %v", c.Value)
		}
	}
	if code, out, errs := runBinary(t, nil, "evidence", "verify", evidence); code != 0 {
		t.Errorf("verify: %d %s%s", code, out, errs)
	}
}

// TestCertifyCannotRun checks that certify reports obstacles before it sends anything, and makes no
// verdict.
func TestCertifyCannotRun(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{})
	bad := filepath.Join(t.TempDir(), "profile.yaml")
	if err := os.WriteFile(bad, []byte("phases: {smoke: {evnets: 3}}"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		env  []string
		args []string
		says string
	}{
		{nil, []string{"--phase", "walk"}, "walk"},
		{nil, []string{"--profile", bad}, "evnets"},
		{nil, []string{"--events", "-1"}, "negative"},
		{nil, []string{"--key", "/no/such/key"}, "/no/such/key"},
		{nil, []string{"--target", "http://127.0.0.1:1"}, "refused"},
		{[]string{"ADMIN_TOKEN=wrong-token-here"}, nil, "ADMIN_TOKEN"},
		{nil, []string{"--resume"}, "certification.json"},
	} {
		dir := filepath.Join(t.TempDir(), "evidence")
		args := append([]string{"certify", "--target", g.url, "--data-dir", g.dir, "--evidence", dir},
			test.args...)
		if code, out, errs := runBinary(t, test.env, args...); code != 2 || out != "" ||
			!strings.Contains(errs, test.says) {
			t.Errorf("%v: %d %s%s", test.args, code, out, errs)
		}
	}
	if _, stored := g.request("GET", "/api/events?tests=true", ""); strings.Contains(stored,
		"messageId") {
		t.Errorf("something was sent: %s", stored)
	}
}
