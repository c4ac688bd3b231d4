// Package admit decides whether the gate accepts a request. It authenticates the sender and finds
// the event's identity, ordering key and sequence.
//
//	request ─► CheckHeader ─► (body is read) ─► Authenticate ─► Identify ─► Message
//	             401                              401             400, 415
//
// A sender is a kind (kinds.go, presets.go). Most kinds are data: a Rule says how the sender signs,
// and Places say where it puts what identifies an event. Some have code of their own (sns.go,
// twilio.go, cloudevents.go) or a handshake (handshake.go).
//
// The package does no I/O and has no state. Amazon SNS needs certificates from outside; the
// interface Amazon provides them.
package admit

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
)

// MaxIdentityBytes is the length in bytes of the longest message id, event type or ordering key.
const MaxIdentityBytes = 256

// ErrUnauthenticated is wrapped by every error about credentials that are missing or wrong. The
// HTTP handler answers 401 and must not show the text to the sender. The text is for the log and
// has no secret.
var ErrUnauthenticated = errors.New("not authenticated")

// ErrUnsupportedMediaType is wrapped by errors about a Content-Type or Content-Encoding that the
// source does not accept. The HTTP handler answers 415 with the text.
var ErrUnsupportedMediaType = errors.New("unsupported media type")

// MalformedError says which field of an authenticated request is wrong. The HTTP handler answers
// 400 with its text.
type MalformedError struct {
	// Field is the name of the field, such as "messageId", or "body".
	Field string
	// Reason completes the sentence "FIELD …", such as "is missing". Details that differ from request
	// to request, such as a position in the body, are in parentheses at its end.
	Reason string
}

// Error returns the field and the reason as one sentence.
func (e *MalformedError) Error() string { return fmt.Sprintf("%s %s", e.Field, e.Reason) }

// Class returns the error without the details in parentheses. A source has few classes of errors.
func (e *MalformedError) Class() string {
	class, _, _ := strings.Cut(e.Error(), " (")
	return class
}

// Request is the part of an HTTP request that a Scheme needs.
type Request struct {
	Method string
	Header http.Header
	// Query is the raw query of the request's URL. A scheme has the rest of the URL from its
	// configuration, because behind a proxy the gate does not see the URL that the sender called.
	Query string
	// Slash says that the path ended with a slash. The path of a source has none.
	Slash bool
	// ID is the request id that the gate made.
	ID string
	// Time is when the gate had read the request's header.
	Time time.Time
	// Body has the bytes as sent. Signatures cover them.
	Body []byte
	// Content is Body without its Content-Encoding; nil if it has none.
	Content []byte
	// Authenticate sets Credential. If several match, it is the first in the configuration.
	Credential Credential
}

func (r *Request) content() []byte {
	if r.Content != nil {
		return r.Content
	}
	return r.Body
}

// Message identifies the event of a request.
type Message struct {
	MessageID   string
	EventType   string
	OrderingKey string
	// Sequence is the sender's number, or hookgate.NoSequence.
	Sequence int64
	// Keyed says that OrderingKey comes from the request or from the source's configuration. If it is
	// false, OrderingKey is the event type.
	Keyed bool
}

// orderByType sets the ordering key to the event type if there is none.
func (m *Message) orderByType() {
	if m.Keyed = m.OrderingKey != ""; !m.Keyed {
		m.OrderingKey = m.EventType
	}
}

// messageOfBody identifies an event by its bytes only.
func messageOfBody(r *Request) Message {
	return Message{
		MessageID: hashOf(string(r.Body)), EventType: noEventType, OrderingKey: noEventType,
		Sequence: hookgate.NoSequence,
	}
}

// Scheme implements one kind of sender: how it signs and where it puts what identifies an event. A
// Scheme is immutable and safe for concurrent use.
//
// The caller calls the methods in the order below and stops at the first error. So the gate reads
// no body whose header is wrong, and parses no body that is not authentic.
type Scheme interface {
	// CheckHeader checks the header, before the body is read. It rejects credentials that are missing
	// or malformed, and wrong ones if the header alone shows that.
	CheckHeader(r *Request) error
	// Authenticate verifies the credentials over the exact bytes of the body, in constant time for
	// each configured secret. Its errors wrap ErrUnauthenticated or ErrUnavailable.
	Authenticate(r *Request) error
	// Identify finds identity, ordering key and sequence. Its errors are a *MalformedError or wrap
	// ErrUnsupportedMediaType. The Message does not refer to the body.
	Identify(r *Request) (Message, error)
}

// Answer is the response to a handshake. A handshake is not an event: the gate stores nothing.
type Answer struct {
	Status int
	// Header has the headers to set, in canonical form, with Content-Type if there is a Body.
	Header http.Header
	Body   []byte
}

// Handshaker is a Scheme whose sender tests its endpoint, before it sends events or between them.
// Greet and Reply return nil and no error for a request that is not a handshake.
type Handshaker interface {
	Scheme
	// Methods returns the HTTP methods that a handshake may use in addition to POST. The caller must
	// reject a request with such a method that Greet does not answer.
	Methods() []string
	// Greet answers a handshake without a body, in place of CheckHeader. It checks credentials if the
	// handshake has some; its errors then wrap ErrUnauthenticated.
	Greet(r *Request) (*Answer, error)
	// Reply answers a handshake that is sent like an event, after Authenticate.
	Reply(r *Request) (*Answer, error)
	// MayPing reports whether the header is that of a test request that the sender does not sign. Ping
	// answers such a request, after its body of at most MaxPing bytes has been read. It returns nil
	// for any other request; the caller then rejects it with the error of CheckHeader. A ping is not
	// authentic: the caller must never store it.
	MayPing(r *Request) bool
	Ping(r *Request) *Answer
}

// MaxPing is the size in bytes of the largest body of an unsigned test request.
const MaxPing = 64
