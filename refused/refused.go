// Package refused keeps the last requests that the gate has refused, so that the person behind a
// sender can see why.
//
//	ingest ─► Recorder.Keep: a budget for each source ─► once a second, in one transaction ─► Store
//
// A flood of refused requests costs the webhooks nothing: a request beyond the budget of its source
// is only counted.
package refused

import (
	"context"
	"time"

	"github.com/hookgate/hookgate"
)

const (
	// PerSource is how many requests of a source are kept, and MaxAge for how long.
	PerSource = 1000
	MaxAge    = 30 * 24 * time.Hour
	// MaxBody is how much of a body is kept, in bytes, if it is kept at all.
	MaxBody = 16 << 10
)

// Request is a refused request.
type Request struct {
	ID hookgate.RequestID
	At time.Time // of receipt
	// Source is empty if the path belongs to no source.
	Source string
	// Status is that of the answer, and Reason why, without secrets.
	Status int
	Reason string
	// Address is that of the client, seen through trusted proxies.
	Address string
	Method  string
	Path    string // without the query, which may hold a token
	// Size is the size of the body in bytes as far as it is known; negative if it is unknown.
	Size int64
	// Headers have the values of harmless headers. Of others they have a description in parentheses.
	Headers []hookgate.Header
	// Body has at most MaxBody bytes; nil if the source does not keep bodies.
	Body []byte
	// Skipped counts the refused requests of the source that the same process did not keep since the
	// last one that it kept.
	Skipped int64
}

// Query selects refused requests. Zero fields select everything.
type Query struct {
	Source string
	Status int
	Reason string
	// Before selects requests that are older than the one with this id.
	Before hookgate.RequestID
	Limit  int
}

// Store keeps refused requests.
type Store interface {
	// SaveRefused stores requests and removes, of their sources, all but the newest PerSource, and of
	// all those received before oldest that are older than MaxAge by the clock of the store. So a
	// process whose clock is ahead removes nothing early. A request that is already stored does not
	// change, so a call with an unknown outcome can be repeated. Without requests it only removes the
	// old ones.
	SaveRefused(ctx context.Context, requests []Request, oldest time.Time) error
	// Refused returns at most Limit requests, newest first.
	Refused(context.Context, Query) ([]Request, error)
}
