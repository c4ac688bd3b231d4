package control

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
)

// Errors of approvals.
var (
	// ErrApprovalState is returned when an approval is in a state in which what was wanted cannot be
	// done. Nothing was changed.
	ErrApprovalState = errors.New("the state of the approval does not allow it")
	// ErrTooManyApprovals is returned when as many requests of one person wait as may. Nothing was
	// changed.
	ErrTooManyApprovals = errors.New("too many requests for approval wait")
)

// ApprovalState says how far an approval has come.
//
//	          ┌─► approved ─┬─► used     the action was begun, once
//	pending ──┤             │
//	          └─► denied ◄──┘            by another, or withdrawn by whoever asked
//
// What is pending or approved at its ExpiresAt is expired, which is stored nowhere.
type ApprovalState string

// The states.
const (
	ApprovalPending  ApprovalState = "pending"
	ApprovalApproved ApprovalState = "approved"
	ApprovalDenied   ApprovalState = "denied"
	ApprovalUsed     ApprovalState = "used"
	ApprovalExpired  ApprovalState = "expired"
)

var approvalStates = []ApprovalState{ApprovalPending, ApprovalApproved, ApprovalDenied,
	ApprovalUsed, ApprovalExpired}

// ParseApprovalState reads a state as it is written in the API.
func ParseApprovalState(s string) (ApprovalState, error) {
	if state := ApprovalState(s); slices.Contains(approvalStates, state) {
		return state, nil
	}
	return "", fmt.Errorf("state %q is none of %v", s, approvalStates)
}

// Approval is a request to do something to something, and what another person has said to it. Times
// are in microsecond precision.
type Approval struct {
	// ID numbers the approvals from 1. The store gives it.
	ID int64
	// Action is what is to be done, and Target to what, in a form that two different things never
	// share.
	Action, Target string
	// Needs is the least role of whoever decides: that of the action.
	Needs Role
	// RequestedBy is the name of the token that asked, Role its role, RequestID the call.
	RequestedBy string
	Role        Role
	RequestID   hookgate.RequestID
	RequestedAt time.Time
	Reason      string
	// ExpiresAt is when it can neither be decided nor used any more.
	ExpiresAt time.Time

	// State as it is stored: never ApprovalExpired.
	State ApprovalState
	// DecidedBy, DecidedAt and DecisionReason tell of the last decision; empty if there was none.
	DecidedBy      string
	DecidedAt      time.Time
	DecisionReason string
	// UsedBy is the call that used it, and UsedAt when; zero if it was not.
	UsedBy hookgate.RequestID
	UsedAt time.Time
}

// StateAt returns the state at a time.
func (a *Approval) StateAt(now time.Time) ApprovalState {
	if (a.State == ApprovalPending || a.State == ApprovalApproved) && !now.Before(a.ExpiresAt) {
		return ApprovalExpired
	}
	return a.State
}

// ApprovalDecision is what a person says to a request.
type ApprovalDecision struct {
	ID int64
	// State is ApprovalApproved or ApprovalDenied.
	State ApprovalState
	// By is the name of the token that decides, At when.
	By, Reason string
	At         time.Time
}

// ApprovalFilter selects approvals. Zero fields select everything.
type ApprovalFilter struct {
	// State is that at the time Now.
	State ApprovalState
	Now   time.Time
	// After is the ID of the approval to continue behind.
	After int64
	// Limit bounds their number; it must be set.
	Limit int
}
