package postgres

import (
	"strings"
	"testing"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/entry"
	"github.com/hookgate/hookgate/store/prune"
	"github.com/hookgate/hookgate/store/sqlstore"
	"github.com/hookgate/hookgate/store/storetest"
)

// TestPlans: with many rows no query of Apply or of the read API reads a whole table. The exception
// is a listing by a key so rare that there is no second page.
func TestPlans(t *testing.T) {
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	const fill = `DO $$ BEGIN
		INSERT INTO webhook_events SELECT n, 'm' || n, 't' || n % 7, 'default', 'k' || n % 3, n,
			'x', 'x', '00000000-0000-7000-8000-' || lpad(n::text, 12, '0'), n, n, 0, '', 0, '[]', '',
			0, n, n / 100, sha256(n::text::bytea), true, n, n, 'w', 1, '', 'x'
			FROM generate_series(1, 30000) n;
		INSERT INTO webhook_events SELECT 30000 + n, 'p' || n, 't' || n % 7, 'default', 'k' || n %
			3, n, 'x', 'x', '00000001-0000-7000-8000-' || lpad(n::text, 12, '0'), n, n, 0, 'r' || n,
			n, '[]', '', 0, n, n / 100, sha256((30000 + n)::text::bytea), true, n, n, 'w', 1, '', 'x'
			FROM generate_series(1, 300) n;
		INSERT INTO webhook_requests SELECT n, 'r' || n, 'duplicate', '', '', 'm' || n, 't',
			'default', 'k', n, 'x', n, n, 0, '', 0, '[]', '', 0, n, n / 100, sha256(n::text::bytea),
			true, n, n, 'w', 1, '', 'x'
			FROM generate_series(1, 30000) n;
		INSERT INTO webhook_removed_events SELECT -n, 'm' || n, 't', 'default', 'k', n, 'x', 'e' ||
			n, n, n, 0, '', 0, '[]', '', 0, n, n / 100, 1, true, n, n, 'w', 1, '', 'x'
			FROM generate_series(1, 30000) n;
		INSERT INTO webhook_requests SELECT n, 'r' || n, 'dead_lettered', '', '', 'd' || n, 't',
			'default', 'k', n, 'x', n, n, 0, '', 0, '[]', '', 0, n, n / 100, sha256(n::text::bytea),
			true, n, n, 'w', 1, '', 'x'
			FROM generate_series(30001, 32000) n;
		INSERT INTO webhook_dead_letters SELECT n, 'r' || n, 'x', '', n FROM generate_series(30001,
			32000) n;
		INSERT INTO webhook_subscriptions SELECT n, 's' || n, '{}', '{}', 'key', 1, 1, 30000, 1, '',
			0, 0, 0, '', '', 0, 0, 0, 0, 1, 0, 0, 0
			FROM generate_series(1, 5) n;
		INSERT INTO webhook_deliveries SELECT 1 + n % 5, n, 0, 1, 'delivered', 200, n, 1, '', ''
			FROM generate_series(1, 30000) n;
		INSERT INTO webhook_exceptions SELECT 1 + n % 5, n, 0, '', 'dead', 1, 0, 0, 0, '', 500, n
			FROM generate_series(1, 10000) n;
		INSERT INTO webhook_holds (subscription, ordering_key, after_id) SELECT 1 + n % 5, 'h' || n,
			n FROM generate_series(1, 10000) n;
		INSERT INTO webhook_leases SELECT 1 + n % 5, 'l' || n, n, n, 0, 0, ''
			FROM generate_series(1, 10000) n;
		INSERT INTO webhook_batches SELECT n, 0, n, 'x', 'x', 1, 1, 0, n, n, '', n, n, 1, '' FROM
			generate_series(0, 30000) n;
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
		"latest of a type": {statement{sql: "SELECT id FROM webhook_events WHERE event_type = $1" +
			" ORDER BY received_at DESC LIMIT 1", args: []arg{argText("t1")}},
			"webhook_events_type"},
		"old events": {statement{sql: oldEvents, args: []arg{argInt(100)}}, "webhook_events_pkey"},
		"old entries": {statement{sql: entriesQuery, args: []arg{argInt(1), argInt(100)}},
			"webhook_events_pkey"},
		"entry before": {statement{sql: entryBefore, args: []arg{argInt(1)}}, "webhook_requests_pkey"},
		"open letter": {statement{sql: openLetter, args: []arg{argText("d31000"), argText("default"),
			argText("t"), argBool(false), argBytes(nil)}},
			"webhook_requests_message"},
		"attempts":                  {read("attempts", 0), "webhook_deliveries_pkey"},
		"recent attempts, window":   {read("recent attempts", 1), "webhook_deliveries_at"},
		"recent attempts":           {read("recent attempts", 2), "webhook_deliveries_at"},
		"settled above the cursor":  {read("pull state", 2), "webhook_deliveries_pkey"},
		"excepted above the cursor": {read("pull state", 3), "webhook_exceptions_"},
		"open leases":               {read("pull state", 6), "webhook_leases_open"},
		"ended leases":              {read("commit", 1), "webhook_leases_ended"},
		"deliveries, gone": {shared(sqlstore.Statement{SQL: prune.DeliveriesOf,
			Args: []any{1, 9, 1, 9, 1, 9}}), "webhook_deliveries_pkey"},
		"events to keep": {shared(sqlstore.Statement{SQL: prune.Keep, Args: []any{1, 100}}),
			"webhook_exceptions_pkey"},
		"events to keep, holds": {shared(sqlstore.Statement{SQL: prune.Keep, Args: []any{1, 100}}),
			"webhook_holds_pkey"},
		"kept events": {shared(sqlstore.Statement{SQL: prune.KeptQuery, Args: []any{1, 100}}),
			"webhook_exceptions_pkey"},
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
	for _, query := range s.newApplication(b, items).lookups([]int{0}) {
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
	for _, table := range []string{"events", "removed_events", "requests", "batches", "dead_letters",
		"deliveries", "exceptions", "leases"} {
		if strings.Contains(text, "Seq Scan on webhook_"+table) {
			t.Errorf("%s reads all of webhook_%s:\n%s", name, table, text)
		}
	}
	if !strings.Contains(text, index) {
		t.Errorf("%s does not use %s:\n%s", name, index, text)
	}
}
