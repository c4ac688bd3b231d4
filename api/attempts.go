package api

import (
	"context"
	"net/url"
	"time"

	"github.com/hookgate/hookgate"
)

// Attempts is a page of the attempts of a subscription, the last first.
type Attempts struct {
	Attempts []Attempt `json:"attempts"`
	// Next is the after of the next page; empty on the last one.
	Next string `json:"next,omitempty"`
	// Partial reports that the time for the page was over before it was full.
	Partial bool `json:"partial,omitempty"`
}

// Attempt is one try to deliver an event, or a person's skip of one.
type Attempt struct {
	// Event is the id of the event, Redelivery the number of the delivery.
	Event      string `json:"event"`
	Redelivery int64  `json:"redelivery"`
	// Number counts the attempts of the delivery from 1.
	Number  int                     `json:"number"`
	Outcome hookgate.AttemptOutcome `json:"outcome"`
	// Status is the HTTP status, or 0 if there was no answer.
	Status int `json:"status"`
	// At is when the attempt ended, and DurationMs how long it took, in milliseconds.
	At         Time    `json:"at"`
	DurationMs float64 `json:"durationMs"`
	// Reason says why it failed, with an excerpt of the response; empty if it did not.
	Reason string `json:"reason"`
	// By is the person who skipped the event; empty otherwise.
	By        string `json:"by,omitempty"`
	Source    string `json:"source"`
	EventType string `json:"eventType"`
	MessageID string `json:"messageId"`
	Key       string `json:"key"`
}

// AttemptQuery selects attempts of a subscription. Zero fields select everything.
type AttemptQuery struct {
	// Outcome is an outcome, or "undelivered" for all but delivered.
	Outcome string
	// Status is a status such as 503, a class such as 5xx, or none, which is no answer.
	Status string
	Key    string
	// From (inclusive) and To (exclusive) select by the end of the attempt.
	From, To time.Time
	// After is the Next of a page.
	After string
	// Limit is the number of attempts; 0 means 100.
	Limit int
}

// Attempts returns a page of the attempts of a subscription, the last first.
func (c *Client) Attempts(ctx context.Context, name string, q AttemptQuery) (Attempts, error) {
	v := url.Values{}
	setText(v, "outcome", q.Outcome)
	setText(v, "status", q.Status)
	setText(v, "key", q.Key)
	setTime(v, "from", q.From)
	setTime(v, "to", q.To)
	setText(v, "after", q.After)
	setNumber(v, "limit", q.Limit)
	return get[Attempts](ctx, c, subscriptionPath(name, "/attempts"), v)
}
