package adminapi

import (
	"fmt"
	"strings"
)

// Caller is a kind of caller of the HTTP interface.
type Caller int

// The callers.
const (
	// Nobody has no token, or one that is unknown, has expired or was revoked.
	Nobody Caller = iota
	// Sender has a key of the default source.
	Sender
	// Consumer has a token that is bound to a subscription.
	Consumer
	Viewer
	Operator
	Admin

	callers int = iota
)

// Rule is the status that each kind of caller gets from a call.
type Rule struct {
	Method string
	// Path is Route.Path, or a path of webhooks.
	Path string
	// Probe is a path to test the call with, and Body a body. They change nothing: a caller with the
	// right role gets 400, 404 or 503, because the gate rejects the request and not the caller.
	Probe, Body string
	// Status is by Caller.
	Status [callers]int
}

// Matrix has each call of the HTTP interface with its status for each kind of caller. It is written
// by hand beside the table of routes, so that a mistake in one shows in a comparison with the
// other.
var Matrix = []Rule{
	// The columns of numbers: nobody, sender, consumer, viewer, operator, admin.
	{"POST", "/webhooks", "/webhooks", "{}", [callers]int{401, 400, 401, 401, 401, 401}},
	{"POST", "/webhooks/{source}", "/webhooks/default", "{}",
		[callers]int{401, 400, 401, 401, 401, 401}},
	{"GET", "/livez", "/livez", "", [callers]int{200, 200, 200, 200, 200, 200}},
	{"GET", "/readyz", "/readyz", "", [callers]int{200, 200, 200, 200, 200, 200}},
	{"GET", "/metrics", "/metrics", "", [callers]int{200, 200, 200, 200, 200, 200}},
	{"GET", "/api/health", "/api/health", "", [callers]int{200, 200, 200, 200, 200, 200}},
	{"GET", "/api/openapi.yaml", "/api/openapi.yaml", "", [callers]int{200, 200, 200, 200, 200, 200}},
	{"GET", "/api/sources", "/api/sources", "", [callers]int{401, 401, 403, 200, 200, 200}},
	{"GET", "/api/history", "/api/history", "", [callers]int{401, 401, 403, 200, 200, 200}},
	{"GET", "/api/refused", "/api/refused", "", [callers]int{401, 401, 403, 200, 200, 200}},
	{"GET", "/api/events", "/api/events?limit=1", "", [callers]int{401, 401, 403, 200, 200, 200}},
	{"GET", "/api/events/stream", "/api/events/stream?wait=0s", "",
		[callers]int{401, 401, 200, 200, 200, 200}},
	{"GET", "/api/events/{id}", "/api/events/0", "", [callers]int{401, 401, 403, 404, 404, 404}},
	{"GET", "/api/events/{id}/body", "/api/events/0/body", "",
		[callers]int{401, 401, 403, 404, 404, 404}},
	{"GET", "/api/events/{id}/request-body", "/api/events/0/request-body", "",
		[callers]int{401, 401, 403, 404, 404, 404}},
	{"GET", "/api/trace/{messageId...}", "/api/trace/none", "",
		[callers]int{401, 401, 403, 200, 200, 200}},
	{"GET", "/api/find", "/api/find?q=none", "", [callers]int{401, 401, 403, 200, 200, 200}},
	{"GET", "/api/audit/verify", "/api/audit/verify?now", "",
		[callers]int{401, 401, 403, 400, 400, 400}},
	{"GET", "/api/subscriptions", "/api/subscriptions", "",
		[callers]int{401, 401, 403, 200, 200, 200}},
	{"GET", "/api/subscriptions/{name}", "/api/subscriptions/none",
		"", [callers]int{401, 401, 403, 404, 404, 404}},
	{"POST", "/api/subscriptions", "/api/subscriptions", `{"name":""}`,
		[callers]int{401, 401, 403, 403, 400, 400}},
	{"DELETE", "/api/subscriptions/{name}", "/api/subscriptions/none", "",
		[callers]int{401, 401, 403, 403, 404, 404}},
	{"POST", "/api/subscriptions/{name}/pull", "/api/subscriptions/none/pull", "{}",
		[callers]int{401, 401, 404, 403, 404, 404}},
	{"POST", "/api/subscriptions/{name}/ack", "/api/subscriptions/none/ack", "{}",
		[callers]int{401, 401, 400, 403, 400, 400}},
	{"POST", "/api/subscriptions/{name}/nack", "/api/subscriptions/none/nack", "{}",
		[callers]int{401, 401, 400, 403, 400, 400}},
	{"POST", "/api/subscriptions/{name}/extend", "/api/subscriptions/none/extend", "{}",
		[callers]int{401, 401, 400, 403, 400, 400}},
	{"GET", "/api/subscriptions/{name}/exceptions", "/api/subscriptions/none/exceptions",
		"", [callers]int{401, 401, 403, 404, 404, 404}},
	{"GET", "/api/subscriptions/{name}/attempts", "/api/subscriptions/none/attempts",
		"", [callers]int{401, 401, 403, 404, 404, 404}},
	{"POST", "/api/subscriptions/{name}/pause", "/api/subscriptions/none/pause",
		"", [callers]int{401, 401, 403, 403, 404, 404}},
	{"POST", "/api/subscriptions/{name}/resume", "/api/subscriptions/none/resume",
		"", [callers]int{401, 401, 403, 403, 404, 404}},
	{"POST", "/api/subscriptions/{name}/seek", "/api/subscriptions/none/seek",
		"", [callers]int{401, 401, 403, 403, 404, 404}},
	{"POST", "/api/subscriptions/{name}/retry", "/api/subscriptions/none/retry",
		"", [callers]int{401, 401, 403, 403, 404, 404}},
	{"POST", "/api/subscriptions/{name}/skip", "/api/subscriptions/none/skip",
		"", [callers]int{401, 401, 403, 403, 404, 404}},
	{"POST", "/api/subscriptions/{name}/dead-letter", "/api/subscriptions/none/dead-letter",
		"", [callers]int{401, 401, 403, 403, 404, 404}},
	{"POST", "/api/subscriptions/{name}/redeliver", "/api/subscriptions/none/redeliver",
		"", [callers]int{401, 401, 403, 403, 404, 404}},
	{"GET", "/api/subscriptions/{name}/jobs", "/api/subscriptions/none/jobs",
		"", [callers]int{401, 401, 403, 404, 404, 404}},
	{"GET", "/api/subscriptions/{name}/jobs/{id}", "/api/subscriptions/none/jobs/0",
		"", [callers]int{401, 401, 403, 404, 404, 404}},
	{"POST", "/api/subscriptions/{name}/jobs/{id}/cancel", "/api/subscriptions/none/jobs/0/cancel",
		"", [callers]int{401, 401, 403, 403, 404, 404}},
	{"GET", "/api/intake", "/api/intake", "", [callers]int{401, 401, 403, 200, 200, 200}},
	{"POST", "/api/intake", "/api/intake", "{}", [callers]int{401, 401, 403, 403, 400, 400}},
	{"GET", "/admin/maintenance", "/admin/maintenance", "",
		[callers]int{401, 401, 403, 200, 200, 200}},
	{"POST", "/admin/maintenance", "/admin/maintenance", "{}",
		[callers]int{401, 401, 403, 403, 400, 400}},
	{"GET", "/admin/canary", "/admin/canary", "", [callers]int{401, 401, 403, 200, 200, 200}},
	{"POST", "/admin/canary", "/admin/canary", "{}", [callers]int{401, 401, 403, 403, 400, 400}},
	{"GET", "/admin/queue", "/admin/queue", "", [callers]int{401, 401, 403, 200, 200, 200}},
	{"POST", "/admin/drain", "/admin/drain", `{"timeout":"none"}`,
		[callers]int{401, 401, 403, 403, 400, 400}},
	{"GET", "/admin/release", "/admin/release", "", [callers]int{401, 401, 403, 200, 200, 200}},
	{"POST", "/admin/rollback", "/admin/rollback", "{}", [callers]int{401, 401, 403, 403, 400, 400}},
	{"POST", "/admin/rollback/{id}", "/admin/rollback/none", "{}",
		[callers]int{401, 401, 403, 403, 400, 400}},
	{"GET", "/admin/dlq", "/admin/dlq?limit=1", "", [callers]int{401, 401, 403, 200, 200, 200}},
	{"POST", "/admin/dlq/retry", "/admin/dlq/retry", "{}",
		[callers]int{401, 401, 403, 403, 400, 400}},
	{"POST", "/admin/dlq/purge", "/admin/dlq/purge", "{}",
		[callers]int{401, 401, 403, 403, 403, 400}},
	{"GET", "/admin/dlq/{id}", "/admin/dlq/0", "", [callers]int{401, 401, 403, 404, 404, 404}},
	{"GET", "/admin/dlq/{id}/body", "/admin/dlq/0/body", "",
		[callers]int{401, 401, 403, 404, 404, 404}},
	{"POST", "/admin/dlq/{id}/retry", "/admin/dlq/0/retry", "",
		[callers]int{401, 401, 403, 403, 404, 404}},
	{"POST", "/admin/dlq/{id}/purge", "/admin/dlq/0/purge", "",
		[callers]int{401, 401, 403, 403, 403, 404}},
	{"POST", "/admin/test-events/remove", "/admin/test-events/remove", "[]",
		[callers]int{401, 401, 403, 403, 403, 400}},
	{"GET", "/admin/approvals", "/admin/approvals?limit=1", "",
		[callers]int{401, 401, 403, 200, 200, 200}},
	{"GET", "/admin/approvals/{id}", "/admin/approvals/0", "",
		[callers]int{401, 401, 403, 404, 404, 404}},
	{"POST", "/admin/approvals/{id}/approve", "/admin/approvals/0/approve", "",
		[callers]int{401, 401, 403, 403, 404, 404}},
	{"POST", "/admin/approvals/{id}/deny", "/admin/approvals/0/deny", "",
		[callers]int{401, 401, 403, 403, 404, 404}},
	{"GET", "/admin/actions", "/admin/actions?limit=1", "",
		[callers]int{401, 401, 403, 200, 200, 200}},
	{"GET", "/admin/tokens", "/admin/tokens", "", [callers]int{401, 401, 403, 403, 403, 200}},
	{"POST", "/admin/tokens", "/admin/tokens", "{}", [callers]int{401, 401, 403, 403, 403, 400}},
	{"DELETE", "/admin/tokens/{name}", "/admin/tokens/configured", "",
		[callers]int{401, 401, 403, 403, 403, 404}},
	{"GET", "/{$}", "/", "", [callers]int{401, 401, 403, 303, 303, 303}},
	{"GET", "/ui/sign-in", "/ui/sign-in", "", [callers]int{200, 200, 200, 200, 200, 200}},
	{"POST", "/ui/sign-in", "/ui/sign-in", "", [callers]int{400, 400, 400, 400, 400, 400}},
	{"POST", "/ui/sign-out", "/ui/sign-out", "", [callers]int{303, 303, 303, 303, 303, 303}},
	{"GET", "/ui/assets/{file...}", "/ui/assets/none", "",
		[callers]int{404, 404, 404, 404, 404, 404}},
	{"GET", "/ui/{$}", "/ui/", "", [callers]int{401, 401, 403, 200, 200, 200}},
	{"GET", "/ui/events", "/ui/events", "", [callers]int{401, 401, 403, 200, 200, 200}},
	{"GET", "/ui/events/{id}", "/ui/events/0", "", [callers]int{401, 401, 403, 404, 404, 404}},
	{"GET", "/ui/deliveries", "/ui/deliveries", "", [callers]int{401, 401, 403, 200, 200, 200}},
	{"GET", "/ui/deliveries/{name}", "/ui/deliveries/none", "",
		[callers]int{401, 401, 403, 404, 404, 404}},
	{"GET", "/ui/dead-letters", "/ui/dead-letters", "", [callers]int{401, 401, 403, 200, 200, 200}},
	{"GET", "/ui/dead-letters/{id}", "/ui/dead-letters/0", "",
		[callers]int{401, 401, 403, 404, 404, 404}},
	{"GET", "/ui/sources", "/ui/sources", "", [callers]int{401, 401, 403, 200, 200, 200}},
	{"GET", "/ui/refused", "/ui/refused", "", [callers]int{401, 401, 403, 200, 200, 200}},
	{"GET", "/ui/guard", "/ui/guard", "", [callers]int{401, 401, 403, 200, 200, 200}},
	{"GET", "/ui/evidence", "/ui/evidence", "", [callers]int{401, 401, 403, 200, 200, 200}},
	{"GET", "/ui/evidence/{id}/report", "/ui/evidence/none/report", "",
		[callers]int{401, 401, 403, 404, 404, 404}},
	{"GET", "/ui/control", "/ui/control", "", [callers]int{401, 401, 403, 403, 200, 200}},
	{"GET", "/ui/admin-trail", "/ui/admin-trail", "", [callers]int{401, 401, 403, 200, 200, 200}},
	{"GET", "/ui/live", "/ui/live", "", [callers]int{401, 401, 403, 200, 200, 200}},
	{"GET", "/ui/{page...}", "/ui/none", "", [callers]int{401, 401, 403, 404, 404, 404}},
	{"GET", "/debug/pprof/{profile...}", "/debug/pprof/cmdline", "",
		[callers]int{401, 401, 403, 403, 403, 200}},
}

// MatrixTable returns the matrix as a Markdown table, for the documentation.
func MatrixTable() string {
	var b strings.Builder
	b.WriteString("| call | nobody | sender's key | consumer | viewer | operator | admin |\n| --- |" +
		" --- | --- | --- | --- | --- | --- |\n")
	for _, rule := range Matrix {
		fmt.Fprintf(&b, "| `%s %s` |", rule.Method, strings.NewReplacer("...}", "}", "{$}",
			"").Replace(rule.Path))
		for _, status := range rule.Status {
			may := "yes"
			if status == 401 || status == 403 {
				may = fmt.Sprint(status)
			}
			fmt.Fprintf(&b, " %s |", may)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
