package api

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
)

// maxPage is the largest page that the gate answers.
const maxPage = 1000

// Live returns nil if the process answers.
func (c *Client) Live(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, request{method: http.MethodGet, path: "/livez", open: true})
}

// Ready returns an *Error with the reason if the gate does not take webhooks now.
func (c *Client) Ready(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, request{method: http.MethodGet, path: "/readyz", open: true})
}

// Health returns the state of the gate.
func (c *Client) Health(ctx context.Context) (Health, error) {
	return call[Health](ctx, c, request{method: http.MethodGet, path: "/api/health", open: true})
}

// Sources returns the configured sources and their traffic.
func (c *Client) Sources(ctx context.Context) (Sources, error) {
	return get[Sources](ctx, c, "/api/sources", nil)
}

// EventQuery selects events. The zero value selects all but test traffic.
type EventQuery struct {
	Source      string
	EventType   string
	OrderingKey string
	MessageID   string
	Prefix      string // of the message id
	RequestID   string
	// Body is a text that the body contains, byte for byte.
	Body string
	// From and To bound the time of receipt; To is exclusive. Zero means unbounded.
	From, To time.Time
	// Tests includes test traffic.
	Tests bool
	// Order is OrderOldest, OrderNewest or OrderStored; empty means OrderOldest.
	Order string
	// After and Before are places that an answer has given; After can also be the id of an event.
	After, Before string
	// Limit is the number of events; 0 means all, or 100 on a page.
	Limit int
}

// Values returns the query string of the query.
func (q EventQuery) Values() url.Values {
	v := url.Values{}
	setText(v, "source", q.Source)
	setText(v, "type", q.EventType)
	setText(v, "key", q.OrderingKey)
	setText(v, "messageId", q.MessageID)
	setText(v, "prefix", q.Prefix)
	setText(v, "requestId", q.RequestID)
	setText(v, "body", q.Body)
	setTime(v, "from", q.From)
	setTime(v, "to", q.To)
	if q.Tests {
		v.Set("tests", "true")
	}
	setText(v, "order", q.Order)
	setText(v, "after", q.After)
	setText(v, "before", q.Before)
	setNumber(v, "limit", q.Limit)
	return v
}

func setText(v url.Values, name, value string) {
	if value != "" {
		v.Set(name, value)
	}
}

func setTime(v url.Values, name string, t time.Time) {
	if !t.IsZero() {
		v.Set(name, t.UTC().Format(time.RFC3339Nano))
	}
}

func setNumber(v url.Values, name string, n int) {
	if n > 0 {
		v.Set(name, strconv.Itoa(n))
	}
}

// Events returns one page of events.
func (c *Client) Events(ctx context.Context, q EventQuery) (Events, error) {
	return get[Events](ctx, c, "/api/events", q.Values())
}

// AllEvents streams the events that q selects, oldest stored first.
func (c *Client) AllEvents(ctx context.Context, q EventQuery) iter.Seq2[Event, error] {
	return stream[Event](ctx, c, request{path: "/api/events", query: q.Values()})
}

// Event returns one event.
func (c *Client) Event(ctx context.Context, id string) (Event, error) {
	return get[Event](ctx, c, "/api/events/"+url.PathEscape(id), nil)
}

// EventBody returns the body of an event, byte for byte. The caller closes it.
func (c *Client) EventBody(ctx context.Context, id string) (io.ReadCloser, error) {
	return c.bytesOf(ctx, "/api/events/"+url.PathEscape(id)+"/body")
}

// ReadEventBody returns the body of an event as a whole.
func (c *Client) ReadEventBody(ctx context.Context, id string) ([]byte, error) {
	body, err := c.EventBody(ctx, id)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, fmt.Errorf("read the body of event %s: %w", id, err)
	}
	return text, nil
}

// Trace returns a page of the lineage of a message id. after is the Next of the page before it, or
// empty.
func (c *Client) Trace(ctx context.Context, messageID, after string) (Trace, error) {
	query := url.Values{}
	setText(query, "after", after)
	setNumber(query, "limit", maxPage)
	return get[Trace](ctx, c, "/api/trace/"+url.PathEscape(messageID), query)
}

// Find looks an id up, whichever kind of id it is.
func (c *Client) Find(ctx context.Context, id string) (Finding, error) {
	return get[Finding](ctx, c, "/api/find", url.Values{"q": {id}})
}

// VerifyAudit has the gate verify the audit chains of its store. It can take minutes.
func (c *Client) VerifyAudit(ctx context.Context) (Audit, error) {
	return get[Audit](ctx, c, "/api/audit/verify", nil)
}

// Evidence returns what evidence the gate keeps.
func (c *Client) Evidence(ctx context.Context) (Receipts, error) {
	return get[Receipts](ctx, c, "/api/intake", nil)
}

// Mode returns the mode.
func (c *Client) Mode(ctx context.Context) (Mode, error) {
	return get[Mode](ctx, c, "/admin/maintenance", nil)
}

// SetMode sets the mode.
func (c *Client) SetMode(ctx context.Context, mode control.Mode, options ...Option) (Mode, error) {
	return post[Mode](ctx, c, "/admin/maintenance", ModeRequest{mode}, options)
}

// Queue returns the state of the queue, with the cause of a problem.
func (c *Client) Queue(ctx context.Context) (Queue, error) {
	return get[Queue](ctx, c, "/admin/queue", nil)
}

// Drain waits until nothing is queued, for at most timeout.
func (c *Client) Drain(ctx context.Context, timeout time.Duration, options ...Option) (Drained,
	error) {
	return post[Drained](ctx, c, "/admin/drain", DrainRequest{timeout.String()}, options)
}

// Canary returns the state of the canary.
func (c *Client) Canary(ctx context.Context) (Canary, error) {
	return get[Canary](ctx, c, "/admin/canary", nil)
}

// SetCanary changes the canary.
func (c *Client) SetCanary(ctx context.Context, change CanaryRequest, options ...Option) (Canary,
	error) {
	return post[Canary](ctx, c, "/admin/canary", change, options)
}

// Release returns the release triggers of the process that answers, and its last alarms.
func (c *Client) Release(ctx context.Context) (Release, error) {
	return get[Release](ctx, c, "/admin/release", nil)
}

// BeginRollback notes in the admin trail that a roll-back begins.
func (c *Client) BeginRollback(ctx context.Context, r RollbackStart, options ...Option) (Rollback,
	error) {
	return post[Rollback](ctx, c, "/admin/rollback", r, options)
}

// EndRollback notes in the admin trail how a roll-back ended.
func (c *Client) EndRollback(ctx context.Context, id string, r RollbackResult,
	options ...Option) (Rollback, error) {
	return post[Rollback](ctx, c, "/admin/rollback/"+url.PathEscape(id), r, options)
}

// AnyState is the DeadLetterQuery.State that selects dead letters in every state.
const AnyState = "all"

// DeadLetterQuery selects dead letters. The zero value selects the open ones.
type DeadLetterQuery struct {
	// Filter has the names of the parameters of GET /admin/dlq, such as source and type.
	Filter map[string]string
	// State is AnyState or a hookgate.DeadLetterState; empty means open.
	State hookgate.DeadLetterState
	// After is the id of a dead letter, or the Next of a page.
	After string
	// Limit is the number of dead letters; 0 means all, or 100 on a page.
	Limit int
}

// Values returns the query string of the query.
func (q DeadLetterQuery) Values() url.Values {
	v := url.Values{}
	for name, value := range q.Filter {
		setText(v, name, value)
	}
	setText(v, "state", string(q.State))
	setText(v, "after", q.After)
	setNumber(v, "limit", q.Limit)
	return v
}

// DeadLetters returns one page of dead letters, oldest first.
func (c *Client) DeadLetters(ctx context.Context, q DeadLetterQuery) (DeadLetters, error) {
	return get[DeadLetters](ctx, c, "/admin/dlq", q.Values())
}

// AllDeadLetters streams the dead letters that q selects, oldest first.
func (c *Client) AllDeadLetters(ctx context.Context, q DeadLetterQuery) iter.Seq2[DeadLetter,
	error] {
	return stream[DeadLetter](ctx, c, request{path: "/admin/dlq", query: q.Values()})
}

// DeadLetter returns a dead letter with everything that is stored about its identity. id is its own
// or that of its request.
func (c *Client) DeadLetter(ctx context.Context, id string) (DeadLetterDetails, error) {
	return get[DeadLetterDetails](ctx, c, "/admin/dlq/"+url.PathEscape(id), nil)
}

// DeadLetterBody returns the body of a dead letter, byte for byte. The caller closes it.
func (c *Client) DeadLetterBody(ctx context.Context, id string) (io.ReadCloser, error) {
	return c.bytesOf(ctx, "/admin/dlq/"+url.PathEscape(id)+"/body")
}

// RetryDeadLetter sends a dead letter through the queue again.
func (c *Client) RetryDeadLetter(ctx context.Context, id string, options ...Option) (Retried,
	error) {
	return retried(post[Retried](ctx, c, "/admin/dlq/"+url.PathEscape(id)+"/retry", nil, options))
}

// RetryDeadLetters sends dead letters through the queue again, up to 500 in a call. To go on,
// repeat it with After set to the Next of the answer. After an error the answer says how far the
// call got.
func (c *Client) RetryDeadLetters(ctx context.Context, s DeadLetterSelection,
	options ...Option) (Retried, error) {
	return retried(post[Retried](ctx, c, "/admin/dlq/retry", s, options))
}

// PurgeDeadLetter removes the body of a dead letter for good.
func (c *Client) PurgeDeadLetter(ctx context.Context, id string, loseEvents bool,
	options ...Option) (Purged, error) {
	return post[Purged](ctx, c, "/admin/dlq/"+url.PathEscape(id)+"/purge", PurgeRequest{loseEvents},
		options)
}

// PurgeDeadLetters removes the bodies of dead letters for good, up to 500 in a call. To go on,
// repeat it with After set to the Next of the answer.
func (c *Client) PurgeDeadLetters(ctx context.Context, s DeadLetterSelection,
	options ...Option) (Purged, error) {
	return post[Purged](ctx, c, "/admin/dlq/purge", s, options)
}

// RemoveTests removes bodies of test traffic for about five seconds. Repeat it while More is true.
func (c *Client) RemoveTests(ctx context.Context, options ...Option) (RemovedTests, error) {
	return post[RemovedTests](ctx, c, "/admin/test-events/remove", nil, options)
}

// Approvals yields the approvals in a state, oldest first; in every state if it is empty.
func (c *Client) Approvals(ctx context.Context, state control.ApprovalState) iter.Seq2[Approval,
	error] {
	return pages(func(after string) ([]Approval, string, error) {
		query := url.Values{}
		setText(query, "state", string(state))
		setText(query, "after", after)
		setNumber(query, "limit", maxPage)
		page, err := get[Approvals](ctx, c, "/admin/approvals", query)
		return page.Approvals, page.Next, err
	})
}

// Approval returns one approval.
func (c *Client) Approval(ctx context.Context, id string) (Approval, error) {
	return get[Approval](ctx, c, "/admin/approvals/"+url.PathEscape(id), nil)
}

// Approve approves what another person asked for. It needs a reason.
func (c *Client) Approve(ctx context.Context, id string, options ...Option) (Approval, error) {
	return post[Approval](ctx, c, "/admin/approvals/"+url.PathEscape(id)+"/approve", nil, options)
}

// Deny denies a request, or takes back an approval that is not used yet. It needs a reason.
func (c *Client) Deny(ctx context.Context, id string, options ...Option) (Approval, error) {
	return post[Approval](ctx, c, "/admin/approvals/"+url.PathEscape(id)+"/deny", nil, options)
}

// Actions yields the rows of the admin trail, oldest first.
func (c *Client) Actions(ctx context.Context) iter.Seq2[Action, error] {
	return pages(func(after string) ([]Action, string, error) {
		query := url.Values{}
		setText(query, "after", after)
		setNumber(query, "limit", maxPage)
		page, err := get[Actions](ctx, c, "/admin/actions", query)
		return page.Actions, page.Next, err
	})
}

// Tokens returns all tokens but those of the configuration.
func (c *Client) Tokens(ctx context.Context) (Tokens, error) {
	return get[Tokens](ctx, c, "/admin/tokens", nil)
}

// CreateToken makes a token. The answer has its text, which the gate does not show again.
func (c *Client) CreateToken(ctx context.Context, t TokenRequest, options ...Option) (NewToken,
	error) {
	return post[NewToken](ctx, c, "/admin/tokens", t, options)
}

// RevokeToken ends a token for good.
func (c *Client) RevokeToken(ctx context.Context, name string, options ...Option) (Token, error) {
	return call[Token](ctx, c, request{method: http.MethodDelete,
		path: "/admin/tokens/" + url.PathEscape(name), options: options})
}
