// Package txhandler delivers events to Go functions that run in a transaction of the user's
// database. The transaction also records the delivery in an inbox table of that database, so the
// effect of each delivery happens exactly once, although the store of the gate is elsewhere.
//
// Deliveries that come while all transactions are busy share one, as in a group commit:
//
//	BEGIN
//	  inbox row of event 1   function(event 1)                       the leader
//	  SAVEPOINT  inbox row of event 2   function(event 2)  RELEASE   a follower that waited
//	  SAVEPOINT  inbox row of event 3   function(event 3)  ROLLBACK  another one, which failed
//	COMMIT                                                           then 1 and 2 are settled
//
// A delivery never waits for others to come. The transaction passes from one delivery to the next,
// each in its own goroutine; only one uses it at a time. If the transaction as a whole fails, each
// of its deliveries runs once more in a transaction of its own, where the inbox tells whether it
// was committed after all.
package txhandler

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver/handler"
	"github.com/hookgate/hookgate/inbox"
)

const (
	// maxGroup bounds the deliveries of one transaction. PostgreSQL becomes slow if a transaction has
	// more than 64 subtransactions.
	maxGroup = 64
	// groupTime is how long after its begin a transaction takes further deliveries. So slow functions
	// do not wait for each other, and locks are short.
	groupTime = 10 * time.Millisecond
	// grace is how long the other deliveries of a transaction wait for a function whose context has
	// ended, or for another transaction that works on the same delivery.
	grace = 5 * time.Second
	// endTimeout bounds a commit and a rollback.
	endTimeout = 30 * time.Second
)

// Func handles one event in a transaction.
type Func[Tx any] func(ctx context.Context, tx Tx, e *hookgate.Event) error

// Config describes a consumer.
type Config[Tx any] struct {
	// Name is the name of the subscription, for the log.
	Name string
	Func Func[Tx]
	// Timeout bounds one call of Func, and the wait for a transaction before it.
	Timeout time.Duration
	// Database has the transactions.
	Database Database[Tx]
	// Inbox is of the general rule, and Keep is how long its rows are kept.
	Inbox *inbox.Table
	Keep  time.Duration
	// Logger may be nil.
	Logger *slog.Logger
}

// Database begins transactions in the database of the user. See Pgx and SQL.
type Database[Tx any] interface {
	// begin begins a transaction.
	begin(ctx context.Context) (transaction[Tx], error)
	// transactions is how many may be open at a time.
	transactions() int
	// inbox is the database outside of a transaction.
	inbox() inbox.DB
}

// transaction is an open transaction. Only abort may be called concurrently with other methods.
type transaction[Tx any] interface {
	// tx is what the function gets.
	tx() Tx
	// inbox is the database in which the delivery is recorded.
	inbox() inbox.DB
	// save sets the savepoint before an event. It replaces the earlier one.
	save(ctx context.Context) error
	// finish is called after a function that returned nil. An error means that its work must be
	// undone.
	finish(ctx context.Context) error
	// undo rolls back to the savepoint.
	undo(ctx context.Context) error
	commit(ctx context.Context) error
	rollback(ctx context.Context) error
	// lost reports whether undo or rollback found the connection closed.
	lost() bool
	// abort ends the transaction while a function still uses it.
	abort()
}

// Consumer implements hookgate.Consumer.
type Consumer[Tx any] struct {
	Config[Tx]
	// call calls Func.
	call hookgate.Consumer

	// Tests change these two.
	groupTime, grace time.Duration

	mu      sync.Mutex // guards the fields below
	free    int        // transactions that may be begun
	ready   bool       // whether the inbox is known to exist
	waiting []*member[Tx]
}

// member is a delivery on its way through a transaction.
type member[Tx any] struct {
	// alone is set if no other delivery may share the transaction.
	alone bool
	// turn gets a group to join, or nil: then the member may begin a transaction. It has room for
	// one.
	turn  chan *group[Tx]
	group *group[Tx]
	// err is what the function returned. late is set if a context has ended meanwhile: drivers then
	// close the connection, which says nothing about the database. abandoned is set before the group
	// fails because the function runs on.
	err             error
	late, abandoned bool
}

// New returns a consumer that calls c.Func.
func New[Tx any](c Config[Tx]) *Consumer[Tx] {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	all := &Consumer[Tx]{Config: c, free: c.Database.transactions(), groupTime: groupTime,
		grace: grace}
	all.call = handler.New(handler.Config{Name: c.Name, Timeout: c.Timeout, Logger: c.Logger,
		Func: func(ctx context.Context, e *hookgate.Event) error {
			m := ctx.Value(memberKey{}).(*member[Tx])
			defer all.guard(ctx, m)()
			m.err = c.Func(ctx, m.group.tx.tx(), e)
			m.late = ctx.Err() != nil || errors.Is(m.err, context.DeadlineExceeded) ||
				errors.Is(m.err, context.Canceled)
			return m.err
		}})
	return all
}

// memberKey is the key of the *member in the context of a call.
type memberKey struct{}

// Deliver implements hookgate.Consumer.
func (c *Consumer[Tx]) Deliver(ctx context.Context, d *hookgate.Delivery) hookgate.Answer {
	// A delivery that has failed before is likely to fail again, or to wait for an earlier attempt
	// that still runs.
	answer, again := c.attempt(ctx, d, d.Attempt > 1)
	if again {
		answer, _ = c.attempt(ctx, d, true)
	}
	return answer
}

// outcome is what became of the work of a delivery when its function has returned.
type outcome int

const (
	kept   outcome = iota // the transaction has to be committed
	undone                // it is rolled back, and the transaction can go on
	broken                // the whole transaction has failed
)

// attempt takes a delivery through a transaction. again reports that it must run alone, because it
// may have failed because of the others.
func (c *Consumer[Tx]) attempt(ctx context.Context, d *hookgate.Delivery,
	alone bool) (answer hookgate.Answer, again bool) {
	m := &member[Tx]{alone: alone, turn: make(chan *group[Tx], 1)}
	g, err := c.join(ctx, m)
	if err != nil {
		return outageOf(ctx, err), false
	}
	m.group = g
	returned := false
	defer func() {
		if !returned { // a panic or runtime.Goexit, which package deliver reports
			c.undo(g)
			c.pass(g)
		}
	}()
	answer, outcome := c.work(ctx, m, d)
	returned = true
	c.pass(g)
	if outcome == undone {
		return answer, !alone && answer.Verdict == hookgate.VerdictFailed && transient(m.err)
	}
	<-g.done
	switch err := g.failed(); {
	case err == nil:
		return answer, false
	case !alone && !m.abandoned && !(m.late && outcome == broken) && ctx.Err() == nil:
		return answer, true
	case ctx.Err() != nil:
		return outageOf(ctx, err), false
	case outcome == broken:
		return answer, false
	case m.abandoned || definite(err):
		return hookgate.Answer{Verdict: hookgate.VerdictFailed, Reason: err.Error()}, false
	default:
		return outageOf(ctx, err), false
	}
}

// outageOf is the answer if the database is away, or if the gate has ended the attempt.
func outageOf(ctx context.Context, err error) hookgate.Answer {
	a := hookgate.Answer{Verdict: hookgate.VerdictOutage, Reason: err.Error()}
	if ctx.Err() != nil {
		a.Verdict = hookgate.VerdictInterrupted
	}
	return a
}

// work records a delivery in the transaction and calls the function.
func (c *Consumer[Tx]) work(ctx context.Context, m *member[Tx],
	d *hookgate.Delivery) (hookgate.Answer, outcome) {
	g := m.group
	first, err := c.record(ctx, g, d)
	if err != nil {
		g.fail(err)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return hookgate.Answer{Verdict: hookgate.VerdictFailed, Reason: "another transaction still" +
				" works on this delivery: " + err.Error()}, broken
		}
		return outageOf(ctx, err), broken
	}
	if !first {
		return hookgate.Answer{Verdict: hookgate.VerdictDelivered}, kept
	}
	answer := c.call.Deliver(context.WithValue(ctx, memberKey{}, m), d)
	if answer.Verdict == hookgate.VerdictDelivered {
		ending, cancel := ended(ctx)
		defer cancel()
		err := g.tx.finish(ending)
		if err == nil {
			return answer, kept
		}
		answer = hookgate.Answer{Verdict: hookgate.VerdictFailed, Reason: err.Error()}
	}
	outcome := c.undo(g)
	if g.tx.lost() && !m.late && answer.Verdict == hookgate.VerdictFailed && answer.Delay == nil {
		answer.Verdict = hookgate.VerdictOutage
	}
	return answer, outcome
}

// record records a delivery in the inbox. It reports whether there is work to do.
func (c *Consumer[Tx]) record(ctx context.Context, g *group[Tx], d *hookgate.Delivery) (bool,
	error) {
	timeout := c.Timeout
	if g.size > 1 {
		timeout = min(timeout, c.grace) // others wait
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if g.size > 1 {
		if err := g.tx.save(ctx); err != nil {
			return false, err
		}
	}
	return c.Inbox.First(ctx, g.tx.inbox(), inbox.Delivery{Subscription: d.Subscription,
		WebhookID: d.Event.WebhookID(), Redelivery: d.Redelivery})
}

// ended returns a context for a statement that must be sent also if ctx has ended.
func ended(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
}
