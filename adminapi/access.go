package adminapi

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/httpserver"
)

// Access keeps the tokens, the admin trail and the approvals, for all processes of a gate. All
// methods may be called concurrently. After an error of one that writes, other than those named, it
// is unknown whether it took effect.
type Access interface {
	Approvals
	// CreateToken keeps a token. ErrExists: its name has been given before.
	CreateToken(context.Context, control.Token) error
	// Token finds a token by its hash, revoked and expired ones too, as it stands now in every
	// process. ErrNotFound: there is none.
	Token(ctx context.Context, hash [32]byte) (control.Token, error)
	// Tokens returns all tokens, oldest first.
	Tokens(context.Context) ([]control.Token, error)
	// RevokeToken ends a token for good and returns it; an earlier revocation stays as it is.
	// ErrNotFound: there is none.
	RevokeToken(ctx context.Context, name string, at time.Time) (control.Token, error)
	// RecordAction adds a row to the admin trail and gives it its number and its place in the chain.
	RecordAction(context.Context, control.AdminAction) error
	// Actions returns the rows of the trail behind the number after, oldest first, at most limit.
	Actions(ctx context.Context, after int64, limit int) ([]control.AdminAction, error)
}

// accessTimeout bounds what one call asks of Access at a time.
const accessTimeout = 5 * time.Second

// configuredName is what a token of the configuration is called in the trail, with a number if
// there are several. No other token may have a name that begins so.
const configuredName = "configured"

// configuredTokens are the tokens of the configuration, which work while the store is away.
// Digests, so that a comparison tells neither content nor length.
type configuredTokens [][sha256.Size]byte

func newConfiguredTokens(all []string) (t configuredTokens) {
	for _, text := range all {
		t = append(t, control.HashToken(text))
	}
	return t
}

// find compares with every token, whatever comes out, and returns the name of the one that fits.
func (t configuredTokens) find(hash [sha256.Size]byte) (name string, ok bool) {
	found := 0 // counted from 1
	for i := range t {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(hash[:], t[i][:]), i+1, found)
	}
	if found == 0 {
		return "", false
	}
	if len(t) == 1 {
		return configuredName, true
	}
	return fmt.Sprintf("%s-%d", configuredName, found), true
}

// actor is who makes a call.
type actor struct {
	name string // of the token
	role control.Role
	// since is when the token was made; zero for those of the configuration.
	since time.Time
}

// authorise finds out who makes the call, and whether its role covers the route's. If not it has
// answered.
//
// A token is looked up in the store at every call and kept nowhere, so that one that was revoked
// stops working at once in every process. Calls of this kind are rare enough for that.
func (c *call) authorise() bool {
	s := c.server
	scheme, text, _ := strings.Cut(c.request.Header.Get("Authorization"), " ")
	if text == "" || !strings.EqualFold(scheme, "Bearer") {
		who, found, err := c.bySession()
		if found {
			return c.identified(who, err)
		}
		c.unauthorised(noCredential)
		return false
	}
	if c.route.Path == intakePath {
		if _, ok := s.evidenceTokens.find(control.HashToken(text)); ok {
			// it may do this, and has no role elsewhere
			c.actor = actor{name: evidenceActor, role: c.route.Role}
			return true
		}
	}
	return c.identified(c.find(text))
}

const noCredential = "not authorised: this call takes Authorization: Bearer TOKEN"

// countFailure counts a token that opens nothing, and answers if the address has shown too many of
// them. One that has ended is no guess. Nobody else at the address notices: a token that is right
// is never refused for the guesses of others.
func (c *call) countFailure(refused refusedToken) (answered bool) {
	if refused != unknownToken {
		return false
	}
	from := c.server.loginFrom(c.request)
	wait := c.server.logins.blocked(from)
	if wait <= 0 {
		c.server.logins.failed(from)
		return false
	}
	c.Header().Set("Retry-After", fmt.Sprint(int64((wait+time.Second-1)/time.Second)))
	c.refuse(http.StatusTooManyRequests,
		"too many unknown tokens from this address, and this one is unknown too")
	return true
}

// identified lets who was found make the call, if his role covers the route's. If not it has
// answered.
func (c *call) identified(who actor, err error) bool {
	var refused refusedToken
	switch {
	case errors.As(err, &refused):
		if !c.countFailure(refused) {
			c.unauthorised(refused.Error())
		}
		return false
	case errors.Is(err, errNotMeant):
		c.refuse(http.StatusForbidden, err.Error())
		return false
	case err != nil:
		c.broken("looking up the token", err)
		return false
	}
	c.actor = who
	if !who.role.Covers(c.route.Role) {
		c.refuse(http.StatusForbidden, fmt.Sprintf("token %s has the role %s, and this call takes %s",
			who.name, who.role, c.route.Role))
		return false
	}
	return true
}

// refusedToken says why a token opens nothing.
type refusedToken string

const unknownToken refusedToken = "is not known"

func (e refusedToken) Error() string { return "not authorised: this token " + string(e) }

// maxGuesses is how many tokens from addresses with too many failed logins are looked up in the
// store at a time, so that guesses cost it little, however many come; a token that is right waits
// its turn.
const maxGuesses = 4

// find returns who has the token. An error that is no refusedToken means that it could not be found
// out.
func (c *call) find(text string) (actor, error) {
	s, ctx := c.server, c.request.Context()
	hash := control.HashToken(text)
	if _, ok := s.configured.find(hash); !ok {
		if !control.IsTokenText(text) {
			return actor{}, unknownToken
		}
		if s.logins.blocked(s.loginFrom(c.request)) > 0 {
			waiting, cancel := context.WithTimeout(ctx, accessTimeout)
			defer cancel()
			select {
			case s.guesses <- struct{}{}:
				defer func() { <-s.guesses }()
			case <-waiting.Done():
				return actor{}, waiting.Err()
			}
		}
	}
	return s.findHash(ctx, hash, time.Now())
}

// findHash returns who has the token with this hash.
func (s *API) findHash(ctx context.Context, hash [sha256.Size]byte, now time.Time) (actor,
	error) {
	if name, ok := s.configured.find(hash); ok {
		return actor{name: name, role: control.RoleAdmin}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, accessTimeout)
	defer cancel()
	t, err := s.access.Token(ctx, hash)
	switch {
	case errors.Is(err, hookgate.ErrNotFound):
		return actor{}, unknownToken
	case err != nil:
		return actor{}, err
	case !t.RevokedAt.IsZero():
		return actor{}, refusedToken("was revoked at " + t.RevokedAt.Format(time.RFC3339))
	case !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt):
		return actor{}, refusedToken("expired at " + t.ExpiresAt.Format(time.RFC3339))
	}
	return actor{name: t.Name, role: t.Role, since: t.CreatedAt}, nil
}

func (c *call) unauthorised(told string) {
	c.Header().Set("Www-Authenticate", "Bearer")
	c.refuse(http.StatusUnauthorized, told)
}

// refuse answers with an error that is the caller's and logs it, though not without limit.
func (c *call) refuse(status int, told string) {
	c.server.refusedCalls.Log(c.request, c.requestID,
		httpserver.Rejection{Status: status, Text: told})
	c.fail(status, told)
}
