package httpd

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/dashboard"
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
func (r Route) on(side Side) bool {
	return side == Everything || r.Public() == (side == PublicSide)
}

// table is everything but the webhooks. A call is answered by the first row whose path and method
// fit, so a path that says more stands before one that fits it too.
var table = []struct {
	method, path string
	role         control.Role
	action       string // see Route
	answer       func(*Server, *call)
}{
	{"GET", "/livez", control.RoleNone, "", (*Server).livez},
	{"GET", "/readyz", control.RoleNone, "", (*Server).readyz},
	{"GET", "/metrics", control.RoleNone, "", (*Server).showMetrics},
	{"GET", "/api/health", control.RoleNone, "", (*Server).health},
	{"GET", "/api/openapi.yaml", control.RoleNone, "", (*Server).openAPI},
	{"GET", "/api/sources", control.RoleViewer, "", (*Server).showSources},
	{"GET", "/api/events", control.RoleViewer, "", (*Server).events},
	{"GET", "/api/events/{id}", control.RoleViewer, "", (*Server).event},
	{"GET", "/api/events/{id}/body", control.RoleViewer, "", (*Server).eventBody},
	{"GET", "/api/events/{id}/request-body", control.RoleViewer, "", (*Server).requestBody},
	{"GET", "/api/trace/{messageId...}", control.RoleViewer, "", (*Server).trace},
	{"GET", "/api/find", control.RoleViewer, "", (*Server).findID},
	{"GET", "/api/audit/verify", control.RoleViewer, "", (*Server).verifyAudit},
	{"GET", intakePath, control.RoleViewer, "", (*Server).listIntake},
	{"POST", intakePath, control.RoleOperator, "evidence_intake", (*Server).receiveEvidence},
	{"GET", "/admin/maintenance", control.RoleViewer, "", (*Server).showMode},
	{"POST", "/admin/maintenance", control.RoleOperator, "maintenance", (*Server).setMode},
	{"GET", "/admin/canary", control.RoleViewer, "", (*Server).showCanary},
	{"POST", "/admin/canary", control.RoleOperator, "canary", (*Server).setCanary},
	{"GET", "/admin/queue", control.RoleViewer, "", (*Server).showQueue},
	{"POST", "/admin/drain", control.RoleOperator, "drain", (*Server).drain},
	{"GET", "/admin/guard", control.RoleViewer, "", (*Server).showGuard},
	{"POST", "/admin/rollback", control.RoleOperator, "rollback", (*Server).beginRollback},
	{"POST", "/admin/rollback/{id}", control.RoleOperator, "rollback_end", (*Server).endRollback},
	{"GET", "/admin/dlq", control.RoleViewer, "", (*Server).deadLetters},
	{"POST", "/admin/dlq/replay", control.RoleOperator, "dlq_replay", (*Server).replayMany},
	{"POST", "/admin/dlq/purge", control.RoleAdmin, "dlq_purge", (*Server).purgeMany},
	{"GET", "/admin/dlq/{id}", control.RoleViewer, "", (*Server).deadLetter},
	{"GET", "/admin/dlq/{id}/body", control.RoleViewer, "", (*Server).deadLetterBody},
	{"POST", "/admin/dlq/{id}/replay", control.RoleOperator, "dlq_replay", (*Server).replayOne},
	{"POST", "/admin/dlq/{id}/purge", control.RoleAdmin, "dlq_purge", (*Server).purgeOne},
	{"POST", "/admin/test-events/remove", control.RoleAdmin, "test_events_remove",
		(*Server).removeTests},
	{"GET", "/admin/approvals", control.RoleViewer, "", (*Server).listApprovals},
	{"GET", "/admin/approvals/{id}", control.RoleViewer, "", (*Server).showApproval},
	{"POST", "/admin/approvals/{id}/approve", control.RoleOperator, "approval_approve",
		(*Server).approve},
	{"POST", "/admin/approvals/{id}/deny", control.RoleOperator, "approval_deny", (*Server).deny},
	{"GET", "/admin/actions", control.RoleViewer, "", (*Server).actions},
	{"GET", "/admin/tokens", control.RoleAdmin, "", (*Server).listTokens},
	{"POST", "/admin/tokens", control.RoleAdmin, "token_create", (*Server).createToken},
	{"DELETE", "/admin/tokens/{name}", control.RoleAdmin, "token_revoke", (*Server).revokeToken},
	{"GET", "/", control.RoleViewer, "", (*Server).home},
	{"GET", signInPath, control.RoleNone, "", (*Server).showSignIn},
	{"POST", signInPath, control.RoleNone, "", (*Server).signIn},
	{"POST", signOutPath, control.RoleNone, "", (*Server).signOut},
	{"GET", dashboard.AssetPrefix + "{file...}", control.RoleNone, "", (*Server).asset},
	{"GET", pagePrefix, control.RoleViewer, "", (*Server).page},
	{"GET", pagePrefix + "sources", control.RoleViewer, "", (*Server).page},
	{"GET", pagePrefix + "evidence", control.RoleViewer, "", (*Server).page},
	{"GET", pagePrefix + "evidence/{id}/report", control.RoleViewer, "", (*Server).showReport},
	{"GET", pagePrefix + "control", control.RoleOperator, "", (*Server).page},
	{"GET", pagePrefix + "live", control.RoleViewer, "", (*Server).live},
	{"GET", pagePrefix + "{page...}", control.RoleViewer, "", (*Server).page},
	{"GET", "/debug/pprof/{profile...}", control.RoleAdmin, "", (*Server).profile},
}

// route is a row of the table, ready to be matched.
type route struct {
	Route
	answer   func(*Server, *call)
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

// serveOther answers everything but webhooks.
func (s *Server) serveOther(w http.ResponseWriter, r *http.Request, side Side,
	id hookgate.RequestID, idText string) (status int) {
	c := &call{ResponseWriter: w, server: s, request: r, id: id, requestID: idText,
		status: http.StatusOK}
	s.answer(c, side)
	return c.status
}

// answer finds the route of a call to a side and lets it answer.
func (s *Server) answer(c *call, side Side) {
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
