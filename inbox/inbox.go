// Package inbox gives each delivery of the gate its effect exactly once, in a database of yours.
//
// The gate delivers at least once: your code can get an event again although it has processed it,
// and while the earlier request still runs. A row in your own database tells you. Insert it in the
// transaction in which your code has its effect:
//
//	delivery, err := inbox.FromHeader(r.Header)    // of a push request
//	tx, err := db.BeginTx(ctx, nil)
//	first, err := table.First(ctx, inbox.SQL(tx), delivery)
//	if first {
//		…                                            // the work, in tx
//	}
//	err = tx.Commit()                              // and only then answer 2xx
//
// If anything fails, roll back and answer 500. An effect outside of the transaction, such as an
// email, can still happen twice: pass Delivery.WebhookID on as its idempotency key.
//
// There are two rules. [General] keeps a row for each delivery and holds for every subscription.
// [Short] keeps a row for each ordering key, and holds only if the events of a key always arrive in
// rising order. A handler that the gate calls in Go needs neither: gate.HandleTx does it.
//
// The page docs/concepts/delivery.md has the same SQL for programs in other languages.
package inbox

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Delivery names a delivery. From a push request FromHeader returns it. For a pulled event set the
// fields yourself.
type Delivery struct {
	// Subscription is the name of the subscription.
	Subscription string
	// WebhookID names the event. It is the same in all attempts and after a restore.
	WebhookID string
	// Redelivery is 0, or above 0 if a person asked for the event to be done again.
	Redelivery int64
	// Key is "k:" and the ordering key, or "e:" and the event id. Only the short rule needs Key and
	// EventID.
	Key     string
	EventID int64
}

// FromHeader returns the delivery of a push request. Verify the signature of the request first. The
// error names the headers that are missing or malformed: then the request is not from a gate.
//
// Key is the value of hookgate-key as it is, with its percent-encoding.
func FromHeader(h http.Header) (Delivery, error) {
	var errs []error
	text := func(name string) string {
		value := h.Get(name)
		if value == "" {
			errs = append(errs, fmt.Errorf("header %s is missing", name))
		}
		return value
	}
	number := func(name string) int64 {
		value := text(name)
		n, err := strconv.ParseInt(value, 10, 64)
		if value != "" && (err != nil || n < 0) {
			errs = append(errs, fmt.Errorf("header %s is not a number: %q", name, value))
		}
		return n
	}
	d := Delivery{
		Subscription: text("hookgate-subscription"), WebhookID: text("webhook-id"),
		Redelivery: number("hookgate-redelivery"), Key: text("hookgate-key"),
		EventID: number("hookgate-event-id"),
	}
	if len(errs) > 0 {
		return Delivery{}, fmt.Errorf("not a delivery of a gate: %w", errors.Join(errs...))
	}
	return d, nil
}

// Table is an inbox. All methods may be called concurrently.
type Table struct {
	dialect Dialect
	name    string
	short   bool
	sql     statements
}

// General returns the inbox of the general rule: one row for each subscription, webhook id and
// redelivery. The name may have a schema, as in "billing.inbox".
//
// First reports true once for each delivery, and again only after a rollback. If another
// transaction has inserted the row and is still open, First waits for it. A redelivery on purpose
// is a delivery of its own. It does not matter in which order the events come.
//
// The rule does not recognise an event that the gate has stored twice, under two webhook ids: after
// a restore of the gate's store from an older backup, after an asynchronous failover, or when the
// sender sends it again after retention has removed it.
func General(d Dialect, name string) (*Table, error) { return newTable(d, name, false) }

// Short returns the inbox of the short rule: one row for each subscription and ordering key, with
// the last event of the key that was done.
//
// First reports true if the event is later than the last one of its key. If another transaction has
// changed the row and is still open, First waits for it. The rule loses events unless all of this
// holds:
//
//   - the subscription has order: key and then: park;
//   - nobody skips or dead-letters an event, and then retries it;
//   - nobody redelivers or seeks back: First reports false for these deliveries.
func Short(d Dialect, name string) (*Table, error) { return newTable(d, name, true) }

// plainName is what a table may be called without quotes in every dialect.
var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$`)

func newTable(d Dialect, name string, short bool) (*Table, error) {
	sql, known := general[d]
	if short {
		sql = shortRule[d]
	}
	if !known {
		return nil, fmt.Errorf("inbox: unknown dialect %q", d)
	}
	if !plainName.MatchString(name) {
		return nil, fmt.Errorf("inbox: %q cannot name a table: use letters, digits and underscores,"+
			" after a schema and a dot if you like", name)
	}
	return &Table{dialect: d, name: name, short: short, sql: sql.named(name)}, nil
}

// Create creates the table if it does not exist. db must not be in a transaction. An error says
// also if the table has other columns.
func (t *Table) Create(ctx context.Context, db DB) error {
	if t.probe(ctx, db) == nil {
		return nil // without a need for the right to create tables
	}
	_, createErr := db.exec(ctx, t.sql.create)
	// PostgreSQL can fail to create it while another process does so.
	if err := t.probe(ctx, db); err != nil {
		return fmt.Errorf("inbox: create table %s: %w", t.name, errors.Join(createErr, err))
	}
	return nil
}

func (t *Table) probe(ctx context.Context, db DB) error {
	_, err := db.exec(ctx, t.sql.probe)
	return err
}

// First records a delivery in a transaction. If it reports true, do the work in the same
// transaction and commit. If it reports false, the delivery is done: do nothing and answer 2xx.
//
// After an error roll back and let the gate try again. In PostgreSQL the isolation levels
// repeatable read and serializable make First fail if the other transaction commits while it waits.
func (t *Table) First(ctx context.Context, tx DB, d Delivery) (bool, error) {
	if d.Subscription == "" || !t.short && d.WebhookID == "" || t.short && d.Key == "" {
		return false, fmt.Errorf("inbox: the delivery is incomplete: %+v", d)
	}
	rows := int64(0)
	for _, s := range t.sql.first {
		n, err := tx.exec(ctx, s.text, s.args(d)...)
		if err != nil && t.dialect == MySQL && !t.short {
			// The error of a plain INSERT may be that of a duplicate entry. The row tells, with every
			// driver. A locking read sees it also if the transaction has read before.
			known := t.sql.known
			if found, _ := tx.found(ctx, known.text, known.args(d)...); found {
				return false, nil
			}
		}
		if err != nil {
			return false, fmt.Errorf("inbox: record a delivery in %s: %w", t.name, err)
		}
		rows = n
	}
	return rows > 0, nil
}

// Prune removes the rows that are older than age, and returns how many it removed. Call it now and
// then. age must be longer than an event can come again: the retry time of the subscription, plus
// your longest outage and pause, plus the time for which you let events stay parked. Of the short
// rule it removes only the rows of events without a key of their own.
func (t *Table) Prune(ctx context.Context, db DB, age time.Duration) (int64, error) {
	var args []any
	statement := t.sql.prune
	if t.short {
		args = []any{time.Now().Add(-age).UnixMicro()} // event ids are microseconds since 1970
	} else {
		statement = strings.Replace(statement, ":seconds",
			strconv.FormatInt(int64(age/time.Second), 10), 1)
	}
	n, err := db.exec(ctx, statement, args...)
	if err != nil {
		return 0, fmt.Errorf("inbox: remove old rows of %s: %w", t.name, err)
	}
	return n, nil
}
