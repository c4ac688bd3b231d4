package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/store/entry"
	"github.com/hookgate/hookgate/store/prune"
	"github.com/hookgate/hookgate/store/sqlstore"
	"github.com/hookgate/hookgate/store/storetest"
)

// load stores rounds batches each for so many workers at once, half of the identities with another
// worker's too, and checks from several connections that everything is there once.
func load(t *testing.T, url string, workers, rounds int) {
	t.Helper()
	const size = 20
	var all sync.WaitGroup
	for p := range workers {
		// A store for each, as in as many processes.
		s, err := Open(t.Context(), Config{URL: url, MaxConns: 3})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		w := newWorker(t, s, p)
		all.Go(func() {
			for range rounds {
				b := w.batch(size)
				for i := range b.Records {
					if r := &b.Records[i]; i%2 == 0 {
						// The same event by way of several partitions.
						r.MessageID, r.EventType = fmt.Sprint("shared-", r.Sequence), "shared"
					}
				}
				if _, err := s.Apply(t.Context(), b); err != nil {
					t.Errorf("worker %d: %v", p, err)
					return
				}
				if _, err := s.Trace(t.Context(), b.Records[0].MessageID, hookgate.RequestID{},
					1000); err != nil {
					t.Errorf("worker %d: %v", p, err)
				}
			}
		})
	}
	all.Wait()
	s, err := Open(t.Context(), Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	half := int64(rounds * size / 2)
	want := hookgate.StoreCounts{Events: half*int64(workers) + half,
		Duplicates: half * int64(workers-1)}
	if got, err := s.Counts(t.Context()); err != nil || got != want {
		t.Errorf("counts are %+v (error %v), want %+v", got, err, want)
	}
	ids := messageIDs(t, s, hookgate.EventFilter{})
	if slices.Sort(ids); len(slices.Compact(ids)) != int(want.Events) {
		t.Errorf("%d different events are listed, want %d", len(slices.Compact(ids)), want.Events)
	}
	if err := verified(url); err != nil {
		t.Error(err)
	}
}

// TestManyProcesses: gates that start at the same time with a new database agree on who makes its
// schema, and events that reach several of them are stored once.
func TestManyProcesses(t *testing.T) {
	url := newDatabase(t)
	openAtOnce(t, url, 12)
	load(t, url, 6, 5)
}

// openAtOnce opens so many stores on a new database at the same time.
func openAtOnce(t *testing.T, url string, n int) {
	t.Helper()
	var all sync.WaitGroup
	start := make(chan struct{})
	for range n {
		all.Go(func() {
			<-start
			s, err := Open(t.Context(), Config{URL: url, MaxConns: 1})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if _, err := s.Acquire(t.Context(), 0); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	all.Wait()
}

// TestBouncer: everything works behind a pooler that gives each transaction another session, and
// with fewer of them than there are connections.
func TestBouncer(t *testing.T) {
	c, err := pgtest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	b, err := pgtest.StartBouncer(t.Context(), c, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	name, err := c.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	openAtOnce(t, b.URL(name), 8)
	load(t, b.URL(name), 8, 5)

	s := instance(t, b.URL(name))
	defer s.Close()
	// After a rejection and after a time-out the session is another's, and must not be in a
	// transaction.
	bad := storetest.Sample(20, 1)
	bad.MessageID = "zero\x00"
	w := newWorker(t, s.Store.(*Store), 20)
	all := w.batch(1)
	all.Records = append(all.Records, bad)
	for n := range 5 {
		o, err := s.Apply(t.Context(), all)
		if err != nil || o.Stored != map[bool]int{true: 1}[n == 0] || !errors.Is(o.Results[1].Rejected,
			hookgate.ErrRejected) {
			t.Errorf("apply %d got %+v (error %v), want the second record rejected", n, o, err)
		}
	}
	for range s.DeadLetters(t.Context(), hookgate.DeadLetterFilter{}) {
		break
	}
	if err := s.Verify(); err != nil {
		t.Error(err)
	}
}

// TestNothingMissed: a reader that goes on behind the last event it saw, while several processes
// store, sees every event. Ids that were given out before the lock would come in another order than
// commits.
func TestNothingMissed(t *testing.T) {
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	const workers, rounds, size = 4, 40, 5
	var all sync.WaitGroup
	for p := range workers {
		other, _ := openStore(t, url)
		defer other.Close()
		w := newWorker(t, other, p)
		all.Go(func() {
			for range rounds {
				if _, err := other.Apply(context.Background(), w.batch(size)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	written := make(chan struct{})
	go func() {
		all.Wait()
		close(written)
	}()
	seen, after := 0, ""
	for last := false; ; {
		for e, err := range s.Events(t.Context(), hookgate.EventFilter{After: after}) {
			if err != nil {
				t.Fatal(err)
			}
			after = e.ID
			seen++
		}
		if last {
			break
		}
		select {
		case <-written:
			last = true // one more look
		default:
		}
	}
	if seen != workers*rounds*size {
		t.Errorf("the reader saw %d events, want %d", seen, workers*rounds*size)
	}
}

// TestSchemaVersions: a schema is brought up to date with what it holds; one of a newer version is
// refused, and so is any other when there are to be no migrations.
func TestSchemaVersions(t *testing.T) {
	url := newDatabase(t)
	open := func(skip bool) error {
		s, err := Open(t.Context(), Config{URL: url, SkipMigrations: skip})
		if err == nil {
			err = s.Close()
		}
		return err
	}
	names, err := fs.Glob(schema(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	known := len(names)
	if err := open(true); err == nil || !strings.Contains(err.Error(), "run the migrations") {
		t.Errorf("a new database without migrations got %v", err)
	}
	if all, err := MigrationStatus(t.Context(), url, ""); err != nil || len(all) != known ||
		!all[0].AppliedAt.IsZero() {
		t.Errorf("status of a new database is %+v (error %v)", all, err)
	}
	for range 2 {
		if err := Migrate(t.Context(), url, ""); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := MigrationStatus(t.Context(), url, ""); err != nil || len(all) != known ||
		all[known-1].AppliedAt.IsZero() || all[0].Version != 1 {
		t.Errorf("status after the migration is %+v (error %v)", all, err)
	}
	if err := open(true); err != nil {
		t.Errorf("a schema that is as it should be got %v", err)
	}

	original := schema
	defer func() { schema = original }()
	schema = func() fs.FS {
		files := fstest.MapFS{"99999_more.sql": {Data: []byte(
			"-- +goose Up\nCREATE TABLE more (n integer);\n")}}
		for _, name := range names {
			text, err := fs.ReadFile(original(), name)
			if err != nil {
				t.Fatal(err)
			}
			files[name] = &fstest.MapFile{Data: text}
		}
		return files
	}
	if err := open(true); err == nil {
		t.Error("an old schema was opened without migrations")
	}
	if err := open(false); err != nil {
		t.Fatal(err)
	}
	if all, err := MigrationStatus(t.Context(), url, ""); err != nil || len(all) != known+1 ||
		all[known].AppliedAt.IsZero() {
		t.Errorf("status after the second migration is %+v (error %v)", all, err)
	}
	schema = original
	for _, skip := range []bool{false, true} {
		if err := open(skip); err == nil || !strings.Contains(err.Error(), "newer") {
			t.Errorf("a newer schema got %v", err)
		}
	}
	if all, err := MigrationStatus(t.Context(), url, ""); err != nil || len(all) != known+1 ||
		all[known].Version != 99999 {
		t.Errorf("status of a newer schema is %+v (error %v)", all, err)
	}
}

// TestOpenFails: an error says which database, and never the password.
func TestOpenFails(t *testing.T) {
	for _, url := range []string{
		"postgres://user:s3cret@127.0.0.1:1/name", "postgres://user:s3cret@127.0.0.1:port/name",
		"postgres://user:s3cret@/name?sslmode=x",
		strings.Replace(newDatabase(t), "tester@", "tester:s3cret@", 1) + "&dbname=missing",
	} {
		s, err := Open(t.Context(), Config{URL: url})
		if err == nil {
			s.Close()
			t.Errorf("%s was opened", url)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

// TestDurable: a database that does not wait for its disk does so for what Apply stores, and
// time-outs of a transaction do not stay with its session.
func TestDurable(t *testing.T) {
	url := newDatabase(t)
	outsider := connect(t, url)
	if err := execute(outsider, "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET synchronous_commit = off'; END $$"); err != nil {
		t.Fatal(err)
	}
	s, _ := openStore(t, url)
	defer s.Close()
	settings := func(inside bool) (got string) {
		t.Helper()
		query := statement{
			sql: "SELECT current_setting('synchronous_commit') || ' ' || current_setting('statement_timeout')",
			row: func(r row) error { got = r.Text(0); return nil },
		}
		var err error
		if inside {
			err = s.tx(t.Context(), []statement{query}, func() ([]statement, error) { return nil, nil })
		} else {
			conn, acquireErr := s.pool.Acquire(t.Context())
			if acquireErr != nil {
				t.Fatal(acquireErr)
			}
			defer conn.Release()
			_, err = exchange(t.Context(), conn.Conn().PgConn(), []statement{query})
		}
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := settings(true); got != "on 30s" {
		t.Errorf("in a transaction the settings are %s, want on 30s", got)
	}
	if got := settings(false); got != "off 0" {
		t.Errorf("outside the settings are %s, want those of the database, off 0", got)
	}
}

// TestReadOnly: a database that takes no writes is reachable, and that is not enough.
func TestReadOnly(t *testing.T) {
	url := newDatabase(t)
	s, _ := openStore(t, url)
	s.Close()
	if err := execute(connect(t, url),
		"DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET default_transaction_read_only = on'; END $$"); err != nil {
		t.Fatal(err)
	}
	s, _ = openStore(t, url)
	defer s.Close()
	if err := s.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("ping of a read-only database got %v", err)
	}
	if _, err := s.Acquire(t.Context(), 0); err == nil {
		t.Error("acquire wrote to a read-only database")
	}
}

// TestText: what PostgreSQL cannot hold as text fails nothing that is not an identity, and is in
// the audit chain as it is stored.
func TestText(t *testing.T) {
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	w := newWorker(t, s, 0)
	const bad, good = "a\x00b\xffc\xed\xa0\x80", "a\uFFFDb\uFFFDc\uFFFD"
	b := w.batch(1)
	b.Worker, b.LastError, b.Attempts = bad, bad, 2
	r := &b.Records[0]
	r.RemoteAddr, r.Headers, r.Body = bad, []hookgate.Header{{Name: bad, Value: bad}}, []byte(bad)
	d := storetest.Sample(0, 50)
	d.MessageID, d.EventType, d.Source, d.OrderingKey, d.RemoteAddr, d.Body = bad, bad, bad, bad, bad,
		[]byte(bad)
	b.Dead = []hookgate.DeadLetter{{Record: d, Reason: bad}}
	before := r.Request
	mustApply(t, s, b, 1)
	if r.RemoteAddr != before.RemoteAddr {
		t.Error("the caller's record was changed")
	}
	for e, err := range s.Events(t.Context(), hookgate.EventFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		body, err := s.Body(t.Context(), e.ID)
		if err != nil || string(body) != bad || e.RemoteAddr != good || len(e.Headers) != 1 ||
			strings.ToValidUTF8(e.Headers[0].Value, "") != e.Headers[0].Value {
			t.Errorf("stored is %+v with body %q (error %v)", e, body, err)
		}
	}
	for letter, err := range s.DeadLetters(t.Context(), hookgate.DeadLetterFilter{}) {
		want := hookgate.Identity{Source: good, EventType: good, MessageID: good}
		body, bodyErr := s.DeadLetterBody(t.Context(), letter.ID)
		if err != nil || bodyErr != nil || letter.Reason != good || string(body) != bad ||
			letter.Identity != want {
			t.Errorf("dead letter is %+v (error %v) with body %q (error %v)", letter, err, body, bodyErr)
		}
		if _, err := s.Purge(t.Context(), hookgate.Purge{IDs: []string{letter.ID}, By: bad,
			Reason: bad}); err != nil {
			t.Error(err)
		}
	}
	if trails, err := s.Trace(t.Context(), "0-0", hookgate.RequestID{}, 1000); err != nil ||
		len(trails) != 1 || len(trails[0].Entries) != 5 ||
		!strings.Contains(string(trails[0].Entries[3].Metadata), good) {
		t.Errorf("the trail is %+v (error %v)", trails, err)
	}
	if err := verified(url); err != nil {
		t.Error(err)
	}
}

// TestPrefixes: any bytes select what begins with them, also those that end in the middle of a
// character, and those that no text has select nothing.
func TestPrefixes(t *testing.T) {
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	w := newWorker(t, s, 0)
	ids := []string{"a", "\u00e9", "\u00e8x", "\u00e9\u00e9", "\ud7ff", "\ue000", "\ud7ffz",
		"\U0010ffff", "x\U0010ffff", "x\U0010ffffy", "y"}
	b := w.batch(len(ids))
	prefixes := []string{"z", "\xff", "\x00", "a\x00", "\xc3\xff", "x\xf4\x8f", "\xe2"}
	for i, id := range ids {
		b.Records[i].MessageID = id
		for n := range len(id) + 1 {
			prefixes = append(prefixes, id[:n])
		}
	}
	mustApply(t, s, b, len(ids))
	for _, prefix := range prefixes {
		var want []string
		for _, id := range ids {
			if strings.HasPrefix(id, prefix) {
				want = append(want, id)
			}
		}
		if got := messageIDs(t, s, hookgate.EventFilter{MessageIDPrefix: prefix}); !slices.Equal(got,
			want) {
			t.Errorf("prefix %q selects %q, want %q", prefix, got, want)
		}
	}
	for _, f := range []hookgate.EventFilter{{MessageID: "\x00"}, {Source: "\xff"},
		{EventType: "\x00"}, {OrderingKey: "\xff"}} {
		if got := messageIDs(t, s, f); len(got) != 0 {
			t.Errorf("%+v selects %q", f, got)
		}
	}
	if trails, err := s.Trace(t.Context(), "\x00", hookgate.RequestID{}, 1000); err != nil ||
		len(trails) != 0 {
		t.Errorf("the trace of no text is %v (error %v)", trails, err)
	}
}

// TestPlans: with many rows no query of the way of an event or of the read API reads a table from
// end to end, but for one by a key that is so rare that there is no second page.
func TestPlans(t *testing.T) {
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	const fill = `DO $$ BEGIN
		INSERT INTO webhook_events SELECT n, 'm' || n, 't' || n % 7, 'default', 'k' || n % 3, n, 'x', 'x', '00000000-0000-7000-8000-' || lpad(n::text, 12, '0'), n, n, 0, '', 0, '[]', '', 0, n, n / 100, sha256(n::text::bytea), true, n, n, 'w', 1, '', 'x'
			FROM generate_series(1, 30000) n;
		INSERT INTO webhook_events SELECT 30000 + n, 'p' || n, 't' || n % 7, 'default', 'k' || n % 3, n, 'x', 'x', '00000001-0000-7000-8000-' || lpad(n::text, 12, '0'), n, n, 0, 'r' || n, n, '[]', '', 0, n, n / 100, sha256((30000 + n)::text::bytea), true, n, n, 'w', 1, '', 'x'
			FROM generate_series(1, 300) n;
		INSERT INTO webhook_requests SELECT n, 'r' || n, 'duplicate', '', '', 'm' || n, 't', 'default', 'k', n, 'x', n, n, 0, '', 0, '[]', '', 0, n, n / 100, sha256(n::text::bytea), true, n, n, 'w', 1, '', 'x'
			FROM generate_series(1, 30000) n;
		INSERT INTO webhook_removed_events SELECT -n, 'm' || n, 't', 'default', 'k', n, 'x', 'e' || n, n, n, 0, '', 0, '[]', '', 0, n, n / 100, 1, true, n, n, 'w', 1, '', 'x'
			FROM generate_series(1, 30000) n;
		INSERT INTO webhook_requests SELECT n, 'r' || n, 'dead_lettered', '', '', 'd' || n, 't', 'default', 'k', n, 'x', n, n, 0, '', 0, '[]', '', 0, n, n / 100, sha256(n::text::bytea), true, n, n, 'w', 1, '', 'x'
			FROM generate_series(30001, 32000) n;
		INSERT INTO webhook_dead_letters SELECT n, 'r' || n, 'x', '', n FROM generate_series(30001, 32000) n;
		INSERT INTO webhook_batches SELECT n, 0, n, 'x', 'x', 1, 1, 0, n, n, '', n, n, 1, '' FROM generate_series(0, 30000) n;
		END $$`
	outsider := connect(t, url)
	for _, script := range []string{fill, "ANALYZE"} {
		if err := execute(outsider, script); err != nil {
			t.Fatal(err)
		}
	}
	reads := storetest.Reads(t, db{s}, dialect, "m1")
	read := func(kind string, n int) statement {
		t.Helper()
		if len(reads[kind]) <= n {
			t.Fatalf("%s makes %d queries", kind, len(reads[kind]))
		}
		return shared(reads[kind][n])
	}
	purged := newRows(1)
	purged.Int(31000)
	for name, test := range map[string]struct {
		query statement
		want  string
	}{
		"test traffic": {statement{sql: readTests, args: []arg{argInt(10)}}, "webhook_events_tests"},
		"bodies of tests": {shared(sqlstore.Statement{
			SQL:  "DELETE FROM webhook_request_bodies WHERE " + prune.TestRequestBodies,
			Args: []any{-9, -1}}), "webhook_removed_events_pkey"},
		"removal of tests": {statement{sql: moveTests, args: append(purged.args(), argInt(1))},
			"webhook_events_"},
		"listing":    {read("listing", 0), "webhook_events_pkey"},
		"by key":     {read("listing by key", 1), "webhook_events_pkey"},
		"rare type":  {read("listing by a rare type", 1), "webhook_events_type"},
		"message id": {read("listing by message id", 0), "webhook_events_identity"},
		"event":      {read("event", 0), "webhook_events_pkey"},
		"trace":      {read("trace", 0), "webhook_requests_message"},
		"trails":     {read("trace", 1), "webhook_events_request"},
		"letters":    {read("dead letters", 0), "webhook_requests_dead"},
		"letters by state": {read("open dead letters", 0),
			"webhook_events_identity"},
		"letters of a message id": {read("dead letters by message id", 0),
			"webhook_requests_message"},
		"letters by prefix": {read("dead letters by prefix", 0),
			"webhook_requests_message"},
		"request": {read("request", 0),
			"webhook_events_request"},
		"request, gone": {read("request", 0),
			"webhook_removed_events_request"},
		"letter":            {read("dead letter", 0), "webhook_requests_dead"},
		"letter by request": {read("dead letter by request", 0), "webhook_requests_request_id_key"},
		"purge": {statement{sql: purgeTargets, args: purged.args()},
			"webhook_dead_letters_pkey"},
		"by request": {statement{sql: "SELECT id FROM webhook_events WHERE request_id = $1",
			args: []arg{argText("e1")}}, "webhook_events_request"},
		"latest of a type": {statement{sql: "SELECT id FROM webhook_events WHERE event_type = $1 ORDER BY received_at DESC LIMIT 1", args: []arg{argText("t1")}},
			"webhook_events_type"},
		"old events": {statement{sql: oldEvents, args: []arg{argInt(100)}}, "webhook_events_pkey"},
		"old entries": {statement{sql: entriesQuery, args: []arg{argInt(1), argInt(100)}},
			"webhook_events_pkey"},
		"entry before": {statement{sql: entryBefore, args: []arg{argInt(1)}}, "webhook_requests_pkey"},
		"open letter": {statement{sql: openLetter, args: []arg{argText("d31000"), argText("default"),
			argText("t"), argBool(false), argBytes(nil)}},
			"webhook_requests_message"},
		"old links": {statement{sql: oldLinks, args: []arg{argInt(1), argInt(100)}},
			"webhook_batches_pkey"},
	} {
		mustUseIndex(t, s, name, test.query, test.want)
	}
	for _, query := range storetest.AuditReads(t, db{s}) {
		want := "_pkey"
		if strings.Contains(query.SQL, "SELECT count(*) FROM webhook_purges p") {
			want = "webhook_requests_pkey"
		}
		mustUseIndex(t, s, query.SQL, shared(query), want)
	}
	indexes := map[storetest.SearchIndex]string{
		storetest.ByID: "webhook_events_pkey", storetest.ByRequest: "webhook_events_re",
		storetest.ByType:     "webhook_events_type",
		storetest.ByIdentity: "webhook_events_identity",
	}
	storetest.SearchQueries(t, db{s}, dialect, func(query sqlstore.Statement,
		index storetest.SearchIndex) {
		want := indexes[index]
		if strings.HasPrefix(query.SQL, "SELECT received_at FROM") {
			want = "webhook_events" // of one event
		}
		if strings.Contains(query.SQL, "ordering_key = ?") {
			want = "webhook_events_" // the planner knows how rare a key is
		}
		mustUseIndex(t, s, query.SQL, shared(query), want)
	})
	b := &hookgate.Batch{}
	for n := range 500 {
		b.Records = append(b.Records, storetest.Sample(0, n))
		b.Dead = append(b.Dead, hookgate.DeadLetter{Record: storetest.Sample(0, n)})
	}
	b.Epochs = map[int]hookgate.Epoch{0: 1}
	items, err := entry.Items(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, query := range s.newApplication(b, items).looks([]int{0}) {
		switch query.sql {
		case readHolders:
			mustUseIndex(t, s, "known identities", query, "webhook_events_identity")
		case readRequests:
			mustUseIndex(t, s, "known requests", query, "webhook_requests_request_id_key")
		}
	}
}

func mustUseIndex(t *testing.T, s *Store, name string, query statement, index string) {
	t.Helper()
	var plan []string
	query.sql = "EXPLAIN " + query.sql
	query.row = func(r row) error { plan = append(plan, r.Text(0)); return nil }
	if err := s.read(t.Context(), query); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	text := strings.Join(plan, "\n")
	for _, table := range []string{"events", "removed_events", "requests", "batches", "dead_letters"} {
		if strings.Contains(text, "Seq Scan on webhook_"+table) {
			t.Errorf("%s reads all of webhook_%s:\n%s", name, table, text)
		}
	}
	if !strings.Contains(text, index) {
		t.Errorf("%s does not use %s:\n%s", name, index, text)
	}
}

// TestLookAfterConflict: a batch that holds something stored is sorted out all the same, and the
// batches after it are looked up before they are written, for a while.
func TestLookAfterConflict(t *testing.T) {
	s, _ := openStore(t, newDatabase(t))
	defer s.Close()
	epochs := storetest.AcquireBench(t, s, 0)
	apply := func(records ...hookgate.Record) hookgate.Outcome {
		t.Helper()
		o, err := s.Apply(t.Context(), &hookgate.Batch{Records: records, Epochs: epochs, Worker: "w",
			ProcessedAt: time.Now(), Attempts: 1})
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	var records []hookgate.Record
	for n := range 15 {
		records = append(records, storetest.Sample(0, n))
	}
	if o := apply(records[:10]...); o.Stored != 10 || s.careful != 0 {
		t.Errorf("a first batch: %+v, %d looks", o, s.careful)
	}
	again := slices.Clone(records)
	for n := range 5 {
		again[n].RequestID = hookgate.NewRequestID(time.Now())
	}
	if o := apply(again...); o.Stored != 5 || !slices.Equal(storetest.Duplicates(o),
		[]int{0, 1, 2, 3, 4}) || s.careful != carefulAfterMiss {
		t.Errorf("five duplicates, five stored before, five new: %+v, %d looks", o, s.careful)
	}
	if o := apply(again...); o.Stored != 0 || len(storetest.Duplicates(o)) != 5 ||
		s.careful != carefulAfterMiss-1 {
		t.Errorf("the same once more: %+v, %d looks", o, s.careful)
	}
	if c, err := s.Counts(t.Context()); err != nil || c.Events != 15 || c.Duplicates != 5 {
		t.Errorf("counts are %+v (%v)", c, err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("a conflict is taken for a failure of the store: %v", err)
	}
}

// TestPruneInTurn: of two processes one removes, and the other is told that it need not. It takes
// over when the first has let its time pass.
func TestPruneInTurn(t *testing.T) {
	url := newDatabase(t)
	first, _ := openStore(t, url)
	defer first.Close()
	second, _ := openStore(t, url)
	defer second.Close()
	epoch, err := first.Acquire(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	b := &hookgate.Batch{Epochs: map[int]hookgate.Epoch{0: epoch}, Worker: "w", Attempts: 1}
	for n := range 10 {
		b.Records = append(b.Records, storetest.Sample(0, n))
	}
	mustApply(t, first, b, 10)
	prune := func(s *Store) hookgate.Pruned {
		t.Helper()
		p, err := s.Prune(t.Context(), hookgate.Cutoffs{Events: time.Now().Add(time.Hour)}, 2)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first.holdTime = time.Hour
	if p := prune(first); p.Busy || p.Events != 2 {
		t.Errorf("the first did %+v, want 2 events", p)
	}
	if p := prune(second); !p.Busy || p.Events != 0 {
		t.Errorf("the second did %+v, want nothing", p)
	}
	first.holdTime = 0
	if p := prune(first); p.Busy || p.Events != 2 {
		t.Errorf("the first did %+v, want 2 events", p)
	}
	if p := prune(second); p.Busy || p.Events != 2 {
		t.Errorf("after its time the second did %+v, want 2 events", p)
	}
}

// TestBodiesCompressed: large bodies are compressed by lz4 if the server has it, and else as the
// server does by itself.
func TestBodiesCompressed(t *testing.T) {
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	conn := connect(t, url)
	for _, table := range []string{"webhook_events", "webhook_dead_letters"} {
		var has bool
		var method string
		err := conn.QueryRow(t.Context(),
			`SELECT 'lz4' = ANY (c.enumvals), a.attcompression::text FROM pg_settings c, pg_attribute a
			WHERE c.name = 'default_toast_compression' AND a.attrelid = $1::regclass AND a.attname = 'payload'`, table).Scan(&has, &method)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]string{true: "l", false: ""}[has]; method != want {
			t.Errorf("bodies of %s are compressed by %q, want %q (the server has lz4: %v)", table, method,
				want, has)
		}
	}
}
