package adminapi

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/httpserver"
)

// Access stores the tokens, the admin trail and the approvals, for all processes of a gate. All
// methods may be called concurrently. If a method that writes returns an error that is not named
// here, its outcome is unknown.
type Access interface {
	Approvals
	// CreateToken stores a token. ErrExists: its name has been used before.
	CreateToken(context.Context, control.Token) error
	// Token finds a token by its hash, as it is now in every process, including revoked and expired
	// ones. ErrNotFound: there is none.
	Token(ctx context.Context, hash [32]byte) (control.Token, error)
	// Tokens returns all tokens, oldest first.
	Tokens(context.Context) ([]control.Token, error)
	// RevokeToken revokes a token for good and returns it. A token that was revoked before keeps
	// the earlier time. ErrNotFound: there is none.
	RevokeToken(ctx context.Context, name string, at time.Time) (control.Token, error)
	// RecordAction appends a row to the admin trail, and sets its number and its place in the
	// chain.
	RecordAction(context.Context, control.AdminAction) error
	// Actions returns the rows of the trail that the filter selects, in its order.
	Actions(ctx context.Context, f control.ActionFilter) ([]control.AdminAction, error)
}

// accessTimeout bounds each call of Access.
const accessTimeout = 5 * time.Second

// configuredName is the name of a configured token in the trail, with a number if there are
// several. Other tokens must not have a name that begins with it.
const configuredName = "configured"

// configuredTokens are the tokens of the configuration, which work while the store is away. They
// are digests, so that a comparison reveals neither content nor length.
type configuredTokens [][sha256.Size]byte

func newConfiguredTokens(all []string) (t configuredTokens) {
	for _, text := range all {
		t = append(t, control.HashToken(text))
	}
	return t
}

// find compares the hash with every token, in constant time, and returns the name of the one that
// matches.
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

// actor is the caller.
type actor struct {
	name string // of its token
	role control.Role
	// subscriptions are those of a control.RoleConsumer.
	subscriptions []string
	// since is when the token was created; zero for a configured token.
	since time.Time
}

// authorise identifies the caller and checks that its role covers the route's. If not, it answers
// the call and returns false.
//
// It looks the token up in the store for every call and caches nothing, so that a revoked token
// stops working in every process at once. These calls are rare enough for that.
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
			// The token may do only this, and has no other role.
			c.actor = actor{name: evidenceActor, role: c.route.Role}
			return true
		}
	}
	return c.identified(c.find(text))
}

// stillAllowed reports whether the token of the caller is valid after a wait. A person may have
// revoked it meanwhile.
func (c *call) stillAllowed() bool {
	_, text, _ := strings.Cut(c.request.Header.Get("Authorization"), " ")
	var err error
	if text == "" {
		_, _, err = c.bySession()
	} else {
		_, err = c.find(text)
	}
	return err == nil
}

const noCredential = "not authorised: send the header Authorization: Bearer TOKEN"

// countFailure counts an unknown token. It answers the call if the address has sent too many of
// them. Tokens that were revoked or have expired do not count, because they are no guesses. A valid
// token is never rejected because of guesses from the same address.
func (c *call) countFailure(refused rejectedToken) (answered bool) {
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
	c.reject(http.StatusTooManyRequests,
		"too many unknown tokens from this address; wait, then use a valid token")
	return true
}

// identified checks the role of the caller that was found. If it does not cover the route's, or err
// is set, it answers the call and returns false.
func (c *call) identified(who actor, err error) bool {
	var refused rejectedToken
	switch {
	case errors.As(err, &refused):
		if !c.countFailure(refused) {
			c.unauthorised(refused.Error())
		}
		return false
	case errors.Is(err, errForged):
		c.reject(http.StatusForbidden, err.Error())
		return false
	case err != nil:
		c.unavailable("looking up the token", err)
		return false
	}
	c.actor = who
	// The stream is for people who read events, and for consumers as well.
	tails := c.route.Path == streamPath && who.role == control.RoleConsumer
	if !tails && !who.role.Covers(c.route.Role) {
		c.reject(http.StatusForbidden,
			fmt.Sprintf("token %s has the role %s; this call needs the role %s",
				who.name, who.role, c.route.Role))
		return false
	}
	if name := c.request.PathValue("name"); who.role == control.RoleConsumer &&
		c.route.Role == control.RoleConsumer && name != "" &&
		!slices.Contains(who.subscriptions, name) {
		c.reject(http.StatusForbidden, fmt.Sprintf("token %s is for the subscriptions %s, and not for %s",
			who.name, strings.Join(who.subscriptions, ", "), printable(name)))
		return false
	}
	return true
}

// rejectedToken is the reason why a token is not valid.
type rejectedToken string

const unknownToken rejectedToken = "is unknown"

func (e rejectedToken) Error() string { return "not authorised: this token " + string(e) }

// maxGuesses bounds how many tokens are looked up in the store at a time for addresses with too
// many failed logins. Guesses therefore cost the store little, and a valid token only waits its
// turn.
const maxGuesses = 4

// find returns the owner of a token. An error that is not a rejectedToken means that the look-up
// failed.
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

// findHash returns the owner of the token with this hash.
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
		return actor{}, rejectedToken("was revoked at " + t.RevokedAt.Format(time.RFC3339))
	case !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt):
		return actor{}, rejectedToken("expired at " + t.ExpiresAt.Format(time.RFC3339))
	}
	return actor{name: t.Name, role: t.Role, subscriptions: t.Subscriptions,
		since: t.CreatedAt}, nil
}

func (c *call) unauthorised(text string) {
	c.Header().Set("Www-Authenticate", "Bearer")
	c.reject(http.StatusUnauthorized, text)
}

// reject answers with an error that is the caller's, and logs it at a bounded rate.
func (c *call) reject(status int, text string) {
	c.server.rejectedCalls.Log(c.request, c.requestID,
		httpserver.Rejection{Status: status, Text: text})
	c.fail(status, text)
}
