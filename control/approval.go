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
	// ErrApprovalState is the error of a step that the state of the approval does not permit. Nothing
	// was changed.
	ErrApprovalState = errors.New("the state of the approval does not allow it")
	// ErrTooManyApprovals is the error of asking for an approval when the person has the largest
	// number of pending ones. Nothing was changed.
	ErrTooManyApprovals = errors.New("too many requests for approval wait")
)

// ApprovalState is the state of an approval.
//
//	          ┌─► approved ─┬─► used     the action has begun, once
//	pending ──┤             │
//	          └─► denied ◄──┘            another person denied it, or the one who asked withdrew it
//
// A pending or approved one is expired from its ExpiresAt on. No column holds that.
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

// ParseApprovalState parses a state as the API writes it.
func ParseApprovalState(s string) (ApprovalState, error) {
	if state := ApprovalState(s); slices.Contains(approvalStates, state) {
		return state, nil
	}
	return "", fmt.Errorf("unknown state %q; the states are %v", s, approvalStates)
}

// Approval is one person's request for an action, with another person's decision. Times are in
// microseconds.
type Approval struct {
	// ID numbers the approvals from 1. The store gives it.
	ID int64
	// Action and Target name the action and its object. Two different actions never have the same
	// text.
	Action, Target string
	// Needs is the role that the deciding person must have: that of the action.
	Needs Role
	// RequestedBy is the name of the token that asked, Role its role, RequestID the call.
	RequestedBy string
	Role        Role
	RequestID   hookgate.RequestID
	RequestedAt time.Time
	Reason      string
	// ExpiresAt is when it can no longer be decided or used.
	ExpiresAt time.Time

	// State as it is stored: never ApprovalExpired.
	State ApprovalState
	// DecidedBy, DecidedAt and DecisionReason describe the last decision; empty if there was none.
	DecidedBy      string
	DecidedAt      time.Time
	DecisionReason string
	// UsedBy is the call that used the approval, and UsedAt its time; zero if none did.
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

// ApprovalDecision is a person's decision on an approval.
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
	// State is the state at the time Now.
	State ApprovalState
	Now   time.Time
	// After is the ID of an approval: the listing begins with the next one.
	After int64
	// Limit bounds the number of approvals; it must be set.
	Limit int
}
