// Package admit decides whether a request may become a delivery: it authenticates the sender and
// finds the event's identity, ordering key and sequence. It does no I/O and keeps no state.
package admit

import (
	"errors"
	"fmt"
	"net/http"
)

// MaxIdentityBytes is the longest message id, event type or ordering key that is accepted, in bytes.
const MaxIdentityBytes = 256

// ErrUnauthenticated is wrapped by every error that says the sender is not who it should be.
// The HTTP edge answers 401 and must not tell the sender more than that; the full text, which
// holds no secret, is for the log.
var ErrUnauthenticated = errors.New("not authenticated")

// ErrUnsupportedMediaType is wrapped by errors about a Content-Type or Content-Encoding that the
// source does not take. The HTTP edge answers 415 with the text.
var ErrUnsupportedMediaType = errors.New("unsupported media type")

// MalformedError says which field of an authenticated request is wrong. The HTTP edge answers 400
// with its text.
type MalformedError struct {
	// Field is the name of the field, such as "messageId", or "body".
	Field string
	// Reason completes the sentence "FIELD …", such as "is missing".
	Reason string
}

// Error returns the field and the reason as one sentence.
func (e *MalformedError) Error() string { return fmt.Sprintf("%s %s", e.Field, e.Reason) }

// Message is what a request says about its event.
type Message struct {
	MessageID   string
	EventType   string
	OrderingKey string
	// Sequence is the sender's number, or hookgate.NoSequence.
	Sequence int64
}

// Scheme is the way of one kind of sender: how it signs and where it puts what identifies an
// event. A Scheme is immutable and may be used concurrently. The caller invokes the methods in the
// order in which they stand here and stops at the first error, so that nothing is read from
// a sender that cannot be authentic and nothing is parsed before it is authenticated.
type Scheme interface {
	// CheckHeader looks at the header alone, before the body is read. It refuses a request
	// whose credentials are missing, malformed or, where the header suffices to tell, wrong.
	CheckHeader(h http.Header) error
	// Authenticate verifies the credentials over the exact bytes of the body, in constant time
	// for each configured secret. Its errors wrap ErrUnauthenticated.
	Authenticate(h http.Header, body []byte) error
	// Identify finds identity, ordering key and sequence. Its errors are a *MalformedError or
	// wrap ErrUnsupportedMediaType. What it returns does not refer to body.
	Identify(h http.Header, body []byte) (Message, error)
}
