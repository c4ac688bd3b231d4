package adminapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

// Approvals keeps requests for approval and what came of them, for all processes of a gate. All
// methods may be called concurrently. After an error of one that writes, other than those named, it
// is unknown whether it took effect.
type Approvals interface {
	// RequestApproval keeps a request and returns it with its ID; or the one of the same person for
	// the same action and target that is pending or approved at its RequestedAt. ErrTooManyApprovals:
	// maxPending requests of this person are pending.
	RequestApproval(ctx context.Context, a control.Approval, maxPending int) (control.Approval,
		error)
	// DecideApproval approves or denies, once: of several who try at the same time one does it.
	// ErrApprovalState: the state of the approval, which is returned, does not allow it. ErrNotFound:
	// there is none.
	DecideApproval(context.Context, control.ApprovalDecision) (control.Approval, error)
	// UseApproval uses up an approval that is approved and not expired, once. Errors are those of
	// DecideApproval.
	UseApproval(ctx context.Context, id int64, by hookgate.RequestID, at time.Time) (control.Approval,
		error)
	// Approval returns an approval. ErrNotFound: there is none.
	Approval(ctx context.Context, id int64) (control.Approval, error)
	// Approvals returns the approvals that match, oldest first.
	Approvals(context.Context, control.ApprovalFilter) ([]control.Approval, error)
}

// The actions that can be made to need an approval.
const (
	approveCanary   = "canary"
	approveRollback = "rollback"
	approvePurge    = "dlq_purge"     // of one dead letter or of those that a filter selects
	approveRetryAll = "dlq_retry_all" // those that a filter selects
	approvePromote  = "promote"
)

// ApprovalActions returns the names of the actions that can be made to need an approval.
func ApprovalActions() []string {
	return []string{approveCanary, approveRollback, approvePurge, approveRetryAll, approvePromote}
}

// ApprovalRules say what needs an approval.
type ApprovalRules struct {
	// Required are the actions that do, of ApprovalActions; there need not be any.
	Required []string
	// Expiry is how long after the request an approval can be given and used.
	Expiry time.Duration
	// MaxPending is how many requests of one person may be pending.
	MaxPending int
}

const (
	// approvalHeader is where a call names the approval that it uses.
	approvalHeader = "X-Approval"
	// approvalRequest is what a request for approval is called in the admin trail.
	approvalRequest = "approval_request"
)

// person says whose a name of a token is. The tokens of the configuration are one person's: the
// number in their name is their place in a list, which is another one tomorrow, and whoever can
// read one can mostly read them all.
func person(name string) string {
	if strings.HasPrefix(name, configuredName) {
		return configuredName
	}
	return name
}

// approved reports whether the action, of ApprovalActions, may be done to the target now, which is
// exactly what an approval permits: two targets that differ in anything that matters must differ as
// text. It comes when everything else about the call has been found in order, right before begin.
// If it returns false nothing may be done, and the call is answered: what it lacked was an
// approval, which now is asked for, or the one that it names is not for this.
func (c *call) approved(action, target string) bool {
	_, ok := c.permitted(action, target, false)
	return ok
}

// permitted is approved for what takes several calls. One that goesOn uses the approval that the
// first one used, and so whatever is done must be bounded by the time of the decision, as of which
// the approver knew what it would be done to; it is zero if the action needs no approval.
func (c *call) permitted(action, target string, goesOn bool) (decidedAt time.Time, ok bool) {
	s := c.server
	if !slices.Contains(s.config.Approvals.Required, action) {
		return time.Time{}, true
	}
	header := c.request.Header.Get(approvalHeader)
	if header == "" {
		c.requestApproval(action, target)
		return time.Time{}, false
	}
	id, err := strconv.ParseInt(header, 10, 64)
	if err != nil {
		c.fail(http.StatusBadRequest, fmt.Sprintf("header %s is not the number of an approval",
			approvalHeader))
		return time.Time{}, false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.request.Context()), accessTimeout)
	defer cancel()
	now := time.Now()
	a, err := s.access.Approval(ctx, id)
	why := ""
	switch {
	case errors.Is(err, hookgate.ErrNotFound):
		why = "there is none of this number"
	case err != nil:
		c.broken("reading the approval", err)
		return time.Time{}, false
	case person(a.RequestedBy) != person(c.actor.name):
		why = "it is of " + a.RequestedBy
	case a.Action != action || a.Target != target:
		why = fmt.Sprintf("it is for %s of %s, and this is %s of %s", a.Action, cut(a.Target), action,
			cut(target))
	case goesOn && a.State == control.ApprovalUsed && now.Before(a.ExpiresAt):
	default:
		a, err = s.access.UseApproval(ctx, id, c.id, now)
		switch {
		case errors.Is(err, control.ErrApprovalState):
			why = standing(&a, now)
		case err != nil:
			c.broken("using the approval", err)
			return time.Time{}, false
		}
	}
	if why != "" {
		c.refuse(http.StatusForbidden, fmt.Sprintf("approval %d does not permit this: %s", id, why))
		return time.Time{}, false
	}
	c.approval = id
	return a.DecidedAt, true
}

// standing says how it stands with an approval that cannot be used or decided.
func standing(a *control.Approval, now time.Time) string {
	switch a.StateAt(now) {
	case control.ApprovalPending:
		return "nobody has decided yet"
	case control.ApprovalApproved:
		return fmt.Sprintf("%s has approved it", a.DecidedBy)
	case control.ApprovalDenied:
		return fmt.Sprintf("%s has denied it: %s", a.DecidedBy, a.DecisionReason)
	case control.ApprovalUsed:
		return fmt.Sprintf("request %s has used it", a.UsedBy)
	}
	return "it expired at " + a.ExpiresAt.Format(time.RFC3339)
}

// requestApproval asks for the approval of an action, and answers.
func (c *call) requestApproval(action, target string) {
	s := c.server
	if c.reason == "" {
		c.fail(http.StatusBadRequest,
			fmt.Sprintf("%s takes the approval of another person, who must be told why: give a reason in %s (of the commands: --reason)", action, reasonHeader))
		return
	}
	c.action = approvalRequest
	if !c.begin(cut(action + ": " + target)) {
		return
	}
	now := time.Now().Truncate(time.Microsecond).UTC()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.request.Context()), accessTimeout)
	defer cancel()
	a, err := s.access.RequestApproval(ctx, control.Approval{
		Action: action, Target: target, Needs: c.route.Role, RequestedBy: c.actor.name,
		Role: c.actor.role, RequestID: c.id,
		RequestedAt: now, Reason: c.reason, ExpiresAt: now.Add(s.config.Approvals.Expiry),
	}, s.config.Approvals.MaxPending)
	switch {
	case errors.Is(err, control.ErrTooManyApprovals):
		if c.end(control.ResultFailed + ": too many requests wait") {
			c.Header()["Retry-After"] = s.retryAfter
			c.fail(http.StatusTooManyRequests,
				fmt.Sprintf("%d requests of %s wait for approval already: deny those that are not needed, or wait until they expire",
					s.config.Approvals.MaxPending, c.actor.name))
		}
	case err != nil:
		c.failed("asking for the approval", err)
	case c.end(fmt.Sprintf("%s: approval %d is %s", control.ResultDone, a.ID, a.State)):
		c.jsonStatus(http.StatusAccepted, api.ApprovalRequired{
			Status: api.StatusApprovalRequired, Approval: approvalOf(&a, now)})
	}
}
