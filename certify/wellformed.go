package certify

import (
	"context"
	"net/http"
	"strings"
)

// wellFormed are bodies by call, for callers that the gate must refuse. A gate that lets one
// through does something that harms nobody: it concerns things that do not exist, or undo takes it
// back. NAME is a name that nothing else has. The removal of test events is not here: its only
// well-formed body removes all of them.
var wellFormed = map[string]string{
	"POST /webhooks": `{"messageId":"NAME","eventType":"certify.refused",` +
		`"orderingKey":"NAME","sequence":1}`,
	"POST /webhooks/{source}": `{"messageId":"NAME","eventType":"certify.refused",` +
		`"orderingKey":"NAME","sequence":1}`,
	"POST /api/subscriptions":               `{"name":"NAME"}`,
	"POST /api/subscriptions/{name}/pull":   `{"max":1}`,
	"POST /api/subscriptions/{name}/ack":    `{"lease":"none","events":["1"]}`,
	"POST /api/subscriptions/{name}/nack":   `{"lease":"none","events":["1"]}`,
	"POST /api/subscriptions/{name}/extend": `{"lease":"none","for":"1s"}`,
	"POST /api/subscriptions/{name}/seek":   `{"to":"now","dryRun":true}`,
	"POST /admin/maintenance":               `{"mode":"normal"}`,
	"POST /admin/canary": `{"plan":"start","evidence":"` + strings.Repeat("0", 64) +
		`"}`,
	"POST /admin/drain":               `{"timeout":"1ms"}`,
	"POST /admin/rollback":            `{"id":"NAME","expectedVersion":"none"}`,
	"POST /admin/rollback/{id}":       `{"result":"failed","summary":"a caller without the role"}`,
	"POST /admin/dlq/retry":           `{"filter":{"messageId":"NAME"}}`,
	"POST /admin/dlq/purge":           `{"filter":{"messageId":"NAME"}}`,
	"POST /admin/tokens":              `{"name":"NAME","role":"viewer"}`,
	"POST /admin/dlq/{id}/retry":      `{}`,
	"POST /admin/dlq/{id}/purge":      `{}`,
	"POST /admin/approvals/{id}/deny": `{}`,
}

// bodyFor is the body for a caller that the gate must refuse.
func bodyFor(rule *Rule, name string) string {
	if body, ok := wellFormed[rule.Method+" "+rule.Path]; ok {
		return strings.ReplaceAll(body, "NAME", name)
	}
	return rule.Body
}

// undo takes back what a gate has wrongly let through.
func (c *certification) undo(ctx context.Context, rule *Rule, name string) {
	path := ""
	switch rule.Method + " " + rule.Path {
	case "POST /admin/tokens":
		path = "/admin/tokens/" + name
	case "POST /api/subscriptions":
		path = "/api/subscriptions/" + name
	default:
		return
	}
	c.target.tryOnce(ctx, http.MethodDelete, c.target.base+path, path, "", bearer(c.target.token))
}
