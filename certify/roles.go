package certify

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
)

// The kinds of callers.
const (
	nobody = "nobody"
	sender = "sender"
	admin  = "admin"
)

// made are the roles for which tokens are made.
var madeRoles = []string{"viewer", "operator"}

// Rule has the status that each kind of caller gets for a call, tried in a way that changes
// nothing.
type Rule struct {
	Method string
	// Path names the call. Probe is the path to try, and Body the body to send.
	Path, Probe, Body string
	// Status has the status by caller: nobody, sender (with a key for webhooks), viewer, operator,
	// admin.
	Status map[string]int
}

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
	Want   int    `json:"want"`
	Status int    `json:"status"`
}

func (r roleReport) criterion() Criterion {
	c := Criterion{ID: "roles", Text: "calls that were answered against the table of roles",
		Relation: "=", Unit: "calls", Evidence: rolesFile}
	for _, t := range r.Tried {
		if t.Status != t.Want {
			c.Value++
			c.find("%s %s by %s: %d, it should be %d", t.Method, t.Path, t.Caller, t.Status, t.Want)
		}
	}
	c.decide()
	switch {
	case len(r.Tried) == 0:
		c.invalidate("no call was tried")
	case r.Note != "" && c.Status == Pass:
		c.invalidate("%s", r.Note)
	}
	return c
}

// defaultSource is the source whose key the caller sender has.
const defaultSource = "default"

// maxBadLogins bounds the calls with a rejected credential: a gate blocks an address that makes too
// many.
const maxBadLogins = 10

// roles tries the table of roles and writes roles.json. It makes tokens for the lesser roles and
// revokes them again.
func (c *certification) roles(ctx context.Context) error {
	r := roleReport{Tried: []roleTry{}}
	tokens := map[string]string{nobody: "", admin: c.Token, sender: c.Credentials.BearerKey}
	for _, role := range madeRoles {
		name := c.start.RunID + "-" + role
		token, err := c.target.makeToken(ctx, name, role)
		if err != nil {
			r.Note = "the role " + role + " was not tried: " + err.Error()
			continue
		}
		tokens[role] = token
		defer func() {
			if err := c.target.revokeToken(ctx, name); err != nil {
				c.say("revoke the token %s by hand: %v", name, err)
			}
		}()
	}
	bad := 0
	for _, rule := range c.Rules {
		webhook := strings.HasPrefix(rule.Path, "/webhooks")
		if webhook && c.Profile.Source != defaultSource && c.Profile.Source != hookgate.TestSource {
			continue // the key is for another source
		}
		for _, caller := range append([]string{nobody, sender, admin}, madeRoles...) {
			token, ok := tokens[caller]
			want := rule.Status[caller]
			if !ok || want == 0 || caller == sender && token == "" {
				continue
			}
			if refused := want == http.StatusUnauthorized && token != ""; refused {
				if bad++; bad > maxBadLogins {
					continue
				}
			}
			base := c.target.base
			if webhook || rule.Path == "/livez" || rule.Path == "/readyz" { // calls of senders
				base = strings.TrimSuffix(c.Target, "/")
			}
			probe := rule.Probe
			if webhook && c.Profile.Source == hookgate.TestSource {
				probe = c.Profile.Path // rejected requests must not count for a source in use
			}
			r.Tried = append(r.Tried, roleTry{rule.Method, rule.Path, caller, want,
				c.target.try(ctx, rule.Method, base+probe, token, rule.Body)})
		}
	}
	return writeJSON(c.file(rolesFile), r)
}

// try makes a call and returns the status, 0 if there was no answer.
func (t *target) try(ctx context.Context, method, address, token, body string) int {
	resp, err := t.call(ctx, method, address, token, body)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

func (t *target) call(ctx context.Context, method, address, token, body string) (*http.Response,
	error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	var text io.Reader
	if body != "" {
		text = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, text)
	if err != nil {
		cancel()
		return nil, err
	}
	req.Header.Set("Content-Type", jsonType)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := t.client.Do(req)
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = cancelling{resp.Body, cancel}
	return resp, nil
}

// cancelling ends the context of a call when its body is closed.
type cancelling struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (c cancelling) Close() error {
	defer c.cancel()
	return c.ReadCloser.Close()
}

// tokenLife is how long a token lives that could not be revoked.
const tokenLife = 15 * time.Minute

// makeToken makes a token and returns its text.
func (t *target) makeToken(ctx context.Context, name, role string) (string, error) {
	body, err := json.Marshal(map[string]string{"name": name, "role": role,
		"expiresAt": time.Now().Add(tokenLife).UTC().Format(time.RFC3339)})
	if err != nil {
		return "", err
	}
	resp, err := t.call(ctx, http.MethodPost, t.base+"/admin/tokens", t.token, string(body))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err == nil && resp.StatusCode != http.StatusCreated {
		err = &statusError{resp.StatusCode, string(text)}
	}
	var answer struct{ Token string }
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	if err == nil && answer.Token == "" {
		err = fmt.Errorf("the answer has no token")
	}
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	return answer.Token, nil
}

func (t *target) revokeToken(ctx context.Context, name string) error {
	if status := t.try(ctx, http.MethodDelete, t.base+"/admin/tokens/"+name, t.token,
		""); status != http.StatusOK {
		return fmt.Errorf("the target answers %d", status)
	}
	return nil
}
