package api

import "github.com/hookgate/hookgate/control"

// Token is a token without its text.
type Token struct {
	Name string       `json:"name"`
	Role control.Role `json:"role"`
	// Subscriptions are those whose events a consumer may fetch; empty for any other role.
	Subscriptions []string `json:"subscriptions,omitempty"`
	CreatedAt     Time     `json:"createdAt"`
	CreatedBy     string   `json:"createdBy"`
	// ExpiresAt and RevokedAt are null if the token does not expire, or was not revoked.
	ExpiresAt *Time `json:"expiresAt"`
	RevokedAt *Time `json:"revokedAt"`
}

// NewToken is a token with its text, which the gate shows only once.
type NewToken struct {
	Text string `json:"token"`
	Token
}

// Tokens is the answer of GET /admin/tokens.
type Tokens struct {
	Tokens []Token `json:"tokens"`
}

// TokenRequest is the body of POST /admin/tokens.
type TokenRequest struct {
	Name string       `json:"name"`
	Role control.Role `json:"role"`
	// Subscriptions are those whose events a consumer may fetch. Other roles have none.
	Subscriptions []string `json:"subscriptions,omitempty"`
	// ExpiresAt is RFC 3339; empty for a token that does not expire.
	ExpiresAt string `json:"expiresAt,omitempty"`
}

// Action is a row of the admin trail. An action has two: one before it is done and one after it.
type Action struct {
	Sequence int64 `json:"sequence"`
	At       Time  `json:"at"`
	// RequestID is the same in both rows.
	RequestID string `json:"requestId"`
	// By is the name of the token.
	By         string       `json:"by"`
	Role       control.Role `json:"role"`
	RemoteAddr string       `json:"remoteAddr"`
	Action     string       `json:"action"`
	Target     string       `json:"target"`
	Reason     string       `json:"reason"`
	// Result begins with begun, done or failed.
	Result string `json:"result"`
	Hash   string `json:"hash"`
}

// Actions is a page of the admin trail.
type Actions struct {
	Actions []Action `json:"actions"`
	// Next is the after of the next page; empty on the last one.
	Next string `json:"next,omitempty"`
}

// Approval is a request for the approval of another person, and its outcome.
type Approval struct {
	ID     string                `json:"id"`
	Action string                `json:"action"`
	Target string                `json:"target"`
	State  control.ApprovalState `json:"state"`
	// Needs is the least role that may decide.
	Needs       control.Role `json:"needs"`
	RequestedBy string       `json:"requestedBy"`
	Role        control.Role `json:"role"`
	RequestID   string       `json:"requestId"`
	RequestedAt Time         `json:"requestedAt"`
	Reason      string       `json:"reason"`
	ExpiresAt   Time         `json:"expiresAt"`
	// The next three are null until somebody decides, the last two until the approval is used.
	DecidedBy      *string `json:"decidedBy"`
	DecidedAt      *Time   `json:"decidedAt"`
	DecisionReason *string `json:"decisionReason"`
	UsedBy         *string `json:"usedBy"` // a request id
	UsedAt         *Time   `json:"usedAt"`
}

// Approvals is a page of approvals.
type Approvals struct {
	Approvals []Approval `json:"approvals"`
	// Next is the after of the next page; empty on the last one.
	Next string `json:"next,omitempty"`
}

// StatusApprovalRequired is the Status of an ApprovalRequired.
const StatusApprovalRequired = "approval_required"

// ApprovalRequired is the answer, with status 202, to a call that needs an approval and has none.
// The call did nothing but ask for the approval, unless that had been asked for before.
type ApprovalRequired struct {
	Status   string   `json:"status"`
	Approval Approval `json:"approval"`
}
