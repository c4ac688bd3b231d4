package sqlite

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/prune"
	"github.com/hookgate/hookgate/store/sqlstore"
	"github.com/hookgate/hookgate/store/storetest"
)

// TestPlans: no query of the read API sorts events or reads more than it must, according to
// SQLite's own plan.
func TestPlans(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Apply(t.Context(), &hookgate.Batch{
		Records: []hookgate.Record{storetest.Sample(0, 1)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Subscriptions().Define(t.Context(), []hookgate.SubscriptionDefinition{{Name: "s1",
		Start: hookgate.Start{At: hookgate.StartNow}, Order: hookgate.OrderKey, Definition: "{}"}},
		false); err != nil {
		t.Fatal(err)
	}
	reads := storetest.Reads(t, db{s}, dialect, storetest.Sample(0, 1).MessageID)
	read := func(kind string, n int) string {
		t.Helper()
		if len(reads[kind]) <= n {
			t.Fatalf("%s makes %d queries", kind, len(reads[kind]))
		}
		return reads[kind][n].SQL
	}
	for name, test := range map[string]struct{ query, want, not string }{
		"listing": {read("listing", 0), "USING INTEGER PRIMARY KEY",
			"TEMP B-TREE"},
		"by type": {read("listing by type", 1), "USING INTEGER PRIMARY KEY", "TEMP B-TREE"},
		"message id": {read("listing by message id", 0),
			"SEARCH webhook_events USING INTEGER PRIMARY KEY (rowid=?", "SCAN webhook_"},
		"message id, index": {read("listing by message id", 0),
			"SEARCH webhook_identities USING PRIMARY KEY (identity>? AND identity<?)", "TEMP B-TREE"},
		"message id, tail": {read("listing by message id", 0),
			"SEARCH t USING INTEGER PRIMARY KEY (rowid>?)", "SCAN webhook_"},
		"prefix": {read("listing by prefix", 1),
			"USING INTEGER PRIMARY KEY", "TEMP B-TREE"},
		"trace": {read("trace", 1),
			"SEARCH webhook_events USING INDEX webhook_events_request (request_id=?)",
			"SCAN webhook_events"},
		"trace, page": {read("trace", 0), "SEARCH i USING PRIMARY KEY (identity>? AND identity<?)",
			"SCAN webhook_events"},
		"trace, tail": {read("trace", 0), "SEARCH t USING INTEGER PRIMARY KEY (rowid>?)", "SCAN i"},
		"removal, identities": {removeIdentities + " FROM webhook_events WHERE id > ? AND id <= ?)",
			"SEARCH webhook_identities USING PRIMARY KEY (identity=?)", "SCAN"},
		"removal, keys": {removeKeys + " FROM webhook_events WHERE id > ? AND id <= ?)",
			"SEARCH webhook_keys USING PRIMARY KEY (ordering_key=? AND event=?)", "SCAN"},
		"tests, identities": {removeIdentities + fromTests + " AND id <= ?)",
			"SEARCH webhook_identities USING PRIMARY KEY (identity=?)", "SCAN"},
		"tests, keys": {removeKeys + fromTests + " AND id <= ?)",
			"SEARCH webhook_keys USING PRIMARY KEY (ordering_key=? AND event=?)", "SCAN"},
		"trace, gone": {read("trace", 0),
			"SEARCH webhook_removed_events USING INDEX webhook_removed_events_message (message_id=?)",
			"SCAN webhook_removed"},
		"entries": {entriesQuery, "SEARCH e USING INTEGER PRIMARY KEY (rowid>?)",
			"TEMP B-TREE"},
		"trace, end": {read("trace", 0),
			"SEARCH webhook_requests USING COVERING INDEX webhook_requests_message (message_id=? AND" +
				" request_id>?)", "SCAN webhook_"},
		"old events": {oldEventsQuery, "SEARCH e USING INTEGER PRIMARY KEY (rowid>?)",
			"TEMP B-TREE"},
		"tests": {testsQuery, "SCAN webhook_events USING INDEX webhook_events_tests",
			"TEMP B-TREE"},
		"tests, gone": {testsGone, "USING COVERING INDEX webhook_events_tests (id<?)", "SCAN"},
		"bodies of tests": {"DELETE FROM webhook_request_bodies WHERE " + prune.TestRequestBodies,
			"SEARCH b USING", "SCAN"},
		"attempts": {read("attempts", 0), "SEARCH d USING PRIMARY KEY (subscription=? AND event=?)",
			"SCAN d"},
		"recent attempts, window": {read("recent attempts", 1),
			"USING COVERING INDEX webhook_deliveries_at (subscription=? AND", "TEMP B-TREE"},
		"recent attempts": {read("recent attempts", 2),
			"USING INDEX webhook_deliveries_at (subscription=? AND", "TEMP B-TREE"},
		"settled above the cursor": {read("pull state", 2),
			"SEARCH a USING PRIMARY KEY (subscription=? AND event>? AND event<?)", "SCAN a"},
		"excepted above the cursor": {read("pull state", 3),
			"SEARCH a USING PRIMARY KEY (subscription=? AND event>? AND event<?)", "SCAN a"},
		"open leases": {read("pull state", 6),
			"SEARCH webhook_leases USING INDEX webhook_leases_open (subscription=? AND first_event>?)",
			"SCAN"},
		"subscriptions": {read("subscriptions", 0),
			"SEARCH l USING INDEX webhook_leases_open (subscription=? AND first_event>?)", "SCAN l"},
		"ended leases": {read("commit", 1),
			"SEARCH webhook_leases USING COVERING INDEX webhook_leases_ended" +
				" (subscription=? AND until_at<?)", "SCAN webhook_"},
		"holder": {prune.HolderQuery, "SEARCH l USING INDEX webhook_leases_open (subscription=? AND" +
			" first_event>? AND first_event<?)", "SCAN l"},
		"deliveries of a trace": {read("trace", 2),
			"SEARCH d USING PRIMARY KEY (subscription=? AND event=?)", "SCAN d"},
		"events to keep": {prune.Keep, "SEARCH x USING PRIMARY KEY (subscription=? AND event=?)",
			"SCAN x"},
		"events to keep, holds": {prune.Keep,
			"SEARCH h USING PRIMARY KEY (subscription=? AND ordering_key=?)", "SCAN e"},
		"kept events": {prune.KeptQuery, "SEARCH x USING PRIMARY KEY (subscription=? AND event=?)",
			"SCAN x"},
		"deliveries of kept events": {prune.ReleaseDeliveries,
			"SEARCH webhook_deliveries USING PRIMARY KEY (subscription=? AND event=?)", "SCAN k"},
		"deliveries, gone": {prune.DeliveriesOf,
			"SEARCH webhook_deliveries USING PRIMARY KEY (subscription=? AND event>? AND event<?)",
			"SCAN webhook_"},
		"old links": {oldLinksQuery, "SEARCH b USING INTEGER PRIMARY KEY (rowid>?)", "SCAN"},
		"dead letters": {read("dead letters by state", 0),
			"SEARCH r USING INDEX webhook_requests_dead (id>?", "TEMP B-TREE"},
		"dead letters, by prefix": {read("dead letters by prefix", 0),
			"SEARCH r USING INDEX webhook_requests_", "SCAN"},
		"request": {read("request", 0),
			"SEARCH webhook_events USING INDEX webhook_events_request (request_id=?)",
			"SCAN webhook_events"},
		"request, gone": {read("request", 0),
			"SEARCH webhook_removed_events USING INDEX webhook_removed_events_request (request_id=?)",
			"SCAN webhook_events"},
		"request, rest": {read("request", 0),
			"SEARCH r USING INDEX sqlite_autoindex_webhook_requests_1 (request_id=?)",
			"SCAN webhook_events"},
		"their event": {read("dead letters", 0),
			"SEARCH i USING PRIMARY KEY (identity=?)", "SCAN"},
		"their event, tail": {read("dead letters", 0),
			"SEARCH t USING INTEGER PRIMARY KEY (rowid>?)", "SCAN"},
		"their replays": {read("dead letters", 0),
			"SEARCH l USING INDEX webhook_requests_replay (replay_of=?)", "SCAN"},
		"history": {read("dead letters by message id", 0),
			"SEARCH r USING INDEX webhook_requests_message (message_id=?", "SCAN"},
		"dead letter": {read("dead letter", 0), "SEARCH r USING INTEGER PRIMARY KEY",
			"SCAN"},
		"dead letter, by request": {read("dead letter by request", 0),
			"SEARCH r USING INDEX sqlite_autoindex_webhook_requests_1", "SCAN"},
		"by request": {"SELECT payload FROM webhook_events WHERE request_id = ?",
			"USING INDEX webhook_events_request", "SCAN"},
		"token": {read("token", 0),
			"USING INDEX sqlite_autoindex_webhook_tokens_2 (hash=?)", "SCAN"},
		"actions": {read("actions", 0), "USING INTEGER PRIMARY KEY",
			"TEMP B-TREE"},
		"latest of a type": {"SELECT id FROM webhook_events WHERE event_type = ? ORDER BY received_at" +
			" DESC LIMIT 1",
			"USING COVERING INDEX webhook_events_type (event_type=?)", "TEMP B-TREE"},
	} {
		plan := explain(t, s, test.query)
		if !strings.Contains(plan, test.want) || strings.Contains(plan, test.not) {
			t.Errorf("%s: the plan is\n%s\nwant it to have %q and not %q", name, plan, test.want, test.not)
		}
	}
}

func explain(t *testing.T, s *Store, query string) string {
	t.Helper()
	var steps []string
	err := s.read(t.Context(), func(conn *sqlite.Conn) error {
		statement, err := conn.Prepare("EXPLAIN QUERY PLAN " + query)
		if err != nil {
			return err
		}
		return sqlitex.Execute(conn, "EXPLAIN QUERY PLAN "+query, &sqlitex.ExecOptions{
			Args: make([]any, statement.BindParamCount()),
			ResultFunc: func(row *sqlite.Stmt) error {
				if step := row.ColumnText(3); step != "SCAN webhook_log" { // which has one row
					steps = append(steps, step)
				}
				return nil
			},
		})
	})
	if err != nil {
		t.Fatalf("explain %s: %v", query, err)
	}
	return strings.Join(steps, "\n")
}

// TestSearchPlans: each read of a search follows the index of its order and sorts nothing.
func TestSearchPlans(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const fill = `WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 3000)
		INSERT INTO webhook_events (id, message_id, event_type, source, ordering_key, sequence, payload, sha256,
			request_id, received_at, enqueued_at, spooled_at, replay_of, replayed_at, headers, remote_addr, partition,
			position, batch, identity, keyed, processed_at, persisted_at, worker, attempts, last_error, hash)
		SELECT n, 'm' || n, 't' || n % 7, 's', 'k' || n % 3, n, x'00', x'00', printf('00000000-0000-7000-8000-%012d', n), n, n, 0, '', 0, '[]', '', 0, n, 1, randomblob(24), 0, n, n, '', 1, '', x'00' FROM n`
	if err := sqlitex.ExecuteTransient(s.conn, fill, nil); err != nil {
		t.Fatal(err)
	}
	want := map[storetest.SearchIndex][]string{
		storetest.ByID: {"USING INTEGER PRIMARY KEY", "SCAN webhook_events"}, // from one end
		storetest.ByRequest: {"INDEX webhook_events_request", "INDEX webhook_events_replays",
			"USING INTEGER PRIMARY KEY"},
		storetest.ByType:     {"INDEX webhook_events_type (event_type=?"},
		storetest.ByIdentity: {"SEARCH i USING PRIMARY KEY (identity"},
	}
	storetest.SearchQueries(t, db{s}, dialect, func(query sqlstore.Statement,
		index storetest.SearchIndex) {
		plan := explain(t, s, query.SQL)
		served := slices.ContainsFunc(want[index], func(part string) bool {
			return strings.Contains(plan,
				part)
		})
		if index == storetest.ByIdentity {
			// The few events that are not indexed yet are read and sorted.
			if !served || !strings.Contains(plan, "SEARCH e USING INTEGER PRIMARY KEY (rowid>?)") ||
				strings.Contains(plan, "SCAN i") || strings.Contains(plan, "SCAN e") {
				t.Errorf("%s: the plan is\n%s", query.SQL, plan)
			}
		} else if !served || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("%s: the plan is\n%s\nwant it to have one of %q and to sort nothing", query.SQL, plan,
				want[index])
		}
	})
}
