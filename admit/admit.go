// Package admit decides whether a request may become a delivery: it authenticates the sender and
// finds the event's identity, ordering key and sequence. It does no I/O and keeps no state; what
// Amazon SNS needs of the outside comes through the interface Amazon.
package admit

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
)

// MaxIdentityBytes is the longest message id, event type or ordering key that is accepted, in
// bytes.
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
	// Reason completes the sentence "FIELD …", such as "is missing". What differs from request to
	// request, such as where in the body, stands in parentheses at its end.
	Reason string
}

// Error returns the field and the reason as one sentence.
func (e *MalformedError) Error() string { return fmt.Sprintf("%s %s", e.Field, e.Reason) }

// Class is the error without what stands in parentheses. The errors of a source have few.
func (e *MalformedError) Class() string {
	class, _, _ := strings.Cut(e.Error(), " (")
	return class
}

// Request is what a Scheme may see of an HTTP request.
type Request struct {
	Method string
	Header http.Header
	// Query is the raw query of the request's URL. The rest of the URL a scheme knows from its
	// configuration, because what a gate behind a proxy sees of it is not what the sender called.
	Query string
	// Slash says that the path ended with a slash. A source has the same path without it.
	Slash bool
	// ID is what the gate calls the request.
	ID string
	// Time is when the request's header had been read.
	Time time.Time
	// Body is the body as it was sent, which is what signatures cover.
	Body []byte
	// Content is Body without its Content-Encoding; nil means that it has none.
	Content []byte
	// Credential is set by Authenticate. Of several that fit the first in the configuration counts.
	Credential Credential
}

func (r *Request) content() []byte {
	if r.Content != nil {
		return r.Content
	}
	return r.Body
}

// Message is what a request says about its event.
type Message struct {
	MessageID   string
	EventType   string
	OrderingKey string
	// Sequence is the sender's number, or hookgate.NoSequence.
	Sequence int64
	// Keyed says that OrderingKey comes from the request or from the source's configuration. It is
	// false if the event type stands in for it.
	Keyed bool
}

// orderByType makes the event type the ordering key if the sender gave none.
func (m *Message) orderByType() {
	if m.Keyed = m.OrderingKey != ""; !m.Keyed {
		m.OrderingKey = m.EventType
	}
}

// messageOfBody identifies an event by its bytes alone.
func messageOfBody(r *Request) Message {
	return Message{
		MessageID: hashOf(string(r.Body)), EventType: noEventType, OrderingKey: noEventType,
		Sequence: hookgate.NoSequence,
	}
}

// Scheme is the way of one kind of sender: how it signs and where it puts what identifies an
// event. A Scheme is immutable and may be used concurrently. The caller invokes the methods in the
// order in which they stand here and stops at the first error, so that nothing is read from
// a sender that cannot be authentic and nothing is parsed before it is authenticated.
type Scheme interface {
	// CheckHeader looks at the header alone, before the body is read. It refuses a request
	// whose credentials are missing, malformed or, where the header suffices to tell, wrong.
	CheckHeader(r *Request) error
	// Authenticate verifies the credentials over the exact bytes of the body, in constant time
	// for each configured secret. Its errors wrap ErrUnauthenticated, or ErrUnavailable.
	Authenticate(r *Request) error
	// Identify finds identity, ordering key and sequence. Its errors are a *MalformedError or
	// wrap ErrUnsupportedMediaType. What it returns does not refer to the body.
	Identify(r *Request) (Message, error)
}

// Answer is what a sender that tries out its endpoint wants to hear. Nothing is queued for it.
type Answer struct {
	Status int
	// Header holds what is to be set, in canonical form; Content-Type where there is a Body.
	Header http.Header
	Body   []byte
}

// Handshaker is a Scheme whose sender tries out its endpoint before it sends events, or between
// them. Both methods return nil and no error for a request that is something else.
type Handshaker interface {
	Scheme
	// Methods are those beside POST that a handshake may use. A request with one of them that Greet
	// does not answer must be refused.
	Methods() []string
	// Greet answers a handshake that carries no body, in place of CheckHeader. Where the sender proves
	// who it is, that was checked; its errors then wrap ErrUnauthenticated.
	Greet(r *Request) (*Answer, error)
	// Reply answers a handshake that comes like an event, after Authenticate.
	Reply(r *Request) (*Answer, error)
	// MayPing reports whether the header is that of a test request which the sender does not sign.
	// Ping answers it once its body has been read, of at most MaxPing bytes, and returns nil for
	// anything else, which must be refused as CheckHeader says. A ping tells the gate nothing: it must
	// never be stored.
	MayPing(r *Request) bool
	Ping(r *Request) *Answer
}

// MaxPing is the largest body, in bytes, of a test request that is not signed.
const MaxPing = 64
