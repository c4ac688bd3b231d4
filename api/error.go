package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/hookgate/hookgate/control"
)

// ErrorAnswer is the body of every answer that is an error.
type ErrorAnswer struct {
	Status    string `json:"status"` // "error"
	Error     string `json:"error"`
	RequestID string `json:"requestId"`
	// Horizon is the highest event id that retention has removed, with status 410 for a place in the
	// log that is not stored any more.
	Horizon string `json:"horizon,omitempty"`
}

// Error is an answer with any other status than 200, 201, 202 and 204.
type Error struct {
	Status int
	// Message is the reason that the gate gives.
	Message   string
	RequestID string
	// RetryAfter is how long to wait before the call is repeated; 0 if the gate does not say.
	RetryAfter time.Duration
	// Body is the whole answer.
	Body []byte
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("the gate answers %d %s: %s", e.Status, http.StatusText(e.Status), e.Message)
}

// maxErrorBody bounds how much of an error answer is read, in bytes.
const maxErrorBody = 1 << 20

// readError reads an error answer. An answer that is not from a gate becomes the message as it is.
func readError(resp *http.Response) error {
	e := &Error{Status: resp.StatusCode, RequestID: resp.Header.Get("X-Request-Id")}
	e.Body, _ = io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var answer ErrorAnswer
	if json.Unmarshal(e.Body, &answer) == nil && answer.Error != "" {
		e.Message = answer.Error
	} else {
		e.Message = string(bytes.TrimSpace(e.Body))
	}
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	e.RetryAfter = time.Duration(seconds) * time.Second
	return e
}

// ApprovalError is the error of a call that did nothing because it needs an approval. The gate has
// asked for it: when another person has approved, repeat the call with WithApproval.
type ApprovalError struct{ Approval Approval }

// Error implements error.
func (e *ApprovalError) Error() string {
	a := &e.Approval
	if a.State == control.ApprovalApproved {
		return fmt.Sprintf("%s of %s needs an approval, number %s, which is given and not used yet",
			a.Action, a.Target, a.ID)
	}
	return fmt.Sprintf("%s of %s needs an approval, number %s, until %s", a.Action, a.Target, a.ID,
		a.ExpiresAt.Local().Format(time.RFC3339))
}
