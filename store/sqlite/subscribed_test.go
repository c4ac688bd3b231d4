package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/sqlstore"
	"github.com/hookgate/hookgate/store/storetest"
)

// TestSubscribed tests retention and lineage of a store with subscriptions.
func TestSubscribed(t *testing.T) {
	storetest.Subscribed(t, func(t *testing.T) (storetest.Instance, *sqlstore.Subscriptions) {
		path := filepath.Join(t.TempDir(), "store.db")
		if err := emptyStore.Copy(path); err != nil {
			t.Fatal(err)
		}
		s, failWrites := openStore(t, path)
		return storetest.Instance{Store: s, Reader: s, Purger: s, Pruner: s, Access: s,
			FailWrites: failWrites, Verify: func() error { return verified(path) }}, s.Subscriptions()
	})
}

// verified returns an error if the audit finds a break.
func verified(path string) error {
	audit, err := Verify(context.Background(), path, nil)
	if err == nil && audit.Break != nil {
		err = audit.Break
	}
	return err
}

// TestRestored: cursors, exceptions and attempts go back with an older copy of the file. So events
// that were delivered since are delivered again, with the ids that they had, and no id is given out
// twice.
func TestRestored(t *testing.T) {
	dir := t.TempDir()
	path, backup := filepath.Join(dir, "store.db"), filepath.Join(dir, "backup.db")
	if err := emptyStore.Copy(path); err != nil {
		t.Fatal(err)
	}
	var s *Store
	var epoch hookgate.Epoch
	// start opens the store and takes the subscription.
	start := func() *hookgate.SubscriptionState {
		t.Helper()
		s, _ = openStore(t, path)
		revisions, err := s.Subscriptions().Define(t.Context(), []hookgate.SubscriptionDefinition{{
			Name: "a", Order: hookgate.OrderKey, Definition: "{}",
			Start: hookgate.Start{At: hookgate.StartBeginning}}}, true)
		if err != nil {
			t.Fatal(err)
		}
		state, err := s.Subscriptions().Acquire(t.Context(), "a", "me", time.Hour, revisions[0])
		if err != nil {
			t.Fatal(err)
		}
		epoch = state.Epoch
		return state
	}
	save := func(r *hookgate.Results) {
		t.Helper()
		if _, err := s.Subscriptions().Save(t.Context(), "a", epoch, r); err != nil {
			t.Fatal(err)
		}
	}
	event := func(key string) int64 {
		t.Helper()
		at := time.Now()
		id := hookgate.NewRequestID(at)
		return storetest.AppendTo(s)(t, hookgate.Event{RequestID: id, ReceivedAt: at, Keyed: true,
			OrderingKey: key, Body: []byte(key), Identity: hookgate.Identity{Source: "default",
				EventType: "t", MessageID: id.String()}})[0]
	}
	stop := func() {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	copyFile := func(from, to string) {
		t.Helper()
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	attempt := func(id int64, n int, o hookgate.AttemptOutcome) hookgate.Attempt {
		return hookgate.Attempt{Event: id, Number: n, Outcome: o, At: time.Now()}
	}

	start()
	first, second := event("a"), event("b")
	save(&hookgate.Results{Cursor: first, Attempts: []hookgate.Attempt{attempt(first, 1,
		hookgate.AttemptFailed), attempt(second, 1, hookgate.AttemptDelivered)},
		Created: []hookgate.Exception{{Event: first, OrderingKey: "a", Attempts: 1,
			State: hookgate.ExceptionWaiting, Due: time.Now()}},
		Holds: []hookgate.Hold{{OrderingKey: "a", After: first - 1}}})
	stop()
	copyFile(path, backup)

	start()
	lost := event("a")
	save(&hookgate.Results{Cursor: lost, Attempts: []hookgate.Attempt{attempt(first, 2,
		hookgate.AttemptDelivered), attempt(lost, 1, hookgate.AttemptDelivered)}, Freed: []string{"a"}})
	stop()
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	copyFile(backup, path)

	state := start()
	defer func() { stop() }()
	if state.Cursor != first || !slices.Equal(state.Settled, []int64{second}) ||
		state.Exceptions != 1 || len(state.Holds) != 1 || !state.Holds[0].Excepted {
		t.Errorf("after the restore the owner finds %+v", state)
	}
	due, err := s.Subscriptions().Due(t.Context(), "a", hookgate.DueQuery{Now: time.Now(), Max: 10})
	if err != nil || len(due.Exceptions) != 1 || due.Exceptions[0].Event != first {
		t.Errorf("due is %+v, error %v", due, err)
	}
	if attempts, err := s.Subscriptions().Attempts(t.Context(), first); err != nil ||
		len(attempts) != 1 {
		t.Errorf("the attempts are %+v, error %v", attempts, err)
	}
	if next := event("a"); next <= lost {
		t.Errorf("the next event has id %d, and %d was given out before the restore", next, lost)
	}
	save(&hookgate.Results{Attempts: []hookgate.Attempt{attempt(first, 2, hookgate.AttemptDelivered)},
		Cursor: second, Freed: []string{"a"}})
	if err := verified(path); err != nil {
		t.Error(err)
	}
}

// TestEndedLeases: each commit removes some of the leases that ended more than ten minutes ago.
func TestEndedLeases(t *testing.T) {
	s, err := Open(t.Context(), filled(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	subs, ctx := s.Subscriptions(), t.Context()
	if _, err := subs.Define(ctx, []hookgate.SubscriptionDefinition{{Name: "a",
		Order: hookgate.OrderKey, Definition: "{}"}}, false); err != nil {
		t.Fatal(err)
	}
	owner, err := subs.Acquire(ctx, "a", "owner", time.Hour, 1)
	if err != nil {
		t.Fatal(err)
	}
	r := &hookgate.Results{}
	for n := range 41 {
		l := hookgate.Lease{ID: fmt.Sprint(n), Until: time.Now().Add(-11 * time.Minute)}
		if n == 0 {
			l.Until = l.Until.Add(2 * time.Minute)
		}
		r.Leases = append(r.Leases, l)
	}
	if _, err := subs.Save(ctx, "a", owner.Epoch, r); err != nil {
		t.Fatal(err)
	}
	if err := subs.Release(ctx, "a", owner.Epoch); err != nil {
		t.Fatal(err)
	}
	epoch := owner.Epoch
	for _, want := range []int64{25, 9, 1, 1} {
		if epoch, _, err = subs.Commit(ctx, "a", epoch, owner.Version, &hookgate.Results{}); err != nil {
			t.Fatal(err)
		}
		if err := (db{s}).Query(ctx, sqlstore.Statement{SQL: "SELECT count(*) FROM webhook_leases",
			Row: func(r sqlstore.Row) error {
				if n := r.Int(0); n != want {
					t.Errorf("%d leases are left, want %d", n, want)
				}
				return nil
			}}); err != nil {
			t.Fatal(err)
		}
	}
}
