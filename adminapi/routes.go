package adminapi

import (
	"net/http"
	"strings"

	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/dashboard"
	"github.com/hookgate/hookgate/internal/httpserver"
)

// tracePrefix begins the path of a trace; the message id follows.
const tracePrefix = "/api/trace/"

// streamPath is the path of the tail of the log.
const streamPath = "/api/events/stream"

// The least role that a call needs.
const (
	anyone   = control.RoleNone
	consumer = control.RoleConsumer
	viewer   = control.RoleViewer
	operator = control.RoleOperator
	admin    = control.RoleAdmin
)

// table has a row for each call but the webhooks: the pattern of http.ServeMux, the least role, the
// action in the admin trail, and the method that handles the call. The action is empty if the call
// changes nothing that people change. call.serve checks the role, for every row. A GET row also
// serves HEAD.
var table = []struct {
	pattern string
	role    control.Role
	action  string
	handle  func(*API, *call)
}{
	{"GET /livez", anyone, "", (*API).livez},
	{"GET /readyz", anyone, "", (*API).readyz},
	{"GET /metrics", anyone, "", (*API).showMetrics},
	{"GET /api/health", anyone, "", (*API).health},
	{"GET /api/openapi.yaml", anyone, "", (*API).openAPI},

	{"GET /api/sources", viewer, "", (*API).showSources},
	{"GET /api/history", viewer, "", (*API).showHistory},
	{"GET /api/refused", viewer, "", (*API).listRefused},
	{"GET /api/events", viewer, "", (*API).events},
	{"GET " + streamPath, viewer, "", (*API).stream},
	{"GET /api/events/{id}", viewer, "", (*API).event},
	{"GET /api/events/{id}/body", viewer, "", (*API).eventBody},
	{"GET /api/events/{id}/request-body", viewer, "", (*API).requestBody},
	{"GET " + tracePrefix + "{messageId...}", viewer, "", (*API).trace},
	{"GET /api/find", viewer, "", (*API).findID},
	{"GET /api/audit/verify", viewer, "", (*API).verifyAudit},
	{"GET /api/subscriptions", viewer, "", (*API).showSubscriptions},
	{"GET /api/subscriptions/{name}", viewer, "", (*API).showSubscription},
	{"POST /api/subscriptions", operator, "subscription_create", (*API).createSubscription},
	{"DELETE /api/subscriptions/{name}", operator, "subscription_forget", (*API).forgetSubscription},
	{"POST /api/subscriptions/{name}/pull", consumer, "", (*API).pullEvents},
	{"POST /api/subscriptions/{name}/ack", consumer, "", (*API).ackEvents},
	{"POST /api/subscriptions/{name}/nack", consumer, "", (*API).nackEvents},
	{"POST /api/subscriptions/{name}/extend", consumer, "", (*API).extendLease},
	{"GET /api/subscriptions/{name}/exceptions", viewer, "", (*API).listExceptions},
	{"GET /api/subscriptions/{name}/attempts", viewer, "", (*API).listAttempts},
	{"POST /api/subscriptions/{name}/pause", operator, "subscription_pause",
		(*API).pauseSubscription},
	{"POST /api/subscriptions/{name}/resume", operator, "subscription_resume",
		(*API).resumeSubscription},
	{"POST /api/subscriptions/{name}/seek", operator, "subscription_seek", (*API).seekSubscription},
	{"POST /api/subscriptions/{name}/retry", operator, "subscription_retry", (*API).retryExceptions},
	{"POST /api/subscriptions/{name}/skip", operator, "subscription_skip", (*API).skipExceptions},
	{"POST /api/subscriptions/{name}/dead-letter", operator, "subscription_dead_letter",
		(*API).deadLetterExceptions},
	{"POST /api/subscriptions/{name}/redeliver", operator, "subscription_redeliver",
		(*API).redeliver},
	{"GET /api/subscriptions/{name}/jobs", viewer, "", (*API).listJobs},
	{"GET /api/subscriptions/{name}/jobs/{id}", viewer, "", (*API).showJob},
	{"POST /api/subscriptions/{name}/jobs/{id}/cancel", operator, "subscription_job_cancel",
		(*API).cancelJob},
	{"GET " + intakePath, viewer, "", (*API).listIntake},
	{"POST " + intakePath, operator, "evidence_intake", (*API).receiveEvidence},

	{"GET /admin/maintenance", viewer, "", (*API).showMode},
	{"POST /admin/maintenance", operator, "maintenance", (*API).setMode},
	{"GET /admin/canary", viewer, "", (*API).showCanary},
	{"POST /admin/canary", operator, "canary", (*API).setCanary},
	{"GET /admin/queue", viewer, "", (*API).showQueue},
	{"POST /admin/drain", operator, "drain", (*API).drain},
	{"GET /admin/release", viewer, "", (*API).showGuard},
	{"POST /admin/rollback", operator, "rollback", (*API).beginRollback},
	{"POST /admin/rollback/{id}", operator, "rollback_end", (*API).endRollback},
	{"GET /admin/dlq", viewer, "", (*API).deadLetters},
	{"POST /admin/dlq/retry", operator, "dlq_retry", (*API).retryMany},
	{"POST /admin/dlq/purge", admin, "dlq_purge", (*API).purgeMany},
	{"GET /admin/dlq/{id}", viewer, "", (*API).deadLetter},
	{"GET /admin/dlq/{id}/body", viewer, "", (*API).deadLetterBody},
	{"POST /admin/dlq/{id}/retry", operator, "dlq_retry", (*API).retryOne},
	{"POST /admin/dlq/{id}/purge", admin, "dlq_purge", (*API).purgeOne},
	{"POST /admin/test-events/remove", admin, "test_events_remove", (*API).removeTests},
	{"GET /admin/approvals", viewer, "", (*API).listApprovals},
	{"GET /admin/approvals/{id}", viewer, "", (*API).showApproval},
	{"POST /admin/approvals/{id}/approve", operator, "approval_approve", (*API).approve},
	{"POST /admin/approvals/{id}/deny", operator, "approval_deny", (*API).deny},
	{"GET /admin/actions", viewer, "", (*API).actions},
	{"GET /admin/tokens", admin, "", (*API).listTokens},
	{"POST /admin/tokens", admin, "token_create", (*API).createToken},
	{"DELETE /admin/tokens/{name}", admin, "token_revoke", (*API).revokeToken},
	{"GET /debug/pprof/{profile...}", admin, "", (*API).profile},

	// Pages for people. The table of package dashboard has the others.
	{"GET /{$}", viewer, "", (*API).home},
	{"GET " + signInPath, anyone, "", (*API).showSignIn},
	{"POST " + signInPath, anyone, "", (*API).signIn},
	{"POST " + signOutPath, anyone, "", (*API).signOut},
	{"GET " + dashboard.AssetPrefix + "{file...}", anyone, "", (*API).asset},
	{"GET " + pagePrefix + "live", viewer, "", (*API).live},
	{"GET " + pagePrefix + "evidence/{id}/report", viewer, "", (*API).showReport},
	{"GET " + pagePrefix + "{page...}", viewer, "", (*API).noPage},
}

// Route is one call of the HTTP interface.
type Route struct {
	// Method of the call; a GET also answers HEAD.
	Method string
	// Path is a pattern of http.ServeMux.
	Path string
	// Role is the least that the caller needs; RoleNone if the call is open to everyone.
	Role control.Role
	// Action is the name of the call in the admin trail; empty if the call changes nothing, or is one
	// that a consumer makes for every event.
	Action string
}

// Public reports whether the call is on the public side, with the webhooks, if the gate has two
// listeners.
func (r Route) Public() bool { return r.Path == "/livez" || r.Path == "/readyz" }

// on reports whether the call is on a side.
func (r Route) on(side httpserver.Side) bool {
	return side == httpserver.Everything || r.Public() == (side == httpserver.PublicSide)
}

// route is a Route with what handles it.
type route struct {
	Route
	handle func(*API, *call)
}

// routes is the table with the pages of the dashboard.
var routes = allRoutes()

func allRoutes() (all []route) {
	for _, row := range table {
		method, path, _ := strings.Cut(row.pattern, " ")
		all = append(all, route{Route{method, path, row.role, row.action}, row.handle})
	}
	for _, page := range dashboard.Pages() {
		all = append(all, route{Route{http.MethodGet, page.Path, page.Role, ""},
			func(a *API, c *call) { a.pages.Show(c, c.request, c.visitor(), page) }})
	}
	return all
}

// Routes returns every call of the HTTP interface but the webhooks.
func Routes() []Route {
	all := make([]Route, len(routes))
	for i := range routes {
		all[i] = routes[i].Route
	}
	return all
}

// newMux returns a mux with the routes of a side. Its handlers take a *routing.
func newMux(routes []route, side httpserver.Side) *http.ServeMux {
	mux := http.NewServeMux()
	for i := range routes {
		r := &routes[i]
		if !r.on(side) {
			continue
		}
		mux.HandleFunc(r.Method+" "+r.Path, func(w http.ResponseWriter, request *http.Request) {
			c := w.(*routing).call
			c.route, c.request = r, request
			c.serve()
		})
	}
	return mux
}

// routing lets a mux choose the route of a call. The mux itself answers a request that fits none
// (404, 405, or a redirect to a similar path): routing keeps that from the client, and unrouted
// answers instead.
type routing struct {
	call   *call
	header http.Header
	status int
}

func (r *routing) Header() http.Header            { return r.header }
func (r *routing) WriteHeader(status int)         { r.status = status }
func (r *routing) Write(text []byte) (int, error) { return len(text), nil }

// ServeRequest implements httpserver.Handler.
func (s *API) ServeRequest(w http.ResponseWriter, r *http.Request,
	q httpserver.Request) (status int) {
	c := &call{ResponseWriter: w, server: s, request: r, id: q.ID, requestID: q.IDText,
		status: http.StatusOK}
	s.answer(c, q.Side)
	return c.status
}

// answer finds the route of a call to a side and has it handled.
func (s *API) answer(c *call, side httpserver.Side) {
	chosen := &routing{call: c, header: http.Header{}}
	s.muxes[side].ServeHTTP(chosen, withMessageID(c.request))
	if c.route == nil {
		c.unrouted(chosen)
	}
}

// withMessageID returns the request with its message id as one segment of the path. Else a mux
// would redirect an id such as "a//b" or ".." to a shorter path.
func withMessageID(r *http.Request) *http.Request {
	id, ok := strings.CutPrefix(r.URL.EscapedPath(), tracePrefix)
	if !ok {
		return r
	}
	path := *r.URL
	path.RawPath = tracePrefix + messageIDEscapes.Replace(id)
	r = r.WithContext(r.Context()) // a copy
	r.URL = &path
	return r
}

var messageIDEscapes = strings.NewReplacer("/", "%2F", ".", "%2E")

// unrouted answers a call that fits no route. Its path may be that of a sender with a wrong
// address, so it is logged.
func (c *call) unrouted(by *routing) {
	status, text := http.StatusNotFound, "no such path"
	if by.status == http.StatusMethodNotAllowed {
		allow := by.header.Get("Allow")
		c.Header().Set("Allow", allow)
		status, text = by.status, "this path takes "+allow
	}
	if c.outer == nil {
		c.server.webhooks.LogStray(c.request, c.requestID, status, text)
	}
	c.fail(status, text)
}

// parameter returns a wildcard of the route's path, unescaped.
func (c *call) parameter(name string) string { return c.request.PathValue(name) }
