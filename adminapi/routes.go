package adminapi

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/dashboard"
	"github.com/hookgate/hookgate/internal/httpserver"
)

// Route is one call of the HTTP interface.
type Route struct {
	// Method of the call; a GET also answers HEAD.
	Method string
	// Path has {name} for one segment, which is not empty, and may end with {name...} for all that is
	// left, slashes included.
	Path string
	// Role is the least that the caller needs; RoleNone if the call is open to everyone.
	Role control.Role
	// Action is what a call that changes something is called in the admin trail; empty for one that
	// only reads.
	Action string
}

// Public reports whether the call is on the public side, where the webhooks are, if the gate has
// two listeners.
func (r Route) Public() bool { return r.Path == "/livez" || r.Path == "/readyz" }

// on reports whether the call is on a side.
func (r Route) on(side httpserver.Side) bool {
	return side == httpserver.Everything || r.Public() == (side == httpserver.PublicSide)
}

// table is everything but the webhooks. A call is answered by the first row whose path and method
// fit, so a path that says more stands before one that fits it too.
var table = []struct {
	method, path string
	role         control.Role
	action       string // see Route
	answer       func(*API, *call)
}{
	{"GET", "/livez", control.RoleNone, "", (*API).livez},
	{"GET", "/readyz", control.RoleNone, "", (*API).readyz},
	{"GET", "/metrics", control.RoleNone, "", (*API).showMetrics},
	{"GET", "/api/health", control.RoleNone, "", (*API).health},
	{"GET", "/api/openapi.yaml", control.RoleNone, "", (*API).openAPI},
	{"GET", "/api/sources", control.RoleViewer, "", (*API).showSources},
	{"GET", "/api/events", control.RoleViewer, "", (*API).events},
	{"GET", "/api/events/{id}", control.RoleViewer, "", (*API).event},
	{"GET", "/api/events/{id}/body", control.RoleViewer, "", (*API).eventBody},
	{"GET", "/api/events/{id}/request-body", control.RoleViewer, "", (*API).requestBody},
	{"GET", "/api/trace/{messageId...}", control.RoleViewer, "", (*API).trace},
	{"GET", "/api/find", control.RoleViewer, "", (*API).findID},
	{"GET", "/api/audit/verify", control.RoleViewer, "", (*API).verifyAudit},
	{"GET", intakePath, control.RoleViewer, "", (*API).listIntake},
	{"POST", intakePath, control.RoleOperator, "evidence_intake", (*API).receiveEvidence},
	{"GET", "/admin/maintenance", control.RoleViewer, "", (*API).showMode},
	{"POST", "/admin/maintenance", control.RoleOperator, "maintenance", (*API).setMode},
	{"GET", "/admin/canary", control.RoleViewer, "", (*API).showCanary},
	{"POST", "/admin/canary", control.RoleOperator, "canary", (*API).setCanary},
	{"GET", "/admin/queue", control.RoleViewer, "", (*API).showQueue},
	{"POST", "/admin/drain", control.RoleOperator, "drain", (*API).drain},
	{"GET", "/admin/guard", control.RoleViewer, "", (*API).showGuard},
	{"POST", "/admin/rollback", control.RoleOperator, "rollback", (*API).beginRollback},
	{"POST", "/admin/rollback/{id}", control.RoleOperator, "rollback_end", (*API).endRollback},
	{"GET", "/admin/dlq", control.RoleViewer, "", (*API).deadLetters},
	{"POST", "/admin/dlq/retry", control.RoleOperator, "dlq_retry", (*API).retryMany},
	{"POST", "/admin/dlq/purge", control.RoleAdmin, "dlq_purge", (*API).purgeMany},
	{"GET", "/admin/dlq/{id}", control.RoleViewer, "", (*API).deadLetter},
	{"GET", "/admin/dlq/{id}/body", control.RoleViewer, "", (*API).deadLetterBody},
	{"POST", "/admin/dlq/{id}/retry", control.RoleOperator, "dlq_retry", (*API).retryOne},
	{"POST", "/admin/dlq/{id}/purge", control.RoleAdmin, "dlq_purge", (*API).purgeOne},
	{"POST", "/admin/test-events/remove", control.RoleAdmin, "test_events_remove",
		(*API).removeTests},
	{"GET", "/admin/approvals", control.RoleViewer, "", (*API).listApprovals},
	{"GET", "/admin/approvals/{id}", control.RoleViewer, "", (*API).showApproval},
	{"POST", "/admin/approvals/{id}/approve", control.RoleOperator, "approval_approve",
		(*API).approve},
	{"POST", "/admin/approvals/{id}/deny", control.RoleOperator, "approval_deny", (*API).deny},
	{"GET", "/admin/actions", control.RoleViewer, "", (*API).actions},
	{"GET", "/admin/tokens", control.RoleAdmin, "", (*API).listTokens},
	{"POST", "/admin/tokens", control.RoleAdmin, "token_create", (*API).createToken},
	{"DELETE", "/admin/tokens/{name}", control.RoleAdmin, "token_revoke", (*API).revokeToken},
	{"GET", "/", control.RoleViewer, "", (*API).home},
	{"GET", signInPath, control.RoleNone, "", (*API).showSignIn},
	{"POST", signInPath, control.RoleNone, "", (*API).signIn},
	{"POST", signOutPath, control.RoleNone, "", (*API).signOut},
	{"GET", dashboard.AssetPrefix + "{file...}", control.RoleNone, "", (*API).asset},
	{"GET", pagePrefix, control.RoleViewer, "", (*API).page},
	{"GET", pagePrefix + "sources", control.RoleViewer, "", (*API).page},
	{"GET", pagePrefix + "evidence", control.RoleViewer, "", (*API).page},
	{"GET", pagePrefix + "evidence/{id}/report", control.RoleViewer, "", (*API).showReport},
	{"GET", pagePrefix + "control", control.RoleOperator, "", (*API).page},
	{"GET", pagePrefix + "live", control.RoleViewer, "", (*API).live},
	{"GET", pagePrefix + "{page...}", control.RoleViewer, "", (*API).page},
	{"GET", "/debug/pprof/{profile...}", control.RoleAdmin, "", (*API).profile},
}

// route is a row of the table, ready to be matched.
type route struct {
	Route
	answer   func(*API, *call)
	segments []string // of Path
}

var routes []route

func init() {
	for _, t := range table {
		routes = append(routes, route{Route{t.method, t.path, t.role, t.action}, t.answer,
			strings.Split(t.path, "/")})
	}
}

// Routes returns every call of the HTTP interface but the webhooks, in the order in which they are
// matched.
func Routes() []Route {
	all := make([]Route, len(routes))
	for i := range routes {
		all[i] = routes[i].Route
	}
	return all
}

// ServeRequest implements httpserver.Handler.
func (s *API) ServeRequest(w http.ResponseWriter, r *http.Request,
	q httpserver.Request) (status int) {
	c := &call{ResponseWriter: w, server: s, request: r, id: q.ID, requestID: q.IDText,
		status: http.StatusOK}
	s.answer(c, q.Side)
	return c.status
}

// answer finds the route of a call to a side and lets it answer.
func (s *API) answer(c *call, side httpserver.Side) {
	method := c.request.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	segments := strings.Split(c.request.URL.EscapedPath(), "/")
	var allowed []string
	for i := range routes {
		if !routes[i].on(side) || !routes[i].fits(segments) {
			continue
		}
		if routes[i].Method != method {
			if !slices.Contains(allowed, routes[i].Method) {
				allowed = append(allowed, routes[i].Method)
			}
			continue
		}
		c.route, c.segments = &routes[i], segments
		c.serve()
		return
	}
	if allowed != nil {
		c.Header().Set("Allow", strings.Join(allowed, ", "))
		c.stray(http.StatusMethodNotAllowed, "this path takes "+strings.Join(allowed, " and "))
		return
	}
	c.stray(http.StatusNotFound, "there is nothing at this path")
}

// fits reports whether a path, split at its slashes, is one of the route's.
func (t *route) fits(segments []string) bool {
	for i, want := range t.segments {
		switch {
		case i >= len(segments):
			return false
		case strings.HasSuffix(want, "...}"):
			return true
		case strings.HasPrefix(want, "{"):
			if segments[i] == "" {
				return false
			}
		case want != segments[i]:
			return false
		}
	}
	return len(segments) == len(t.segments)
}

// parameter returns what stands in the path for the parameter, with escapes resolved. It is empty
// if an escape is malformed.
func (c *call) parameter(name string) string {
	for i, segment := range c.route.segments {
		text := c.segments[i]
		switch segment {
		case "{" + name + "...}":
			text = strings.Join(c.segments[i:], "/")
		case "{" + name + "}":
		default:
			continue
		}
		value, err := url.PathUnescape(text)
		if err != nil {
			return ""
		}
		return value
	}
	panic("route " + c.route.Path + " has no parameter " + name)
}
