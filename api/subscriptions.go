package api

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/hookgate/hookgate"
)

// Subscriptions is the answer of GET /api/subscriptions.
type Subscriptions struct {
	Subscriptions []Subscription `json:"subscriptions"`
}

// The states of a subscription. If several apply, it has the first.
const (
	SubscriptionRemoved    = "removed"    // it is not in the configuration
	SubscriptionPaused     = "paused"     // nothing is delivered until a person resumes it
	SubscriptionUnowned    = "unowned"    // no process delivers it
	SubscriptionPulled     = "pulled"     // clients fetch its events
	SubscriptionBroken     = "broken"     // the breaker is open: the consumer does not work
	SubscriptionDelivering = "delivering" // it works, or has nothing to do
)

// Subscription is a subscription with its state.
type Subscription struct {
	Name string `json:"name"`
	// State is one of the constants above.
	State  string          `json:"state"`
	Order  hookgate.Order  `json:"order"`
	Filter hookgate.Filter `json:"filter"`
	// Definition is the configuration without secrets; Revision grows with each change of it.
	Definition json.RawMessage `json:"definition,omitempty"`
	Revision   int64           `json:"revision"`
	// Cursor is the id of the event up to which the subscription has passed everything, and End the
	// last id of the log.
	Cursor string `json:"cursor"`
	End    string `json:"end"`
	// LagSeconds is the age of the first event after the cursor; 0 if there is none.
	LagSeconds float64 `json:"lagSeconds"`
	// Backlog counts the events after the cursor, whether the filter selects them or not, up to
	// hookgate.MaxBacklog.
	Backlog int64 `json:"backlog"`
	// Waiting, Parked and Dead count exceptions, and Held counts ordering keys that wait.
	Waiting int64 `json:"waiting"`
	Parked  int64 `json:"parked"`
	Dead    int64 `json:"dead"`
	Held    int64 `json:"held"`
	// Leases counts the leases on which clients work, and Leased their events that are open.
	Leases int64 `json:"leases"`
	Leased int64 `json:"leased"`
	// PulledAt is when a client last pulled, acknowledged or failed an event; null if none has.
	PulledAt *Time `json:"pulledAt"`
	// Idle is the time without a call after which the gate forgets the subscription, if it is
	// temporary.
	Idle Duration `json:"idle,omitzero"`
	// Owner is the process that delivers; empty if there is none.
	Owner string `json:"owner"`
	PauseNote
	BrokenSince Time `json:"brokenSince,omitzero"`
	CreatedAt   Time `json:"createdAt"`
	RemovedAt   Time `json:"removedAt,omitzero"`
	// LastDeliveredAt is null if nothing was delivered yet.
	LastDeliveredAt *Time `json:"lastDeliveredAt"`
	// Live is nil unless the process that answers owns the subscription.
	Live *LiveSubscription `json:"live,omitempty"`
}

// PauseNote is since when, by whom and why a subscription is paused. PausedBy is empty if the gate
// paused it.
type PauseNote struct {
	PausedAt    Time   `json:"pausedAt,omitzero"`
	PausedBy    string `json:"pausedBy,omitempty"`
	PauseReason string `json:"pauseReason,omitempty"`
}

// LiveSubscription is what only the owner of a subscription knows.
type LiveSubscription struct {
	// InFlight is the number of attempts under way, and Limit how many there may be now.
	InFlight int `json:"inFlight"`
	Limit    int `json:"limit"`
	// Breaker is closed, open or half_open.
	Breaker string `json:"breaker"`
	// Problem says for people why nothing is attempted now; empty if something is. While the breaker
	// is open it is the error of the last attempt that failed.
	Problem string `json:"problem,omitempty"`
}

// PausedSubscription is the answer of the calls that pause and resume a subscription.
type PausedSubscription struct {
	Name   string `json:"name"`
	Paused bool   `json:"paused"`
	// Changed is false if it was so before.
	Changed bool `json:"changed"`
}

// ForgottenSubscription is the answer of DELETE /api/subscriptions/{name}.
type ForgottenSubscription struct {
	Name string `json:"name"`
}

// Exceptions is a page of exceptions.
type Exceptions struct {
	Exceptions []Exception `json:"exceptions"`
	// Next is the after of the next page; empty on the last one.
	Next string `json:"next,omitempty"`
}

// Exception is an event that a subscription has passed and not delivered.
type Exception struct {
	// Event is the id of the event, Redelivery the number of the delivery.
	Event      string                  `json:"event"`
	Redelivery int64                   `json:"redelivery"`
	State      hookgate.ExceptionState `json:"state"`
	// Key is the ordering key that the event holds; empty if it holds nobody.
	Key string `json:"key"`
	// Attempts counts the attempts that failed.
	Attempts int `json:"attempts"`
	// Due is when the next attempt begins, for a waiting exception.
	Due Time `json:"due,omitzero"`
	// Reason and Status are those of the last attempt. Status is the HTTP status, or 0.
	Reason string `json:"reason"`
	Status int    `json:"status"`
	// ChangedAt is when the exception got its state.
	ChangedAt  Time   `json:"changedAt"`
	Source     string `json:"source"`
	EventType  string `json:"eventType"`
	MessageID  string `json:"messageId"`
	RequestID  string `json:"requestId"`
	ReceivedAt Time   `json:"receivedAt"`
	// Size is that of the body in bytes.
	Size int64 `json:"size"`
}

// ExceptionQuery selects exceptions of a subscription. Zero fields select everything.
type ExceptionQuery struct {
	State hookgate.ExceptionState
	Key   string
	// Held selects the waiting and parked exceptions whose key is held.
	Held bool
	// After is the Next of a page.
	After string
	// Limit is the number of exceptions; 0 means all, or 100 on a page.
	Limit int
}

// Values returns the query as parameters.
func (q ExceptionQuery) Values() url.Values {
	v := url.Values{}
	setText(v, "state", string(q.State))
	setText(v, "key", q.Key)
	if q.Held {
		v.Set("held", "true")
	}
	setText(v, "after", q.After)
	setNumber(v, "limit", q.Limit)
	return v
}

// ExceptionSelection is the body of the calls that retry, skip or dead-letter exceptions. It has
// either IDs, which may go with State, or All, or at least one of State and Key.
type ExceptionSelection struct {
	// IDs are ids of events, at most 1000.
	IDs   []string                `json:"ids,omitempty"`
	All   bool                    `json:"all,omitempty"`
	State hookgate.ExceptionState `json:"state,omitempty"`
	Key   string                  `json:"key,omitempty"`
	// After is the Next of the previous answer.
	After string `json:"after,omitempty"`
	// DryRun counts and changes nothing.
	DryRun bool `json:"dryRun,omitempty"`
}

// Resolved is the answer of the calls that retry, skip or dead-letter exceptions.
type Resolved struct {
	// Changed is the number of exceptions that the call has changed, or would change.
	Changed int `json:"changed"`
	// Missing are those of ExceptionSelection.IDs that have no such exception.
	Missing []string `json:"missing,omitempty"`
	DryRun  bool     `json:"dryRun,omitempty"`
	// Next is the After of the next call; empty if there are no more.
	Next string `json:"next,omitempty"`
}

// SeekRequest is the body of POST /api/subscriptions/{name}/seek.
type SeekRequest struct {
	// To is now, beginning, a time in RFC 3339, or the id of the event to continue after.
	To     string `json:"to"`
	DryRun bool   `json:"dryRun,omitempty"`
}

// Sought is the answer of POST /api/subscriptions/{name}/seek.
type Sought struct {
	// From and To are the cursors before and after.
	From string `json:"from"`
	To   string `json:"to"`
	// Events counts the events between the two, whether the filter selects them or not, up to
	// hookgate.MaxBacklog.
	Events int `json:"events"`
	// Skipped counts the exceptions recorded as skipped, and Deleted those deleted because their
	// events are delivered again.
	Skipped int `json:"skipped"`
	Deleted int `json:"deleted"`
	// Redelivery is the number of the deliveries that a seek back asks for; 0 for a seek forward.
	Redelivery int64 `json:"redelivery"`
	DryRun     bool  `json:"dryRun,omitempty"`
}

// RedeliveryRequest is the body of POST /api/subscriptions/{name}/redeliver. It has either IDs or
// From.
type RedeliveryRequest struct {
	// IDs are ids of events, at most 1000.
	IDs []string `json:"ids,omitempty"`
	// From is the id of the first event, a time in RFC 3339, or beginning. To is the id of the last
	// event, or a time before which it was stored; empty means the cursor.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Sources and Types select events, besides the filter of the subscription.
	Sources []string `json:"sources,omitempty"`
	Types   []string `json:"types,omitempty"`
	Key     string   `json:"key,omitempty"`
	// Rate bounds deliveries per second; 0 means the rate of the subscription.
	Rate   int  `json:"rate,omitempty"`
	DryRun bool `json:"dryRun,omitempty"`
}

// Redelivery is the answer of POST /api/subscriptions/{name}/redeliver.
type Redelivery struct {
	// Events is the number of events that the job covers, counted up to hookgate.MaxBacklog.
	Events int           `json:"events"`
	DryRun bool          `json:"dryRun,omitempty"`
	Job    RedeliveryJob `json:"job"`
}

// The states of a redelivery job.
const (
	JobRunning   = "running"
	JobDone      = "done"
	JobCancelled = "cancelled"
)

// RedeliveryJob is a job that delivers events again.
type RedeliveryJob struct {
	// ID is empty for a dry run.
	ID    string `json:"id,omitempty"`
	State string `json:"state"` // JobRunning, JobDone or JobCancelled
	// Redelivery is the number of all deliveries of the job.
	Redelivery int64 `json:"redelivery"`
	// Events are the ids to deliver; without them the job covers the ids after After up to Until.
	Events []string        `json:"events,omitempty"`
	After  string          `json:"after"`
	Until  string          `json:"until"`
	Filter hookgate.Filter `json:"filter"`
	Key    string          `json:"key,omitempty"`
	Rate   int             `json:"rate"`
	// Position is the id up to which the job is done.
	Position string `json:"position"`
	// Delivered counts events that were delivered, and Failed those that the retries of the
	// subscription took over.
	Delivered int64  `json:"delivered"`
	Failed    int64  `json:"failed"`
	By        string `json:"by"`
	Reason    string `json:"reason"`
	CreatedAt Time   `json:"createdAt,omitzero"`
	EndedAt   Time   `json:"endedAt,omitzero"`
}

// RedeliveryJobs is the answer of GET /api/subscriptions/{name}/jobs, newest first.
type RedeliveryJobs struct {
	Jobs []RedeliveryJob `json:"jobs"`
}

const subscriptionsPath = "/api/subscriptions"

// subscriptionPath returns the path of a subscription and what belongs to it.
func subscriptionPath(name, rest string) string {
	return subscriptionsPath + "/" + url.PathEscape(name) + rest
}

// Subscriptions returns all subscriptions by name.
func (c *Client) Subscriptions(ctx context.Context) (Subscriptions, error) {
	return get[Subscriptions](ctx, c, subscriptionsPath, nil)
}

// Subscription returns one subscription.
func (c *Client) Subscription(ctx context.Context, name string) (Subscription, error) {
	return get[Subscription](ctx, c, subscriptionPath(name, ""), nil)
}

// Exceptions returns a page of the exceptions of a subscription, by event id.
func (c *Client) Exceptions(ctx context.Context, name string, q ExceptionQuery) (Exceptions,
	error) {
	return get[Exceptions](ctx, c, subscriptionPath(name, "/exceptions"), q.Values())
}

// AllExceptions yields the exceptions of a subscription by event id, from one page after the other.
func (c *Client) AllExceptions(ctx context.Context, name string, q ExceptionQuery) iter.Seq2[
	Exception, error] {
	return stream[Exception](ctx, c, request{path: subscriptionPath(name, "/exceptions"),
		query: q.Values()})
}

// PauseSubscription pauses a subscription until ResumeSubscription.
func (c *Client) PauseSubscription(ctx context.Context, name string, options ...Option) (
	PausedSubscription, error) {
	return post[PausedSubscription](ctx, c, subscriptionPath(name, "/pause"), nil, options)
}

// ResumeSubscription lets a paused subscription go on.
func (c *Client) ResumeSubscription(ctx context.Context, name string, options ...Option) (
	PausedSubscription, error) {
	return post[PausedSubscription](ctx, c, subscriptionPath(name, "/resume"), nil, options)
}

// SeekSubscription moves the cursor of a subscription.
func (c *Client) SeekSubscription(ctx context.Context, name string, r SeekRequest,
	options ...Option) (Sought, error) {
	return post[Sought](ctx, c, subscriptionPath(name, "/seek"), r, options)
}

// ForgetSubscription removes a subscription that is paused or not configured any more.
func (c *Client) ForgetSubscription(ctx context.Context, name string, options ...Option) (
	ForgottenSubscription, error) {
	return call[ForgottenSubscription](ctx, c, request{method: http.MethodDelete,
		path: subscriptionPath(name, ""), options: options})
}

// ResolveExceptions retries, skips or dead-letters exceptions, up to 1000 in one call. See
// ResolveAll.
func (c *Client) ResolveExceptions(ctx context.Context, name string, how hookgate.Resolution,
	s ExceptionSelection, options ...Option) (Resolved, error) {
	verb := map[hookgate.Resolution]string{hookgate.ResolveRetry: "/retry",
		hookgate.ResolveSkip: "/skip", hookgate.ResolveDeadLetter: "/dead-letter"}[how]
	return post[Resolved](ctx, c, subscriptionPath(name, verb), s, options)
}

// ResolveAll is ResolveExceptions until none are left. It hands over each answer.
func (c *Client) ResolveAll(ctx context.Context, name string, how hookgate.Resolution,
	s ExceptionSelection, did func(Resolved), options ...Option) error {
	return repeat(ctx, func() (int, bool, error) {
		a, err := c.ResolveExceptions(ctx, name, how, s, options...)
		if err != nil {
			return 0, false, err
		}
		did(a)
		s.After = a.Next
		return a.Changed, a.Next != "", nil
	})
}

// Redeliver stores a job that delivers events again.
func (c *Client) Redeliver(ctx context.Context, name string, r RedeliveryRequest,
	options ...Option) (Redelivery, error) {
	return post[Redelivery](ctx, c, subscriptionPath(name, "/redeliver"), r, options)
}

// RedeliveryJobs returns redelivery jobs of a subscription, newest first; limit 0 means 100.
func (c *Client) RedeliveryJobs(ctx context.Context, name string, limit int) (RedeliveryJobs,
	error) {
	query := url.Values{}
	setNumber(query, "limit", limit)
	return get[RedeliveryJobs](ctx, c, subscriptionPath(name, "/jobs"), query)
}

// RedeliveryJob returns one redelivery job.
func (c *Client) RedeliveryJob(ctx context.Context, name, id string) (RedeliveryJob, error) {
	return get[RedeliveryJob](ctx, c, subscriptionPath(name, "/jobs/"+url.PathEscape(id)), nil)
}

// CancelRedelivery ends a redelivery job. Status 409: it has ended before.
func (c *Client) CancelRedelivery(ctx context.Context, name, id string, options ...Option) (
	RedeliveryJob, error) {
	return post[RedeliveryJob](ctx, c, subscriptionPath(name, "/jobs/"+url.PathEscape(id)+"/cancel"),
		nil, options)
}

// jobPoll is the time between two questions about a job.
const jobPoll = 500 * time.Millisecond

// AwaitRedelivery waits until a redelivery job has ended, and returns it. show gets each state.
func (c *Client) AwaitRedelivery(ctx context.Context, name, id string, show func(RedeliveryJob)) (
	RedeliveryJob, error) {
	for {
		job, err := c.RedeliveryJob(ctx, name, id)
		if err != nil {
			return job, err
		}
		show(job)
		if job.State != JobRunning {
			return job, nil
		}
		if err := sleep(ctx, jobPoll); err != nil {
			return job, err
		}
	}
}

// EventID returns the text of an event id, as the API writes it.
func EventID(id int64) string { return strconv.FormatInt(id, 10) }
