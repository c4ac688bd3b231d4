package dashboard

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hookgate/hookgate/control"
)

// answersOf is a visitor of a gate that answers its calls with these texts, and 404 to the others.
func answersOf(role control.Role, texts map[string]string) *Visitor {
	decides := func(a *control.Approval) Decides {
		switch a.RequestedBy {
		case "olga":
			return Decides{Own: true, NotApprove: "nobody approves their own"}
		case "late":
			return Decides{NotApprove: "its token is younger than the request",
				NotDeny: "its token is younger than the request"}
		}
		return Decides{}
	}
	return &Visitor{Name: "olga", Role: role, Decides: decides, Read: func(_ context.Context,
		path string) (int, []byte) {
		if text, ok := texts[path]; ok {
			return 200, []byte(text)
		}
		return 404, []byte(`{"status":"error","error":"there is nothing at this path"}`)
	}}
}

// TestControlWords: what is rare is put into words that are true: a plan that is held, a way back
// that is not kept, requests of one's own, those that may not be decided, and a store that is away.
func TestControlWords(t *testing.T) {
	d := New(Config{Live: (&fakeGate{mode: control.ModeNormal}).live(1)})
	show := func(path string, v *Visitor) string {
		t.Helper()
		w := httptest.NewRecorder()
		servePage(d, w, httptest.NewRequest("GET", path, nil), v)
		if w.Code != 200 {
			t.Fatalf("%s: %d\n%s", path, w.Code, w.Body)
		}
		return strings.Join(strings.Fields(w.Body.String()), " ")
	}
	const ask = `{"id":"%s","action":"%s","target":"50 percent","state":"%s","needs":"operator",` +
		`"requestedBy":"%s","requestedAt":"2026-11-24T11:00:00.000000Z","reason":"next step",` +
		`"expiresAt":"2026-11-24T12:00:00.000000Z","decidedBy":%s,"decisionReason":%s}`
	all := map[string]string{
		"/admin/queue": `{"mode":"normal","depth":3,"high_water":10,"spooled":0,"oldest_age_s":0,` +
			`"partitions":4}`,
		"/admin/tokens": `{"tokens":[{"name":"gone","role":"viewer",` +
			`"createdAt":"2026-11-24T10:00:00Z","createdBy":"x","expiresAt":null,` +
			`"revokedAt":"2026-11-24T11:00:00Z"},{"name":"here","role":"admin",` +
			`"createdAt":"2026-11-24T10:00:00Z","createdBy":"x","expiresAt":null,"revokedAt":null}]}`,
		"/admin/approvals?state=pending": `{"approvals":[` + fmt.Sprintf(ask, "17", "canary", "pending",
			"alice", "null", "null") + "," +
			fmt.Sprintf(ask, "18", "canary", "pending", "olga", "null", "null") + "," +
			fmt.Sprintf(ask, "19", "promote", "pending", "late", "null", "null") + `]}`,
		"/admin/approvals?state=approved": `{"approvals":[` + fmt.Sprintf(ask, "15", "rollback",
			"approved", "olga", `"bob"`, `"go ahead"`) + "," +
			fmt.Sprintf(ask, "16", "dlq_purge", "approved", "alice", `"bob"`, `"tests"`) + `]}`,
		"/admin/canary": `{"configured":true,"upstream":"http://before.example","percent":25,` +
			`"at":"2026-11-24T11:00:00.000000Z","by":"olga","reason":"go","plan":[{"percent":25,` +
			`"forSeconds":5400},{"percent":100,"forSeconds":0}],"step":1,"watchedSeconds":63.5,` +
			`"held":"the verdict is not known","verdict":{"fired":["error_rate"],"unknown":"no answer"},` +
			`"stored":false}`,
		"/admin/release": `{"process":"a","fired":["error_rate"],"triggers":[{"name":"error_rate","state":"fired","since":"2026-11-24T11:00:00Z","unit":"percent","value":2.5,"known":true,"limit":2,"nearness":1.25,"above_s":9,"sustain_s":60,"action":"rollback","times_fired":1},
			{"name":"p95","state":"pending","unit":"ms","value":130,"known":true,"limit":120,"nearness":1.08,"above_s":61,"sustain_s":300,"action":"none","times_fired":0},
			{"name":"redis","state":"off","why":"Redis is not in use","unit":"percent","value":0,"known":false,"limit":50,"nearness":0,"above_s":0,"sustain_s":0,"action":"none","times_fired":0}],
			"alarms":[{"id":"a","at":"2026-11-24T11:00:01Z","kind":"acted","trigger":"error_rate","value":2.5,"limit":2,"unit":"percent","action":"rollback","result":"failed: no such file"},
			{"id":"b","at":"2026-11-24T11:00:00Z","kind":"raised","trigger":"error_rate","value":2.5,"limit":2,"unit":"percent","action":"rollback"}]}`,
		"/api/sources": `{"since":"2026-11-24T10:00:00Z","sources":[]}`,
	}
	admin := answersOf(control.RoleAdmin, all)
	control := show("/ui/control", admin)
	for _, text := range []string{"plan held", "The plan is held: the verdict is not known",
		"No-go: error rate", "The verdict is not known: no answer", "Only this process is at 0 percent",
		"<small>1 min 4 s of 1 h 30 min</small>", "75% <small>to", "error rate fires",
		"roll-back command: failed: no such file",
		"alice asks: <bdi>next step", "you ask: <bdi>next step",
		"Someone else with the role operator must decide: nobody approves their own.",
		"its token is younger than the request.",
		"bob has approved it: <bdi>go ahead", "hookgate rollback … --approval 15", "approved, not used"} {
		if !strings.Contains(control, text) {
			t.Errorf("the page does not have %q", text)
		}
	}
	if n := strings.Count(control, `data-decide="approve"`); n != 1 {
		t.Errorf("%d requests can be approved, want that of alice alone:\n%s", n, control)
	}
	if here, gone := strings.Index(control, `data-token="here"`), strings.Index(control,
		`data-token="gone"`); here < 0 || gone < here {
		t.Errorf("tokens that work do not come first: %d, %d", here, gone)
	}
	overview := show("/ui/", admin)
	for _, text := range []string{"release: no-go", "canary 25%", "3 approvals wait"} {
		if !strings.Contains(overview, text) {
			t.Errorf("the overview does not have %q", text)
		}
	}
	guard := show("/ui/guard", admin)
	for _, text := range []string{">no-go<", "canary 25%, step 1 of 2, held", "2.50%",
		"too high for 1 min 1 s of 5 min", "off: Redis is not in use",
		"alarm, roll-back command",
		"fired at 2.50%, above 2%"} {
		if !strings.Contains(guard, text) {
			t.Errorf("the page of the guard does not have %q", text)
		}
	}
	for _, path := range []string{"/admin/tokens", "/admin/approvals?state=pending"} {
		delete(all, path)
	}
	if away := show("/ui/control", admin); strings.Count(away,
		"They cannot be shown: there is nothing at this path") != 2 || !strings.Contains(away,
		"Reject webhooks") {
		t.Errorf("without the store the page is %s", away)
	}
}

// TestPageErrors: the reason of a refusal is shown unchanged; an unexpected error is not.
func TestPageErrors(t *testing.T) {
	d := newDashboard()
	for status, c := range map[int]struct{ body, told string }{
		503: {`{"status":"error","error":"reading the trail failed"}`, "reading the trail failed"},
		502: {`<html>`, "Bad Gateway"},
		200: {`{"evidence":7}`, "cannot be shown now"},
	} {
		w := httptest.NewRecorder()
		servePage(d, w, httptest.NewRequest("GET", "/ui/evidence", nil),
			&Visitor{Role: control.RoleViewer,
				Read: func(context.Context, string) (int, []byte) { return status, []byte(c.body) }})
		if w.Code == 200 || !strings.Contains(w.Body.String(), c.told) {
			t.Errorf("%s: %d\n%s", fmt.Sprint(status), w.Code, w.Body)
		}
	}
}
