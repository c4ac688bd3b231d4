package sqlite

import (
	"path/filepath"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
)

// TestPlans: no query of the read API sorts events or reads more than it must. SQLite's own plan is the witness.
func TestPlans(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	events := func(f hookgate.EventFilter) string {
		where, _ := conditions(f)
		return "SELECT " + eventColumns + " FROM webhook_events WHERE id > ?" + where + " ORDER BY id LIMIT ?"
	}
	for name, test := range map[string]struct{ query, want, not string }{
		"listing":     {events(hookgate.EventFilter{}), "USING INTEGER PRIMARY KEY", "TEMP B-TREE"},
		"by type":     {events(hookgate.EventFilter{EventType: "t", Source: "s", OrderingKey: "k"}), "USING INTEGER PRIMARY KEY", "TEMP B-TREE"},
		"message id":  {events(hookgate.EventFilter{MessageID: "m"}), "USING INDEX sqlite_autoindex_webhook_events_1 (message_id=?", "SCAN webhook_events"},
		"prefix":      {events(hookgate.EventFilter{MessageIDPrefix: "m"}), "USING INDEX sqlite_autoindex_webhook_events_1 (message_id>?", "SCAN webhook_events"},
		"trace":       {traceQuery, "SEARCH r USING INDEX sqlite_autoindex_webhook_events_1 (message_id=?)", "SCAN r"},
		"trace, rest": {traceQuery, "SEARCH r USING INDEX webhook_requests_message (message_id=?)", "SCAN r"},
		"dead letter": {deadLetterQuery, "SEARCH d USING INTEGER PRIMARY KEY", "TEMP B-TREE"},
		"token":       {"SELECT " + tokenColumns + " FROM webhook_tokens WHERE hash = ?", "USING INDEX sqlite_autoindex_webhook_tokens_2 (hash=?)", "SCAN"},
		"actions":     {"SELECT " + actionColumns + " FROM webhook_admin_actions WHERE sequence > ? ORDER BY sequence", "USING INTEGER PRIMARY KEY", "TEMP B-TREE"},
		"by request":  {"SELECT payload FROM webhook_events WHERE request_id = ?", "USING INDEX webhook_events_request", "SCAN"},
		"latest of a type": {"SELECT id FROM webhook_events WHERE event_type = ? ORDER BY received_at DESC LIMIT 1",
			"USING COVERING INDEX webhook_events_type (event_type=?)", "TEMP B-TREE"},
	} {
		var steps []string
		err := s.read(t.Context(), func(conn *sqlite.Conn) error {
			return sqlitex.Execute(conn, "EXPLAIN QUERY PLAN "+test.query, &sqlitex.ExecOptions{
				Args:       make([]any, strings.Count(test.query, "?")),
				ResultFunc: func(row *sqlite.Stmt) error { steps = append(steps, row.ColumnText(3)); return nil },
			})
		})
		plan := strings.Join(steps, "\n")
		if err != nil || !strings.Contains(plan, test.want) || strings.Contains(plan, test.not) {
			t.Errorf("%s: the plan is\n%s\nwith error %v, want it to have %q and not %q", name, plan, err, test.want, test.not)
		}
	}
}
