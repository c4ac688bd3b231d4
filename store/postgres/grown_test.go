package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/sqlstore"
	"github.com/hookgate/hookgate/store/storetest"
)

// grows fails the test if the channel is not closed. It waits longer than any poll.
func grows(t *testing.T, when string, grown <-chan struct{}) {
	t.Helper()
	select {
	case <-grown:
	case <-time.After(2 * time.Minute):
		t.Fatalf("no reader was woken %s", when)
	}
}

// proven waits until the listener of a store has had its proof.
func proven(t *testing.T, s *Store) {
	t.Helper()
	grown := s.Grown()
	for !s.listens.Load() {
		grows(t, "by the proof that LISTEN works", grown)
		grown = s.Grown()
	}
}

// TestGrownElsewhere: a process is woken by events that another one stores, and by a change by a
// person there. After its connection was ended it listens again.
func TestGrownElsewhere(t *testing.T) {
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	other, _ := openStore(t, url)
	defer other.Close()
	w := newWorker(t, other, 0)
	defs := []hookgate.SubscriptionDefinition{{Name: "a", Order: hookgate.OrderKey, Definition: "{}"}}
	if _, err := other.Subscriptions().Define(t.Context(), defs, true); err != nil {
		t.Fatal(err)
	}
	proven(t, s)
	for range 2 {
		grown := s.Grown()
		mustApply(t, other, w.batch(3), 3)
		grows(t, "after another process stored events", grown)
		grown = s.Grown()
		if _, err := other.Subscriptions().SetPaused(t.Context(), "a", true,
			hookgate.Person{}); err != nil {
			t.Fatal(err)
		}
		grows(t, "after a person paused a subscription", grown)
		if _, err := other.Subscriptions().SetPaused(t.Context(), "a", false,
			hookgate.Person{}); err != nil {
			t.Fatal(err)
		}
		ended := false
		if err := other.read(t.Context(), statement{
			sql: `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND query LIKE 'LISTEN%'`,
			row: func(row) error { ended = true; return nil },
		}); err != nil || !ended {
			t.Fatalf("ended the listener: %t (error %v)", ended, err)
		}
		for s.listens.Load() {
			time.Sleep(time.Millisecond) // until the process notices
		}
		proven(t, s)
	}
	// Its own events wake it too, without a notification.
	grown := s.Grown()
	mustApply(t, s, newWorker(t, s, 1).batch(1), 1)
	grows(t, "after its own append", grown)
}

// TestGrownBehindBouncer: behind PgBouncer in transaction mode notifications do not arrive. The
// process finds this out, and polls.
func TestGrownBehindBouncer(t *testing.T) {
	url := behindBouncer(t)
	s, _ := openStore(t, url)
	defer s.Close()
	other, _ := openStore(t, url)
	defer other.Close()
	if proven, err := s.listen(t.Context()); proven || !errors.Is(err, errNoNotification) {
		t.Errorf("listening works: %t (error %v)", proven, err)
	}
	w := newWorker(t, other, 0)
	mustApply(t, other, w.batch(1), 1)
	s.Grown()
	for range 3 {
		grown := s.Grown()
		mustApply(t, other, w.batch(1), 1)
		grows(t, "after another process stored events", grown)
	}
}

// TestPlansOfDelivery: with many rows and no statistics, no query of a page of the log, of Save or
// of Due reads a whole table.
func TestPlansOfDelivery(t *testing.T) {
	s, _ := openStore(t, newDatabase(t))
	defer s.Close()
	for range 4 {
		batch := storetest.BenchBatch(1000, 0, nil)
		for i := range batch.Records {
			batch.Records[i].Keyed = true
		}
		mustApply(t, s, batch, 1000)
	}
	for _, fill := range []string{
		`INSERT INTO webhook_subscriptions SELECT n, 's' || n, '{}', '{}', 'key', 1, 0, 9, 1, '', 0, 0,
			0, '', '', 0, 0, 0, 0, 1, 0, 0, 0 FROM generate_series(1, 2) n`,
		`INSERT INTO webhook_deliveries SELECT 1, n, 0, 1, 'delivered', 200, n, 1, '', ''
			FROM generate_series(1, 20000) n`,
		`INSERT INTO webhook_holds (subscription, ordering_key, after_id) SELECT 1, 'k' || n, n
			FROM generate_series(1, 5000) n`,
		`INSERT INTO webhook_exceptions SELECT 1, n, 0, 'k' || n, 'waiting', 1, n, 1, 1, 'r', 500, 1
			FROM generate_series(1, 30000) n`,
	} {
		if err := s.read(t.Context(), statement{sql: fill}); err != nil {
			t.Fatal(err)
		}
	}
	page := []arg{argInt(0), argInt(0), argInt(64), argInt(1 << 20)}
	for name, query := range map[string]statement{
		"page": {sql: readPage, args: page},
		"key":  {sql: readKeyPage, args: append(page[:4:4], argText("customer-1"))},
	} {
		if read := rowsRead(t, s, query); read > 1000 {
			t.Errorf("%s: the plan reads %.0f rows", name, read)
		}
	}
	r := &hookgate.Results{Cursor: 5, Freed: []string{"k1", "k2"}}
	for n := range 32 {
		id := int64(30_000 + n)
		r.Attempts = append(r.Attempts, hookgate.Attempt{Event: id, Number: 1,
			Outcome: hookgate.AttemptDelivered})
		r.Created = append(r.Created, hookgate.Exception{Event: id + 100, OrderingKey: "x"})
		r.Updated = append(r.Updated, hookgate.Exception{Event: int64(n + 1), OrderingKey: "x",
			State: hookgate.ExceptionWaiting})
		r.Holds = append(r.Holds, hookgate.Hold{OrderingKey: "x", After: id})
	}
	w := &planned{DB: db{s}}
	subs := sqlstore.NewSubscriptions(w, dialect)
	if _, err := subs.Save(t.Context(), "s1", 1, r); err != nil {
		t.Fatal(err)
	}
	for _, query := range w.saved {
		if read := rowsRead(t, s, shared(query)); read > 1000 {
			t.Errorf("%s: the plan reads %.0f rows", query.SQL, read)
		}
	}
}

// planned records the statements of Save.
type planned struct {
	sqlstore.DB
	saved []sqlstore.Statement
}

func (p *planned) Save(ctx context.Context, size int, statements []sqlstore.Statement) error {
	p.saved = statements
	return p.DB.Save(ctx, size, statements)
}

// rowsRead runs a statement and returns the largest number of rows that a node of its plan read.
func rowsRead(t *testing.T, s *Store, query statement) (most float64) {
	t.Helper()
	type node struct {
		Rows    float64 `json:"Actual Rows"`
		Loops   float64 `json:"Actual Loops"`
		Removed float64 `json:"Rows Removed by Filter"`
		Plans   []node
	}
	var explained []struct{ Plan node }
	query.sql = "EXPLAIN (ANALYZE, FORMAT JSON) " + query.sql
	query.row = func(r row) error { return json.Unmarshal(r.Bytes(0), &explained) }
	if err := s.read(t.Context(), query); err != nil {
		t.Fatalf("%s: %v", query.sql, err)
	}
	var visit func(n *node)
	visit = func(n *node) {
		most = max(most, (n.Rows+n.Removed)*n.Loops)
		for i := range n.Plans {
			visit(&n.Plans[i])
		}
	}
	visit(&explained[0].Plan)
	return most
}
