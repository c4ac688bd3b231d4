package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate/adminapi"
	"github.com/hookgate/hookgate/control"
)

// TestMatrix calls every row of the matrix of roles with every kind of caller. A route without a
// row fails, and so does a row without a route.
func TestMatrix(t *testing.T) {
	t.Parallel()
	rows := map[string]bool{}
	for _, rule := range adminapi.Matrix {
		rows[rule.Method+" "+rule.Path] = true
	}
	for _, r := range adminapi.Routes() {
		if !rows[r.Method+" "+r.Path] {
			t.Errorf("%s %s has no row in the matrix", r.Method, r.Path)
		}
		delete(rows, r.Method+" "+r.Path)
	}
	if len(rows) != 2 || !rows["POST /webhooks"] || !rows["POST /webhooks/{source}"] {
		t.Errorf("rows without a route: %v", rows)
	}

	g := startGate(t, startOptions{env: []string{"HOOKGATE_ADMIN_FAILED_LOGINS=100000"}})
	revoked := g.newToken("revoked", control.RoleAdmin, "")
	g.mustRequest(200, http.MethodDelete, "/admin/tokens/revoked", "")
	expires := time.Now().Add(2 * time.Second)
	expired := g.newToken("expired", control.RoleAdmin, expires.UTC().Format(time.RFC3339Nano))
	credentials := []struct {
		name   string
		caller adminapi.Caller
		header string
	}{
		{"no token", adminapi.Nobody, ""},
		{"garbage", adminapi.Nobody, "Bearer garbage"},
		{"token of another gate", adminapi.Nobody, "Bearer " + control.NewTokenText()},
		{"revoked token", adminapi.Nobody, "Bearer " + revoked},
		{"webhook key", adminapi.Sender, "Bearer " + g.key(bearerKeyName)},
		{"consumer", adminapi.Consumer, "Bearer " + g.newConsumer("a-consumer", "none")},
		{"viewer", adminapi.Viewer, "Bearer " + g.newToken("a-viewer", control.RoleViewer, "")},
		{"operator", adminapi.Operator, "Bearer " + g.newToken("an-operator", control.RoleOperator, "")},
		{"admin", adminapi.Admin, "Bearer " + g.newToken("an-admin", control.RoleAdmin, "")},
		{"configured admin", adminapi.Admin, "Bearer " + g.key(adminTokenName)},
		{"expired token", adminapi.Nobody, "Bearer " + expired},
	}
	g.await("the token expires", func() bool { return time.Now().After(expires) })
	for _, c := range credentials {
		for _, rule := range adminapi.Matrix {
			status, body := g.request(rule.Method, rule.Probe, rule.Body, "Authorization", c.header,
				"Content-Type", "application/json")
			if want := rule.Status[c.caller]; status != want {
				t.Errorf("%s: %s %s got %d, want %d: %.200s", c.name, rule.Method, rule.Probe, status, want,
					body)
			}
		}
	}
	// No call of the matrix has changed the mode.
	if h := g.health(); h.Mode != "normal" {
		t.Errorf("the mode is %s", h.Mode)
	}
	for _, a := range g.trail() {
		if !strings.HasPrefix(a.Action, "token_") || a.By != "configured" {
			t.Errorf("a probe did something: %+v", a)
		}
	}
}

// mustRequest is request with the configured admin token. The test fails unless the status is want.
func (g *gate) mustRequest(want int, method, path, body string, header ...string) string {
	g.t.Helper()
	status, answer := g.request(method, path, body, header...)
	if status != want {
		g.t.Fatalf("%s %s got %d, want %d: %s", method, path, status, want, answer)
	}
	return answer
}

// newToken makes a token. expires is a time in RFC 3339, or empty.
func (g *gate) newToken(name string, role control.Role, expires string) string {
	g.t.Helper()
	body := fmt.Sprintf(`{"name":%q,"role":%q}`, name, role)
	if expires != "" {
		body = fmt.Sprintf(`{"name":%q,"role":%q,"expiresAt":%q}`, name, role, expires)
	}
	return g.makeToken(body)
}

// newConsumer makes a token that is bound to a subscription.
func (g *gate) newConsumer(name, subscription string) string {
	g.t.Helper()
	return g.makeToken(fmt.Sprintf(`{"name":%q,"role":"consumer","subscriptions":[%q]}`, name,
		subscription))
}

func (g *gate) makeToken(body string) string {
	g.t.Helper()
	var answer tokenAnswer
	if err := json.Unmarshal([]byte(g.mustRequest(201, http.MethodPost, "/admin/tokens", body)),
		&answer); err != nil || !control.IsTokenText(answer.Token) {
		g.t.Fatalf("a new token is %+v (error %v)", answer, err)
	}
	return answer.Token
}

// trail reads the admin trail.
func (g *gate) trail() []action {
	g.t.Helper()
	var answer struct{ Actions []action }
	if err := json.Unmarshal([]byte(g.mustRequest(200, http.MethodGet, "/admin/actions?limit=1000",
		"")), &answer); err != nil {
		g.t.Fatal(err)
	}
	return answer.Actions
}

// TestMatrixIsDocumented checks that docs/reference/http.md has the matrix.
func TestMatrixIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/reference/http.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "\n\n"+adminapi.MatrixTable()+"\n") {
		t.Errorf("docs/reference/http.md does not have this table:\n%s", adminapi.MatrixTable())
	}
}

// TestAccessOfManyProcesses runs two processes that share tokens and the admin trail. A token
// revoked through one stops working in both with the next call. While PostgreSQL is away the
// configured token works and stored tokens get 503. Actions that cannot be recorded fail, except
// read_only.
func TestAccessOfManyProcesses(t *testing.T) {
	t.Parallel()
	s := newMortal(t)
	const admin = "configured-admin-token"
	env := []string{"ADMIN_TOKEN=" + admin}
	gates := []*gate{s.start(roleIngest, env...), s.start(roleWorker, env...)}
	mode := func(g *gate, token string) int {
		t.Helper()
		status, _ := g.request(http.MethodGet, "/admin/maintenance", "", "Authorization", "Bearer "+token)
		return status
	}
	command := func(g *gate, args ...string) string {
		t.Helper()
		code, out, errs := runBinary(t, []string{"HOOKGATE_TOKEN=" + admin}, append(args, "--target",
			g.url)...)
		if code != 0 {
			t.Fatalf("%v ended with %d: %s%s", args, code, out, errs)
		}
		return out
	}
	for round := range 3 {
		name := fmt.Sprint("alice-", round)
		token := strings.TrimSpace(command(gates[round%2], "token", "create", "--name", name, "--role",
			"operator", "--expires", "1h"))
		for n, g := range gates {
			if status := mode(g, token); status != 200 {
				t.Errorf("round %d, process %d: a new token gets %d", round, n, status)
			}
		}
		command(gates[(round+1)%2], "token", "revoke", name, "--reason", "round over")
		for n, g := range gates {
			if status := mode(g, token); status != 401 {
				t.Errorf("round %d, process %d: a revoked token gets %d", round, n, status)
			}
		}
	}
	if list := command(gates[1], "token", "list"); strings.Count(list, "alice-") != 3 ||
		!strings.Contains(list, "operator") {
		t.Errorf("the list is\n%s", list)
	}
	stored := strings.TrimSpace(command(gates[0], "token", "create", "--name", "bob", "--role",
		"operator"))

	if err := s.postgres.Stop(); err != nil {
		t.Fatal(err)
	}
	for n, g := range gates {
		if status := mode(g, admin); status != 200 {
			t.Errorf("process %d without its database: the configured token gets %d", n, status)
		}
		if status := mode(g, stored); status != 503 {
			t.Errorf("process %d without its database: a stored token gets %d", n, status)
		}
	}
	set := func(mode string) (int, string) {
		t.Helper()
		return gates[0].request(http.MethodPost, "/admin/maintenance", fmt.Sprintf(`{"mode":%q}`, mode),
			"Authorization", "Bearer "+admin)
	}
	if status, body := set("normal"); status != 503 {
		t.Errorf("normal without a trail gets %d: %s", status, body)
	}
	if status, body := set("read_only"); status != 200 || !strings.Contains(body, `"recorded":false`) {
		t.Errorf("read_only without a trail gets %d: %s", status, body)
	}
	code, _, errs := runBinary(t, []string{"HOOKGATE_TOKEN=" + admin}, "maintenance", "read_only",
		"--target", gates[0].url)
	if code != 0 || !strings.Contains(errs, "could not be written") {
		t.Errorf("the command ended with %d: %s", code, errs)
	}
	s.restartPostgres()
	gates[0].await("the database is back", func() bool { return mode(gates[0], stored) == 200 })
	if status, body := set("normal"); status != 200 {
		t.Errorf("normal gets %d: %s", status, body)
	}
	if code, out, errs := runBinary(t, s.env(), "audit", "verify"); code != 0 ||
		!strings.Contains(out, " 16 rows of the admin trail") {
		t.Errorf("audit verify ended with %d: %s%s", code, out, errs)
	}
}

// TestTrailCommands checks that the admin trail has the actions of commands with their reasons, and
// that audit verify finds a changed row.
func TestTrailCommands(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{})
	run := func(env []string, args ...string) string {
		t.Helper()
		code, out, errs := runBinary(t, env, append(args, "--target", g.url, "--data-dir", g.dir)...)
		if code != 0 {
			t.Fatalf("%v ended with %d: %s%s", args, code, out, errs)
		}
		return out
	}
	token := strings.TrimSpace(run(nil, "token", "create", "--name", "alice", "--role", "operator",
		"--reason", "joins the on-call"))
	alice := []string{"HOOKGATE_TOKEN=" + token}
	run(alice, "maintenance", "read_only", "--reason", `moves "the" database: ü`)
	run(alice, "maintenance", "normal")
	if code, _, errs := runBinary(t, alice, "token", "list", "--target",
		g.url); code != exitNoResult || !strings.Contains(errs, "403") {
		t.Errorf("an operator's token list ended with %d: %s", code, errs)
	}
	for _, bad := range [][]string{{"--role", "boss"}, {"--role", "viewer", "--expires", "tomorrow"},
		{}} {
		if code, _, errs := runBinary(t, nil, append([]string{"token", "create", "--name", "x"},
			bad...)...); code != exitNoResult || errs == "" {
			t.Errorf("token create %v ended with %d: %s", bad, code, errs)
		}
	}
	lines := strings.Split(strings.TrimSpace(run(alice, "audit", "actions")), "\n")
	want := [][]string{
		{"AT", "BY", "ACTION", "REASON"},
		{"configured", "admin", "127.0.0.1:", "token_create", "alice (operator)", "done",
			"joins the on-call"},
		{"alice", "operator", "maintenance", "read_only", "done", `moves "the" database: ü`},
		{"alice", "maintenance", "normal", "done"},
	}
	if len(lines) != len(want) {
		t.Fatalf("the actions are\n%s", strings.Join(lines, "\n"))
	}
	for i, parts := range want {
		for _, part := range parts {
			if !strings.Contains(lines[i], part) {
				t.Errorf("line %d is %q, want it to have %q", i, lines[i], part)
			}
		}
	}
	if rows := strings.Split(strings.TrimSpace(run(alice, "audit", "actions", "--json")),
		"\n"); len(rows) != 6 || !strings.Contains(rows[2], `"result":"begun"`) {
		t.Errorf("the rows are\n%s", strings.Join(rows, "\n"))
	}
	g.stop()
	verify := func() (int, string) {
		code, out, errs := runBinary(t, nil, "audit", "verify", "--data-dir", g.dir)
		return code, out + errs
	}
	if code, text := verify(); code != 0 || !strings.Contains(text, "6 rows of the admin trail") {
		t.Fatalf("audit verify ended with %d: %s", code, text)
	}
	conn, err := sqlite.OpenConn(dataDir(g.dir).storeFile(), sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := sqlitex.ExecuteScript(conn, `DROP TRIGGER webhook_admin_actions_no_update;
		UPDATE webhook_admin_actions SET actor = 'mallory' WHERE sequence = 4;`, nil); err != nil {
		t.Fatal(err)
	}
	if code, text := verify(); code != exitFail || !strings.Contains(text, "admin trail, row 4") {
		t.Errorf("after a change audit verify ended with %d: %s", code, text)
	}
	// The gate's health shows the break until a verification finds none.
	if !dataDir(g.dir).auditFailed() {
		t.Error("the failed verification is not noted")
	}
	if err := sqlitex.ExecuteScript(conn,
		`UPDATE webhook_admin_actions SET actor = 'alice' WHERE sequence = 4;`, nil); err != nil {
		t.Fatal(err)
	}
	if code, text := verify(); code != 0 || dataDir(g.dir).auditFailed() {
		t.Errorf("after the change is undone audit verify ended with %d: %s", code, text)
	}
}

// TestAdminListener sets admin.listen. Senders reach only webhooks, /livez and /readyz; the other
// listener serves everything else. Each row of the matrix is on one of the two.
func TestAdminListener(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{env: []string{"HOOKGATE_ADMIN_LISTEN=127.0.0.1:0"}})
	said := regexp.MustCompile(`(?s)metrics: only on (\S+)\.\n.*trace evt-1 --target (\S+)`)
	g.await("the start says where the admin side is",
		func() bool { return said.MatchString(g.out.String()) })
	m := said.FindStringSubmatch(g.out.String())
	adminURL := "http://" + m[1]
	if m[2] != adminURL {
		t.Errorf("the start shows a command that does not work:\n%s", g.out)
	}
	sides := map[string]string{"public": g.url, "admin": adminURL}
	for _, rule := range adminapi.Matrix {
		public := strings.HasPrefix(rule.Path, "/webhooks") || rule.Path == "/livez" ||
			rule.Path == "/readyz"
		for side, url := range sides {
			credential, caller := g.key(adminTokenName), adminapi.Admin
			if public {
				credential, caller = g.key(bearerKeyName), adminapi.Sender
			}
			at := *g
			at.url, at.admin = url, url
			status, body := at.request(rule.Method, rule.Probe, rule.Body, "Authorization", "Bearer "+
				credential, "Content-Type", "application/json")
			want := rule.Status[caller]
			absent := strings.Contains(body, "no such path")
			if here := public == (side == "public"); here && (status != want || absent) || !here &&
				(status != 404 || !absent) {
				t.Errorf("%s side: %s %s got %d: %.200s", side, rule.Method, rule.Probe, status, body)
			}
		}
	}
	g.stop()
	if code, out, errs := runBinary(t, []string{"HOOKGATE_ADMIN_LISTEN=nowhere"}, "serve", "--listen",
		"127.0.0.1:0"); code != exitNoResult || !strings.Contains(errs, "admin.listen") {
		t.Errorf("a bad admin.listen ended with %d: %s%s", code, out, errs)
	}
}

// TestProfiles takes a CPU profile for longer than an answer may take.
func TestProfiles(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{env: []string{"HOOKGATE_HTTP_WRITE_TIMEOUT=500ms"}})
	bearer := "Bearer " + g.key(adminTokenName)
	status, body := g.request(http.MethodGet, "/debug/pprof/profile?seconds=1", "", "Authorization",
		bearer)
	if status != 200 || !strings.HasPrefix(body, "\x1f\x8b") {
		t.Errorf("a profile got %d: %.100q", status, body)
	}
	status, body = g.request(http.MethodGet, "/debug/pprof/", "", "Authorization", bearer)
	if status != 200 || !strings.Contains(body, "goroutine") {
		t.Errorf("the list got %d: %.100q", status, body)
	}
}

// TestSharedSecret checks that the gate does not start if one secret has two uses among senders,
// admins and evidence.
func TestSharedSecret(t *testing.T) {
	t.Parallel()
	for setting, env := range map[string][]string{
		"admin_tokens": {"ADMIN_TOKEN=one-key-for-them-all", "WEBHOOK_BEARER_KEY=another-key",
			"WEBHOOK_BEARER_KEY_NEXT=one-key-for-them-all"},
		"evidence_tokens": {"EVIDENCE_TOKEN=one-key-for-them-all", "WEBHOOK_HMAC_SECRET=another-key",
			"WEBHOOK_HMAC_SECRET_NEXT=one-key-for-them-all"},
		"evidence_tokens:": {"EVIDENCE_TOKEN=another-key-as-long",
			"EVIDENCE_TOKEN_NEXT=one-key-for-them-all", "ADMIN_TOKEN=one-key-for-them-all"},
	} {
		if code, out, errs := runBinary(t, env, "serve", "--listen",
			"127.0.0.1:0"); code != exitNoResult || !strings.Contains(errs, setting) ||
			strings.Contains(errs, "one-key") {
			t.Errorf("%s: ended with %d: %s%s", setting, code, out, errs)
		}
	}
}
