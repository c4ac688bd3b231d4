package certify

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/load"
)

// The kinds of callers.
const (
	nobody = "nobody"
	sender = "sender"
	admin  = "admin"
	// A consumer has a token for one subscription. One that is unbound tries another one.
	consuming = string(control.RoleConsumer)
	unbound   = "consumer of another subscription"
	// revoked begins the callers whose token was revoked.
	revoked = "revoked"
)

// madeRoles are the roles for which tokens are made.
var madeRoles = []string{consuming, string(control.RoleViewer),
	string(control.RoleOperator)}

// Rule has the status that each kind of caller gets for a call, tried in a way that changes
// nothing.
type Rule struct {
	Method string
	// Path names the call. Probe is the path to try, and Body the body to send. The name none in Probe
	// stands for a name that nothing has.
	Path, Probe, Body string
	// Status has the status by caller: nobody, sender (with a key for webhooks), consumer, viewer,
	// operator, admin.
	Status map[string]int
}

// webhook reports whether it is a call of senders.
func (r *Rule) webhook() bool { return strings.HasPrefix(r.Path, webhookPath) }

// roleReport is roles.json: who may do what.
type roleReport struct {
	Tried []roleTry `json:"tried"`
	// Note says what could not be tried.
	Note string `json:"note,omitempty"`
}

// roleTry is a call and its answer.
type roleTry struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Caller string `json:"caller"`
	// WellFormed is true if the body was one that the gate takes from others.
	WellFormed bool `json:"wellFormed,omitempty"`
	Want       int  `json:"want"`
	answer
}

// blocked reports whether the gate refused a credential unseen, after too many unknown ones.
func (t *roleTry) blocked() bool {
	return t.Caller == sender && t.Want == http.StatusUnauthorized &&
		t.Status == http.StatusTooManyRequests
}

func (r roleReport) criterion() Criterion {
	c := Criterion{ID: "roles", Text: "calls whose answer differs from the table of roles",
		Relation: "=", Unit: "calls", Evidence: rolesFile}
	note := r.Note
	for _, t := range r.Tried {
		why := t.foreign(t.Path, t.Want)
		switch {
		case t.Status == t.Want, t.blocked():
		case why != "":
			if note == "" {
				note = fmt.Sprintf("%s %s by %s: %s", t.Method, t.Path, t.Caller, why)
			}
		default:
			c.Value++
			c.find("%s %s by %s: %d, it should be %d", t.Method, t.Path, t.Caller, t.Status, t.Want)
		}
	}
	c.decide()
	switch {
	case len(r.Tried) == 0:
		c.invalidate("no call was tried")
	case note != "" && c.Status == Pass:
		c.invalidate("%s", note)
	}
	return c
}

// webhookPath is the path of the default source, and begins those of all others. The caller sender
// has the key of defaultSource.
const defaultSource, webhookPath = "default", "/webhooks"

// roles tries the table of roles, except as a sender. It makes tokens for the lesser roles, revokes
// them, and tries them again.
func (c *certification) roles(ctx context.Context) (r roleReport) {
	r.Tried = []roleTry{}
	tokens, names := map[string]string{nobody: "", admin: c.Token}, []string{}
	for _, role := range madeRoles {
		// Another name if the certification is resumed, because a gate never takes a name again.
		name := fmt.Sprintf("%s-%s-%04x", c.start.RunID, role, rand.IntN(1<<16))
		token, err := c.target.makeToken(ctx, name, role, c.absent())
		if err != nil {
			r.Note = "the role " + role + " was not tried: " + err.Error()
			continue
		}
		tokens[role] = token
		names = append(names, name)
	}
	for i := range c.Rules {
		for _, caller := range append([]string{nobody, admin}, madeRoles...) {
			if token, ok := tokens[caller]; ok {
				c.tryRule(ctx, &r, &c.Rules[i], caller, with(token))
			}
		}
		if token, ok := tokens[consuming]; ok {
			c.tryUnbound(ctx, &r, c.Rules[i], with(token))
		}
	}
	for _, name := range names {
		if err := c.target.revokeToken(ctx, name); err != nil {
			c.say("revoke the token %s by hand: %v", name, err)
			r.Note = fmt.Sprintf("the token %s could not be revoked: %v", name, err)
		}
	}
	for _, role := range madeRoles {
		if token, ok := tokens[role]; ok {
			c.tryRevoked(ctx, &r, role, token)
		}
	}
	return r
}

// tryRevoked tries a revoked token at the first call for which it was valid.
func (c *certification) tryRevoked(ctx context.Context, r *roleReport, role, token string) {
	i := slices.IndexFunc(c.Rules, func(rule Rule) bool {
		want := rule.Status[role]
		return !rule.webhook() && rule.Status[nobody] == http.StatusUnauthorized && want != 0 &&
			want != http.StatusUnauthorized && want != http.StatusForbidden
	})
	if i < 0 {
		return
	}
	rule := c.Rules[i]
	rule.Status = map[string]int{revoked + " " + role: http.StatusUnauthorized}
	c.tryRule(ctx, r, &rule, revoked+" "+role, with(token))
}

// tryUnbound tries a consumer at a subscription to which its token is not bound.
func (c *certification) tryUnbound(ctx context.Context, r *roleReport, rule Rule,
	header headerOf) {
	want := rule.Status[consuming]
	path, ok := strings.CutPrefix(rule.Probe, "/api/subscriptions"+noName+"/")
	if !ok || want == 0 || want == http.StatusUnauthorized || want == http.StatusForbidden {
		return
	}
	rule.Probe = "/api/subscriptions/" + c.absent() + "-unbound/" + path
	rule.Status = map[string]int{unbound: http.StatusForbidden}
	c.tryRule(ctx, r, &rule, unbound, header)
}

// headerOf returns the header that authenticates a caller with a body.
type headerOf func(body string) http.Header

// with is the header with a token, for any body.
func with(token string) headerOf {
	return func(string) http.Header { return bearer(token) }
}

// senders tries every call with what authenticates a webhook. A gate counts unknown tokens and
// then refuses them with 429 unseen, so this is last, and in an order that differs each time. The
// HMAC secret never leaves the client.
func (c *certification) senders(ctx context.Context, r *roleReport) {
	if c.Credentials == (load.Credentials{}) {
		return
	}
	header := with(c.Credentials.BearerKey)
	if c.Credentials.BearerKey == "" {
		header = func(body string) http.Header {
			return http.Header{signatureHeader: {c.Credentials.Sign([]byte(body))}}
		}
	}
	for _, i := range rand.Perm(len(c.Rules)) {
		c.tryRule(ctx, r, &c.Rules[i], sender, header)
	}
}

// silent reports whether a call had no answer. On a stream each more would take a whole time-out.
func (r *roleReport) silent(path string) bool {
	return slices.ContainsFunc(r.Tried,
		func(t roleTry) bool { return t.Path == path && t.Status == 0 })
}

// tryRule tries a call as one caller. A caller that must be refused sends a body that the gate
// takes from others.
func (c *certification) tryRule(ctx context.Context, r *roleReport, rule *Rule, caller string,
	header headerOf) {
	want := rule.Status[caller]
	if want == 0 || isStream(rule.Path) && r.silent(rule.Path) {
		return
	}
	base, body := c.target.base, rule.Body
	probe := strings.Replace(rule.Probe, noName, "/"+c.absent(), 1)
	if rule.webhook() {
		if c.Profile.Source != defaultSource && c.Profile.Source != hookgate.TestSource {
			return // the key is for another source
		}
		if c.Profile.Source == hookgate.TestSource {
			probe = c.Profile.Path // rejected requests must not count for a source in use
		}
	}
	if rule.webhook() || rule.Path == "/livez" || rule.Path == "/readyz" { // calls of senders
		base = strings.TrimSuffix(c.Target, "/")
	}
	refused := want == http.StatusUnauthorized || want == http.StatusForbidden
	name := c.start.RunID + "-refused-" + strconv.Itoa(len(r.Tried))
	if refused {
		body = bodyFor(rule, name)
	}
	a := c.target.try(ctx, rule.Method, base+probe, rule.Path, body, want,
		header(body))
	r.Tried = append(r.Tried, roleTry{rule.Method, rule.Path, caller, body != rule.Body, want, a})
	if refused && a.Status/100 == 2 {
		c.undo(ctx, rule, name)
	}
}
