package dashboard

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hookgate/hookgate"
)

// answersOf is a visitor of a gate that answers its calls with these texts, and 404 to the others.
func answersOf(role hookgate.Role, texts map[string]string) *Visitor {
	return &Visitor{Name: "olga", Role: role, Read: func(_ context.Context, path string) (int, []byte) {
		if text, ok := texts[path]; ok {
			return 200, []byte(text)
		}
		return 404, []byte(`{"status":"error","error":"there is nothing at this path"}`)
	}}
}

// TestControlParts: of what a gate need not have, a page shows what there is.
func TestControlParts(t *testing.T) {
	d := New(Config{Live: (&fakeGate{mode: hookgate.ModeNormal}).live(1)})
	show := func(path string, v *Visitor) string {
		t.Helper()
		w := httptest.NewRecorder()
		d.Page(w, httptest.NewRequest("GET", path, nil), v)
		if w.Code != 200 {
			t.Fatalf("%s: %d\n%s", path, w.Code, w.Body)
		}
		return w.Body.String()
	}
	const queue = `{"mode":"normal","depth":3,"high_water":10,"spooled":0,"oldest_age_s":0,"partitions":4}`
	few := show("/ui/control", answersOf(hookgate.RoleOperator, map[string]string{"/admin/queue": queue}))
	all := map[string]string{
		"/admin/queue":  queue,
		"/admin/tokens": `{"tokens":[{"name":"gone","role":"viewer","createdAt":"2026-11-24T10:00:00Z","createdBy":"x","expiresAt":null,"revokedAt":"2026-11-24T11:00:00Z"},{"name":"here","role":"admin","createdAt":"2026-11-24T10:00:00Z","createdBy":"x","expiresAt":null,"revokedAt":null}]}`,
		"/admin/approvals?state=pending": `{"approvals":[{"id":"17","action":"canary","target":"50 percent","state":"pending","needs":"operator","requestedBy":"alice","role":"operator",
			"requestId":"r","requestedAt":"2026-11-24T11:00:00.000000Z","reason":"next step","expiresAt":"2026-11-24T12:00:00.000000Z","decidedBy":null,"decidedAt":null,"decisionReason":null,"usedBy":null,"usedAt":null}]}`,
		"/admin/canary": `{"configured":true,"upstream":"http://before.example","percent":25,"at":null,"plan":[{"percent":25,"forSeconds":60},{"percent":100,"forSeconds":0}],"step":1,"watchedSeconds":3.5,"held":"the guard says no-go","guard":{"fired":["p95"]},"kept":true}`,
		"/admin/guard": `{"process":"a","fired":["error_rate"],"triggers":[{"name":"error_rate","state":"fired","why":"","unit":"percent","value":2.5,"known":true,"limit":2,"nearness":1.25,"above_s":9,"sustain_s":60,"action":"alarm","times_fired":1},
			{"name":"p95","state":"off","unit":"ms","value":0,"known":false,"limit":0,"nearness":0,"above_s":0,"sustain_s":0,"action":"alarm","times_fired":0}],"alarms":[]}`,
		"/api/sources": `{"since":"2026-11-24T10:00:00Z","sources":[]}`,
	}
	many := show("/ui/control", answersOf(hookgate.RoleAdmin, all))
	for _, part := range []string{`id="canary"`, `id="approvals"`, `id="tokens"`} {
		if strings.Contains(few, part) || !strings.Contains(many, part) {
			t.Errorf("%s: shown without it: %t, with it: %t", part, strings.Contains(few, part), strings.Contains(many, part))
		}
	}
	for _, text := range []string{"25%", "http://before.example", "the guard says no-go", "step", `data-approval="17"`, "50 percent", "alice", "next step"} {
		if !strings.Contains(many, text) {
			t.Errorf("the page does not have %q", text)
		}
	}
	if here, gone := strings.Index(many, `data-token="here"`), strings.Index(many, `data-token="gone"`); here < 0 || gone < here {
		t.Errorf("tokens that work do not come first: %d, %d", here, gone)
	}
	overview := show("/ui/", answersOf(hookgate.RoleViewer, all))
	for _, text := range []string{`data-trigger="error_rate"`, "error rate", "no-go", "2.50</span> percent"} {
		if !strings.Contains(overview, text) {
			t.Errorf("the overview does not have %q", text)
		}
	}
	if bare := show("/ui/", answersOf(hookgate.RoleViewer, map[string]string{"/api/sources": all["/api/sources"]})); strings.Contains(bare, `id="release"`) {
		t.Error("the overview shows triggers that there are not")
	}
}

// TestPageErrors: what a call refuses is told as it is; what nobody expected is not.
func TestPageErrors(t *testing.T) {
	d := newDashboard()
	for status, c := range map[int]struct{ body, told string }{
		503: {`{"status":"error","error":"reading the trail failed"}`, "reading the trail failed"},
		502: {`<html>`, "Bad Gateway"},
		200: {`{"evidence":7}`, "cannot be shown now"},
	} {
		w := httptest.NewRecorder()
		d.Page(w, httptest.NewRequest("GET", "/ui/evidence", nil), &Visitor{Role: hookgate.RoleViewer,
			Read: func(context.Context, string) (int, []byte) { return status, []byte(c.body) }})
		if w.Code == 200 || !strings.Contains(w.Body.String(), c.told) {
			t.Errorf("%s: %d\n%s", fmt.Sprint(status), w.Code, w.Body)
		}
	}
}
