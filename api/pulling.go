package api

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/hookgate/hookgate"
)

// Duration is a time span. In JSON it is a text such as "30s" or "1h30m".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// LogEvent is a stored event with its body.
type LogEvent struct {
	// ID is a number, which grows in the order in which events are stored.
	ID string `json:"id"`
	// WebhookID is the id of the event's first request: globally unique and always the same.
	WebhookID   string `json:"webhookId"`
	Source      string `json:"source"`
	EventType   string `json:"eventType"`
	MessageID   string `json:"messageId"`
	OrderingKey string `json:"orderingKey"`
	// Key is "k:" and the ordering key, or "e:" and the event id if the event has no key of its own.
	Key         string `json:"key"`
	ReceivedAt  Time   `json:"receivedAt"`
	PersistedAt Time   `json:"persistedAt"`
	// Headers are those that the source keeps.
	Headers []hookgate.Header `json:"headers"`
	// Body has the bytes exactly as the sender sent them. In JSON it is base64.
	Body []byte `json:"body"`
}

// PulledEvent is an event of a lease.
type PulledEvent struct {
	LogEvent
	// Attempt counts from 1.
	Attempt int `json:"attempt"`
	// Redelivery is 0, or above 0 if a person asked for the event again.
	Redelivery int64 `json:"redelivery"`
}

// PullRequest is the body of POST /api/subscriptions/{name}/pull. Zero fields have the defaults.
type PullRequest struct {
	// Max bounds the number of events: from 1 to 1000, default 100.
	Max int `json:"max,omitempty"`
	// MaxBytes bounds the size of their bodies unless a single body is larger: up to 32 MiB, default
	// 4 MiB.
	MaxBytes int `json:"maxBytes,omitempty"`
	// Wait is how long to wait for the first event: up to a minute, default 0s.
	Wait Duration `json:"wait,omitzero"`
	// Lease is how long the caller may work on the events: from a second to 12 hours, default 1m.
	Lease Duration `json:"lease,omitzero"`
}

// Pulled is the answer of POST /api/subscriptions/{name}/pull. Without events there is no lease.
type Pulled struct {
	// Lease is the id of the lease, which Ack, Nack and Extend need. Until is when it ends, by the
	// clock of the gate's store.
	Lease  string        `json:"lease,omitempty"`
	Until  Time          `json:"until,omitzero"`
	Events []PulledEvent `json:"events"`
}

// AckRequest is the body of POST /api/subscriptions/{name}/ack. It has either IDs or UpTo.
type AckRequest struct {
	Lease string `json:"lease"`
	// IDs are ids of events. Of each ordering key they must be the first ones that are open.
	IDs []string `json:"ids,omitempty"`
	// UpTo acknowledges all events of the lease up to this id.
	UpTo string `json:"upTo,omitempty"`
}

// NackRequest is the body of POST /api/subscriptions/{name}/nack.
type NackRequest struct {
	Lease string   `json:"lease"`
	IDs   []string `json:"ids"`
	// Delay is the wait before the next attempt: up to 24 hours; nil: as the subscription's settings
	// say.
	Delay *Duration `json:"delay,omitempty"`
	// Reason says for people why.
	Reason string `json:"reason,omitempty"`
	// Dead makes dead letters of the events at once.
	Dead bool `json:"dead,omitempty"`
}

// ExtendRequest is the body of POST /api/subscriptions/{name}/extend.
type ExtendRequest struct {
	Lease string `json:"lease"`
	// For is the time from now on: from a second to 12 hours.
	For Duration `json:"for"`
}

// Extended is the answer of POST /api/subscriptions/{name}/extend.
type Extended struct {
	Until Time `json:"until"`
}

// TemporaryRequest is the body of POST /api/subscriptions, which creates a pull subscription that
// is not in the configuration.
type TemporaryRequest struct {
	// Name is chosen by the gate if it is empty.
	Name string `json:"name,omitempty"`
	// Sources and Types select events, like those of hookgate.Filter.
	Sources []string `json:"sources,omitempty"`
	Types   []string `json:"types,omitempty"`
	// Since is how far back the first event was stored; 0: begin with the next one.
	Since Duration `json:"since,omitzero"`
	// After is the id of the event after which it begins, in place of Since.
	After string `json:"after,omitempty"`
	// Idle is the time without a call after which the gate forgets the subscription: from a minute to
	// a day, default 1h.
	Idle Duration `json:"idle,omitzero"`
}

// TemporarySubscription is the answer of POST /api/subscriptions.
type TemporarySubscription struct {
	Name string `json:"name"`
}

// Pull leases events of a subscription. A pull that waits outlasts Client.HTTP.Timeout.
func (c *Client) Pull(ctx context.Context, subscription string, r PullRequest) (Pulled, error) {
	return call[Pulled](ctx, c, request{method: http.MethodPost,
		path: subscriptionPath(subscription, "/pull"), body: r, wait: time.Duration(r.Wait)})
}

// Ack settles events of a lease. It can be repeated. Status 409: the lease has ended, and the
// events come again.
func (c *Client) Ack(ctx context.Context, subscription string, r AckRequest) error {
	return c.send(ctx, subscriptionPath(subscription, "/ack"), r)
}

// Nack reports that the caller could not process events. It ends the lease for the later events of
// their keys. Status 409: the lease has ended, and the events come again.
func (c *Client) Nack(ctx context.Context, subscription string, r NackRequest) error {
	return c.send(ctx, subscriptionPath(subscription, "/nack"), r)
}

// Extend changes the end of a lease. Status 409: it has ended, and its events come again.
func (c *Client) Extend(ctx context.Context, subscription, lease string, d time.Duration) (
	Extended, error) {
	return post[Extended](ctx, c, subscriptionPath(subscription, "/extend"),
		ExtendRequest{lease, Duration(d)}, nil)
}

// CreateSubscription creates a temporary pull subscription. ForgetSubscription removes it.
func (c *Client) CreateSubscription(ctx context.Context, r TemporaryRequest, options ...Option) (
	TemporarySubscription, error) {
	return post[TemporarySubscription](ctx, c, subscriptionsPath, r, options)
}

// StreamQuery selects events of the log. The zero value selects the next ones of all sources.
type StreamQuery struct {
	// After is the id before the first event; empty: the end of the log.
	After string
	// Sources and Types select events, like those of hookgate.Filter.
	Sources, Types []string
	// Wait is how long an answer goes on: up to a minute.
	Wait time.Duration
}

// Values returns the query as parameters.
func (q StreamQuery) Values() url.Values {
	v := url.Values{"wait": {q.Wait.String()}}
	setText(v, "after", q.After)
	for _, source := range q.Sources {
		v.Add("source", source)
	}
	for _, pattern := range q.Types {
		v.Add("type", pattern)
	}
	return v
}

// Streamed is a line of GET /api/events/stream: an event, or only a place in the log.
type Streamed struct {
	// Event is nil in a line that only has a place.
	Event *LogEvent
	// After is the id to continue after.
	After string
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Streamed) UnmarshalJSON(text []byte) error {
	var line struct {
		LogEvent
		After string `json:"after"`
	}
	if err := json.Unmarshal(text, &line); err != nil {
		return err
	}
	if *s = (Streamed{After: line.After}); line.ID != "" {
		*s = Streamed{Event: &line.LogEvent, After: line.ID}
	}
	return nil
}

// Stream yields the events after q.After, in the order of ids, for q.Wait. It does not lease them:
// the caller keeps Streamed.After. The last line has only a place. Without q.After the first one
// has too. Status 409: the log ends before q.After. Status 410: retention has removed the next
// events; see ErrorAnswer.Horizon.
func (c *Client) Stream(ctx context.Context, q StreamQuery) iter.Seq2[Streamed, error] {
	return stream[Streamed](ctx, c, request{path: "/api/events/stream", query: q.Values(),
		wait: q.Wait})
}

// followWait is StreamQuery.Wait of Follow.
const followWait = 30 * time.Second

// Follow is Stream until ctx ends or a call fails; then the error is the last that it yields. It
// ignores q.Wait.
func (c *Client) Follow(ctx context.Context, q StreamQuery) iter.Seq2[Streamed, error] {
	return func(yield func(Streamed, error) bool) {
		for q.Wait = followWait; ; {
			for line, err := range c.Stream(ctx, q) {
				if !yield(line, err) || err != nil {
					return
				}
				q.After = line.After
			}
		}
	}
}
