package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

// Visitor is whoever looks at a page, and what he may read.
type Visitor struct {
	// Name of his token, and its role.
	Name string
	Role control.Role
	// CSRF is what his scripts send with a call that changes something, in the header X-CSRF-Token.
	// Empty if he has come without a session.
	CSRF string
	// Read answers a GET call of the JSON interface as he would get it.
	Read func(ctx context.Context, path string) (status int, body []byte)
	// Decides says what he may say to a request for approval, as far as that depends on who he is.
	Decides func(*control.Approval) Decides
	// Renew reports whether he may still look: his token may have been revoked since. While that
	// cannot be found out he may.
	Renew func(context.Context) bool
}

// Decides says what somebody may say to a request for approval.
type Decides struct {
	// Own is whether he has asked for it himself.
	Own bool
	// NotApprove says why he may not approve it, NotDeny why he may not deny it or take the approval
	// back; empty if he may.
	NotApprove, NotDeny string
}

// Operator reports whether the visitor may steer the gate, Admin whether he may do everything.
func (v *Visitor) Operator() bool { return v != nil && v.Role.Covers(control.RoleOperator) }

// Admin is described at Operator.
func (v *Visitor) Admin() bool { return v != nil && v.Role.Covers(control.RoleAdmin) }

// APIError is an answer of the JSON interface that is no success.
type APIError struct {
	Status int
	Told   string
}

func (e *APIError) Error() string { return fmt.Sprintf("%d: %s", e.Status, e.Told) }

// isTold reports whether there is no error, or one that the page can tell in place of what it could
// not get.
func isTold(err error) bool {
	var told *APIError
	return err == nil || errors.As(err, &told)
}

// Get reads the answer of a GET call into v. An error is an *APIError if that is what the call
// answered.
func (v *Visitor) Get(ctx context.Context, path string, to any) error {
	status, body := v.Read(ctx, path)
	if status != http.StatusOK {
		var answer api.ErrorAnswer
		if err := json.Unmarshal(body, &answer); err != nil {
			answer.Error = http.StatusText(status)
		}
		return &APIError{status, answer.Error}
	}
	if err := json.Unmarshal(body, to); err != nil {
		return fmt.Errorf("read the answer of %s: %w", path, err)
	}
	return nil
}
