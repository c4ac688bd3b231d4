package postgres

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/store/storetest"
)

// earlierRelease returns the URL of a database with the store of a release that had a chain for
// each partition. pg_dump wrote the file at commit 6deb59b. The storetest of that release filled
// the stores "filled", "pruned" and "tests". In "mixed" retention has removed bodies and links, one
// dead letter is open and one is purged, and test traffic is removed.
func earlierRelease(t *testing.T, name string) string {
	t.Helper()
	url := newEmptyDatabase(t)
	packed, err := os.Open("testdata/release-6deb59b-" + name + ".sql.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	r, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	script, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), string(script)).ReadAll(); err != nil {
		t.Fatal(err)
	}
	return url
}

// released returns the database of earlierRelease after the migration.
func released(t *testing.T, name string) string {
	t.Helper()
	url := earlierRelease(t, name)
	before, err := Verify(t.Context(), url, "", nil)
	if err != nil || before.Break != nil {
		t.Fatalf("before the migration the store has the break %v (error %v)", before.Break, err)
	}
	if err := Migrate(t.Context(), url, ""); err != nil {
		t.Fatal(err)
	}
	if after, err := Verify(t.Context(), url, "", nil); err != nil || after != before {
		t.Fatalf("the audit found %+v before the migration and %+v after it (error %v)", before, after,
			err)
	}
	return url
}

// TestEarlierRelease: the migrated store of an earlier release keeps all its data and recognises
// repetitions. The audit succeeds before and after events are added, purged and removed.
func TestEarlierRelease(t *testing.T) {
	ctx := t.Context()
	url := released(t, "mixed")
	s, _ := openStore(t, url)
	defer s.Close()
	sound := func(when string) {
		t.Helper()
		if err := verified(url); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	sound("after the migration")
	want := hookgate.StoreCounts{Events: 16, Duplicates: 6, DeadLetters: 3}
	if got, err := s.Counts(ctx); err != nil || got != want {
		t.Errorf("counts are %+v (error %v), want %+v", got, err, want)
	}
	before := map[string]hookgate.StoredEvent{}
	for e, err := range s.Events(ctx, hookgate.EventFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.PersistedAt.Year() < 2020 {
			t.Errorf("event %s was stored at %v", e.ID, e.PersistedAt)
		}
		if got := messageIDs(t, s, hookgate.EventFilter{MessageID: e.MessageID}); len(got) == 0 {
			t.Errorf("event %s is not found by its message id %q", e.ID, e.MessageID)
		}
		before[e.ID] = e
	}
	if len(before) != 16 {
		t.Errorf("%d events are listed, want 16", len(before))
	}
	// The migration computed the same identities as the program. Events are keyless if their key is
	// their type.
	if err := s.read(ctx, statement{
		sql: "SELECT identity, source, event_type, message_id, keyed, ordering_key FROM webhook_events",
		row: func(r row) error {
			id := hookgate.Identity{Source: r.Text(1), EventType: r.Text(2), MessageID: r.Text(3)}
			if key := audit.IdentityKey(id); string(key[:]) != string(r.Bytes(0)) ||
				r.Bool(4) != (r.Text(5) != id.EventType) {
				return fmt.Errorf("event %s has identity %x and keyed %t", id, r.Bytes(0), r.Bool(4))
			}
			return nil
		},
	}); err != nil {
		t.Error(err)
	}

	// Its events come again in other requests, together with a new event.
	b := &hookgate.Batch{Worker: "w", Attempts: 1}
	for n := range 6 {
		r := storetest.Sample(1, 7000+n)
		switch n {
		case 2:
			r.OrderingKey = r.EventType
		case 3:
			r.MessageID = "größer ä😀"
		}
		b.Records = append(b.Records, r)
	}
	o, err := s.Apply(ctx, b)
	if err != nil || o.Stored != 1 || o.Results[5].ID == 0 {
		t.Fatalf("apply did %+v (error %v), want one event stored", o, err)
	}
	for i, r := range o.Results[:5] {
		if r.DuplicateOf.IsZero() {
			t.Errorf("record %d is no duplicate", i)
		}
	}
	sound("after more was stored")
	for d, err := range s.DeadLetters(ctx, hookgate.DeadLetterFilter{State: hookgate.DeadLetterOpen}) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Purge(ctx, hookgate.Purge{IDs: []string{d.ID}, By: "ops",
			Reason: "test"}); err != nil {
			t.Error(err)
		}
	}
	if n, err := s.OpenDeadLetters(ctx, 100); err != nil || n != 0 {
		t.Errorf("%d dead letters are open (error %v)", n, err)
	}
	sound("after a purge")
	for {
		p, err := s.Prune(ctx, hookgate.Cutoffs{Events: time.Now().Add(time.Hour),
			Trail: time.Now().Add(time.Hour)}, 5)
		if err != nil {
			t.Fatal(err)
		}
		sound("while it is removed")
		if !p.More {
			break
		}
	}
	if got, err := s.Counts(ctx); err != nil || got.Events != 0 {
		t.Errorf("after the removal counts are %+v (error %v)", got, err)
	}
	mustApply(t, s, &hookgate.Batch{Worker: "w", Attempts: 1,
		Records: []hookgate.Record{storetest.Sample(0, 9000)}}, 1)
	sound("in the end")
}

// TestEarlierReleaseRuns: a process of an earlier release that still runs cannot add anything.
func TestEarlierReleaseRuns(t *testing.T) {
	url := released(t, "mixed")
	conn := connect(t, url)
	rows := 0
	if err := conn.QueryRow(t.Context(),
		"SELECT count(*) FROM (SELECT events FROM webhook_counters FOR UPDATE) c").Scan(
		&rows); err != nil || rows != 0 {
		t.Errorf("it finds %d rows of counters (error %v), and takes its ids from there", rows, err)
	}
	for _, script := range []string{
		"INSERT INTO webhook_counters VALUES (true, 1, 1, 1, 1)",
		`INSERT INTO webhook_requests SELECT 99, 'new', outcome, first_request_id, reason, message_id, event_type, source, ordering_key,
			sequence, sha256, received_at, enqueued_at, spooled_at, replay_of, replayed_at, headers, remote_addr, partition, position, batch
			FROM webhook_requests LIMIT 1`,
	} {
		if err := execute(conn, script); err == nil {
			t.Errorf("%s: done", script)
		}
	}
	if err := verified(url); err != nil {
		t.Error(err)
	}
}
