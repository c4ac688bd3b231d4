package e2e

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	embedded "github.com/hookgate/hookgate/gate"
	"github.com/hookgate/hookgate/inbox"
	"github.com/hookgate/hookgate/internal/modeltest"
)

// handlerVariable is the environment variable that makes the test binary a program with a gate and
// a handler. It has the address of the program's database: PostgreSQL, or a file of SQLite.
const handlerVariable = "E2E_HANDLER"

// runHandler is the program. Its handler has an effect for each event, in a transaction. At the
// first attempt it dead-letters one of ten, and one of six fails or panics.
func runHandler(database string, args []string) int {
	err := func() error {
		o := embedded.DefaultOptions()
		o.DataDir, o.Listen = args[slices.Index(args, "--data-dir")+1], "127.0.0.1:0"
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		g, err := embedded.Open(ctx, o)
		if err != nil {
			return err
		}
		if strings.HasPrefix(database, "postgres") {
			pool, err := pgxpool.New(ctx, database)
			if err != nil {
				return err
			}
			defer pool.Close()
			g.HandleTx("ledger", pool, embedded.Filter{}, func(ctx context.Context, tx pgx.Tx,
				e *hookgate.Event) error {
				_, err := tx.Exec(ctx, effectOf(ctx, e))
				return errors.Join(err, misfortune(ctx, e))
			}, often)
		} else {
			db, err := openInbox(filepath.Dir(database))
			if err != nil {
				return err
			}
			defer db.Close()
			g.HandleSQL("ledger", db, inbox.SQLite, embedded.Filter{}, func(ctx context.Context,
				tx *sql.Tx, e *hookgate.Event) error {
				_, err := tx.ExecContext(ctx, effectOf(ctx, e))
				return errors.Join(err, misfortune(ctx, e))
			}, often)
		}
		fmt.Printf("listens on %s\n", g.Startup().Addr)
		return errors.Join(g.Run(ctx), g.Close())
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// often makes the retries fast.
func often(s *embedded.SubscriptionOptions) {
	s.Retry.First, s.Retry.Max = time.Millisecond, 10*time.Millisecond
}

func effectOf(ctx context.Context, e *hookgate.Event) string {
	d, _ := embedded.DeliveryOf(ctx)
	return fmt.Sprintf("INSERT INTO effects (event, ordering_key, redelivery) VALUES (%d, '%s', %d)",
		e.ID, e.OrderingKey, min(d.Redelivery, 1))
}

// misfortune is what befalls a handler after its work.
func misfortune(ctx context.Context, e *hookgate.Event) error {
	d, _ := embedded.DeliveryOf(ctx)
	if d.Attempt > 1 {
		return nil
	}
	if strings.HasSuffix(e.MessageID, "7") && d.Redelivery == 0 {
		return embedded.Dead(errors.New("give up"))
	}
	switch rand.IntN(12) {
	case 0:
		return errors.New("no such customer")
	case 1:
		panic("nil map")
	}
	return nil
}

// handlerDatabase makes the database of the program, and returns its address for runHandler.
func handlerDatabase(t *testing.T, driver string) (address string, db *sql.DB) {
	t.Helper()
	var err error
	number := "INTEGER PRIMARY KEY"
	if driver == "PostgreSQL" {
		number = "bigserial"
		cluster, name := sharedPostgres(t)
		address = cluster.URL(name)
		db, err = sql.Open("pgx", address)
	} else {
		address = filepath.Join(t.TempDir(), "inbox.db")
		db, err = openInbox(filepath.Dir(address))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	_, err = db.Exec("CREATE TABLE effects (n " + number + ", event bigint, ordering_key text," +
		" redelivery bigint)")
	if err != nil {
		t.Fatal(err)
	}
	return address, db
}

// TestHandlerKilled: a program with a gate and a handler in a transaction is killed again and
// again, while webhooks come and handlers fail. Dead letters are retried later, and all events are
// redelivered on purpose. Each delivery has its effect exactly once. The events of a key have their
// effects in order, but for dead letters and redeliveries.
func TestHandlerKilled(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"PostgreSQL", "SQLite"} {
		t.Run(driver, func(t *testing.T) {
			address, db := handlerDatabase(t, driver)
			events, kills := modeltest.Pick(120, 50_000), modeltest.Pick(3, 100)
			effects := func(where string) (n int) {
				t.Helper()
				err := db.QueryRow("SELECT count(*) FROM effects WHERE " + where).Scan(&n)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
			o := startOptions{program: os.Args[0], dir: filepath.Join(t.TempDir(), "data"),
				env: []string{handlerVariable + "=" + address}}
			g := startGate(t, o)
			var mu sync.RWMutex // guards g
			webhooks := make(chan string, events)
			var senders sync.WaitGroup
			for range 4 {
				senders.Go(func() {
					for body := range webhooks {
						for status := 0; status/100 != 2; {
							mu.RLock()
							status, _ = g.send(body)
							mu.RUnlock()
						}
					}
				})
			}
			for round := range kills + 1 {
				const keys = 5
				for n := events * round / (kills + 1); n < events*(round+1)/(kills+1); n++ {
					webhooks <- fmt.Sprintf(`{"messageId":"%d","eventType":"t","orderingKey":"k%d"}`,
						n, n%keys)
				}
				if round == kills {
					break
				}
				// In the middle of the work.
				some := effects("redelivery = 0") + rand.IntN(events/(kills+1)/2)
				g.await("effects", func() bool { return effects("redelivery = 0") > some })
				g.kill()
				restarted := startGate(t, o)
				mu.Lock()
				g = restarted
				mu.Unlock()
			}
			close(webhooks)
			senders.Wait()

			var dead int64
			g.awaitSubscription("ledger", "all are done", func(s api.Subscription) bool {
				dead = s.Dead
				return s.Backlog == 0 && s.Waiting == 0 && s.Held == 0 &&
					effects("redelivery = 0")+int(dead) == events
			})
			unordered := effects(`EXISTS (SELECT 1 FROM effects AS later WHERE later.n > effects.n
				AND later.event < effects.event AND later.ordering_key = effects.ordering_key)`)
			if unordered > 0 {
				t.Errorf("%d effects are before those of earlier events of their keys", unordered)
			}
			g.run("subscriptions", "retry", "ledger", "--state", "dead", "--reason", "fixed")
			g.change("ledger/redeliver", `{"from":"beginning"}`, nil)
			g.await("redeliveries", func() bool { return effects("1 = 1") >= 2*events })
			g.stop() // all results are stored
			g = startGate(t, o)
			g.stop()
			for redelivery := range 2 {
				var total, distinct int
				err := db.QueryRow(fmt.Sprintf("SELECT count(*), count(DISTINCT event) FROM effects WHERE"+
					" redelivery = %d", redelivery)).Scan(&total, &distinct)
				if err != nil || total != events || distinct != events {
					t.Errorf("redelivery %d: %d effects of %d events, want %d: %v", redelivery, total,
						distinct, events, err)
				}
			}
			t.Logf("%d events, %d kills, %d dead letters", events, kills, dead)
		})
	}
}
