package e2e

import (
	"database/sql"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/load"
)

// side is one of the two gates that shared the webhooks.
type side struct {
	name string
	*gate
	requests map[string]bool        // with a trail here
	events   map[string]storedEvent // by message id
	listed   []storedEvent          // in the order stored
	// acked has, by message id, the acknowledged requests that are here.
	acked map[string][]string
}

func newSide(t *testing.T, name string, g *gate) *side {
	t.Helper()
	s := &side{name: name, gate: g, requests: map[string]bool{}, events: map[string]storedEvent{},
		acked: map[string][]string{}}
	status, body := g.request(http.MethodGet, "/api/events", "", "Accept", "application/x-ndjson")
	if status != http.StatusOK {
		t.Fatalf("read events: %d %s", status, body)
	}
	for line := range strings.Lines(body) {
		e := parseEvent(t, line)
		if _, twice := s.events[e.MessageID]; twice {
			t.Errorf("%s: %s is stored twice", name, e.MessageID)
		}
		s.events[e.MessageID] = e
		s.listed = append(s.listed, e)
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(g.dir, "store.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT DISTINCT request_id FROM webhook_audit_trail")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		s.requests[id] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return s
}

// audit compares both stores with the answers that the sender got, and each request with the
// promises of docs/decisions/0016-canary.md:
//
//   - each acknowledged request is on one side, the one that its key's hash determines at the
//     percentage of that time;
//   - an event that the gate has taken stays with the gate, with all its repetitions, until the
//     canary goes back;
//   - an event is on both sides only if its key changed sides between two of its requests;
//   - each side has stored what it acknowledged, once, with the bytes that were sent, and nothing
//     else;
//   - on each side the events of a key are stored in the order in which they arrived there;
//   - every acknowledged request has its lineage on its side, and the audit chains are intact.
func (r *rehearsal) audit(t *testing.T) {
	t.Helper()
	front, before := newSide(t, "the gate", r.gate), newSide(t, "the service before", r.before)
	all := append(attempts(t, r.traffic.ledger), r.told...)
	slices.SortStableFunc(all, func(a, b load.Attempt) int { return a.Sent.Compare(b.Sent) })
	for _, a := range r.told {
		r.traffic.sent[a.MessageID] = a.SHA256
	}
	rising := r.eras[len(r.eras)-2].to // the percentage rose until then
	certain, acknowledged := 0, 0
	unsure := map[string]bool{}           // message ids with an unknown outcome
	sentAt := map[string]time.Time{}      // by request id
	byEra := map[int]map[*side]int{}      // requests of an era
	sidesOf := map[string]map[*side]int{} // requests of an event
	for _, a := range all {
		if !a.Accepted() {
			unsure[a.MessageID] = unsure[a.MessageID] || a.Status == 0 || a.Status >= 500
			continue
		}
		acknowledged++
		sentAt[a.RequestID] = a.Sent
		here, there := front.requests[a.RequestID], before.requests[a.RequestID]
		if here == there {
			t.Errorf("%s, sent at %s: its request %s is with the gate: %t, with the service before: %t",
				a.MessageID, a.Sent, a.RequestID, here, there)
			continue
		}
		with := before
		if here {
			with = front
		}
		if ended(&a).Before(rising) && sidesOf[a.MessageID][front] > 0 && with != front {
			t.Errorf("%s is with the gate, and a repetition of %s, before the canary went back, is not",
				a.MessageID, a.Sent)
		}
		with.acked[a.MessageID] = append(with.acked[a.MessageID], a.RequestID)
		if sidesOf[a.MessageID] == nil {
			sidesOf[a.MessageID] = map[*side]int{}
		}
		sidesOf[a.MessageID][with]++
		for n, e := range r.eras {
			if !e.holds(&a) {
				continue
			}
			certain++
			if byEra[n] == nil {
				byEra[n] = map[*side]int{}
			}
			byEra[n][with]++
			if here != control.CanaryIncludes(a.OrderingKey, e.percent) {
				t.Errorf("%s of key %s, sent at %s at %d percent, is with %s", a.MessageID, a.OrderingKey,
					a.Sent, e.percent, with.name)
			}
		}
	}
	onBoth := 0
	for id, with := range sidesOf {
		if len(with) == 2 {
			onBoth++
			if key := front.events[id].OrderingKey; !control.CanaryIncludes(key, 50) {
				t.Errorf("%s is with both sides, and its key %s was never with the gate", id, key)
			}
		}
	}
	for n, e := range r.eras {
		t.Logf("at %2d percent: %d deliveries to the gate, %d to the service before", e.percent,
			byEra[n][front], byEra[n][before])
		if byEra[n][before] == 0 || (byEra[n][front] == 0) != (e.percent == 0) {
			t.Errorf("at %d percent one side has nothing to show", e.percent)
		}
	}
	t.Logf("%d deliveries acknowledged, %d at a percentage that is certain; %d events with both sides",
		acknowledged, certain, onBoth)
	if certain < acknowledged*3/4 || onBoth < 2 { // two were sent by hand
		t.Error("that is too few to show anything")
	}
	for _, s := range []*side{front, before} {
		s.audit(t, r.traffic.sent, unsure, sentAt)
	}
}

// holds reports whether a request began and ended in the era.
func (e era) holds(a *load.Attempt) bool {
	return a.Sent.After(e.from) && ended(a).Before(e.to)
}

func ended(a *load.Attempt) time.Time {
	return a.Due.Add(time.Duration(a.LatencyUS) * time.Microsecond)
}

func (s *side) audit(t *testing.T, sent map[string]string, unsure map[string]bool,
	sentAt map[string]time.Time) {
	t.Helper()
	for id := range s.acked {
		if s.events[id].MessageID == "" {
			t.Errorf("%s has acknowledged %s and not stored it", s.name, id)
		}
	}
	last := map[string]time.Time{}
	certified := 0
	for _, e := range s.listed {
		// The certification has checked its own events.
		if strings.HasPrefix(e.MessageID, "cert-") {
			certified++
			continue
		}
		if e.SHA256 != sent[e.MessageID] {
			t.Errorf("%s has %s with the digest %s, sent was %q", s.name, e.MessageID, e.SHA256,
				sent[e.MessageID])
		}
		if s.acked[e.MessageID] == nil && !unsure[e.MessageID] {
			t.Errorf("%s has %s, which it has not acknowledged", s.name, e.MessageID)
		}
		if at, known := sentAt[e.RequestID]; known {
			if at.Before(last[e.OrderingKey]) {
				t.Errorf("%s has stored %s of key %s, sent at %s, behind one sent at %s", s.name, e.MessageID,
					e.OrderingKey, at, last[e.OrderingKey])
			}
			last[e.OrderingKey] = at
		}
	}
	auditLineage(t, s.gate, s.acked)
	if code, out, errs := runBinary(t, s.env, "audit", "verify", "--data-dir", s.dir); code != 0 {
		t.Errorf("%s: audit verify: exit code %d\n%s%s", s.name, code, out, errs)
	}
	t.Logf("%s: %d events, %d of them of a certification", s.name, len(s.listed), certified)
}

// checkEvidence looks for each step of the story, in its order, in the admin trail of a bundle, and
// for the approvals.
func (r *rehearsal) checkEvidence(t *testing.T, dir, newVersion string) {
	t.Helper()
	var trail struct{ Answer struct{ Actions []action } }
	var approvals struct {
		Answer struct{ Approvals []approval }
	}
	for name, to := range map[string]any{"admin-trail.json": &trail, "approvals.json": &approvals} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = json.Unmarshal(text, to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	steps := []struct{ by, action, target, reason, result string }{
		{"alice", "evidence_intake", "", "", "done: "},
		{"alice", "approval_request", "promote: plan start, evidence ", "release 2",
			"done: approval 1 is pending"},
		{"bob", "approval_approve", "1 (promote by alice: ", "looked at it", "done"},
		{"alice", "canary", "plan start, evidence ", "release 2", "done"},
		{"alice", "approval_request", "canary: 50 percent", "certified on its share",
			"done: approval 2 is pending"},
		{"bob", "approval_approve", "2 (canary by alice: 50 percent)", "looked at it", "done"},
		{"alice", "canary", "50 percent (approval 2)", "certified on its share", "done"},
		{"guard", "canary", "0 percent", "release trigger queue_depth: ", "begun"},
		{"guard", "canary", "0 percent", "release trigger queue_depth: ", "done"},
		{"alice", "approval_request", "rollback: ", "the store was blocked",
			"done: approval 3 is pending"},
		{"bob", "approval_approve", "3 (rollback by alice: ", "looked at it", "done"},
		{"alice", "rollback", "", "the store was blocked", "done: announced, from " + newVersion},
		{"alice", "maintenance", "read_only", "read_only: the store was blocked", "done"},
		{"alice", "maintenance", "normal", "normal: the store was blocked", "done"},
		{"alice", "rollback_end", "", "the store was blocked", "done: version " + oldVersion + ", "},
		{"bob", "approval_approve", "4 (promote by alice: ", "looked at it", "done"},
		{"alice", "canary", "plan start, evidence ", "the version before, again", "done"},
	}
	rest := trail.Answer.Actions
	for _, step := range steps {
		at := slices.IndexFunc(rest, func(a action) bool {
			return a.By == step.by && a.Action == step.action && strings.HasPrefix(a.Target, step.target) &&
				strings.Contains(a.Reason, step.reason) && strings.HasPrefix(a.Result, step.result)
		})
		if at < 0 {
			t.Fatalf("the evidence does not have %+v behind the step before it; it has\n%+v", step,
				trail.Answer.Actions)
		}
		rest = rest[at+1:]
	}
	asked := ""
	for _, a := range approvals.Answer.Approvals {
		if a.RequestedBy != "alice" || a.DecidedBy != "bob" || a.State != control.ApprovalUsed {
			t.Errorf("an approval is %+v", a)
		}
		asked += " " + a.Action
	}
	if asked != " promote canary rollback promote" {
		t.Errorf("approvals were asked for%s", asked)
	}
}
