package postgres

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate/internal/pgtest"
)

// TestDurabilityText: the text promises no more than the settings guarantee.
func TestDurabilityText(t *testing.T) {
	safe := durability{commit: "on", fsync: true, fullPageWrites: true}
	with := func(change func(*durability)) durability {
		d := safe
		change(&d)
		return d
	}
	for want, d := range map[string]durability{
		"survives a crash of the server; its loss loses it:" +
			" no standby is connected": safe,
		"survives a crash of the server; its loss loses commits that asynchronous standbys had not received" +
			" yet": with(func(d *durability) { d.asynchronous = 1 }),
		"survives the loss of this machine:" +
			" one synchronous standby": with(func(d *durability) { d.standbyNames, d.synchronous = "a", 1 }),
		"survives the loss of this machine:" +
			" 2 synchronous standbys": with(func(d *durability) { d.standbyNames, d.synchronous = "ANY 2 (a, b, c)", 3 }),
		"waits for 2 synchronous standbys, and 1 are connected:" +
			" no commit succeeds": with(func(d *durability) { d.standbyNames, d.synchronous = "2 (a, b)", 1 }),
		"which need not have written it to disk": with(func(d *durability) { d.commit, d.standbyNames, d.synchronous = "remote_write", "*", 1 }),
		"its loss loses commits that async":      with(func(d *durability) { d.commit, d.standbyNames, d.asynchronous = "local", "*", 1 }),
		"pg_read_all_stats":                      with(func(d *durability) { d.standbyNames, d.hidden = "*", 1 }),
		"fsync is off":                           with(func(d *durability) { d.fsync, d.standbyNames, d.synchronous = false, "*", 1 }),
		"full_page_writes":                       with(func(d *durability) { d.fullPageWrites = false }),
	} {
		got := d.String()
		if !strings.HasSuffix(got, want) && !strings.Contains(got, want) {
			t.Errorf("%+v is %q, want %q", d, got, want)
		}
		if (!d.fsync || !d.fullPageWrites || d.commit == "local") &&
			strings.Contains(got, "survives the loss") {
			t.Errorf("%+v promises %q", d, got)
		}
	}
}

// TestStandbyWait: the store reports that commits wait for a standby. If the standby hangs and the
// wait is cancelled, the outcome of the commit is unknown although PostgreSQL reports success.
func TestStandbyWait(t *testing.T) {
	ctx := t.Context()
	primary, err := pgtest.Start(ctx, pgtest.Options{Fsync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer primary.Close()
	url := primary.URL("postgres")
	s, _ := openStore(t, url)
	defer s.Close()
	worth := func(want string) {
		t.Helper()
		for {
			got, err := s.Durability(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(got, want) {
				return
			}
			select {
			case <-ctx.Done():
				t.Fatalf("a commit %s, want %q", got, want)
			case <-time.After(time.Millisecond): // the standby may take a moment to connect
			}
		}
	}
	worth("no standby is connected")
	standby, err := primary.StartStandby(ctx, "second")
	if err != nil {
		t.Fatal(err)
	}
	defer standby.Close()
	worth("asynchronous standbys")
	if err := primary.Set(ctx, "synchronous_standby_names", "second"); err != nil {
		t.Fatal(err)
	}
	worth("survives the loss of this machine: one synchronous standby")
	if err := standby.Kill(); err != nil {
		t.Fatal(err)
	}
	worth("0 are connected")

	// The caller's time-out ends the wait, and the server may still commit.
	hurried, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := s.SwapSetting(hurried, "a", "", "1"); err == nil {
		t.Error("a commit that did not wait for its standby got no error")
	}
	// If a person cancels the wait, PostgreSQL reports success.
	failed := make(chan error, 1)
	go func() {
		_, err := s.SwapSetting(ctx, "b", "", "1")
		failed <- err
	}()
	observer := connect(t, url)
	for err, answered := error(nil), false; !answered; {
		// The previous commit may still wait on the server, so one cancel may hit that one.
		if _, cancelErr := observer.Exec(ctx,
			`SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event =`+
				` 'SyncRep'`); cancelErr != nil {
			t.Fatal(cancelErr)
		}
		select {
		case err = <-failed:
			answered = true
			if err == nil || !strings.Contains(err.Error(), "may be lost with the server") {
				t.Errorf("a commit whose wait was cancelled got %v", err)
			}
		case <-time.After(time.Millisecond):
		}
	}
	if err := s.Ping(ctx); err == nil {
		t.Error("the store is well after such a commit")
	}
	// The batch is stored nevertheless. Once the standby is back, commits succeed again.
	if err := standby.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	worth("one synchronous standby")
	if all, err := s.Settings(ctx); err != nil || all["b"] != "1" {
		t.Errorf("the settings are %v (error %v)", all, err)
	}
	if ok, err := s.SwapSetting(ctx, "b", "1", "2"); err != nil || !ok {
		t.Errorf("with the standby back: swapped %t, error %v", ok, err)
	}
}
