package dashboard

import (
	"net/http"
	"slices"
	"time"
)

// controlView is what can be steered. What is nil is not there, or not for this visitor.
type controlView struct {
	Queue     queueAnswer
	Tokens    []tokenAnswer
	Approvals *approvals
	Canary    *canaryAnswer
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

// approvals are those that wait.
type approvals struct{ Approvals []approval }

// approval is a request for approval as GET /admin/approvals answers it.
type approval struct {
	ID, Action, Target, State, Needs, RequestedBy, Reason string
	RequestedAt, ExpiresAt                                time.Time
}

// canaryAnswer is what GET /admin/canary answers.
type canaryAnswer struct {
	Configured           bool
	Upstream             string
	Percent              int
	At                   *time.Time
	By, Reason, Evidence string
	Plan                 []struct {
		Percent    int
		ForSeconds float64
	}
	Step           int
	WatchedSeconds float64
	Held           string
	Guard          struct {
		Fired   []string
		Unknown string
	}
	Kept bool
}

// control shows what whoever looks may steer.
func (d *Dashboard) control(r *http.Request, v *Visitor) (any, error) {
	var c controlView
	if err := v.Get(r.Context(), "/admin/queue", &c.Queue); err != nil {
		return nil, err
	}
	if v.Admin() {
		var all struct{ Tokens []tokenAnswer }
		if err := v.Get(r.Context(), "/admin/tokens", &all); err != nil {
			return nil, err
		}
		c.Tokens = all.Tokens
		slices.SortStableFunc(c.Tokens, func(a, b tokenAnswer) int { // those that work first
			return compareBool(a.State() != "valid", b.State() != "valid")
		})
	}
	var waiting approvals
	switch err := v.Get(r.Context(), "/admin/approvals?state=pending", &waiting); {
	case err == nil:
		c.Approvals = &waiting
	case !isAbsent(err):
		return nil, err
	}
	var canary canaryAnswer
	switch err := v.Get(r.Context(), "/admin/canary", &canary); {
	case err == nil:
		c.Canary = &canary
	case !isAbsent(err):
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
