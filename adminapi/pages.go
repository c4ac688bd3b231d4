package adminapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/dashboard"
	"github.com/hookgate/hookgate/internal/httpserver"
)

const (
	pagePrefix  = "/ui/"
	signInPath  = pagePrefix + "sign-in"
	signOutPath = pagePrefix + "sign-out"
	// maxForm bounds the sign-in form, in bytes.
	maxForm = 16 << 10
)

// Page reports whether the route is for people: it answers HTML, also for errors.
func (r Route) Page() bool { return r.Path == "/{$}" || strings.HasPrefix(r.Path, pagePrefix) }

// home redirects the root to the first page.
func (s *API) home(c *call) { c.see(pagePrefix) }

// see redirects a browser to another page.
func (c *call) see(where string) {
	c.Header().Set("Location", where)
	c.Header().Set("Cache-Control", "no-store")
	c.WriteHeader(http.StatusSeeOther)
}

// noPage answers an address below pagePrefix that has no page.
func (s *API) noPage(c *call) {
	c.failPage(http.StatusNotFound, "there is no page at this address")
}

// asset answers a file that pages load.
func (s *API) asset(c *call) { s.pages.Asset(c, c.request) }

// live streams the live numbers until the gate stops.
func (s *API) live(c *call) {
	ctx, cancel := context.WithCancel(c.request.Context())
	defer cancel()
	defer context.AfterFunc(s.ending, cancel)()
	s.pages.Stream(c, c.request.WithContext(ctx), c.visitor())
}

// visitor returns the caller as package dashboard needs it.
func (c *call) visitor() *dashboard.Visitor {
	return &dashboard.Visitor{
		Name: c.actor.name, Role: c.actor.role, CSRF: c.csrf,
		Read: c.inner,
		Decides: func(a *control.Approval) dashboard.Decides {
			return dashboard.Decides{
				Own: person(a.RequestedBy) == person(c.actor.name), NotApprove: c.actor.mayDecide(a,
					control.ApprovalApproved),
				NotDeny: c.actor.mayDecide(a, control.ApprovalDenied),
			}
		},
		Renew: func(ctx context.Context) bool {
			sub := &call{ResponseWriter: newReply(), server: c.server, request: c.request.WithContext(ctx),
				id: c.id, requestID: c.requestID, route: c.route, outer: c}
			// While the store is away people need the numbers most.
			return sub.authorise() || sub.status == http.StatusServiceUnavailable
		},
	}
}

// reply is an answer that stays in the process.
type reply struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newReply() *reply { return &reply{header: http.Header{}, status: http.StatusOK} }

func (a *reply) Header() http.Header            { return a.header }
func (a *reply) WriteHeader(status int)         { a.status = status }
func (a *reply) Write(text []byte) (int, error) { return a.body.Write(text) }

// inner makes a GET call for the caller of this one, within the process.
func (c *call) inner(ctx context.Context, path string) (status int, body []byte) {
	a := newReply()
	sub := &call{ResponseWriter: a, server: c.server, id: c.id, requestID: c.requestID,
		status: http.StatusOK, actor: c.actor, outer: c}
	u, err := url.ParseRequestURI(path)
	if err != nil {
		sub.fail(http.StatusBadRequest, "malformed path")
		return a.status, a.body.Bytes()
	}
	sub.request = (&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{},
		Body: http.NoBody, RemoteAddr: c.request.RemoteAddr}).WithContext(ctx)
	c.server.answer(sub, httpserver.Everything)
	return a.status, a.body.Bytes()
}

// showSignIn answers the sign-in form, or redirects a visitor who is signed in.
func (s *API) showSignIn(c *call) {
	next := nextOf(c.request.URL.Query().Get("next"))
	if n, ok := s.sessions.read(c.request, time.Now()); ok {
		if _, err := s.findHash(c.request.Context(), n.token, time.Now()); err == nil {
			c.see(next)
			return
		}
	}
	s.pages.SignIn(c, c.request, http.StatusOK, "", next)
}

// nextOf returns the page to show after signing in: the wanted one if it is a page of this gate.
func nextOf(wanted string) string {
	if u, err := url.Parse(wanted); err == nil && u.Scheme == "" && u.Host == "" &&
		strings.HasPrefix(wanted, pagePrefix) &&
		!strings.ContainsAny(wanted, "\\\r\n") && u.Path != signInPath {
		return wanted
	}
	return pagePrefix
}

// signIn begins a session for a visitor with a valid token. Failures count as in any other call.
func (s *API) signIn(c *call) {
	c.request.Body = http.MaxBytesReader(c, c.request.Body, maxForm)
	if err := c.request.ParseForm(); err != nil {
		c.fail(http.StatusBadRequest, "the form could not be read")
		return
	}
	next := nextOf(c.request.PostForm.Get("next"))
	if http.NewCrossOriginProtection().Check(c.request) != nil {
		c.reject(http.StatusForbidden, "the sign-in form must come from a page of this gate")
		return
	}
	text := strings.TrimSpace(c.request.PostForm.Get("token"))
	who, err := c.find(text)
	var refused rejectedToken
	switch {
	case text == "":
		s.pages.SignIn(c, c.request, http.StatusBadRequest, "Enter a token.", next)
	case errors.As(err, &refused):
		if c.countFailure(refused) {
			return
		}
		s.rejectedCalls.Log(c.request, c.requestID,
			httpserver.Rejection{Status: http.StatusUnauthorized, Text: refused.Error()})
		s.pages.SignIn(c, c.request, http.StatusUnauthorized, "This token "+string(refused)+".", next)
	case err != nil:
		c.unavailable("looking up the token", err)
	case !who.role.Covers(viewer):
		s.pages.SignIn(c, c.request, http.StatusForbidden, fmt.Sprintf(
			"This token has the role %s, which cannot sign in.", who.role), next)
	default:
		s.log.Info("signed in", "request_id", c.requestID, "by", who.name, "role", who.role, "remote",
			c.request.RemoteAddr)
		s.sessions.write(c, c.request, s.sessions.begin(control.HashToken(text), time.Now()))
		c.see(next)
	}
}

// signOut ends the session.
func (s *API) signOut(c *call) {
	c.request.Body = http.MaxBytesReader(c, c.request.Body, maxForm)
	n, ok := s.sessions.read(c.request, time.Now())
	if ok {
		if !s.sessions.meant(c.request, n, c.request.PostFormValue("csrf")) {
			c.reject(http.StatusForbidden, "the sign-out form must come from a page of this gate")
			return
		}
		s.sessions.end(n)
		s.log.Info("signed out", "request_id", c.requestID, "remote", c.request.RemoteAddr)
	}
	s.sessions.clear(c, c.request)
	c.see(signInPath)
}

// failPage answers with an error page, or with the sign-in form if the visitor is not signed in.
func (c *call) failPage(status int, text string) {
	switch status {
	case http.StatusUnauthorized:
		if text == noCredential {
			text = "" // the form says it
		}
		c.server.pages.SignIn(c, c.request, status, text, nextOf(c.request.URL.RequestURI()))
	default:
		var v *dashboard.Visitor
		if c.actor.name != "" {
			v = c.visitor()
		}
		c.server.pages.Problem(c, c.request, status, text, v)
	}
}
