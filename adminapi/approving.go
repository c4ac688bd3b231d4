package adminapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

// listApprovals answers a page of the approvals, oldest first.
func (s *API) listApprovals(c *call) {
	f := control.ApprovalFilter{Now: time.Now(), Limit: defaultPage}
	err := readParameters(c.request.URL.RawQuery, func(name, value string) (err error) {
		switch name {
		case "state":
			if f.State, err = control.ParseApprovalState(value); err != nil {
				return badParameter{name, "must be pending, approved, denied, used or expired"}
			}
		case "after":
			if f.After, err = strconv.ParseInt(value, 10, 64); err != nil || f.After < 0 {
				return badParameter{name, "must be the id of an approval"}
			}
		case "limit":
			if err := parseLimit(&f.Limit, name, value); err != nil {
				return err
			}
			if f.Limit > maxPage {
				return badParameter{name, fmt.Sprintf("is greater than %d", maxPage)}
			}
		default:
			return unknownParameter(name)
		}
		return nil
	})
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(c.request.Context(), accessTimeout)
	defer cancel()
	limit := f.Limit
	f.Limit++ // one more tells whether there is a next page
	all, err := s.access.Approvals(ctx, f)
	if err != nil {
		c.unavailable("reading the approvals", err)
		return
	}
	answer := api.Approvals{Approvals: []api.Approval{}}
	for i := range all {
		if i == limit {
			answer.Next = strconv.FormatInt(all[i-1].ID, 10)
			break
		}
		answer.Approvals = append(answer.Approvals, approvalOf(&all[i], f.Now))
	}
	c.json(answer)
}

// showApproval answers one approval.
func (s *API) showApproval(c *call) {
	if a, ok := s.findApproval(c); ok {
		c.json(approvalOf(&a, time.Now()))
	}
}

// findApproval returns the approval of the path. If ok is false, the call is answered.
func (s *API) findApproval(c *call) (a control.Approval, ok bool) {
	id, err := strconv.ParseInt(c.parameter("id"), 10, 64)
	if err == nil {
		ctx, cancel := context.WithTimeout(c.request.Context(), accessTimeout)
		defer cancel()
		a, err = s.access.Approval(ctx, id)
	} else {
		err = hookgate.ErrNotFound
	}
	switch {
	case errors.Is(err, hookgate.ErrNotFound):
		c.fail(http.StatusNotFound, "no such approval")
	case err != nil:
		c.unavailable("reading the approval", err)
	}
	return a, err == nil
}

func (s *API) approve(c *call) { s.decide(c, control.ApprovalApproved) }

// deny denies a request, or revokes an approval that is not used yet. The person who asked may
// withdraw the request in this way.
func (s *API) deny(c *call) { s.decide(c, control.ApprovalDenied) }

// decide approves or denies.
func (s *API) decide(c *call, state control.ApprovalState) {
	a, ok := s.findApproval(c)
	if !ok {
		return
	}
	if c.reason == "" {
		c.fail(http.StatusBadRequest, "a decision needs a reason: give it in the header "+reasonHeader)
		return
	}
	if why := c.actor.mayDecide(&a, state); why != "" {
		c.reject(http.StatusForbidden, fmt.Sprintf("%s may not decide approval %d: %s", c.actor.name,
			a.ID, why))
		return
	}
	target := cut(fmt.Sprintf("%d (%s by %s: %s)", a.ID, a.Action, a.RequestedBy, a.Target))
	now := time.Now().Truncate(time.Microsecond).UTC()
	if !c.begin(target) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.request.Context()), accessTimeout)
	defer cancel()
	a, err := s.access.DecideApproval(ctx, control.ApprovalDecision{ID: a.ID, State: state,
		By: c.actor.name, Reason: c.reason, At: now})
	switch {
	case errors.Is(err, control.ErrApprovalState):
		why := stateText(&a, now)
		if c.end(cut(control.ResultFailed + ": " + why)) {
			c.fail(http.StatusConflict, fmt.Sprintf("approval %d can no longer be %s: %s", a.ID, state,
				why))
		}
	case err != nil:
		c.failed("storing the decision", err)
	case c.end(control.ResultDone):
		c.json(approvalOf(&a, now))
	}
}

// mayDecide returns the reason why the actor may not decide so; empty if it may.
func (who *actor) mayDecide(a *control.Approval, state control.ApprovalState) string {
	own := person(a.RequestedBy) == person(who.name)
	switch {
	case own && state == control.ApprovalDenied:
		return ""
	case own && person(a.RequestedBy) == configuredName:
		return "it was requested with a configured token, and all of these belong to one person;" +
			" another person needs a token of their own (hookgate token create)"
	case own:
		return "nobody may approve their own request"
	case !who.role.Covers(a.Needs):
		return fmt.Sprintf("%s needs the role %s", a.Action, a.Needs)
	case who.since.After(a.RequestedAt):
		// Otherwise an admin could make a second token and approve their own request.
		return "its token was created after the request"
	}
	return ""
}
