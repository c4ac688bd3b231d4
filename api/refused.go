package api

import (
	"context"
	"net/url"

	"github.com/hookgate/hookgate"
)

// Refused is the answer of GET /api/refused: a page of refused requests, newest first.
type Refused struct {
	Refused []RefusedRequest `json:"refused"`
	// Next is the cursor of the next page, for after; empty on the last one.
	Next string `json:"next,omitempty"`
}

// RefusedRequest is a request that the gate did not take.
type RefusedRequest struct {
	RequestID string `json:"requestId"`
	At        Time   `json:"at"` // of receipt
	// Source is empty if the path belongs to no source.
	Source string `json:"source"`
	Status int    `json:"status"`
	Reason string `json:"reason"`
	// RemoteAddr is that of the client, as trusted proxies say.
	RemoteAddr string `json:"remoteAddr"`
	Method     string `json:"method"`
	Path       string `json:"path"` // without the query
	// Size is the size of the body in bytes; nil if it is unknown.
	Size *int64 `json:"size"`
	// Headers have the values of harmless headers. Of others they have a description in parentheses.
	Headers []hookgate.Header `json:"headers"`
	// Body is the beginning of the body, if the source keeps bodies of refused requests.
	Body []byte `json:"body,omitempty"`
	// Skipped counts the refused requests of the source before this one that were not kept.
	Skipped int64 `json:"skipped,omitempty"`
}

// RefusedQuery selects refused requests. The zero value selects all.
type RefusedQuery struct {
	// Source is the name of a source. Status is that of the answer, and Reason is exact.
	Source string
	Status int
	Reason string
	// After is Refused.Next of the page before. Limit is the size of a page; 0 means 100.
	After string
	Limit int
}

// Refused returns a page of refused requests.
func (c *Client) Refused(ctx context.Context, q RefusedQuery) (Refused, error) {
	v := url.Values{}
	setText(v, "source", q.Source)
	setNumber(v, "status", q.Status)
	setText(v, "reason", q.Reason)
	setText(v, "after", q.After)
	setNumber(v, "limit", q.Limit)
	return get[Refused](ctx, c, "/api/refused", v)
}
