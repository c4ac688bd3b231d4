package e2e

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/load"
	"github.com/hookgate/hookgate/release"
	"github.com/hookgate/hookgate/release/canary"
)

// rehearsal is a release from the canary to the roll-back: the previous service, which is an older
// gate, the new gate in front of it, senders and operators.
type rehearsal struct {
	*supervisor // in front
	before      *gate
	traffic     *traffic
	alice, bob  string // their tokens
	eras        []era
	told        []load.Attempt // sent by hand
}

// era is a time in which the canary was at one percentage for certain.
type era struct {
	percent  int
	from, to time.Time
}

// turns runs a step that changes the percentage.
func (r *rehearsal) turns(percent int, step func()) {
	r.t.Helper()
	step()
	s := r.canary()
	if s.Percent != percent {
		r.t.Fatalf("the canary stands at %d percent, want %d", s.Percent, percent)
	}
	if n := len(r.eras); n > 0 {
		r.eras[n-1].to = *s.At // the gate took it before the change
	}
	now := time.Now()
	r.eras = append(r.eras, era{percent: percent, from: now, to: now.Add(time.Hour)})
}

// passes waits until the gate, or the previous service at 0 percent, has stored so many more
// events.
func (r *rehearsal) passes(events int64) {
	r.t.Helper()
	where := r.gate
	if r.eras[len(r.eras)-1].percent == 0 {
		where = r.before
	}
	first := where.health().Store.Events
	r.await("traffic goes on", func() bool { return where.health().Store.Events >= first+events })
}

// do runs a command as alice, who needs an approval. Her own is refused, and bob's is accepted.
func (r *rehearsal) do(reason string, args ...string) (out string) {
	r.t.Helper()
	args = append(args, "--reason", reason)
	code, _, errs := r.as(r.alice, args...)
	id := awaited(errs)
	if code != exitNoResult || id == "" {
		r.t.Fatalf("%v without an approval: %d %s", args, code, errs)
	}
	r.approve(id)
	code, out, errs = r.as(r.alice, append(args, "--approval", id)...)
	if code != 0 {
		r.t.Fatalf("%v: %d %s%s", args, code, out, errs)
	}
	return out
}

// awaited returns the id of the approval that a command asks for.
func awaited(text string) string {
	_, rest, _ := strings.Cut(text, "hookgate approvals approve ")
	id, _, _ := strings.Cut(rest, " ")
	return id
}

func (r *rehearsal) approve(id string) {
	r.t.Helper()
	if code, _, errs := r.as(r.alice, "approvals", "approve", id, "--reason", "it is mine"); code == 0 ||
		!strings.Contains(errs, "nobody may approve their own request") {
		r.t.Errorf("alice approves her own: %d %s", code, errs)
	}
	if code, _, errs := r.as(r.bob, "approvals", "approve", id, "--reason", "looked at it"); code != 0 {
		r.t.Fatalf("bob approves %s: %d %s", id, code, errs)
	}
}

// tell sends an event of a key by hand and reports whether the answer was a duplicate.
func (r *rehearsal) tell(messageID, key string) (duplicate bool) {
	r.t.Helper()
	body := fmt.Sprintf(`{"messageId":%q,"eventType":"t","orderingKey":%q,"sequence":1}`, messageID,
		key)
	sent := time.Now()
	status, text := r.send(body)
	var answer struct{ RequestID, Note string }
	if err := json.Unmarshal([]byte(text), &answer); err != nil || status != http.StatusAccepted {
		r.t.Fatalf("%s got %d %s", messageID, status, text)
	}
	a := load.Attempt{MessageID: messageID, OrderingKey: key, SHA256: digest([]byte(body)), Due: sent,
		Sent: sent, Status: status,
		LatencyUS: time.Since(sent).Microseconds() + 1, RequestID: answer.RequestID, Note: answer.Note}
	r.told = append(r.told, a)
	return a.Duplicate()
}

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// keyOf returns an ordering key that a canary takes at the percentage taken and not at the
// percentage not.
func keyOf(taken, not int) string {
	for n := 0; ; n++ {
		if key := fmt.Sprintf("told-%d", n); control.CanaryIncludes(key, taken) &&
			!control.CanaryIncludes(key, not) {
			return key
		}
	}
}

// traffic sends new events on an open-loop schedule until it is stopped. It repeats one in ten,
// soon or later.
type traffic struct {
	ledger string
	ends   context.CancelFunc
	done   chan struct{}
	err    error
	sent   map[string]string // message id to digest; complete when traffic is done
}

func startTraffic(t *testing.T, g *gate, rate float64) *traffic {
	t.Helper()
	ctx, ends := context.WithCancel(t.Context())
	s := &traffic{ledger: filepath.Join(t.TempDir(), "ledger.ndjson"), ends: ends,
		done: make(chan struct{}), sent: map[string]string{}}
	ledger, err := os.Create(s.ledger)
	if err != nil {
		t.Fatal(err)
	}
	messages := func(yield func(load.Message, error) bool) {
		var bodies [][]byte
		for n := 0; ctx.Err() == nil; n++ {
			var body []byte
			switch last := len(bodies); {
			case n%20 == 19: // soon
				body = bodies[last-1-rand.IntN(5)]
			case n%20 == 9 && last > 300: // later, perhaps after the canary has changed
				body = bodies[last-50-rand.IntN(250)]
			default:
				body = fmt.Appendf(nil, `{"messageId":"m-%d","eventType":"order.paid",`+
					`"orderingKey":"customer-%d","sequence":%d}`, n, rand.IntN(60), n+1)
				s.sent[fmt.Sprintf("m-%d", n)] = digest(body)
				bodies = append(bodies, body)
			}
			if !yield(load.Message{Body: body}, nil) {
				return
			}
		}
	}
	credentials := load.Credentials{HMACSecret: g.key(hmacSecretName)}
	go func() {
		defer close(s.done)
		// It reads ahead little, so that it stops soon.
		_, err := load.Replay(context.WithoutCancel(ctx), load.Config{Messages: messages, Target: g.url,
			Credentials: credentials, Rate: rate,
			Ledger: ledger, ReadAhead: 200, Retry: load.Retry{Attempts: 1000, Time: 5 * time.Minute},
			Timeout: waitFor})
		s.err = errors.Join(err, ledger.Close())
	}()
	t.Cleanup(s.end)
	return s
}

func (s *traffic) end() {
	s.ends()
	<-s.done
}

// alarmReceiver receives alarms and checks their signatures.
type alarmReceiver struct {
	*httptest.Server
	mu  sync.Mutex
	got []string
}

func startAlarmReceiver(t *testing.T, secret string) *alarmReceiver {
	t.Helper()
	scheme, err := admit.New("standard_webhooks", admit.Options{Secrets: []string{secret}})
	if err != nil {
		t.Fatal(err)
	}
	a := &alarmReceiver{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		request := admit.Request{Method: r.Method, Header: r.Header, Body: body, Time: time.Now()}
		if err := scheme.Authenticate(&request); err != nil {
			t.Errorf("an alarm is not authentic: %v", err)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.got = append(a.got, string(body))
	}))
	t.Cleanup(a.Close)
	return a
}

// has reports whether an alarm contains all the parts.
func (a *alarmReceiver) has(parts ...string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.got, func(alarm string) bool {
		return !slices.ContainsFunc(parts, func(part string) bool {
			return !strings.Contains(alarm,
				part)
		})
	})
}

// TestRehearsal plays a release with two versions of the program, from the canary to the roll-back,
// always under load. The canary goes to 10 percent on evidence, is certified on its share, goes to
// 50 percent. Another process locks its store, and the guard takes the canary back. The roll-back
// command is killed on the way and resumed. Two people take part, as the gate demands. Afterwards
// the test audits both sides, and the next evidence has the whole story.
func TestRehearsal(t *testing.T) {
	t.Parallel()
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	home, work := t.TempDir(), t.TempDir()
	key, alarms := filepath.Join(work, "evidence.key"), startAlarmReceiver(t, secret)
	if code, _, errs := runBinary(t, nil, "evidence", "keygen", "--out", key); code != 0 {
		t.Fatal(errs)
	}
	old := addOld(t, home)
	r := &rehearsal{before: startGate(t, startOptions{program: old})}
	shareKeys(t, r.before.dir, filepath.Join(home, "data"))
	r.supervisor = superviseIn(t, home, append(demanding(t, 60),
		"HOOKGATE_CANARY_UPSTREAM="+r.before.url,
		"HOOKGATE_CANARY_PLAN=10:1h,50:1h,100",
		"HOOKGATE_CANARY_REQUIRE_EVIDENCE=true", "HOOKGATE_EVIDENCE_PUBLIC_KEYS="+key+".pub",
		"HOOKGATE_APPROVALS_REQUIRED=canary,rollback,promote",
		"HOOKGATE_RELEASE_TRIGGERS_QUEUE_DEPTH_LIMIT=100", "HOOKGATE_RELEASE_TRIGGERS_SUSTAIN=2s",
		// With so short a time a slow machine would fire these.
		"HOOKGATE_RELEASE_TRIGGERS_P95_LIMIT=0s", "HOOKGATE_RELEASE_TRIGGERS_ERROR_RATE_LIMIT=0",
		"HOOKGATE_RELEASE_TRIGGERS_QUEUE_DEPTH_ACTION=canary_back",
		"HOOKGATE_RELEASE_ALARM_URL="+alarms.URL, "HOOKGATE_RELEASE_ALARM_SECRET="+secret,
		"HOOKGATE_HTTP_RETRY_AFTER=1s")...)
	newVersion := r.version()
	r.alice, r.bob = r.newToken("alice", control.RoleAdmin, ""), r.newToken("bob", control.RoleAdmin,
		"")
	r.traffic = startTraffic(t, r.gate, modeltest.Pick(60.0, 150))

	// At 0 percent everything goes to the previous service. The gate leaves 0 percent only with
	// evidence.
	r.turns(0, func() {})
	if code, _, errs := r.as(r.alice, "canary", "set", "10", "--reason", "in a hurry"); code == 0 ||
		!strings.Contains(errs, "only with evidence") {
		t.Errorf("a canary without evidence: %d %s", code, errs)
	}
	// It takes test traffic, so that it can be certified before it has a share.
	first := filepath.Join(work, "first")
	v, code := certifyBinary(t, r.gate, first, "--phase", "smoke", "--events", "60", "--key", key,
		"--exclusive=false")
	mustPass(t, v, code)
	if h := r.health(); h.Store.Events != 60 {
		t.Errorf("at 0 percent the gate has %d events, 60 of them of the certification", h.Store.Events)
	}

	// Start the canary, with the approval of another person.
	r.turns(10, func() {
		t.Log(r.do("release 2", "canary", "start", "--evidence", first, "--public-key", key+".pub"))
	})
	r.passes(20)
	stays, comes := keyOf(10, 0), keyOf(50, 10)
	if r.tell("stays", stays) || r.tell("comes", comes) {
		t.Error("something new is taken for a repetition")
	}

	// Certify the gate on its share, among all other senders.
	share := filepath.Join(work, "share")
	v, code = certifyBinary(t, r.gate, share, "--phase", "smoke", "--events", "60", "--key", key,
		"--exclusive=false", "--canary-percent", "10")
	mustPass(t, v, code)
	r.turns(50, func() { t.Log(r.do("certified on its share", "canary", "set", "50")) })
	r.passes(50)
	if !r.tell("stays", stays) {
		t.Error("a key that the gate has taken has left it while the percentage rose")
	}
	// docs/decisions/0016-canary.md: after a change a repetition is new to the other side.
	if r.tell("comes", comes) {
		t.Error("the gate knows an event that the service before has taken")
	}

	// The gate cannot store anything, so the guard takes the canary back.
	r.turns(0, func() {
		release := block(t, filepath.Join(r.dir, "store.db"))
		defer release()
		r.await("the guard takes the canary back", func() bool { return r.canary().Percent == 0 })
	})
	if s := r.canary(); s.By != canary.ActorGuard ||
		!strings.Contains(s.Reason, release.TriggerQueueDepth) {
		t.Errorf("the canary is %+v", s)
	}
	r.await("the alarms arrive", func() bool {
		return alarms.has(`"release.trigger.raised"`, `"queue_depth"`, newVersion) &&
			alarms.has(`"release.trigger.acted"`, `"canary_back"`, `"result":"done"`)
	})
	r.awaitCleared()
	r.passes(50)
	if r.tell("stays", stays) || !r.tell("comes", comes) {
		t.Error("the service before does not take what it has not had, or takes twice what it has")
	}

	r.rollBack(t)
	if v, m := r.version(), r.health().Mode; v != oldVersion || m != "normal" {
		t.Errorf("rolled back the gate is %s, in mode %s", v, m)
	}
	r.passes(50)
	r.traffic.end()
	if r.traffic.err != nil {
		t.Fatal(r.traffic.err)
	}
	r.awaitDrained()
	r.before.awaitDrained()
	r.audit(t)

	// The old version is certified before it gets its share again. That evidence has everything.
	again, last := filepath.Join(work, "again"), filepath.Join(work, "last")
	v, code = certifyBinary(t, r.gate, again, "--phase", "smoke", "--events", "60", "--key", key)
	mustPass(t, v, code)
	r.turns(10, func() {
		r.do("the version before, again", "canary", "start", "--evidence", again, "--public-key",
			key+".pub")
	})
	v, code = certifyBinary(t, r.gate, last, "--phase", "smoke", "--events", "50", "--key", key,
		"--canary-percent", "10")
	mustPass(t, v, code)
	r.checkEvidence(t, last, newVersion)
	if code, out, errs := runBinary(t, nil, "evidence", "verify", last, "--public-key",
		key+".pub"); code != 0 {
		t.Errorf("verify: %d %s%s", code, out, errs)
	}
}

// shareKeys gives a new gate the keys of another, because senders have only one.
func shareKeys(t *testing.T, from, to string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(dataDir(to).keyFile(bearerKeyName)), 0o700)
	for _, name := range []string{bearerKeyName, hmacSecretName, adminTokenName} {
		key, failed := os.ReadFile(dataDir(from).keyFile(name))
		err = errors.Join(err, failed, os.WriteFile(dataDir(to).keyFile(name), key, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// block locks an SQLite file until release is called.
func block(t *testing.T, file string) (release func()) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Conn(t.Context())
	if err == nil {
		_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(conn.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	}
}

// rollBack follows the playbook as alice, with bob's approval. Its command is killed on the way and
// resumed.
func (r *rehearsal) rollBack(t *testing.T) {
	t.Helper()
	alice := []string{"HOOKGATE_TOKEN=" + r.alice}
	walk := []string{"rollback", "--target", r.api(), "--data-dir", r.dir}
	code, out, errs := runBinary(t, alice, append(walk, "--yes", "--expect", oldVersion, "--reason",
		"the store was blocked", "--", r.path("replace"))...)
	id := awaited(out)
	if code != exitFail || id == "" || r.health().Mode != "normal" {
		t.Fatalf("a roll-back without an approval: %d %s%s", code, out, errs)
	}
	r.approve(id)
	if err := os.WriteFile(r.path("hold"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, append(walk, "--resume", "--approval", id)...)
	cmd.Env = append(os.Environ(), alice...)
	printed := &output{}
	cmd.Stdout, cmd.Stderr = printed, printed
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.await("the command runs", func() bool { return r.exists("held") })
	cmd.Process.Kill()
	cmd.Wait()
	if m := r.health().Mode; m != "read_only" {
		t.Errorf("while the program is replaced the mode is %s\n%s", m, printed)
	}
	os.Remove(r.path("hold"))
	code, out, errs = runBinary(t, alice, append(walk, "--resume")...)
	if code != 0 || !strings.Contains(out, "rolled back to "+oldVersion+" in ") ||
		!strings.Contains(out, "within the goal") {
		t.Fatalf("resumed: %d %s%s\n%s", code, out, errs, tail(r.logs.String()))
	}
	t.Log(out)
}
