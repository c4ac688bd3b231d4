package api

import (
	"encoding/json"

	"github.com/hookgate/hookgate"
)

// Event is a stored event, without its body.
type Event struct {
	// ID is opaque, and so is Position.
	ID          string `json:"id"`
	Source      string `json:"source"`
	MessageID   string `json:"messageId"`
	EventType   string `json:"eventType"`
	OrderingKey string `json:"orderingKey"`
	// Sequence is null if the event has none.
	Sequence    *int64 `json:"sequence"`
	RequestID   string `json:"requestId"`
	RemoteAddr  string `json:"remoteAddr"`
	ReceivedAt  Time   `json:"receivedAt"`
	PersistedAt Time   `json:"persistedAt"`
	Partition   int    `json:"partition"`
	Position    string `json:"position"`
	// Size is that of the body in bytes, SHA256 its digest in hexadecimal.
	Size    int64             `json:"size"`
	SHA256  string            `json:"sha256"`
	Headers []hookgate.Header `json:"headers,omitempty"`
}

// Events is a page of events.
type Events struct {
	Events []Event `json:"events"`
	// Next is the After of the next page; empty on the last one.
	Next string `json:"next,omitempty"`
	// Previous is the Before with which a search asks for newer events.
	Previous string `json:"previous,omitempty"`
	// Partial is true if the time for the page ended before the page was full.
	Partial bool `json:"partial,omitempty"`
	// SearchedTo is the time of receipt of the last event that a partial search has read.
	SearchedTo Time `json:"searchedTo,omitzero"`
}

// The orders in which events are listed.
const (
	OrderOldest = "oldest" // oldest stored first; the default
	OrderNewest = "newest" // newest first, in an order for which the filter has an index
	OrderStored = "stored" // last stored first
)

// Trace is a page of the lineage of a message id.
type Trace struct {
	MessageID string         `json:"messageId"`
	Requests  []RequestTrail `json:"requests"`
	// Next is the after of the next page; empty on the last one.
	Next string `json:"next,omitempty"`
}

// RequestTrail is the lineage of one request.
type RequestTrail struct {
	RequestID string  `json:"requestId"`
	Source    string  `json:"source"`
	EventType string  `json:"eventType"`
	Stages    []Stage `json:"stages"`
}

// Stage is a step in the lineage of a request.
type Stage struct {
	Stage     hookgate.Stage  `json:"stage"`
	Timestamp Time            `json:"timestamp"`
	Metadata  json.RawMessage `json:"metadata"`
}

// Finding is the answer of /api/find: at most 20 of each kind.
type Finding struct {
	Query       string            `json:"query"`
	Events      []FoundEvent      `json:"events"`
	DeadLetters []FoundDeadLetter `json:"deadLetters"`
	Requests    []FoundRequest    `json:"requests"`
	// More is true if there is more than the answer shows.
	More bool `json:"more,omitempty"`
	// Waiting counts the webhooks that are acknowledged and not stored yet; null if the queue does
	// not answer.
	Waiting *int64 `json:"waiting,omitempty"`
}

// The kinds of id by which something is found.
const (
	MatchedMessageID = "messageId"
	MatchedRequestID = "requestId"
	MatchedID        = "id" // of an event or a dead letter
	MatchedPrefix    = "prefix"
)

// FoundEvent is an event, and how it was found.
type FoundEvent struct {
	Matched string `json:"matched"`
	Event   Event  `json:"event"`
}

// FoundDeadLetter is a dead letter, and how it was found.
type FoundDeadLetter struct {
	Matched    string     `json:"matched"`
	DeadLetter DeadLetter `json:"deadLetter"`
}

// FoundRequest is a request, and how it was found.
type FoundRequest struct {
	Matched string         `json:"matched"`
	Request RequestSummary `json:"request"`
}

// RequestSummary is a request and its outcome: the last stage of its lineage, and when that was.
type RequestSummary struct {
	RequestID  string         `json:"requestId"`
	Source     string         `json:"source"`
	MessageID  string         `json:"messageId"`
	EventType  string         `json:"eventType"`
	ReceivedAt Time           `json:"receivedAt"`
	Outcome    hookgate.Stage `json:"outcome"`
	At         Time           `json:"at"`
	// FirstRequestID is the request that a duplicate repeats.
	FirstRequestID string `json:"firstRequestId,omitempty"`
}

// Sources is the answer of /api/sources.
type Sources struct {
	// Since is when the process started. All counts begin there.
	Since   Time     `json:"since"`
	Sources []Source `json:"sources"`
}

// Source is a configured sender, with its traffic since the process started.
type Source struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Proof describes how the source authenticates.
	Proof string `json:"proof"`
	Path  string `json:"path"`
	// URL is the address that the sender calls, if it is known.
	URL        string `json:"url,omitempty"`
	Accepted   int64  `json:"accepted"`
	Duplicates int64  `json:"duplicates"`
	Refused    int64  `json:"refused"`
	Handshakes int64  `json:"handshakes"`
	// LastAt is when a request was last accepted; null if none was.
	LastAt *Time `json:"lastAt"`
	// Refusals counts the rejected requests by status and reason, the most frequent first.
	Refusals []Refusal `json:"refusals"`
	// Unauthenticated are those of Refusals with status 401.
	Unauthenticated []Failure `json:"unauthenticated"`
	// Credentials are the secrets and bearer keys, without their values.
	Credentials []Credential `json:"credentials"`
	// Sample is a request as the sender makes it; nil if none is known.
	Sample *Sample `json:"sample,omitempty"`
}

// Refusal counts the requests of a source that were rejected for a reason.
type Refusal struct {
	Status int    `json:"status"`
	Reason string `json:"reason"`
	Count  int64  `json:"count"`
}

// Failure counts the requests of a source that failed to authenticate for a reason.
type Failure struct {
	Reason string `json:"reason"`
	Count  int64  `json:"count"`
}

// Credential is one of the secrets or bearer keys of a source.
type Credential struct {
	// Setting is secrets or bearer_keys, Position the place in that list, from 1.
	Setting  string `json:"setting"`
	Position int    `json:"position"`
	// LastAt is when a request last authenticated with it; null if none did.
	LastAt *Time `json:"lastAt"`
}

// Sample is a request as a sender makes it, without the header that authenticates it.
type Sample struct {
	Header map[string]string `json:"header"`
	Body   string            `json:"body"`
}
