package sqlite

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/storetest"
)

// TestApprovalTriggers: even a user who can write to the tables cannot approve their own request,
// change a request, decide or use it twice, or remove a row.
func TestApprovalTriggers(t *testing.T) {
	path := filled(t)
	insert := func(id int, state, decided, used string) string {
		return fmt.Sprintf("INSERT INTO webhook_approvals VALUES (%d, 'a', 't', 'admin', 'alice',"+
			" 'admin', 'r', 1, 'x', 2, '%s', '%s', 0, '', '%s', 0)", id, state, decided, used)
	}
	for _, script := range []string{
		insert(1, "pending", "", ""), insert(2, "approved", "bob", ""), insert(3, "used", "bob", "r"),
		insert(4, "denied", "alice", ""),
		"UPDATE webhook_approvals SET state = 'approved', decided_by = 'bob' WHERE id = 1",
		"UPDATE webhook_approvals SET state = 'used', used_by = 'r' WHERE id = 2",
	} {
		if err := execute(path, script+";"); err != nil {
			t.Errorf("%s: %v", script, err)
		}
	}
	for _, script := range []string{
		insert(5, "approved", "alice", ""), insert(5, "used", "alice", "r"), insert(5, "approved", "",
			""), insert(5, "used", "bob", ""), insert(5, "expired", "bob", ""),
		"UPDATE webhook_approvals SET state = 'approved', decided_by = 'bob' WHERE id = 4",
		"UPDATE webhook_approvals SET state = 'approved', used_by = '' WHERE id = 3",
		"UPDATE webhook_approvals SET state = 'pending', decided_by = '' WHERE id = 1",
		"UPDATE webhook_approvals SET used_by = 'other' WHERE id = 3",
		"UPDATE webhook_approvals SET state = 'used', used_by = 'r', target = 'other' WHERE id = 1",
		"UPDATE webhook_approvals SET state = 'used', used_by = 'r', requested_by = 'carol' WHERE id = 1",
		"UPDATE webhook_approvals SET state = 'used', used_by = 'r', expires_at = 9 WHERE id = 1",
		"UPDATE webhook_approvals SET state = 'used', used_by = 'r', decided_by = 'alice' WHERE id = 1",
		"UPDATE webhook_approvals SET state = 'used', used_by = 'r', decided_by = 'carol' WHERE id = 1",
		"UPDATE webhook_approvals SET state = 'used', used_by = 'r'," +
			" decision_reason = 'other' WHERE id = 1",
		"DELETE FROM webhook_approvals WHERE id = 1",
	} {
		if err := execute(path, script+";"); err == nil {
			t.Errorf("%s: done", script)
		}
	}
}

const (
	subscriptionRows = `INSERT INTO webhook_subscriptions VALUES
		(1, 's', '{}', '{}', 'key', 1, 1, 0, 0, '', 0, 0, 0, '', '', 0, 0, 0, 0, 1, 0, 0, 0, 0, 0);
		INSERT INTO webhook_deliveries VALUES (1, 1, 0, 1, 'delivered', 200, 1, 1, '', ''); `
	keptRow = `INSERT INTO webhook_kept_events VALUES
		(1, 'm', 't', 's', 'k', true, 'r', '[]', 1, 1, '', '')`
	retained = "INSERT INTO webhook_retention VALUES ('30 days'); "
)

// TestHeldKeys: webhook_holds shows whether an event of the key is waiting or parked. The order in
// which the rows are written makes no difference.
func TestHeldKeys(t *testing.T) {
	path := filled(t)
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	storetest.HeldKeys(t, func(t *testing.T, script string) {
		t.Helper()
		if err := execute(path, script+";"); err != nil {
			t.Fatalf("%s: %v", script, err)
		}
	}, db{s})
}

// TestTriggers: rows cannot be changed, and only retention can remove them.
func TestTriggers(t *testing.T) {
	path := released(t, "filled")
	for script, want := range map[string]string{
		"DELETE FROM webhook_log": "keeps its row",
		"INSERT INTO webhook_log SELECT 2, 0, 0, hash, 0, 0, 0, 0, 0," +
			" 0 FROM webhook_log": "keeps its row",
		"UPDATE webhook_anchors SET sequence = 1":                       "is append-only",
		"DELETE FROM webhook_anchors":                                   "is append-only",
		subscriptionRows + "UPDATE webhook_deliveries SET status = 500": "is append-only",
		subscriptionRows + "DELETE FROM webhook_deliveries":             "is append-only",
		subscriptionRows + "DELETE FROM webhook_subscriptions":          "keeps its rows",
		keptRow: "written by retention alone",
		retained + keptRow +
			"; UPDATE webhook_kept_events SET payload = x''": "written by retention alone",
		retained + keptRow + "; DELETE FROM webhook_retention;" +
			" DELETE FROM webhook_kept_events": "written by retention alone",
	} {
		if err := execute(filled(t), script+";"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a refusal", script, err)
		}
	}
	for _, table := range []string{"webhook_events", "webhook_requests", "webhook_batches",
		"webhook_dead_letters"} {
		for _, script := range []string{"UPDATE " + table + " SET id = id", "DELETE FROM " + table,
			"DELETE FROM " + table + " WHERE id = 2"} {
			if err := execute(path, script+";"); err == nil || !strings.Contains(err.Error(), table+
				" is append-only") {
				t.Errorf("%s: got %v, want a refusal", script, err)
			}
		}
		if err := execute(path, "INSERT INTO webhook_retention VALUES ('30 days'); UPDATE "+table+
			" SET id = id;"); err == nil {
			t.Errorf("%s can be updated in the name of retention", table)
		}
	}
	for _, script := range []string{"UPDATE webhook_admin_actions SET reason = ''",
		"INSERT INTO webhook_retention VALUES ('30 days'); DELETE FROM webhook_admin_actions"} {
		if err := execute(path, script+";"); err == nil ||
			!strings.Contains(err.Error(), "webhook_admin_actions is append-only") {
			t.Errorf("%s: got %v, want a refusal", script, err)
		}
	}
	if err := execute(path, "INSERT INTO webhook_retention VALUES ('30 days');"+
		" DELETE FROM webhook_events WHERE id = 1; DELETE FROM webhook_retention;"); err != nil {
		t.Errorf("retention: %v", err)
	}
}

// TestTriggersOfRetention: only retention can write its own records, and a step that was rolled
// back does not leave the tables open for removal.
func TestTriggersOfRetention(t *testing.T) {
	path := filledBy(t, func(s *Store) {
		storetest.FillPruned(t, s)
		s.failCommit = func(bool) error { return errors.New("injected") }
		if _, err := s.Prune(t.Context(), hookgate.Cutoffs{Events: time.Now()}, 1); err == nil {
			t.Error("a step whose commit failed got no error")
		}
	})
	for script, want := range storetest.PrunedRefusals() {
		if err := execute(path, script+";"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a refusal", script, err)
		}
	}
}
