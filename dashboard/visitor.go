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

// Visitor is the person who sees a page, and what they may read.
type Visitor struct {
	// Name is the name of the token, Role its role.
	Name string
	Role control.Role
	// CSRF is the token that scripts send in the header X-CSRF-Token with a call that changes
	// something. It is empty without a session.
	CSRF string
	// Read makes a GET call of the JSON interface for the visitor.
	Read func(ctx context.Context, path string) (status int, body []byte)
	// Decides returns which decisions on a request for approval the visitor may make.
	Decides func(*control.Approval) Decides
	// Renew reports whether the token is still valid. It returns true while that cannot be checked.
	Renew func(context.Context) bool
}

// Decides says which decisions on a request for approval somebody may make.
type Decides struct {
	// Own is true for the person who made the request.
	Own bool
	// NotApprove is the reason why they may not approve it, NotDeny why they may not deny or revoke
	// it; empty if they may.
	NotApprove, NotDeny string
}

// Operator reports whether the visitor may steer the gate.
func (v *Visitor) Operator() bool { return v != nil && v.Role.Covers(control.RoleOperator) }

// Admin reports whether the visitor has the role admin.
func (v *Visitor) Admin() bool { return v != nil && v.Role.Covers(control.RoleAdmin) }

// APIError is an error answer of the JSON interface.
type APIError struct {
	Status int
	Told   string
}

func (e *APIError) Error() string { return fmt.Sprintf("%d: %s", e.Status, e.Told) }

// isTold reports whether err is nil, or an error that the page can show in place of the data.
func isTold(err error) bool {
	var told *APIError
	return err == nil || errors.As(err, &told)
}

// Get reads the answer of a GET call. An error is an *APIError if the gate answered one.
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
