package direct

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
)

// refusingStores open stores that reject events with the message ids poison-1 and poison-2, and
// dead letters of the latter.
var refusingStores = map[string]func(*testing.T) backing{
	"SQLite": func(t *testing.T) backing {
		path := filepath.Join(t.TempDir(), "store.db")
		s := openStore(t, path)
		conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := sqlitex.ExecuteScript(conn, `
			CREATE TRIGGER refused_events BEFORE INSERT ON webhook_events WHEN NEW.message_id IN ('poison-1', 'poison-2')
			BEGIN SELECT RAISE(ABORT, 'poisoned'); END;
			CREATE TRIGGER refused_dead BEFORE INSERT ON webhook_requests WHEN NEW.message_id = 'poison-2'
			BEGIN SELECT RAISE(ABORT, 'poisoned too'); END;`, nil); err != nil {
			t.Fatal(err)
		}
		return s
	},
	"PostgreSQL": func(t *testing.T) backing {
		cluster, name := newDatabase(t)
		s := openPostgres(t, cluster.URL(name))
		if err := cluster.Exec(t.Context(), name, `
			SET search_path = hookgate, public;
			CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
				$$BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'check_violation'; END$$;
			CREATE TRIGGER refused_events BEFORE INSERT ON webhook_events FOR EACH ROW
				WHEN (NEW.message_id IN ('poison-1', 'poison-2')) EXECUTE FUNCTION refuse('poisoned');
			CREATE TRIGGER refused_dead BEFORE INSERT ON webhook_requests FOR EACH ROW
				WHEN (NEW.message_id = 'poison-2') EXECUTE FUNCTION refuse('poisoned too');`); err != nil {
			t.Fatal(err)
		}
		return s
	},
}

// inRefusingStores runs a test with each store that rejects events.
func inRefusingStores(t *testing.T, test func(*testing.T, *gate)) {
	for name, open := range refusingStores {
		t.Run(name, func(t *testing.T) { test(t, gateTo(t, open(t))) })
	}
}

// held appends requests while the store holds the committer, so that they form one group. It
// returns their receipts and errors, in the order of the calls.
func held(t *testing.T, q *Queue, g *gate, all []*hookgate.Request) ([]hookgate.Receipt, []error) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := q.Append(t.Context(), newRequest("holds", 0)); err != nil {
			t.Errorf("append: %v", err)
		}
	})
	<-g.arrived
	receipts, errs := make([]hookgate.Receipt, len(all)), make([]error, len(all))
	for i, d := range all {
		wg.Go(func() { receipts[i], errs[i] = q.Append(t.Context(), d) })
		eventually(t, "in line", func() bool { return q.inLine() == i+1 })
	}
	close(g.through)
	wg.Wait()
	return receipts, errs
}

// Goal: an event that the store rejects becomes a dead letter and is acknowledged. All others of
// its group are stored, also those of its own request. A repetition makes no second dead letter.
func TestRejectedEvent(t *testing.T) { inRefusingStores(t, testRejectedEvent) }

func testRejectedEvent(t *testing.T, g *gate) {
	m := &counts{}
	q := open(t, g, Options{Metrics: m})
	poison, several := newRequest("poison", 1), partsOf("poison", 2) // poison-1 is one of its events
	all := []*hookgate.Request{newRequest("a", 1), poison, several, newRequest("b", 1)}
	receipts, errs := held(t, q, g, all)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for i, r := range receipts {
		if r.Duplicate() || r.Position.Major == 0 {
			t.Errorf("receipt %d is %+v", i, r)
		}
	}
	if len(g.batches) != 2 {
		t.Errorf("the store was called %d times, want twice", len(g.batches))
	}
	again := newRequest("poison", 1)
	if r, err := q.Append(t.Context(), again); err != nil || r.DuplicateOf != poison.RequestID {
		t.Errorf("the repetition of a dead letter: %+v, %v", r, err)
	}
	var dead []string
	for d, err := range g.DeadLetters(t.Context(), hookgate.DeadLetterFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		dead = append(dead, d.Source+" "+d.MessageID)
		if !strings.Contains(d.Reason, "poisoned") {
			t.Errorf("the reason is %q", d.Reason)
		}
	}
	if want := "default poison-1, poison poison-1"; strings.Join(dead, ", ") != want {
		t.Errorf("dead letters are %v, want %s", dead, want)
	}
	events, _ := g.Counts(t.Context())
	if events.Events != 4 {
		t.Errorf("%d events are stored, want 4", events.Events)
	}
	q.Close()
	if m.dead.Load() != 2 || m.persisted.Load() != 4 || m.duplicate.Load() != 1 {
		t.Errorf("counted %d dead letters, %d events and %d duplicates", m.dead.Load(),
			m.persisted.Load(), m.duplicate.Load())
	}
}

// Goal: if the store rejects the dead letter too, only its caller gets an error. The others of the
// group wait for at most one more transaction.
func TestRejectedDeadLetter(t *testing.T) {
	for _, first := range []bool{true, false} {
		inRefusingStores(t, func(t *testing.T, g *gate) { testRejectedDeadLetter(t, g, first) })
	}
}

func testRejectedDeadLetter(t *testing.T, g *gate, first bool) {
	q := open(t, g, Options{})
	all := []*hookgate.Request{newRequest("poison", 2), newRequest("a", 1), partsOf("several", 3),
		partsOf("broken", 2), newRequest("b", 1)}
	all[3].Parts = []byte{0xff}
	at := 0
	if !first {
		at = len(all) - 1
		all[0], all[at] = all[at], all[0]
	}
	receipts, errs := held(t, q, g, all)
	for i, err := range errs {
		if i == at && !errors.Is(err, hookgate.ErrRejected) || i != at && err != nil {
			t.Errorf("append %d: %v", i, err)
		}
		if i != at && i != 3 && receipts[i].Position.Major == 0 {
			t.Errorf("receipt %d is %+v", i, receipts[i])
		}
	}
	if len(g.batches) != 3 {
		t.Fatalf("the store was called %d times, want 3", len(g.batches))
	}
	if b := g.batches[2]; b.attempts != 2 || !strings.Contains(b.lastError, "poisoned too") {
		t.Errorf("the second attempt is number %d after %q", b.attempts, b.lastError)
	}
	if s, _ := q.Stats(t.Context()); s.Err != nil {
		t.Errorf("the stats say that the store fails: %v", s.Err)
	}
	if n, _ := g.Counts(t.Context()); n.Events != 1+5 || n.DeadLetters != 1 {
		t.Errorf("stored are %+v", n)
	}
}
