package sqlite

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/sqlitedb"
	"github.com/hookgate/hookgate/store/storetest"
)

// TestWaitingCallsShareATransaction: the test holds up the writer until several calls wait:
// appends, one of them from a replaced owner, and two calls that are no appends. The appends share
// the next commit with one of the two, the failure of one undoes nothing of the others, and the
// audit succeeds.
func TestWaitingCallsShareATransaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Acquire(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	const appends = 8
	held, release := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() { first <- s.change(func() error { close(held); <-release; return nil }) }()
	<-held
	var commits atomic.Int64
	results := make([]error, appends+2)
	var all sync.WaitGroup
	for i := range appends + 2 {
		all.Go(func() {
			if i >= appends {
				_, results[i] = s.SwapSetting(context.Background(), []string{"a", "b"}[i-appends], "", "x")
				return
			}
			b := &hookgate.Batch{Records: []hookgate.Record{storetest.Sample(0, i)}, Attempts: 1}
			if i == 3 {
				b.Epochs = map[int]hookgate.Epoch{0: 0}
			}
			_, results[i] = s.Apply(context.Background(), b)
		})
	}
	for waiting := 0; waiting < appends+2; {
		s.writer.mu.Lock()
		waiting = len(s.writer.appends) + len(s.writer.rest)
		s.writer.mu.Unlock()
	}
	s.failCommit = func(done bool) error { // the writer holds s.mu until it is released
		if done {
			commits.Add(1)
		}
		return nil
	}
	close(release)
	all.Wait()
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	for i, err := range results {
		if i == 3 && !errors.Is(err, hookgate.ErrFenced) || i != 3 && err != nil {
			t.Errorf("call %d got %v", i, err)
		}
	}
	if n := commits.Load(); n != 3 {
		t.Errorf("there were %d commits, want that of the first call,"+
			" one for the appends and a setting, and one for the other setting", n)
	}
	if c, err := s.Counts(t.Context()); err != nil || c.Events != appends-1 {
		t.Errorf("counts are %+v (error %v)", c, err)
	}
	if settings, err := s.Settings(t.Context()); err != nil || len(settings) != 2 ||
		settings["a"] != "x" {
		t.Errorf("the settings are %v (error %v)", settings, err)
	}
	if found, err := Verify(t.Context(), path, nil); err != nil || found.Break != nil {
		t.Errorf("the audit finds %v (error %v)", found.Break, err)
	}
}

// TestSwapSetting: SwapSetting changes a setting only if it has the value that the caller expects.
func TestSwapSetting(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, step := range []struct {
		before, after string
		want          bool
		kept          string
	}{
		{"x", "a", false, ""}, {"", "a", true, "a"}, {"", "b", false, "a"}, {"a", "b", true, "b"},
		{"b", "", true, ""}, {"", "", true, ""},
	} {
		swapped, err := s.SwapSetting(t.Context(), "mode", step.before, step.after)
		all, failed := s.Settings(t.Context())
		if err != nil || failed != nil || swapped != step.want || all["mode"] != step.kept {
			t.Errorf("from %q to %q: swapped %v, kept %q (errors %v and %v)", step.before, step.after,
				swapped, all["mode"], err, failed)
		}
	}
}

// TestClockBehind: ids keep growing while the clock is behind them, and the store reports how far
// it is behind.
func TestClockBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if d := s.ClockBehind(); d != 0 {
		t.Errorf("the clock of a new store is %s behind", d)
	}
	s.Close()
	if err := execute(path, "UPDATE webhook_log SET last_id = last_id + (unixepoch() + 3600) *"+
		" 1000000;"); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	o1, err1 := s.Apply(t.Context(),
		&hookgate.Batch{Records: []hookgate.Record{storetest.Sample(0, 1)}})
	o2, err2 := s.Apply(t.Context(),
		&hookgate.Batch{Records: []hookgate.Record{storetest.Sample(0, 2)}})
	if err1 != nil || err2 != nil || o2.Results[0].ID != o1.Results[0].ID+1 {
		t.Errorf("the ids are %+v and %+v (errors %v and %v), want two that follow each other", o1, o2,
			err1, err2)
	}
	if d := s.ClockBehind().Minutes(); d < 58 || d > 61 {
		t.Errorf("the clock is %.1f minutes behind, want an hour", d)
	}
}

// TestSavesJoinAppends: while webhooks come, a save joins the transaction of the next append. If
// none comes, it gets one of its own after saveLinger, and at once when no append came for long. The
// test asks the writer, in fake time, who leads and what the transactions have.
func TestSavesJoinAppends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &writer{}
		call := func(c write) *write {
			c.turn = make(chan bool, 1)
			return &c
		}
		transaction := func(want ...*write) {
			t.Helper()
			if got := w.take(); !slices.Equal(got, want) {
				t.Errorf("the transaction has %d calls, want %d", len(got), len(want))
			}
			w.pass()
		}
		first, second := call(write{append: true}), call(write{append: true})
		joins, alone, late := call(write{save: true}), call(write{save: true}), call(write{save: true})
		if !w.join(first) {
			t.Error("the first append does not lead")
		}
		if w.join(joins) {
			t.Error("a save leads although an append came before")
		}
		transaction(first, joins)
		if w.join(alone) || !w.join(second) {
			t.Error("the append does not lead")
		}
		transaction(second, alone)
		if w.join(alone) {
			t.Error("a save does not wait for appends")
		}
		time.Sleep(saveLinger)
		synctest.Wait()
		select {
		case leads := <-alone.turn:
			if !leads {
				t.Error("the save is done before it began")
			}
		default:
			t.Error("the save still waits")
		}
		transaction(alone)
		time.Sleep(appending)
		if !w.join(late) {
			t.Error("a save waits although no append came for long")
		}
		transaction(late)
	})
}

// TestLockTimeout: a save whose context ends soon does not wait as long for a lock of another
// process as an append does, and later calls wait as long as before.
func TestLockTimeout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, _ := openStore(t, path)
	defer s.Close()
	other, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := sqlitex.ExecuteTransient(other, "BEGIN IMMEDIATE", nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	began := time.Now()
	err = s.SaveRefused(ctx, nil, began)
	if took := time.Since(began); err == nil || took >= sqlitedb.BusyTimeout {
		t.Errorf("a save without time took %v, error %v", took, err)
	}
	var wait int64
	if err := sqlitex.ExecuteTransient(s.conn, "PRAGMA busy_timeout", &sqlitex.ExecOptions{
		ResultFunc: func(row *sqlite.Stmt) error { wait = row.ColumnInt64(0); return nil },
	}); err != nil || wait != sqlitedb.BusyTimeout.Milliseconds() {
		t.Errorf("after that calls wait %d ms, error %v", wait, err)
	}
	if err := sqlitex.ExecuteTransient(other, "COMMIT", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveRefused(t.Context(), nil, began); err != nil {
		t.Errorf("after the lock: %v", err)
	}
}
