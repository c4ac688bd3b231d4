package certify

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// Route is a call of the target and who may make it.
type Route struct {
	Method string
	// Path may have {name} for a segment and end with {name...} for the rest.
	Path string
	// Role is the least that is needed: viewer, operator, admin; empty if the call is open to everyone.
	Role string
}

// The roles, in rising order.
var roleNames = []string{"", "viewer", "operator", "admin"}

// Callers that are nobody.
const (
	noToken  = "no token"
	badToken = "wrong token"
)

// roleReport is roles.json: the table of roles as it was found.
type roleReport struct {
	Tried []roleTry `json:"tried"`
	// Note says what could not be tried.
	Note string `json:"note,omitempty"`
}

// roleTry is a call and its answer.
type roleTry struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	// Needs is the least role, and Caller who made the call.
	Needs  string `json:"needs"`
	Caller string `json:"caller"`
	Status int    `json:"status"`
}

// want is what the status should be: a refusal, or 0 for none.
func (t roleTry) want() int {
	switch {
	case t.Needs == "":
		return 0
	case t.Caller == noToken || t.Caller == badToken:
		return http.StatusUnauthorized
	case slices.Index(roleNames, t.Caller) < slices.Index(roleNames, t.Needs):
		return http.StatusForbidden
	}
	return 0
}

// ok reports whether the status is as it should be. A call that is permitted may find nothing, but must not be refused.
func (t roleTry) ok() bool {
	if want := t.want(); want != 0 {
		return t.Status == want
	}
	return t.Status != http.StatusUnauthorized && t.Status != http.StatusForbidden && t.Status != 0 &&
		(t.Status < 500 || t.Status == http.StatusServiceUnavailable)
}

func (r roleReport) criterion() Criterion {
	c := Criterion{ID: "roles", Text: "calls that were permitted or refused against the table of roles", Relation: "=", Unit: "calls", Evidence: rolesFile, Note: r.Note}
	for _, t := range r.Tried {
		if !t.ok() {
			c.Value++
			want := "permitted"
			if t.want() != 0 {
				want = fmt.Sprint(t.want())
			}
			c.find("%s %s by %s: %d, it should be %s", t.Method, t.Path, t.Caller, t.Status, want)
		}
	}
	c.decide()
	if len(r.Tried) == 0 {
		c.invalidate("no call was tried")
	}
	return c
}

// roles tries every call of the table as everyone, and writes roles.json. A call that would change something is made only as
// those who must be refused, and with a body that no call takes.
func (c *certification) roles(ctx context.Context) error {
	r := roleReport{Tried: []roleTry{}}
	callers := map[string]string{noToken: "", badToken: "not-a-token-" + c.start.RunID}
	if c.Token != "" {
		callers["admin"] = c.Token
		made, revoke, err := c.target.makeTokens(ctx, c.start.RunID)
		defer revoke()
		if err != nil {
			r.Note = "viewer and operator were not tried: " + err.Error()
		}
		for role, token := range made {
			callers[role] = token
		}
	}
	for _, route := range c.Routes {
		for _, caller := range []string{noToken, badToken, "viewer", "operator", "admin"} {
			token, ok := callers[caller]
			t := roleTry{Method: route.Method, Path: route.Path, Needs: route.Role, Caller: caller}
			if !ok || route.Method != http.MethodGet && t.want() == 0 {
				continue
			}
			t.Status = c.target.try(ctx, route.Method, examplePath(route.Path), token)
			r.Tried = append(r.Tried, t)
		}
	}
	return writeJSON(c.file(rolesFile), r)
}

// examplePath puts something that is not there for the parameters of a path.
func examplePath(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if strings.HasPrefix(s, "{") {
			segments[i] = "certify-no-such-thing"
		}
	}
	return strings.Join(segments, "/")
}

// try makes a call and returns the status, 0 if there was no answer.
func (t *target) try(ctx context.Context, method, path, token string) int {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var body io.Reader
	if method != http.MethodGet {
		body = strings.NewReader("certify: this is not a body that any call takes")
	}
	req, err := http.NewRequestWithContext(ctx, method, t.base+path, body)
	if err != nil {
		return 0
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return 0
	}
	resp.Body.Close() // a stream, or a verification, is not waited for
	return resp.StatusCode
}

// makeTokens makes tokens of the lesser roles. revoke takes them back; it may be called in any case.
func (t *target) makeTokens(ctx context.Context, name string) (tokens map[string]string, revoke func(), err error) {
	return nil, func() {}, fmt.Errorf("the target has no /admin/tokens")
}
