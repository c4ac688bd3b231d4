package hookgate

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Event is a stored event with its body, as a Log returns it.
type Event struct {
	// ID grows in the order of commits. It is below 2^53.
	ID int64
	Identity
	OrderingKey string
	// Keyed reports whether OrderingKey is the sender's own. If it is not, the event waits for no
	// other event.
	Keyed bool
	// RequestID is the request that brought the event.
	RequestID RequestID
	// Headers are those that the source keeps.
	Headers []Header
	// ReceivedAt is when the request was received, and StoredAt when the event was stored.
	ReceivedAt, StoredAt time.Time
	// Body has the bytes exactly as received. It is shared: nobody may change it.
	Body []byte
}

// Key returns "k:" and the ordering key, or "e:" and the event id if the event has no key of its
// own. Consumers receive it in the header hookgate-key.
func (e *Event) Key() string {
	if e.Keyed {
		return "k:" + e.OrderingKey
	}
	return "e:" + strconv.FormatInt(e.ID, 10)
}

// WebhookID returns the id that names the event outside the gate: that of its first request. It is
// globally unique, and stays the same over attempts, restarts and moves to another store. Consumers
// receive it in the header webhook-id.
func (e *Event) WebhookID() string { return e.RequestID.String() }

// Log reads stored events in the order of commits. A reader that continues after the last id it saw
// misses no event. All methods may be called concurrently.
type Log interface {
	// ReadLog returns the events that follow q.After. It does not wait for new ones. Events that
	// retention has removed are missing without an error.
	ReadLog(ctx context.Context, q LogQuery) (LogPage, error)
	// ReadEvents returns the events with these ids in the order of ids, also those that retention
	// has removed but keeps for a subscription. An id of no event is skipped.
	ReadEvents(ctx context.Context, ids []int64) ([]Event, error)
	// Grown returns a channel that is closed when this process knows of events that were stored
	// after the call of Grown. With PostgreSQL it may be closed although nothing was stored.
	Grown() <-chan struct{}
}

// LogQuery asks for a part of the log.
type LogQuery struct {
	// After is the id before the first event to return.
	After int64
	// Until is the last id to return; 0 means the end of the log.
	Until int64
	// OrderingKey selects the keyed events of one ordering key, also those that retention has removed
	// but keeps for a subscription. Empty: all events.
	OrderingKey string
	// Max bounds the number of events, and MaxBytes the size of their bodies unless a single body is
	// larger.
	Max, MaxBytes int
}

// LogPage is an answer to a LogQuery.
type LogPage struct {
	Events []Event
	// Next is the id up to which the page is complete: the next query continues after it. It can be
	// greater than the id of the last event. If the page has reached the end of the log or of the
	// query, Next is that end. It is never less than LogQuery.After.
	Next int64
	// More reports whether Max or MaxBytes ended the page.
	More bool
}

// Filter selects events. Empty lists select everything, but the events of TestSource only if
// Sources names it.
type Filter struct {
	// Sources are names of sources.
	Sources []string `json:"sources,omitempty"`
	// Types are event types. A star stands for any text, also for an empty one and for dots.
	Types []string `json:"types,omitempty"`
}

// Match reports whether f selects the events of a source and type.
func (f *Filter) Match(source, eventType string) bool {
	if len(f.Sources) == 0 {
		if source == TestSource {
			return false
		}
	} else if !slices.Contains(f.Sources, source) {
		return false
	}
	return len(f.Types) == 0 || slices.ContainsFunc(f.Types, func(pattern string) bool {
		return matchGlob(pattern, eventType)
	})
}

// matchGlob reports whether text matches a pattern in which a star stands for any text.
func matchGlob(pattern, text string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, head)
	if !ok {
		return false
	}
	for {
		part, next, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(text, part)
		}
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text, rest = text[i+len(part):], next
	}
}

// Delivery is one attempt to hand an event to a consumer.
type Delivery struct {
	Subscription string
	Event        *Event
	// Attempt counts from 1.
	Attempt int
	// Redelivery is 0, or above 0 if a person asked for the event again.
	Redelivery int64
}

// Consumer receives the events of a subscription. Its method may be called concurrently.
type Consumer interface {
	// Deliver hands over one event and waits for the answer. If ctx ends first, the answer is
	// VerdictInterrupted.
	Deliver(ctx context.Context, d *Delivery) Answer
}

// Verdict says what an answer means.
type Verdict int

// The verdicts.
const (
	// VerdictDelivered settles the event.
	VerdictDelivered Verdict = iota
	// VerdictFailed is a failure of this event.
	VerdictFailed
	// VerdictOutage is a failure that may concern the whole consumer: no connection, no answer in
	// time, 429, 502 to 504.
	VerdictOutage
	// VerdictFinal is a failure that no retry can mend.
	VerdictFinal
	// VerdictDead makes a dead letter of the event, also if the subscription would park it.
	VerdictDead
	// VerdictGone pauses the subscription, for the reason of the answer; the event waits.
	VerdictGone
	// VerdictOwn is a failure on our side of the connection, such as no route. It does not count as
	// an attempt.
	VerdictOwn
	// VerdictInterrupted means that the attempt was cut off by us. It does not count as an attempt.
	VerdictInterrupted
)

// Answer is the result of one attempt.
type Answer struct {
	Verdict Verdict
	// Status is the HTTP status, or 0.
	Status int
	// RetryAfter is the least wait for which the consumer asked; 0 if it did not ask.
	RetryAfter time.Duration
	// Delay is the wait before the next attempt, in place of the computed one; nil if the consumer
	// did not set it. Like RetryAfter it does not count against the time to retry.
	Delay *time.Duration
	// Reason says for people why the attempt failed.
	Reason string
}

// Leases keeps the state of pull subscriptions. Such a subscription has no owner: every process
// reads its state and commits results, and the first commit wins. All methods may be called
// concurrently.
//
// An event that is leased counts as passed: the cursor moves on when the lease is stored, and the
// row of the lease takes the place of the cursor. So an event at or below the cursor that the
// filter selects is settled, or it is leased, or it has an exception, or its key has a hold with a
// lower After. With OrderAll the cursor stays before the events that are leased.
type Leases interface {
	// PullState returns the state of a subscription in one consistent read.
	//
	// Errors: ErrNotFound, and ErrLeased if a process that pushes its events owns it now.
	PullState(ctx context.Context, name string) (*PullState, error)

	// Commit stores results in one durable transaction, like Subscriptions.Save, if nobody has
	// changed the subscription since PullState returned a state with this epoch and version. It gives
	// the subscription the next epoch, records the time as PullState.PulledAt, and returns both.
	//
	// Errors: ErrFenced: somebody was faster, and nothing was stored. After any other error the
	// outcome is unknown. In both cases the caller must call PullState again.
	Commit(ctx context.Context, name string, epoch Epoch, version int64, r *Results) (Epoch,
		time.Time, error)

	// EndedLease returns a lease in which no event is open. The store keeps it until ten minutes
	// after its Until. Events is empty if all of them were acknowledged. ErrNotFound: there is no
	// such lease, it has run out, or it is not of this subscription.
	EndedLease(ctx context.Context, name, id string) (*Lease, error)

	// CreateTemporary creates a subscription that is not in the configuration and holds up no
	// retention. It is forgotten when idle has passed without a Commit. def.Start counts as for
	// Define. ErrNameTaken: there is a subscription of this name.
	CreateTemporary(ctx context.Context, def SubscriptionDefinition, idle time.Duration,
		p Person) error

	// ForgetIdle forgets the temporary subscriptions whose time has passed, and returns their names.
	ForgetIdle(ctx context.Context) ([]string, error)
}

// PullState is the state of a pull subscription.
type PullState struct {
	// SubscriptionState includes the leases with open events.
	SubscriptionState
	// Definition is the stored definition.
	Definition SubscriptionDefinition
	// Now is the time by the store's clock, and PulledAt that of the last Commit; zero before the
	// first one.
	Now, PulledAt time.Time
}

// Lease is a set of events that one client of a pull subscription works on.
type Lease struct {
	// ID is random. Every client that knows it can settle the events of the lease.
	ID string
	// Began is when the lease was stored, and Until when it ends, by the store's clock.
	Began, Until time.Time
	// Events are in rising order of ids.
	Events []LeasedEvent
}

// LeasedEvent is an event of a lease.
type LeasedEvent struct {
	Event, Redelivery int64
	// OrderingKey is the key whose slot the event has; empty if it waits for nobody.
	OrderingKey string
	// Attempts is the number of attempts that failed before this lease.
	Attempts int
	// Excepted reports that the event has an exception. Path reports that it is on the way of the
	// cursor: it is neither an event of a redelivery job nor an exception that holds nobody.
	Excepted, Path bool
	// Job is the redelivery job to which the event belongs, or 0.
	Job   int64
	State LeasedState
}

// LeasedState is the state of an event within its lease.
type LeasedState string

// The states of an event in a lease.
const (
	// LeasedOpen waits for the client.
	LeasedOpen LeasedState = ""
	// LeasedAcked was acknowledged.
	LeasedAcked LeasedState = "acked"
	// LeasedGivenBack has failed, or stands behind an event of its key that has failed.
	LeasedGivenBack LeasedState = "given_back"
)
