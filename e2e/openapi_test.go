package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hookgate/hookgate/adminapi"
	"github.com/hookgate/hookgate/control"
)

// TestOpenAPI checks that the description is valid OpenAPI and has every call of the table of
// routes with its role, and no other. Then it validates answers of the program against it.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	d := readDescription(t)
	t.Run("Routes", func(t *testing.T) { describedRoutes(t, d) })
	t.Run("Answers", func(t *testing.T) { describedAnswers(t, d) })
}

func describedRoutes(t *testing.T, d *description) {
	described := map[string]control.Role{}
	d.operations(func(method, path string, operation map[string]any) {
		role, _ := operation["x-role"].(string)
		if _, open := operation["security"]; open != (role == "") {
			t.Errorf("%s %s: x-role is %q, and security is its own: %t", method, path, role, open)
		}
		described[method+" "+path] = control.Role(role)
	})
	for _, r := range adminapi.Routes() {
		if r.Page() {
			continue // for people; programs must not rely on it
		}
		call := r.Method + " " + strings.ReplaceAll(r.Path, "...}", "}")
		if role, ok := described[call]; !ok || role != r.Role {
			t.Errorf("%s: described %t with the role %q, want %q", call, ok, role, r.Role)
		}
		delete(described, call)
	}
	for _, call := range []string{"POST /webhooks", "POST /webhooks/{source}"} {
		if _, ok := described[call]; !ok {
			t.Errorf("%s is not described", call)
		}
		delete(described, call)
	}
	for call := range described {
		t.Errorf("%s is described, and there is no such call", call)
	}
}

// describedAnswers makes every call of the matrix as each kind of caller. Each call that changes
// something also runs with valid input.
func describedAnswers(t *testing.T, d *description) {
	file := filepath.Join(t.TempDir(), "hookgate.yaml")
	must(t, os.WriteFile(file, []byte("subscriptions: {billing: {retry: {for: 0s}, push: {url: '"+
		newApplication(t).URL+"/hooks'}}}"), 0o600))
	g := startGate(t, startOptions{args: []string{"--config", file}, env: []string{
		"HOOKGATE_ADMIN_FAILED_LOGINS=60",
		"HOOKGATE_APPROVALS_REQUIRED=dlq_purge",
		"HOOKGATE_CANARY_UPSTREAM=http://127.0.0.1:1", "HOOKGATE_ADMIN_LISTEN=127.0.0.1:0",
		"HOOKGATE_CANARY_PERCENT=100", "HOOKGATE_CANARY_PLAN=50:1h,100"}})
	admin, key := "Bearer "+g.key(adminTokenName), "Bearer "+g.key(bearerKeyName)
	answered := map[string]bool{} // operations by method, path and status
	try := func(want int, method, path, body string, header ...string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, g.at(path), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want {
			t.Errorf("%s %s got %d, want %d: %s", method, path, resp.StatusCode, want, text)
		}
		bodies := [][]byte{text}
		if resp.Header.Get("Content-Type") == "application/x-ndjson" {
			bodies = bytes.Split(bytes.TrimSpace(text), []byte("\n"))
		}
		for _, body := range bodies {
			if err := d.checkAnswer(req, resp, body); err != nil {
				t.Errorf("%s %s: the %d is not as described: %v\n%s", method, path, resp.StatusCode, err, body)
			}
		}
		answered[fmt.Sprint(method, " ", path, " ", resp.StatusCode)] = true
	}

	for n, id := range []string{"evt-1", "a/b", "evt-1"} { // the last is a duplicate
		try(202, "POST", "/webhooks",
			fmt.Sprintf(`{"messageId":%q,"eventType":"order.paid","sequence":%d}`, id, n), "Authorization",
			key)
	}
	try(202, "POST", "/webhooks/default", `{"messageId":"evt-2","eventType":"order.paid"}`,
		"Authorization", key)
	try(404, "POST", "/webhooks/nobody", `{}`, "Authorization", key)
	try(413, "POST", "/webhooks", strings.Repeat(" ", 2<<20), "Authorization", key)
	try(415, "POST", "/webhooks", `{}`, "Authorization", key, "Content-Type", "text/plain")
	g.awaitDrained()
	try(202, "POST", "/webhooks", `{"messageId":"bad","eventType":"order.paid"}`, "Authorization", key)
	g.await("an event is parked", func() bool {
		_, page := g.request("GET", "/api/subscriptions/billing/exceptions?state=parked", "")
		return strings.Contains(page, `"bad"`)
	})
	poisonFile(t, g)
	for n := range 3 {
		try(202, "POST", "/webhooks", fmt.Sprintf(`{"messageId":"bad-%d","eventType":"order.paid"}`, n),
			"Authorization", key)
	}
	g.awaitDrained()
	cureFile(t, g)
	_, lines := g.request("GET", "/api/events?limit=1", "", "Accept", "application/x-ndjson")
	event := "/api/events/" + parseEvent(t, lines).ID
	_, lines = g.request("GET", "/admin/dlq", "", "Accept", "application/x-ndjson")
	var dead []string // paths of the dead letters
	for line := range strings.Lines(lines) {
		var d struct{ ID string }
		must(t, json.Unmarshal([]byte(line), &d))
		dead = append(dead, "/admin/dlq/"+d.ID)
	}
	if len(dead) != 3 {
		t.Fatalf("there are %d dead letters, want 3: %s", len(dead), lines)
	}
	const billing = "/api/subscriptions/billing"
	operations := []struct {
		want               int
		method, path, body string
	}{
		{200, "GET", "/api/events", ""}, {200, "GET", "/api/events?limit=2", ""},
		{400, "GET", "/api/events?limit=none", ""},
		{200, "GET", "/api/events?order=newest&limit=2", ""},
		{200, "GET", "/api/events?order=stored&body=nowhere&before=1", ""},
		{400, "GET", "/api/events?order=none", ""}, {200, "GET", "/api/find?q=evt-1", ""},
		{200, "GET", "/api/find?q=bad", ""}, {400, "GET", "/api/find", ""},
		{200, "GET", event, ""}, {200, "GET", event + "/body", ""}, {404, "GET", "/api/events/none", ""},
		{200, "GET", "/api/audit/verify", ""}, {200, "GET", "/api/intake", ""},
		{200, "GET", "/api/trace/evt-1", ""}, {200, "GET", "/api/trace/a%2Fb", ""},
		{201, "POST", "/admin/tokens",
			`{"name":"alice","role":"viewer","expiresAt":"2099-01-01T00:00:00Z"}`},
		{201, "POST", "/admin/tokens", `{"name":"bob","role":"admin"}`},
		{409, "POST", "/admin/tokens", `{"name":"bob","role":"viewer"}`}, {400, "POST", "/admin/tokens",
			`{"name":"-"}`},
		{200, "DELETE", "/admin/tokens/bob", ""}, {404, "DELETE", "/admin/tokens/carol", ""},
		{200, "GET", "/admin/tokens", ""},
		{200, "POST", "/admin/maintenance", `{"mode":"read_only"}`}, {503, "GET", "/readyz", ""},
		{503, "POST", "/webhooks", "{}"},
		{200, "GET", "/admin/maintenance", ""}, {200, "POST", "/admin/maintenance", `{"mode":"normal"}`},
		{200, "GET", "/admin/canary", ""}, {200, "POST", "/admin/canary", `{"plan":"back"}`},
		{502, "POST", "/webhooks", "{}"},
		{200, "POST", "/admin/canary", `{"plan":"start"}`}, {409, "POST", "/admin/canary",
			`{"plan":"start"}`}, {200, "POST", "/admin/canary", `{"percent":100}`},
		{200, "GET", "/admin/release", ""}, {200, "POST", "/admin/rollback",
			`{"id":"rb-1","expectedVersion":"v1"}`},
		{400, "POST", "/admin/rollback", `{"id":"RB 1","expectedVersion":"v1"}`},
		{400, "POST", "/admin/rollback", `{"id":"rb-1","expectedVersion":"v\n1"}`},
		{200, "POST", "/admin/rollback/rb-1", `{"result":"done","summary":"in 3s"}`},
		{400, "POST", "/admin/rollback/rb-1", `{"result":"perhaps","summary":"in 3s"}`},
		{200, "GET", "/admin/actions", ""}, {200, "GET", "/admin/actions?limit=1&after=1", ""},
		{400, "GET", "/admin/actions?after=x", ""},
		{200, "GET", "/admin/dlq", ""}, {200, "GET", "/admin/dlq?limit=1&state=all", ""},
		{400, "GET", "/admin/dlq?state=none", ""},
		{200, "GET", dead[0], ""}, {404, "GET", "/admin/dlq/none", ""}, {200, "GET", dead[0] + "/body",
			""},
		{202, "POST", dead[0] + "/retry", ""}, {202, "POST", "/admin/dlq/retry",
			`{"all":true,"limit":1}`},
		{200, "POST", "/admin/dlq/retry", `{"filter":{"type":"none"}}`},
		{400, "POST", "/admin/dlq/retry", "{}"},
		{409, "POST", dead[2] + "/purge", ""}, {400, "POST", dead[2] + "/purge", `{"loseEvents":true}`},
		{200, "POST", "/admin/test-events/remove", ""}, {400, "POST", "/admin/test-events/remove",
			`{"source":"default"}`},
		{200, "GET", "/debug/pprof/goroutine?debug=1", ""}, {200, "GET", "/debug/pprof/heap", ""},
		{404, "GET", "/debug/pprof/none", ""},
		{200, "GET", "/api/subscriptions", ""}, {200, "GET", billing, ""},
		{200, "GET", billing + "/exceptions", ""},
		{200, "GET", billing + "/exceptions?state=parked&limit=1", ""},
		{400, "GET", billing + "/exceptions?state=none", ""},
		{200, "POST", billing + "/retry", `{"all":true,"dryRun":true}`},
		{400, "POST", billing + "/retry", "{}"}, {200, "POST", billing + "/skip", `{"ids":["1"]}`},
		{200, "POST", billing + "/dead-letter", `{"state":"parked"}`},
		{200, "GET", "/admin/dlq?subscription=billing", ""},
		{400, "GET", "/admin/dlq?subscription=billing&type=x", ""},
		{404, "GET", "/admin/dlq?subscription=none", ""},
		{200, "POST", billing + "/seek", `{"to":"beginning","dryRun":true}`},
		{409, "POST", billing + "/seek", `{"to":"9007199254740991"}`},
		{400, "POST", billing + "/seek", `{"to":"then"}`}, {409, "DELETE", billing, ""},
		{200, "POST", billing + "/pause", ""}, {200, "POST", billing + "/pause", "{}"},
		{400, "POST", billing + "/pause", `{"for":"1h"}`}, {200, "GET", billing, ""},
		{200, "POST", billing + "/redeliver", `{"from":"beginning","types":["*"],"dryRun":true}`},
		{400, "POST", billing + "/redeliver", "{}"},
		{201, "POST", billing + "/redeliver", `{"from":"beginning","rate":5}`},
		{200, "GET", billing + "/jobs", ""}, {200, "GET", billing + "/jobs/1", ""},
		{404, "GET", billing + "/jobs/2", ""}, {200, "POST", billing + "/jobs/1/cancel", ""},
		{409, "POST", billing + "/jobs/1/cancel", ""}, {200, "POST", billing + "/resume", ""},
		{200, "POST", billing + "/seek", `{"to":"now"}`}, {200, "GET", "/api/trace/bad", ""},
		{200, "GET", "/api/health", ""}, {200, "POST", billing + "/pause", ""},
		{200, "DELETE", billing, ""}, {404, "DELETE", billing, ""},
	}
	try(200, "GET", "/api/subscriptions/billing/exceptions", "", "Authorization", admin, "Accept",
		"application/x-ndjson")
	for _, o := range operations {
		try(o.want, o.method, o.path, o.body, "Authorization", admin)
	}
	carol := "Bearer " + g.newToken("carol-the-second", control.RoleAdmin, "")
	for n, purge := range []struct{ path, body string }{
		{dead[2] + "/purge", `{"loseEvents":true}`},
		{"/admin/dlq/purge", `{"all":true,"loseEvents":true}`}, {"/admin/dlq/purge", `{"all":true}`},
	} {
		id := fmt.Sprint(n + 1)
		for _, o := range []struct {
			want         int
			path, body   string
			who, because string
		}{
			{202, purge.path, purge.body, admin, "tests"}, {202, purge.path, purge.body, admin, "tests"},
			{400, "/admin/approvals/" + id + "/approve", "", carol, ""}, {403, "/admin/approvals/" + id +
				"/approve", "", admin, "mine"},
			{200, "/admin/approvals/" + id + "/approve", "", carol, "fine"}, {409, "/admin/approvals/" + id +
				"/approve", "", carol, "fine"},
			{403, purge.path, purge.body, carol, ""}, {200, purge.path, purge.body, admin, ""},
			{403, purge.path, purge.body, admin, ""},
			{409, "/admin/approvals/" + id + "/deny", "", admin, "done"},
		} {
			try(o.want, "POST", o.path, o.body, "Authorization", o.who, "X-Reason", o.because, "X-Approval",
				map[bool]string{true: "", false: id}[o.want == 202])
		}
		try(200, "GET", "/admin/approvals/"+id, "", "Authorization", admin)
	}
	try(202, "POST", "/admin/dlq/purge", `{"filter":{"type":"none"}}`, "Authorization", admin,
		"X-Reason", "tests")
	try(200, "POST", "/admin/approvals/4/deny", "", "Authorization", carol, "X-Reason", "no")
	for _, query := range []string{"", "?state=used", "?limit=2&after=1"} {
		try(200, "GET", "/admin/approvals"+query, "", "Authorization", admin)
	}
	try(400, "GET", "/admin/approvals?state=none", "", "Authorization", admin)
	for _, o := range []struct {
		want         int
		method, path string
	}{{410, "GET", dead[2] + "/body"}, {409, "POST", dead[2] + "/retry"}, {200, "GET", dead[2]},
		{200, "GET", "/api/trace/bad-2"}} {
		try(o.want, o.method, o.path, "", "Authorization", admin)
	}
	try(200, "GET", "/api/events", "", "Authorization", admin, "Accept", "application/x-ndjson")
	try(200, "GET", "/admin/dlq?state=all", "", "Authorization", admin, "Accept",
		"application/x-ndjson")
	credentials := []string{adminapi.Nobody: "", adminapi.Sender: key,
		adminapi.Consumer: "Bearer " + g.newConsumer("a-consumer", "none"),
		adminapi.Viewer:   "Bearer " + g.newToken("a-viewer", control.RoleViewer, ""),
		adminapi.Operator: "Bearer " + g.newToken("an-operator", control.RoleOperator, ""),
		adminapi.Admin:    admin}
	for _, rule := range adminapi.Matrix {
		if (adminapi.Route{Path: rule.Path}).Page() {
			continue
		}
		for caller, credential := range credentials {
			try(rule.Status[caller], rule.Method, rule.Probe, rule.Body, "Authorization", credential)
		}
	}
	// This is last: from here on every unknown token from this address gets 429.
	g.await("the address is blocked", func() bool {
		status, _ := g.request("GET", "/api/events", "", "Authorization", "Bearer guess")
		return status == http.StatusTooManyRequests
	})
	try(429, "GET", "/api/events", "", "Authorization", "Bearer guess")
	if len(answered) < len(adminapi.Matrix)*2 {
		t.Errorf("only %d kinds of answers were looked at", len(answered))
	}
}
