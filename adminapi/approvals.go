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

// Approvals stores requests for approval and their outcomes, for all processes of a gate. All
// methods may be called concurrently. If a method that writes returns an error that is not named
// here, its outcome is unknown.
type Approvals interface {
	// RequestApproval stores a request and returns it with its ID. If the same person has a request
	// for the same action and target that is pending or approved at RequestedAt, it returns that
	// one. ErrTooManyApprovals: maxPending requests of this person are pending.
	RequestApproval(ctx context.Context, a control.Approval, maxPending int) (control.Approval,
		error)
	// DecideApproval approves or denies a request. Of concurrent calls exactly one succeeds.
	// ErrApprovalState: the state of the approval, which is returned, does not allow the decision.
	// ErrNotFound: there is none.
	DecideApproval(context.Context, control.ApprovalDecision) (control.Approval, error)
	// UseApproval uses up an approval that is approved and has not expired. Of concurrent calls
	// exactly one succeeds. Errors are those of DecideApproval.
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
	approveSeek     = "subscription_seek" // of the cursor of a subscription
	approveSkip     = "subscription_skip" // of more than one event
)

// ApprovalActions returns the actions that can need an approval.
func ApprovalActions() []string {
	return []string{approveCanary, approveRollback, approvePurge, approveRetryAll, approvePromote,
		approveSeek, approveSkip}
}

// ApprovalRules says which actions need an approval.
type ApprovalRules struct {
	// Required are actions of ApprovalActions; may be empty.
	Required []string
	// Expiry is how long after the request an approval can be decided and used.
	Expiry time.Duration
	// MaxPending is how many requests of one person may be pending.
	MaxPending int
}

const (
	// approvalHeader has the number of the approval that a call uses.
	approvalHeader = "X-Approval"
	// approvalRequest is the action of a request for approval in the admin trail.
	approvalRequest = "approval_request"
)

// person returns the person whom the name of a token stands for. All configured tokens are one
// person: their numbers are positions in a list, which may change, and somebody who can read one
// can usually read all.
func person(name string) string {
	if strings.HasPrefix(name, configuredName) {
		return configuredName
	}
	return name
}

// approved reports whether the action, of ApprovalActions, may be done to the target now. An
// approval permits exactly one target, so two targets that differ in anything that matters must
// differ as text. Call it after all other checks of the call, right before begin. If it returns
// false, do nothing: the call is answered, because it lacks an approval, which is then requested,
// or names an approval for something else.
func (c *call) approved(action, target string) bool {
	_, ok := c.mayContinue(action, target, false)
	return ok
}

// mayContinue is approved for an action that takes several calls. A call that continues one reuses
// the approval of the first call. The action must then be limited to what existed at decidedAt,
// because that is what the approver saw. decidedAt is zero if the action needs no approval.
func (c *call) mayContinue(action, target string, continues bool) (decidedAt time.Time, ok bool) {
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
		c.fail(http.StatusBadRequest, fmt.Sprintf("header %s must be the number of an approval",
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
		why = "it does not exist"
	case err != nil:
		c.unavailable("reading the approval", err)
		return time.Time{}, false
	case person(a.RequestedBy) != person(c.actor.name):
		why = "it was requested by " + a.RequestedBy
	case a.Action != action || a.Target != target:
		why = fmt.Sprintf("it is for %s of %s, but this is %s of %s", a.Action, cut(a.Target), action,
			cut(target))
	case continues && a.State == control.ApprovalUsed && now.Before(a.ExpiresAt):
	default:
		a, err = s.access.UseApproval(ctx, id, c.id, now)
		switch {
		case errors.Is(err, control.ErrApprovalState):
			why = stateText(&a, now)
		case err != nil:
			c.unavailable("using the approval", err)
			return time.Time{}, false
		}
	}
	if why != "" {
		c.reject(http.StatusForbidden, fmt.Sprintf("approval %d does not allow this: %s", id, why))
		return time.Time{}, false
	}
	c.approval = id
	return a.DecidedAt, true
}

// stateText describes an approval that cannot be used or decided.
func stateText(a *control.Approval, now time.Time) string {
	switch a.StateAt(now) {
	case control.ApprovalPending:
		return "it is still pending"
	case control.ApprovalApproved:
		return fmt.Sprintf("%s approved it", a.DecidedBy)
	case control.ApprovalDenied:
		return fmt.Sprintf("%s denied it: %s", a.DecidedBy, a.DecisionReason)
	case control.ApprovalUsed:
		return fmt.Sprintf("request %s used it", a.UsedBy)
	}
	return "it expired at " + a.ExpiresAt.Format(time.RFC3339)
}

// requestApproval requests the approval of an action, and answers the call.
func (c *call) requestApproval(action, target string) {
	s := c.server
	if c.reason == "" {
		c.fail(http.StatusBadRequest,
			fmt.Sprintf("%s needs the approval of another person:"+
				" give a reason in the header %s (commands: --reason)", action, reasonHeader))
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
		if c.end(control.ResultFailed + ": too many requests are pending") {
			c.Header()["Retry-After"] = s.retryAfter
			c.fail(http.StatusTooManyRequests,
				fmt.Sprintf("%d requests of %s are pending already: deny those that are not needed,"+
					" or wait until they expire",
					s.config.Approvals.MaxPending, c.actor.name))
		}
	case err != nil:
		c.failed("requesting the approval", err)
	case c.end(fmt.Sprintf("%s: approval %d is %s", control.ResultDone, a.ID, a.State)):
		c.jsonStatus(http.StatusAccepted, api.ApprovalRequired{
			Status: api.StatusApprovalRequired, Approval: approvalOf(&a, now)})
	}
}
