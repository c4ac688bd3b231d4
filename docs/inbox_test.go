package docs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/hookgate/hookgate/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Run(m)) }

// consumer is the application of a reader of concepts/delivery.md. It has the tables of that page,
// and its effect is a row in the table effects.
type consumer struct {
	db   *sql.DB
	rule string // the statement of the page for each request
	// placeholder is that of the driver: "$" before a number, or "?".
	placeholder string
}

// request is one request of the gate, as the headers describe it.
type request struct {
	subscription, webhookID, key, source, eventType, messageID string
	event, redelivery                                          int64
}

// headers returns the values of the names in the SQL.
func (r request) headers() map[string]any {
	return map[string]any{
		"subscription": r.subscription, "webhook_id": r.webhookID, "hookgate_key": r.key,
		"source": r.source, "type": r.eventType, "message_id": r.messageID, "event_id": r.event,
		"redelivery": r.redelivery,
	}
}

var (
	sqlBlock  = regexp.MustCompile("(?s)```sql\n(.*?)```")
	parameter = regexp.MustCompile(`:[a-z_]+`)
)

// sqlUnder returns the SQL under a heading of the page.
func sqlUnder(t *testing.T, heading string) (statements []string) {
	t.Helper()
	page, err := os.ReadFile("concepts/delivery.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(page), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("the page has no heading %q", heading)
	}
	if end := regexp.MustCompile(`(?m)^##+ `).FindStringIndex(section); end != nil {
		section = section[:end[0]]
	}
	for _, m := range sqlBlock.FindAllStringSubmatch(section, -1) {
		statements = append(statements, m[1])
	}
	if len(statements) < 2 {
		t.Fatalf("%q has %d blocks of SQL", heading, len(statements))
	}
	return statements
}

func (c *consumer) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	if _, err := c.db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// begin starts the handler of a request: it applies the rule and, if the rule says so, does the
// work. The caller ends the transaction.
func (c *consumer) begin(ctx context.Context, r request) (tx *sql.Tx, worked bool, err error) {
	if tx, err = c.db.BeginTx(ctx, nil); err != nil {
		return nil, false, err
	}
	var args []any
	rule := parameter.ReplaceAllStringFunc(c.rule, func(name string) string {
		args = append(args, r.headers()[name[1:]])
		if c.placeholder == "$" {
			return fmt.Sprint("$", len(args))
		}
		return "?"
	})
	result, err := tx.ExecContext(ctx, rule, args...)
	if err != nil {
		return nil, false, errors.Join(err, tx.Rollback())
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return tx, false, err
	}
	effect := fmt.Sprintf("INSERT INTO effects (subscription, event, redelivery)"+
		" VALUES ('%s', %d, %d)", r.subscription, r.event, r.redelivery)
	if _, err = tx.ExecContext(ctx, effect); err != nil {
		return nil, false, errors.Join(err, tx.Rollback())
	}
	return tx, true, nil
}

// handle is one request that the handler answers with 2xx, or that dies before its commit.
func (c *consumer) handle(t *testing.T, r request, dies bool) (worked bool) {
	t.Helper()
	tx, worked, err := c.begin(t.Context(), r)
	if err == nil && dies {
		err = tx.Rollback()
	} else if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		t.Error(err)
	}
	return worked && !dies
}

// effects returns the effects of a subscription in the order in which they were made.
func (c *consumer) effects(t *testing.T, subscription string) (all []string) {
	t.Helper()
	rows, err := c.db.QueryContext(t.Context(), "SELECT event, redelivery FROM effects WHERE"+
		" subscription = '"+subscription+"' ORDER BY n")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var event, redelivery int64
		if err := rows.Scan(&event, &redelivery); err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%d/%d", event, redelivery))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// onEach runs a test on each database that can run here. There is no MySQL here, and no parser of
// its SQL. On 2026-11-29 the blocks for MySQL were run by hand on MariaDB 10.11, with a driver that
// counts found rows and with one that counts changed rows.
func onEach(t *testing.T, test func(t *testing.T, c *consumer)) {
	t.Run("PostgreSQL", func(t *testing.T) {
		cluster, err := pgtest.Shared()
		if err != nil {
			t.Fatal(err)
		}
		name, err := cluster.NewDatabase(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("pgx", cluster.URL(name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		c := &consumer{db: db, placeholder: "$"}
		c.exec(t, `CREATE TABLE effects (n bigserial, subscription text, event bigint,
			redelivery bigint)`)
		test(t, c)
	})
	t.Run("SQLite", func(t *testing.T) {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "app.db")+
			"?_txlock=immediate&_pragma=busy_timeout(60000)&_pragma=synchronous(off)")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		c := &consumer{db: db, placeholder: "?"}
		c.exec(t, `CREATE TABLE effects (n INTEGER PRIMARY KEY, subscription, event, redelivery)`)
		test(t, c)
	})
}

// number returns the n-th event, of one of five keys.
func number(n int64) request {
	return request{
		subscription: "billing", webhookID: fmt.Sprint("id-", n), key: fmt.Sprint("k:customer-", n%5),
		source: "stripe", eventType: "invoice.paid", messageID: fmt.Sprint("evt_", n), event: n,
	}
}

// TestInboxGeneral: with the general rule each delivery has its effect once. The gate sends events
// in any order, as it does with dead letters that are retried late. Handlers die before their
// commit, answers get lost, and a request that the gate gave up still runs when the next one comes,
// and may die too. Redeliveries and a second subscription have effects of their own.
func TestInboxGeneral(t *testing.T) {
	onEach(t, func(t *testing.T, c *consumer) {
		statements := sqlUnder(t, "### "+strings.Split(t.Name(), "/")[1])
		c.exec(t, statements[0])
		c.rule = statements[1]

		const events = 30
		var requests []request
		for n := int64(1); n <= events; n++ {
			r := number(n)
			requests = append(requests, r)
			if n%3 == 0 {
				r.redelivery = n
				requests = append(requests, r)
			}
			r.subscription, r.redelivery = "search", 0
			requests = append(requests, r)
		}
		requests = slices.Concat(requests, requests) // each answer gets lost once
		random := rand.New(rand.NewPCG(1, 2))
		random.Shuffle(len(requests), func(i, j int) {
			requests[i], requests[j] = requests[j], requests[i]
		})
		for _, r := range requests {
			for random.IntN(3) == 0 {
				c.handle(t, r, true)
			}
			// The request that was given up has its row, and has not committed.
			first, _, err := c.begin(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			var second sync.WaitGroup
			second.Go(func() { c.handle(t, r, false) })
			if random.IntN(2) == 0 {
				err = first.Commit()
			} else {
				err = first.Rollback()
			}
			if second.Wait(); err != nil {
				t.Fatal(err)
			}
		}
		for subscription, want := range map[string]int{"billing": events + events/3, "search": events} {
			got := c.effects(t, subscription)
			slices.Sort(got)
			if len(got) != want || len(slices.Compact(slices.Clone(got))) != want {
				t.Errorf("%s has %d effects, want each of %d once: %v", subscription, len(got), want, got)
			}
		}

		// The clean-up removes old rows only.
		if c.placeholder == "$" {
			c.exec(t, "UPDATE inbox SET done_at = now() - interval '31 days' WHERE webhook_id = 'id-1'")
		} else {
			c.exec(t, "UPDATE inbox SET done_at = unixepoch() - 31 * 86400 WHERE webhook_id = 'id-1'")
		}
		c.exec(t, statements[2])
		if !c.handle(t, number(1), false) || c.handle(t, number(2), false) {
			t.Error("the clean-up has removed a new row, or kept an old one")
		}
	})
}

// TestInboxShort: with the short rule each event has its effect once, and the events of a key in
// their order. The gate sends the events of a key one by one, rising, with deaths and lost answers.
// A request that it gave up can still run when later events of its key are done. The test also
// shows the limits that the page names: a late dead letter and a redelivery have no effect.
func TestInboxShort(t *testing.T) {
	onEach(t, func(t *testing.T, c *consumer) {
		statements := sqlUnder(t, "### PostgreSQL and SQLite, short")
		c.exec(t, statements[0])
		c.rule = statements[1]

		random := rand.New(rand.NewPCG(3, 4))
		var given []request // given up, and not begun
		for n := int64(1); n <= 100; n++ {
			r := number(n)
			if n%10 == 0 {
				r.key = fmt.Sprint("e:", n)
			}
			for random.IntN(3) == 0 {
				c.handle(t, r, true)
			}
			if random.IntN(2) == 0 {
				given = append(given, r)
			}
			if !c.handle(t, r, false) {
				t.Errorf("event %d has no effect", n)
			}
			if random.IntN(2) == 0 && c.handle(t, r, false) {
				t.Errorf("event %d has its effect twice, because its answer got lost", n)
			}
		}
		for _, r := range given {
			if c.handle(t, r, false) {
				t.Errorf("event %d has its effect again, after later events", r.event)
			}
		}
		// At the same time: one of them works, and the other waits for it.
		last := number(1000)
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() { c.handle(t, last, false) })
		}
		both.Wait()
		got := c.effects(t, "billing")
		if len(got) != 101 || got[100] != "1000/0" {
			t.Errorf("%d effects, the last of them %s", len(got), got[len(got)-1])
		}

		again := number(1000)
		again.redelivery = 1
		c.handle(t, number(994), false)
		if c.handle(t, number(984), false) || c.handle(t, again, false) {
			t.Error("the page says that dead letters and redeliveries come too late for the short rule")
		}
	})
}

// TestInboxMessages: with the rule by source, type and message id, an event that the store lost and
// stored again, under another webhook-id, has its effect once.
func TestInboxMessages(t *testing.T) {
	onEach(t, func(t *testing.T, c *consumer) {
		statements := sqlUnder(t, "## If the store lost events")
		c.exec(t, statements[0])
		c.rule = statements[1]
		first, again := number(1), number(1)
		again.webhookID, again.event = "id-7", 7
		other := again
		other.eventType = "invoice.voided"
		redelivered := again
		redelivered.redelivery = 1
		for _, test := range []struct {
			request
			worked bool
		}{{first, true}, {first, false}, {again, false}, {other, true}, {redelivered, true}} {
			if got := c.handle(t, test.request, false); got != test.worked {
				t.Errorf("%+v: works %v, want %v", test.request, got, test.worked)
			}
		}
	})
}
