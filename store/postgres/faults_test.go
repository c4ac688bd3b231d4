package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/storetest"
)

// worker applies batches of one partition.
type worker struct {
	*Store
	partition int
	epoch     hookgate.Epoch
	n         int
}

func newWorker(t *testing.T, s *Store, partition int) *worker {
	t.Helper()
	epoch, err := s.Acquire(t.Context(), partition)
	if err != nil {
		t.Fatal(err)
	}
	return &worker{Store: s, partition: partition, epoch: epoch}
}

// batch returns the next batch of size new events.
func (w *worker) batch(size int) *hookgate.Batch {
	b := &hookgate.Batch{Epochs: map[int]hookgate.Epoch{w.partition: w.epoch}, Worker: "w",
		ProcessedAt: time.UnixMicro(1), Attempts: 1}
	for range size {
		b.Records = append(b.Records, storetest.Sample(w.partition, w.n))
		w.n++
	}
	return b
}

func mustApply(t *testing.T, s *Store, b *hookgate.Batch, stored int) {
	t.Helper()
	if outcome, err := s.Apply(t.Context(), b); err != nil || outcome.Stored != stored {
		t.Fatalf("apply has the outcome %+v and error %v, want %d stored", outcome, err, stored)
	}
}

// messageIDs returns the message ids of the matching events, in stored order.
func messageIDs(t *testing.T, s *Store, f hookgate.EventFilter) (ids []string) {
	t.Helper()
	for e, err := range s.Events(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.MessageID)
	}
	return ids
}

// waiting returns how many sessions of a database wait for a lock.
func waiting(t *testing.T, conn *pgx.Conn) (sessions int) {
	t.Helper()
	err := conn.QueryRow(context.Background(), `SELECT count(*) FROM pg_stat_activity
		WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&sessions)
	if err != nil {
		t.Fatal(err)
	}
	return sessions
}

// untilWaiting waits until a session of the database waits for a lock.
func untilWaiting(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); waiting(t,
		conn) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody waits for a lock")
		}
	}
}

// TestFaults: if the server fails in the middle of a transaction, Apply reports an unknown outcome,
// and applying the same batch again completes it.
func TestFaults(t *testing.T) {
	const lock = "BEGIN; SELECT FROM webhook_log FOR UPDATE"
	const terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname =" +
		" current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
	for name, fault := range map[string]struct {
		// before and after run before and after the failing Apply. during runs while Apply waits
		// for the lock that before took.
		before, during, after string
		// hook runs before or after the commit.
		hook string
		done bool
	}{
		"statement time-out": {before: lock, after: "ROLLBACK"},
		"deadlock": {before: "SET deadlock_timeout = '1h'; " + lock,
			during: "SELECT FROM webhook_partitions FOR UPDATE", after: "ROLLBACK"},
		"terminated while waiting": {before: lock, during: terminate, after: "ROLLBACK"},
		"terminated in the middle": {hook: terminate},
		"cut off after the commit": {hook: terminate, done: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := newDatabase(t)
			outsider := connect(t, url)
			must := func(script string) {
				t.Helper()
				if err := execute(outsider, script); err != nil {
					t.Fatalf("%s: %v", script, err)
				}
			}
			timeout := 20 * time.Second
			if fault.before != "" && fault.during == "" {
				timeout = 200 * time.Millisecond
			}
			must("DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() ||" +
				" ' SET deadlock_timeout = ''300ms'''; END $$")
			s, err := Open(t.Context(), Config{URL: url, StatementTimeout: timeout})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			w := newWorker(t, s, 0)
			mustApply(t, s, w.batch(3), 3)
			batch := w.batch(3)

			must(fault.before)
			if fault.hook != "" {
				s.failCommit = func(done bool) error {
					if done != fault.done {
						return nil
					}
					err := execute(outsider, fault.hook)
					if done {
						err = errors.Join(err, errors.New("the answer was lost"))
					}
					return err
				}
			}
			failed := make(chan error)
			go func() {
				_, err := s.Apply(context.Background(), batch)
				failed <- err
			}()
			if fault.during != "" {
				untilWaiting(t, connect(t, url))
				must(fault.during)
			}
			err = <-failed
			if err == nil || errors.Is(err, hookgate.ErrRejected) || errors.Is(err, hookgate.ErrFenced) ||
				errors.Is(err, hookgate.ErrClosed) {
				t.Errorf("apply got %v, want an error that says to try again", err)
			}
			if err := s.Ping(t.Context()); err == nil {
				t.Error("ping does not tell of the failed write")
			}
			must(fault.after)

			s.failCommit = nil
			want := 3
			if fault.done {
				want = 0
			}
			outcome, err := s.Apply(t.Context(), batch)
			if fault.done && err != nil {
				// The session ended while it was back in the pool, so the next call has an unknown
				// outcome too.
				outcome, err = s.Apply(t.Context(), batch)
			}
			if err != nil || outcome.Stored != want {
				t.Errorf("the repetition has the outcome %+v and error %v, want %d stored", outcome, err, want)
			}
			if err := s.Ping(t.Context()); err != nil {
				t.Errorf("ping still tells of an error: %v", err)
			}
			if got := messageIDs(t, s, hookgate.EventFilter{}); len(got) != 6 {
				t.Errorf("stored are %v, want 6 events", got)
			}
			if err := verified(url); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestErrorClasses: an error about the data is a rejection, and any other error is not. A trigger
// raises the errors.
func TestErrorClasses(t *testing.T) {
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	w := newWorker(t, s, 0)
	outsider := connect(t, url)
	for code, rejected := range map[string]bool{
		"22001": true, "22P02": true, "23514": true, "23505": true, "54000": true,
		"08006": false, "25006": false, "40001": false, "40P01": false, "42501": false, "53100": false,
		"53200": false, "55P03": false,
		"57014": false, "57P01": false, "58030": false, "XX000": false,
	} {
		batch := w.batch(2)
		script := fmt.Sprintf(`CREATE OR REPLACE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN RAISE EXCEPTION 'fault' USING ERRCODE = '%s'; END $$;
			CREATE TRIGGER fault BEFORE INSERT ON webhook_events EXECUTE FUNCTION fault()`, code)
		if err := execute(outsider, script); err != nil {
			t.Fatal(err)
		}
		o, err := s.Apply(t.Context(), batch)
		if rejected {
			if err != nil || o.Results[0].Rejected == nil || o.Results[1].Rejected == nil {
				t.Errorf("%s: apply got %+v and %v, want two rejections", code, o, err)
			}
		} else if err == nil || errors.Is(err, hookgate.ErrRejected) || errors.Is(err,
			hookgate.ErrFenced) {
			t.Errorf("%s: apply got %v, want an unknown outcome", code, err)
		}
		if err := s.Ping(t.Context()); (err == nil) != rejected {
			t.Errorf("%s: ping got %v after a rejection: %v", code, err, rejected)
		}
		if err := execute(outsider, "DROP TRIGGER fault ON webhook_events"); err != nil {
			t.Fatal(err)
		}
		mustApply(t, s, batch, 2)
	}
	if err := verified(url); err != nil {
		t.Error(err)
	}
}

// TestFenceHolds: a process that acquires a partition during its owner's transaction waits until
// that ends. So the old owner stores nothing after the new one has its epoch.
func TestFenceHolds(t *testing.T) {
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	next, _ := openStore(t, url)
	defer next.Close()
	w := newWorker(t, s, 0)
	watcher := connect(t, url)
	acquired := make(chan hookgate.Epoch, 1)
	s.failCommit = func(done bool) error {
		if done {
			return nil
		}
		go func() {
			epoch, err := next.Acquire(context.Background(), 0)
			if err != nil {
				t.Error(err)
			}
			acquired <- epoch
		}()
		for waiting(t, watcher) == 0 {
			select {
			case epoch := <-acquired:
				return fmt.Errorf("epoch %d was given out before the commit", epoch)
			case <-time.After(time.Millisecond):
			}
		}
		return nil
	}
	mustApply(t, s, w.batch(3), 3)
	if epoch := <-acquired; epoch <= w.epoch {
		t.Errorf("epoch %d follows %d", epoch, w.epoch)
	}
	s.failCommit = nil
	if _, err := s.Apply(t.Context(), w.batch(3)); !errors.Is(err, hookgate.ErrFenced) {
		t.Errorf("the old owner got %v, want ErrFenced", err)
	}
}

// TestCounterBehind: ids given out a second time, as after a partial restore, are no fault of the
// events. The store keeps failing until someone repairs the counter, and then stores the events.
func TestCounterBehind(t *testing.T) {
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	s.nextID = storetest.NextID
	w := newWorker(t, s, 0)
	mustApply(t, s, w.batch(3), 3)
	outsider := connect(t, url)
	if err := execute(outsider, "UPDATE webhook_log SET last_id = 0"); err != nil {
		t.Fatal(err)
	}
	batch := w.batch(2)
	for range 2 {
		if _, err := s.Apply(t.Context(), batch); err == nil || errors.Is(err, hookgate.ErrRejected) ||
			!strings.Contains(err.Error(), "webhook_log is behind") {
			t.Errorf("apply got %v", err)
		}
	}
	if err := execute(outsider, "UPDATE webhook_log SET last_id = 3"); err != nil {
		t.Fatal(err)
	}
	mustApply(t, s, batch, 2)
}

// TestEndedContext: a caller whose context ends gets the error of its context. Its batch is stored
// once when it comes again.
func TestEndedContext(t *testing.T) {
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	w := newWorker(t, s, 0)
	outsider := connect(t, url)
	if err := execute(outsider, "BEGIN; SELECT FROM webhook_log FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	batch := w.batch(3)
	ctx, cancel := context.WithCancel(t.Context())
	watcher := connect(t, url)
	failed := make(chan error)
	go func() {
		_, err := s.Apply(ctx, batch)
		failed <- err
	}()
	untilWaiting(t, watcher)
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) || errors.Is(err, hookgate.ErrRejected) {
		t.Errorf("apply got %v, want the error of the context", err)
	}
	if err := execute(outsider, "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if got := messageIDs(t, s, hookgate.EventFilter{}); len(got) != 3 {
		t.Errorf("stored are %v, want 3 events", got)
	}
	if err := verified(url); err != nil {
		t.Error(err)
	}
}
