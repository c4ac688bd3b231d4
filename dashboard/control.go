package dashboard

import (
	"net/http"
	"slices"
	"time"

	"github.com/hookgate/hookgate/api"
)

// controlView is the data of the control page.
type controlView struct {
	Queue     api.Queue
	Tokens    []token // none, unless the visitor is an admin
	Approvals []approval
	// TokensErr and ApprovalsErr are the reasons why these cannot be shown. While the store is away
	// people need the rest of the page most.
	TokensErr, ApprovalsErr error
	Canary                  canaryAnswer
	Release                 releaseAnswer
}

// token is a token on a page.
type token struct{ api.Token }

// State says whether the token is valid.
func (t token) State() string {
	switch {
	case t.RevokedAt != nil:
		return "revoked"
	case t.ExpiresAt != nil && !t.ExpiresAt.After(time.Now()):
		return "expired"
	}
	return "valid"
}

// control shows the controls that the visitor may use.
func (d *Dashboard) control(r *http.Request, v *Visitor) (any, error) {
	var c controlView
	ctx := r.Context()
	if err := v.Get(ctx, "/admin/queue", &c.Queue); err != nil {
		return nil, err
	}
	if v.Admin() {
		var all struct{ Tokens []token }
		if c.TokensErr = v.Get(ctx, "/admin/tokens", &all); !isTold(c.TokensErr) {
			return nil, c.TokensErr
		}
		c.Tokens = all.Tokens
		slices.SortStableFunc(c.Tokens, func(a, b token) int { // those that work first
			return compareBool(a.State() != "valid", b.State() != "valid")
		})
	}
	// If the store is away, do not wait for it again.
	if c.ApprovalsErr = c.TokensErr; c.ApprovalsErr == nil {
		c.Approvals, c.ApprovalsErr = readApprovals(ctx, v)
	}
	if !isTold(c.ApprovalsErr) {
		return nil, c.ApprovalsErr
	}
	if err := v.Get(ctx, "/admin/canary", &c.Canary); err != nil {
		return nil, err
	}
	if err := v.Get(ctx, "/admin/release", &c.Release); err != nil {
		return nil, err
	}
	return c, nil
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
