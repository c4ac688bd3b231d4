package dashboard

import (
	"net/http"
	"slices"
	"time"
)

// controlView is what can be steered.
type controlView struct {
	Queue     queueAnswer
	Tokens    []tokenAnswer // none, unless the visitor is an admin
	Approvals []approval
	// TokensErr and ApprovalsErr say why these cannot be shown: while the store is away the rest is
	// wanted most.
	TokensErr, ApprovalsErr error
	Canary                  canaryAnswer
	Release                 releaseAnswer
}

// queueAnswer is what GET /admin/queue answers.
type queueAnswer struct {
	Mode      string
	Depth     *int64
	HighWater int64 `json:"high_water"`
	Spooled   int64
	Error     string
	Degraded  string
	Cause     string
}

// tokenAnswer is a token as GET /admin/tokens answers it.
type tokenAnswer struct {
	Name, Role, CreatedBy string
	CreatedAt             time.Time
	ExpiresAt, RevokedAt  *time.Time
}

// State says whether the token works.
func (t tokenAnswer) State() string {
	switch {
	case t.RevokedAt != nil:
		return "revoked"
	case t.ExpiresAt != nil && !t.ExpiresAt.After(time.Now()):
		return "expired"
	}
	return "valid"
}

// control shows what whoever looks may steer.
func (d *Dashboard) control(r *http.Request, v *Visitor) (any, error) {
	var c controlView
	ctx := r.Context()
	if err := v.Get(ctx, "/admin/queue", &c.Queue); err != nil {
		return nil, err
	}
	if v.Admin() {
		var all struct{ Tokens []tokenAnswer }
		if c.TokensErr = v.Get(ctx, "/admin/tokens", &all); !isTold(c.TokensErr) {
			return nil, c.TokensErr
		}
		c.Tokens = all.Tokens
		slices.SortStableFunc(c.Tokens, func(a, b tokenAnswer) int { // those that work first
			return compareBool(a.State() != "valid", b.State() != "valid")
		})
	}
	// one that is away is not waited for twice
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
