package txhandler

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/inbox"
	"github.com/hookgate/hookgate/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Run(m)) }

// world is a user's database with a table of effects, and a consumer whose function the test sets.
type world struct {
	hookgate.Consumer
	// exec runs a statement in the transaction of a function.
	exec func(ctx context.Context, tx any, statement string) error
	// outside runs a statement in the database. Its rows are those that it changed or found.
	outside func(statement string) (rows int64)
	dialect inbox.Dialect
	handle  func(ctx context.Context, tx any, e *hookgate.Event) error
	// waiting returns how many deliveries wait for a transaction.
	waiting func() int
	// release lets one more transaction begin.
	release func()
	// begun counts transactions.
	begun *atomic.Int64
	// concurrent makes the consumer as gate.HandleTx makes it.
	concurrent func()
	// setGrace changes how long others wait for a function.
	setGrace func(time.Duration)
	// cancel ends the context of an event, as a stop of the gate does.
	cancel map[int64]func()
}

// counted counts the transactions of a database, and has one at a time.
type counted[Tx any] struct {
	Database[Tx]
	n *atomic.Int64
}

func (c counted[Tx]) begin(ctx context.Context) (transaction[Tx], error) {
	c.n.Add(1)
	return c.Database.begin(ctx)
}

func (c counted[Tx]) transactions() int { return 1 }

// effect is the statement that has the effect of an event.
func effect(e *hookgate.Event) string {
	return fmt.Sprintf("INSERT INTO effects (event) VALUES (%d)", e.ID)
}

// work has the effect of an event.
func (w *world) work(ctx context.Context, tx any, e *hookgate.Event) error {
	return w.exec(ctx, tx, effect(e))
}

// postgresURL returns the address of a new database.
func postgresURL(t testing.TB) string {
	t.Helper()
	cluster, err := pgtest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	name, err := cluster.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return cluster.URL(name)
}

// newWorld completes w. The consumer has one transaction at a time.
func newWorld[Tx any](t testing.TB, w *world, db Database[Tx], dialect inbox.Dialect) {
	t.Helper()
	table, err := inbox.General(dialect, "inbox")
	if err != nil {
		t.Fatal(err)
	}
	w.dialect, w.handle, w.begun = dialect, w.work, &atomic.Int64{}
	c := New(Config[Tx]{Name: "billing", Timeout: time.Minute, Inbox: table,
		Database: counted[Tx]{db, w.begun},
		Func: func(ctx context.Context, tx Tx, e *hookgate.Event) error {
			return w.handle(ctx, tx, e)
		}})
	if err := c.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.groupTime, c.grace = time.Minute, time.Minute
	w.Consumer, w.release, w.cancel = c, c.release, map[int64]func(){}
	w.concurrent = func() { c.groupTime, c.free = groupTime, db.transactions() }
	w.setGrace = func(d time.Duration) { c.grace = d }
	w.waiting = func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.waiting)
	}
	w.outside("CREATE TABLE effects (event bigint)")
}

func newPgx(t testing.TB) *world {
	t.Helper()
	return pgxWorld(t, postgresURL(t))
}

func pgxWorld(t testing.TB, address string) *world {
	t.Helper()
	pool, err := pgxpool.New(context.Background(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	w := &world{
		exec: func(ctx context.Context, tx any, statement string) error {
			_, err := tx.(pgx.Tx).Exec(ctx, statement)
			return err
		},
		outside: func(statement string) int64 {
			tag, err := pool.Exec(context.Background(), statement)
			if err != nil {
				t.Error(err)
			}
			return tag.RowsAffected()
		},
	}
	newWorld(t, w, Pgx(pool), inbox.PostgreSQL)
	return w
}

func newSQL(t testing.TB, driver, address string, dialect inbox.Dialect) *world {
	t.Helper()
	db, err := sql.Open(driver, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	w := &world{
		exec: func(ctx context.Context, tx any, statement string) error {
			_, err := tx.(*sql.Tx).ExecContext(ctx, statement)
			return err
		},
		outside: func(statement string) (n int64) {
			rows, err := db.Query(statement)
			if err != nil {
				t.Error(err)
				return 0
			}
			defer rows.Close()
			for rows.Next() {
				n++
			}
			return n
		},
	}
	newWorld(t, w, SQL(db, dialect), dialect)
	return w
}

// onEach runs a test with pgx, and with database/sql on PostgreSQL and SQLite.
func onEach(t *testing.T, test func(t *testing.T, w *world)) {
	t.Run("pgx", func(t *testing.T) { test(t, newPgx(t)) })
	t.Run("PostgreSQL", func(t *testing.T) {
		test(t, newSQL(t, "pgx", postgresURL(t), inbox.PostgreSQL))
	})
	t.Run("SQLite", func(t *testing.T) {
		file := "file:" + filepath.Join(t.TempDir(), "app.db") +
			"?_txlock=immediate&_pragma=busy_timeout(60000)&_pragma=synchronous(off)"
		test(t, newSQL(t, "sqlite", file, inbox.SQLite))
	})
}

// delivery returns the first attempt of an event.
func delivery(id int64) *hookgate.Delivery {
	e := &hookgate.Event{ID: id}
	binary.BigEndian.PutUint64(e.RequestID[8:], uint64(id))
	return &hookgate.Delivery{Subscription: "billing", Event: e, Attempt: 1}
}

// deliver calls a consumer as package deliver does.
func deliver(ctx context.Context, c hookgate.Consumer, d *hookgate.Delivery) (a hookgate.Answer) {
	defer func() {
		if p := recover(); p != nil {
			a = hookgate.Answer{Verdict: hookgate.VerdictFailed, Reason: fmt.Sprint("panic: ", p)}
		}
	}()
	return c.Deliver(ctx, d)
}

// group delivers events so that all share a transaction, in this order. It returns their answers.
func (w *world) group(t *testing.T, events ...int64) []hookgate.Answer {
	t.Helper()
	all := make([]hookgate.Answer, len(events))
	leads, go_ := make(chan struct{}), make(chan struct{})
	inner := w.handle
	w.handle = func(ctx context.Context, tx any, e *hookgate.Event) error {
		if e.ID == events[0] && leads != nil {
			close(leads)
			<-go_
			leads = nil // when it runs again
		}
		return inner(ctx, tx, e)
	}
	var deliveries sync.WaitGroup
	for i, id := range events {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w.cancel[id] = cancel
		deliveries.Go(func() { all[i] = deliver(ctx, w.Consumer, delivery(id)) })
		if i == 0 {
			<-leads
		}
		for w.waiting() < i {
			runtime.Gosched()
		}
	}
	close(go_)
	deliveries.Wait()
	return all
}

// check compares verdicts, and the events whose effects the database has.
func (w *world) check(t *testing.T, answers []hookgate.Answer, verdicts []hookgate.Verdict,
	effects ...int64) {
	t.Helper()
	for i, a := range answers {
		if a.Verdict != verdicts[i] {
			t.Errorf("answer %d is %+v, want the verdict %d", i, a, verdicts[i])
		}
	}
	for _, id := range effects {
		if n := w.outside(fmt.Sprintf("SELECT 1 FROM effects WHERE event = %d", id)); n != 1 {
			t.Errorf("event %d has %d effects", id, n)
		}
	}
	if n := w.outside("SELECT 1 FROM effects"); n != int64(len(effects)) {
		t.Errorf("there are %d effects, want those of %v", n, effects)
	}
	if n := w.outside("SELECT 1 FROM inbox"); n != int64(len(effects)) {
		t.Errorf("the inbox has %d rows, want those of %v", n, effects)
	}
}

const (
	delivered = hookgate.VerdictDelivered
	failed    = hookgate.VerdictFailed
	outage    = hookgate.VerdictOutage
)

// TestGroup: deliveries that wait share one transaction. One that fails, panics or ignores the
// error of a statement is undone, and the others are not. If they come again, those that are done
// have no second effect.
func TestGroup(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		calls := map[int64]int{}
		w.handle = func(ctx context.Context, tx any, e *hookgate.Event) error {
			calls[e.ID]++
			err := w.work(ctx, tx, e)
			switch {
			case calls[e.ID] > 1:
			case e.ID == 2:
				return errors.New("no such customer")
			case e.ID == 3:
				panic("nil map")
			case e.ID == 5:
				if w.exec(ctx, tx, "INSERT INTO nowhere VALUES (1)") == nil {
					t.Error("there is a table nowhere")
				}
			}
			return err
		}
		want := []hookgate.Verdict{delivered, failed, failed, delivered, failed, delivered}
		effects := []int64{1, 4, 6}
		if w.dialect == inbox.SQLite { // the failure of a statement does not abort the transaction
			want[4], effects = delivered, []int64{1, 4, 5, 6}
		}
		w.check(t, w.group(t, 1, 2, 3, 4, 5, 6), want, effects...)
		if n := w.begun.Load(); n != 1 {
			t.Errorf("%d transactions", n)
		}
		again := w.group(t, 7, 1, 2, 3, 4, 5, 6)
		w.check(t, again, make([]hookgate.Verdict, 7), 1, 2, 3, 4, 5, 6, 7)
		if calls[1] != 1 || calls[2] != 2 || w.begun.Load() != 2 {
			t.Errorf("calls %v, %d transactions", calls, w.begun.Load())
		}
		redelivery := delivery(1)
		redelivery.Redelivery = 8
		if a := w.Deliver(t.Context(), redelivery); a.Verdict != delivered || calls[1] != 2 {
			t.Errorf("a redelivery is answered %+v after %d calls", a, calls[1])
		}
	})
}

// TestLeaderFails: the first event of a transaction fails, and those that wait begin another one.
func TestLeaderFails(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.handle = func(ctx context.Context, tx any, e *hookgate.Event) error {
			if e.ID == 1 {
				return errors.Join(w.work(ctx, tx, e), errors.New("no such customer"))
			}
			return w.work(ctx, tx, e)
		}
		w.check(t, w.group(t, 1, 2, 3), []hookgate.Verdict{failed, delivered, delivered}, 2, 3)
		if n := w.begun.Load(); n != 2 {
			t.Errorf("%d transactions", n)
		}
	})
}

// TestEndsTheTransaction: a function that ends the transaction itself does no harm to the others.
func TestEndsTheTransaction(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.handle = func(ctx context.Context, tx any, e *hookgate.Event) error {
			if err := w.work(ctx, tx, e); err != nil || e.ID != 2 {
				return err
			}
			switch tx := tx.(type) {
			case pgx.Tx:
				if tx.Commit(ctx) == nil || tx.Rollback(ctx) == nil {
					t.Error("a function can end the transaction")
				}
				return w.exec(ctx, tx, "COMMIT")
			case *sql.Tx:
				return tx.Commit()
			}
			return nil
		}
		w.check(t, w.group(t, 1, 2, 3), make([]hookgate.Verdict, 3), 1, 2, 3)
	})
}

// TestRowsLeftOpen: a function that leaves a query open fails alone.
func TestRowsLeftOpen(t *testing.T) {
	w := newPgx(t)
	w.handle = func(ctx context.Context, tx any, e *hookgate.Event) error {
		if e.ID == 2 {
			_, err := tx.(pgx.Tx).Query(ctx, "SELECT generate_series(1, 100000)")
			return err
		}
		return w.work(ctx, tx, e)
	}
	w.check(t, w.group(t, 1, 2, 3), []hookgate.Verdict{delivered, failed, delivered}, 1, 3)
}

// TestCommitFails: a deferred constraint rejects the commit because of one event. That event fails,
// and the others are delivered without it. If the connection is lost during the commit, nobody
// knows the outcome: with the inbox it does not matter.
func TestCommitFails(t *testing.T) {
	for _, c := range []struct {
		body string
		want hookgate.Verdict
	}{
		{"RAISE 'event 2 is bad'", failed},
		{"PERFORM pg_terminate_backend(pg_backend_pid())", outage},
	} {
		t.Run(c.body, func(t *testing.T) {
			w := newPgx(t)
			w.outside(`CREATE FUNCTION reject() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN IF NEW.event = 2 THEN ` + c.body + `; END IF; RETURN NULL; END $$`)
			w.outside(`CREATE CONSTRAINT TRIGGER reject AFTER INSERT ON effects
				DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION reject()`)
			w.check(t, w.group(t, 1, 2, 3), []hookgate.Verdict{delivered, c.want, delivered}, 1, 3)
		})
	}
}

// TestAway: if the connection is lost or the database is away, the consumer is away, and no event
// is to blame. The others of the transaction run again.
func TestAway(t *testing.T) {
	w := newPgx(t)
	w.handle = func(ctx context.Context, tx any, e *hookgate.Event) error {
		if e.ID == 2 {
			return w.exec(ctx, tx, "SELECT pg_terminate_backend(pg_backend_pid())")
		}
		return w.work(ctx, tx, e)
	}
	w.check(t, w.group(t, 1, 2, 3), []hookgate.Verdict{delivered, outage, delivered}, 1, 3)
	w.outside("DROP TABLE inbox")
	if a := w.Deliver(t.Context(), delivery(4)); a.Verdict != outage {
		t.Errorf("without the table the answer is %+v", a)
	}
}

// TestHanging: a function runs on after the end of its context. Those that share its transaction
// are delivered before it returns.
func TestHanging(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		if w.dialect == inbox.SQLite {
			t.Skip("it has one transaction, which the function keeps")
		}
		w.handle = func(ctx context.Context, tx any, e *hookgate.Event) error {
			err := w.work(ctx, tx, e)
			if e.ID == 2 {
				w.setGrace(time.Millisecond)
				w.release() // the function keeps its transaction
				w.cancel[2]()
				for w.outside("SELECT 1 FROM effects WHERE event = 1") == 0 {
					runtime.Gosched()
				}
			}
			return err
		}
		want := []hookgate.Verdict{delivered, hookgate.VerdictInterrupted}
		w.check(t, w.group(t, 1, 2), want, 1)
	})
}

// TestStaleAttempt: an attempt that the gate has given up still runs in another process. The next
// attempt waits for its transaction. It does the work if the first one rolls back, and nothing if
// it commits.
func TestStaleAttempt(t *testing.T) {
	for _, commits := range []bool{true, false} {
		t.Run(fmt.Sprint("commits ", commits), func(t *testing.T) {
			w := newPgx(t)
			w.release() // a second transaction, as the other process has
			stale, calls := make(chan struct{}), atomic.Int64{}
			goOn := make(chan struct{})
			w.handle = func(ctx context.Context, tx any, e *hookgate.Event) error {
				err := w.work(ctx, tx, e)
				if calls.Add(1) == 1 {
					close(stale)
					<-goOn
					if !commits {
						err = errors.New("killed")
					}
				}
				return err
			}
			var both sync.WaitGroup
			both.Go(func() { w.Deliver(t.Context(), delivery(1)) })
			<-stale
			var answer hookgate.Answer
			both.Go(func() {
				second := delivery(1)
				second.Attempt = 2
				answer = w.Deliver(t.Context(), second)
			})
			for w.outside("SELECT 1 FROM pg_locks WHERE NOT granted") == 0 {
				runtime.Gosched()
			}
			close(goOn)
			both.Wait()
			w.check(t, []hookgate.Answer{answer}, []hookgate.Verdict{delivered}, 1)
			if n := calls.Load(); (n == 1) != commits {
				t.Errorf("%d calls", n)
			}
		})
	}
}

// TestStop: a delivery that waits for a transaction when the gate stops is interrupted. One whose
// function has returned is committed.
func TestStop(t *testing.T) {
	w := newPgx(t)
	w.handle = func(ctx context.Context, tx any, e *hookgate.Event) error {
		if e.ID == 1 {
			w.cancel[1]()
			w.cancel[2]()
			for w.waiting() == 2 {
				runtime.Gosched()
			}
		}
		return w.exec(context.WithoutCancel(ctx), tx, effect(e))
	}
	want := []hookgate.Verdict{delivered, hookgate.VerdictInterrupted, delivered}
	w.check(t, w.group(t, 1, 2, 3), want, 1, 3)
}

// TestDeadlock: two transactions lock each other out because they are shared. The one that the
// database ends runs again alone, and nobody fails.
func TestDeadlock(t *testing.T) {
	w := newPgx(t)
	w.release()
	w.outside("CREATE TABLE accounts AS SELECT 1 AS id UNION SELECT 2")
	locks := func(ctx context.Context, tx any, id int) error {
		return w.exec(ctx, tx, fmt.Sprint("SELECT 1 FROM accounts WHERE id = ", id, " FOR UPDATE"))
	}
	var calls [3]atomic.Int64
	var locked sync.WaitGroup
	locked.Add(2)
	w.handle = func(ctx context.Context, tx any, e *hookgate.Event) error {
		first, second := int(e.ID), 3-int(e.ID)
		again := calls[e.ID].Add(1) > 1
		if again {
			first, second = second, first // so that it waits for the other one to end
		}
		if err := locks(ctx, tx, first); err != nil {
			return err
		}
		if !again {
			locked.Done()
			locked.Wait()
		}
		return errors.Join(locks(ctx, tx, second), w.work(ctx, tx, e))
	}
	var answers [2]hookgate.Answer
	var both sync.WaitGroup
	for i := range answers {
		both.Go(func() { answers[i] = w.Deliver(t.Context(), delivery(int64(i+1))) })
	}
	both.Wait()
	w.check(t, answers[:], make([]hookgate.Verdict, 2), 1, 2)
}
