package adminapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/release/canary"
)

// tokenName is the form of a token's name.
var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// subscriptionName is the form of a subscription's name.
var subscriptionName = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

// listTokens lists all tokens except those of the configuration.
func (s *API) listTokens(c *call) {
	ctx, cancel := context.WithTimeout(c.request.Context(), accessTimeout)
	defer cancel()
	all, err := s.access.Tokens(ctx)
	if err != nil {
		c.unavailable("listing tokens", err)
		return
	}
	answer := api.Tokens{Tokens: []api.Token{}}
	for _, t := range all {
		answer.Tokens = append(answer.Tokens, tokenOf(t))
	}
	c.json(answer)
}

// createToken creates a token and answers its text, which is shown only once.
func (s *API) createToken(c *call) {
	t, err := readToken(c, time.Now())
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	t.CreatedBy = c.actor.name
	text := control.NewTokenText()
	t.Hash = control.HashToken(text)
	target := fmt.Sprintf("%s (%s)", t.Name, t.Role)
	if len(t.Subscriptions) > 0 {
		target = fmt.Sprintf("%s (%s of %s)", t.Name, t.Role, strings.Join(t.Subscriptions, ", "))
	}
	if !t.ExpiresAt.IsZero() {
		target += " until " + t.ExpiresAt.Format(time.RFC3339)
	}
	if !c.begin(cut(target)) {
		return
	}
	ctx, cancel := context.WithTimeout(c.request.Context(), accessTimeout)
	defer cancel()
	switch err := s.access.CreateToken(ctx, t); {
	case errors.Is(err, control.ErrExists):
		if c.end(control.ResultFailed + ": the name is taken") {
			c.fail(http.StatusConflict,
				fmt.Sprintf("the name %s is in use, or was: choose another, because names are never reused",
					t.Name))
		}
	case err != nil:
		c.failed("storing the token", err)
	case c.end(control.ResultDone):
		c.jsonStatus(http.StatusCreated, api.NewToken{Text: text, Token: tokenOf(t)})
	}
}

// maxBound is the number of subscriptions to which a token can be bound at most.
const maxBound = 100

// readToken makes a token from the body of a request. An error is for the caller.
func readToken(c *call, now time.Time) (t control.Token, err error) {
	t.CreatedAt = now.Truncate(time.Microsecond).UTC()
	members, err := readObject(c, "name", "role", "subscriptions", "expiresAt")
	if err != nil {
		return t, err
	}
	var role, expires string
	err = errors.Join(
		readMember(members, "name", "a text", &t.Name),
		readMember(members, "role", "consumer, viewer, operator or admin", &role),
		readMember(members, "subscriptions", "a list of names", &t.Subscriptions),
		readMember(members, "expiresAt", "a time such as 2027-01-01T00:00:00Z", &expires))
	if err != nil {
		return t, err
	}
	switch t.Name {
	case canary.ActorPlan, canary.ActorGuard:
		return t, fmt.Errorf("name %s is reserved: the gate itself has it in the admin trail", t.Name)
	}
	if !tokenName.MatchString(t.Name) || strings.HasPrefix(t.Name, configuredName) {
		return t, fmt.Errorf("name must be 1 to 64 letters, digits and ._@-,"+
			" begin with a letter or digit, and not begin with %q", configuredName)
	}
	if t.Role, err = control.ParseRole(role); err != nil {
		return t, err
	}
	switch consumes := t.Role == control.RoleConsumer; {
	case consumes && len(t.Subscriptions) == 0:
		return t, errors.New("role consumer needs subscriptions: a list of the names of those whose" +
			" events the token may fetch")
	case !consumes && len(t.Subscriptions) > 0:
		return t, fmt.Errorf("subscriptions are for the role consumer: role %s is for all of them",
			t.Role)
	case len(t.Subscriptions) > maxBound:
		return t, fmt.Errorf("subscriptions has more than %d names", maxBound)
	}
	for i, name := range t.Subscriptions {
		if !subscriptionName.MatchString(name) || slices.Contains(t.Subscriptions[:i], name) {
			return t, fmt.Errorf("subscriptions has %q, which is no name of a subscription or occurs twice",
				printable(name))
		}
	}
	if _, ok := members["expiresAt"]; ok {
		if t.ExpiresAt, err = time.Parse(time.RFC3339, expires); err != nil {
			return t, errors.New("expiresAt must be a time such as 2027-01-01T00:00:00Z")
		}
		if t.ExpiresAt = t.ExpiresAt.Truncate(time.Microsecond).UTC(); !t.ExpiresAt.After(now) {
			return t, fmt.Errorf("expiresAt is in the past: the gate's clock says %s",
				now.UTC().Format(time.RFC3339))
		}
	}
	return t, nil
}

// revokeToken revokes a token. Repeating the call gives the same answer.
func (s *API) revokeToken(c *call) {
	name := c.parameter("name")
	if !tokenName.MatchString(name) || strings.HasPrefix(name, configuredName) {
		c.fail(http.StatusNotFound, "no such token; to revoke a configured token,"+
			" remove it from the configuration")
		return
	}
	if !c.begin(name) {
		return
	}
	ctx, cancel := context.WithTimeout(c.request.Context(), accessTimeout)
	defer cancel()
	t, err := s.access.RevokeToken(ctx, name, time.Now())
	switch {
	case errors.Is(err, hookgate.ErrNotFound):
		if c.end(control.ResultFailed + ": there is no such token") {
			c.fail(http.StatusNotFound, "no token has this name")
		}
	case err != nil:
		c.failed("revoking the token", err)
	case c.end(control.ResultDone):
		c.json(tokenOf(t))
	}
}
