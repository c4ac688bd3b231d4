package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/load"
)

// standbyName is the name of the standby of a pair, whichever server that is.
const standbyName = "second"

// pair is a primary and its standby, behind an address that moves with the primary.
type pair struct {
	t                *testing.T
	primary, standby *pgtest.Cluster
	address          *pgtest.Proxy
	database         string
}

// startPair starts both with fsync, because they must survive what real servers do. If synchronous
// is set, commits wait for the standby too.
func startPair(t *testing.T, synchronous bool) *pair {
	t.Helper()
	p := &pair{t: t}
	p.primary, p.database = startPostgres(t, pgtest.Options{Fsync: true})
	if synchronous {
		must(t, p.primary.Set(t.Context(), "synchronous_standby_names", standbyName))
	}
	p.startStandby()
	var err error
	p.address, err = pgtest.StartProxy(p.primary.Address())
	must(t, err)
	t.Cleanup(func() { p.address.Close() })
	return p
}

// startStandby starts a standby with a copy of the primary and its settings.
func (p *pair) startStandby() {
	p.t.Helper()
	standby, err := p.primary.StartStandby(p.t.Context(), standbyName)
	must(p.t, err)
	p.t.Cleanup(func() { standby.Close() })
	p.standby = standby
}

// losePrimary kills the primary and deletes its data.
func (p *pair) losePrimary() {
	p.t.Helper()
	must(p.t, p.primary.Kill())
	must(p.t, p.primary.Close())
}

// failOver promotes the standby and moves the address to it.
func (p *pair) failOver() {
	p.t.Helper()
	must(p.t, p.standby.Promote(p.t.Context()))
	p.primary, p.standby = p.standby, nil
	p.address.Move(p.primary.Address())
}

func (p *pair) env() []string { return []string{"DB_URL=" + p.address.URL(p.database)} }

// number runs a query that returns a number on one of the two servers.
func (p *pair) number(of *pgtest.Cluster, query string) (n int64) {
	p.t.Helper()
	conn, err := pgx.Connect(p.t.Context(), of.URL(p.database))
	must(p.t, err)
	defer conn.Close(p.t.Context())
	must(p.t, conn.QueryRow(p.t.Context(), query).Scan(&n))
	return n
}

// readerPause and senderPause are the pauses of a logReader and an alternating.
var (
	readerPause = modeltest.Pick(100*time.Millisecond, 20*time.Millisecond)
	senderPause = modeltest.Pick(20*time.Millisecond, 0)
)

// logReader reads the log of events after the last one that it has seen, again and again, from
// gates in turn, until it is ended.
type logReader struct {
	ends   atomic.Bool
	done   chan struct{}
	events []storedEvent // complete when done is closed
}

func startLogReader(t *testing.T, gates ...*gate) *logReader {
	r := &logReader{done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for n := 0; !r.ends.Load(); n++ {
			more, _ := gates[n%len(gates)].logBehind(r.last())
			r.events = append(r.events, more...)
			time.Sleep(readerPause) // others need the processor too
		}
	}()
	t.Cleanup(func() {
		r.ends.Store(true)
		<-r.done
	})
	return r
}

func (r *logReader) last() string {
	if len(r.events) == 0 {
		return ""
	}
	return r.events[len(r.events)-1].ID
}

// end ends the reader and checks that its events are the beginning of the log that a gate has now.
func (r *logReader) end(g *gate) {
	g.t.Helper()
	r.ends.Store(true)
	<-r.done
	all, ok := g.logBehind("")
	if !ok || len(r.events) == 0 {
		g.t.Fatalf("a reader that followed the log saw %d events, and now it can be read: %t",
			len(r.events), ok)
	}
	if !slices.Equal(r.events, all[:min(len(r.events), len(all))]) {
		g.t.Errorf("a reader that followed the log saw %d events, and it has %d: %s", len(r.events),
			len(all), firstDifference(r.events, all))
	}
	idsRise(g.t, all)
}

func firstDifference(a, b []storedEvent) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("%+v is not %+v", a[i], b[i])
		}
	}
	return "one ends earlier"
}

// idsRise checks that each id is greater than the previous one, and returns the last.
func idsRise(t *testing.T, events []storedEvent) (last int64) {
	t.Helper()
	for _, e := range events {
		id, err := strconv.ParseInt(e.ID, 10, 64)
		if err != nil || id <= last {
			t.Errorf("the id %s of %s stands behind %d (%v)", e.ID, e.MessageID, last, err)
		}
		last = id
	}
	return last
}

// logBehind returns the events after an id, or all. ok is false if the gate cannot read them now.
func (g *gate) logBehind(after string) (events []storedEvent, ok bool) {
	g.t.Helper()
	path := "/api/events"
	if after != "" {
		path += "?after=" + after
	}
	status, body := g.request(http.MethodGet, path, "", "Accept", "application/x-ndjson")
	for line := range strings.Lines(body) {
		var e storedEvent
		if status != http.StatusOK || json.Unmarshal([]byte(line), &e) != nil || e.ID == "" {
			return events, false
		}
		events = append(events, e)
	}
	return events, status == http.StatusOK
}

// alternating is a sender whose webhooks go to gates in turn, each after the answer to the previous
// one. They share an ordering key as long as each is stored before the next one is sent. If a gate
// spools one, the rest use a new key, because a spool promises no order between processes.
type alternating struct {
	ends    atomic.Bool
	done    chan struct{}
	crossed atomic.Int64 // webhooks sent to another gate than the previous one of their key
	// input and ledger are complete when done is closed, as those of a stream.
	input, ledger bytes.Buffer
}

func startAlternating(t *testing.T, gates ...*gate) *alternating {
	a := &alternating{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		for n, key, sequence := 0, 0, 1; !a.ends.Load(); n++ {
			id := fmt.Sprintf("shared-%d", n)
			body := fmt.Sprintf(`{"messageId":%q,"eventType":"t","orderingKey":"shared-%d","sequence":%d}`,
				id, key, sequence)
			if !a.send(gates[n%len(gates)], id, body) {
				return
			}
			// The other gate has it if the database does.
			_, stored := gates[(n+1)%len(gates)].request(http.MethodGet, "/api/events?messageId="+id, "")
			if strings.Contains(stored, `"messageId":"`+id+`"`) {
				sequence++
				a.crossed.Add(1)
			} else {
				key, sequence = key+1, 1
			}
			time.Sleep(senderPause) // others need the processor too
		}
	}()
	t.Cleanup(a.end)
	return a
}

// send sends a webhook until it is acknowledged, or returns false if the sender is ended first.
func (a *alternating) send(g *gate, id, body string) bool {
	a.input.WriteString(body + "\n")
	for !a.ends.Load() {
		status, answer := g.send(body)
		if status != http.StatusAccepted {
			time.Sleep(20 * time.Millisecond) // the gate is starting
			continue
		}
		var receipt struct{ RequestID string }
		if err := json.Unmarshal([]byte(answer), &receipt); err != nil || receipt.RequestID == "" {
			g.t.Errorf("%s is answered %s", id, answer)
		}
		attempt := load.Attempt{Line: 1, Attempt: 1, MessageID: id, Status: status,
			RequestID: receipt.RequestID}
		if err := json.NewEncoder(&a.ledger).Encode(attempt); err != nil {
			g.t.Error(err)
		}
		return true
	}
	return false
}

func (a *alternating) end() {
	a.ends.Store(true)
	<-a.done
}

// TestStandbyChaos runs two gates on a PostgreSQL with a synchronous standby, under load with
// repetitions. In turn it kills a gate; the standby, so that commits wait and the gates spool; and
// the primary with its data, so that the standby takes its place and gets a new standby. Last it
// kills the primary while the standby is away, and promotes the standby. Afterwards everything
// acknowledged is stored, once, and with its lineage. It is in order among the webhooks of one
// process, and over both while none spooled: see auditStore. A reader of the log missed nothing.
func TestStandbyChaos(t *testing.T) {
	t.Parallel()
	p := startPair(t, true)
	var gates [2]*gate
	var options [2]startOptions
	start := func(n int) {
		t.Helper()
		options[n].env = append(p.env(), "HOOKGATE_QUEUE_TIMEOUT=500ms")
		gates[n] = startGate(t, options[n])
		if out := gates[n].out.String(); !strings.Contains(out,
			"survives the loss of this machine: one synchronous standby") {
			t.Errorf("the start does not say what a 202 is worth:\n%s", out)
		}
		options[n].dir, options[n].listen = gates[n].dir, strings.TrimPrefix(gates[n].url, "http://")
	}
	start(0)
	start(1)
	each := func(what string, condition func(health) bool) {
		t.Helper()
		for n := range gates {
			gates[n].await(what, func() bool { return condition(gates[n].health()) })
		}
	}
	spools := func(h health) bool { return h.Queue.Spooled > 0 }
	well := func(h health) bool { return h.Status == "ok" }

	rate := modeltest.Pick(50.0, 100)
	streams := [2]*stream{startNamedStream(t, gates[0], rate, "a-"),
		startNamedStream(t, gates[1], rate, "b-")}
	both := startAlternating(t, gates[0], gates[1])
	reader := startLogReader(t, gates[0], gates[1])
	for round := range modeltest.Pick(1, 10) {
		time.Sleep(rand.N(200 * time.Millisecond)) // so that each is killed at another moment
		gates[round%2].kill()
		start(round % 2)
		each("the gates are well after a kill", well)

		time.Sleep(rand.N(200 * time.Millisecond))
		must(t, p.standby.Kill())
		each("the gates spool while commits wait for the standby", spools)
		must(t, p.standby.Restart(t.Context()))
		each("the gates are well with the standby", well)

		time.Sleep(rand.N(200 * time.Millisecond))
		p.losePrimary()
		each("the gates spool without a primary", spools)
		p.failOver()
		p.startStandby()
		each("the gates are well after the failover", well)

		crossed := both.crossed.Load()
		gates[0].await("a key goes over both gates", func() bool {
			return both.crossed.Load() >= crossed+
				20
		})
	}
	both.end()
	reader.end(gates[1])

	// Commits without the standby may be visible, but no 202 may depend on them.
	must(t, p.standby.Kill())
	for n := range gates {
		gates[n].await("the gate spools while commits wait for the standby", func() bool {
			return gates[n].health().Queue.Spooled > modeltest.Pick[int64](20, 100)
		})
	}
	p.losePrimary()
	must(t, p.standby.Restart(t.Context()))
	p.failOver()
	p.startStandby()
	each("the gates are well after both were away", well)

	for _, s := range streams {
		s.ends.Store(true) // at the same time
	}
	input, ledger := both.input.Bytes(), both.ledger.Bytes()
	for _, s := range streams {
		s.end()
		t.Logf("%+v", s.summary)
		lines, err := os.ReadFile(s.ledger)
		must(t, err)
		input, ledger = append(input, s.input...), append(ledger, lines...)
	}
	for _, g := range gates {
		g.awaitDrained()
	}
	file := filepath.Join(t.TempDir(), "ledger.ndjson")
	must(t, os.WriteFile(file, ledger, 0o600))
	auditStore(t, gates[0], input, file)
	t.Logf("%d webhooks of shared keys went from one gate to the other", both.crossed.Load())
}

// TestAsynchronousFailover shows the losses of asynchronous replication, and their limits. A
// standby is cut off from its primary, which continues and then dies with its data. The webhooks in
// between are lost although they were acknowledged. The gates continue on the promoted standby. No
// id is used twice, a reader continues after the last id that it saw, resends of the lost events
// are stored and not answered as duplicates, and the audit chain is intact.
func TestAsynchronousFailover(t *testing.T) {
	t.Parallel()
	p := startPair(t, false)
	one, two := startGate(t, startOptions{env: p.env()}), startGate(t, startOptions{env: p.env()})
	if out := one.out.String(); !strings.Contains(out,
		"its loss loses commits that asynchronous standbys had not received yet") {
		t.Errorf("the start does not say what a 202 is worth:\n%s", out)
	}
	kept := append(sendSome(t, one, "kept-1", 10), sendSome(t, two, "kept-2", 10)...)
	settle(one, two)
	one.await("the standby has everything", func() bool {
		return p.number(p.standby, "SELECT count(*) FROM hookgate.webhook_events") == int64(len(kept))
	})
	must(t, p.standby.Set(t.Context(), "primary_conninfo", ""))
	one.await("the standby is cut off", func() bool {
		return p.number(p.standby, "SELECT count(*) FROM pg_stat_wal_receiver") == 0
	})
	lost := append(sendSome(t, one, "lost-1", 10), sendSome(t, two, "lost-2", 10)...)
	settle(one, two)
	before, _ := one.logBehind("")
	if len(before) != len(kept)+len(lost) {
		t.Fatalf("%d events are stored", len(before))
	}
	greatest := idsRise(t, before)

	p.losePrimary()
	away := sendSome(t, one, "away", 5)
	p.failOver()
	settle(one, two)
	after, _ := two.logBehind("")
	stored := messagesOf(after)
	if want := slices.Concat(kept, away); !sameMembers(stored, want) {
		t.Errorf("after the failover %v are stored, want %v: what the standby had, and what came since",
			stored, want)
	}
	resend(two, lost, false)
	resend(one, kept, true)
	settle(one, two)
	all, _ := one.logBehind("")
	idsRise(t, all)
	behind, _ := one.logBehind(strconv.FormatInt(greatest, 10))
	stored = messagesOf(behind)
	if want := slices.Concat(away, lost); !sameMembers(stored, want) || len(all) != len(before)+
		len(away) {
		t.Errorf("behind the last id of before are %v, want %v; in all there are %d events", stored, want,
			len(all))
	}
	auditVerify(one)
}

// settle waits until gates are healthy and have stored everything that they took.
func settle(gates ...*gate) {
	for _, g := range gates {
		g.t.Helper()
		g.await("the gate is well", func() bool { return g.health().Status == "ok" })
		g.awaitDrained()
	}
}

// resend sends the events of sendSome again, and checks whether each is answered as a duplicate.
func resend(g *gate, ids []string, duplicates bool) {
	g.t.Helper()
	for _, id := range ids {
		status, answer := g.send(fmt.Sprintf(`{"messageId":%q,"eventType":"t"}`, id))
		if status != http.StatusAccepted || strings.Contains(answer, "duplicate_detected") != duplicates {
			g.t.Errorf("the resend of %s is answered %d %s, want a duplicate: %t", id, status, answer,
				duplicates)
		}
	}
}

func messagesOf(events []storedEvent) (ids []string) {
	for _, e := range events {
		ids = append(ids, e.MessageID)
	}
	return ids
}

// sameMembers reports whether two lists have the same members, each as often.
func sameMembers(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// auditVerify checks the audit chain of a gate.
func auditVerify(g *gate) {
	g.t.Helper()
	if code, out, errs := runBinary(g.t, g.env, "audit", "verify", "--data-dir", g.dir); code != 0 {
		g.t.Errorf("audit verify: exit code %d\n%s%s", code, out, errs)
	}
}

// TestPostgresSlowOrReadOnly has a PostgreSQL that answers 3 seconds late, and one that is set to
// read-only. The gate spools, answers 202, and reports it. Afterwards everything is stored in
// order.
func TestPostgresSlowOrReadOnly(t *testing.T) {
	t.Parallel()
	cluster, database := startPostgres(t, pgtest.Options{})
	direct, err := url.Parse(cluster.URL(database))
	must(t, err)
	proxy := newSlowProxy(t, direct.Host)
	direct.Host = proxy.address()
	g := startGate(t, startOptions{env: []string{"DB_URL=" + direct.String()}})
	stream := startStream(t, g, 150)
	var more []byte // also sent
	for _, trouble := range []struct {
		name       string
		begin, end func()
	}{
		{"slow", func() { proxy.delay.Store(int64(3 * time.Second)) }, func() { proxy.delay.Store(0) }},
		{
			"read-only",
			func() { must(t, cluster.Set(t.Context(), "default_transaction_read_only", "on")) },
			func() { must(t, cluster.Set(t.Context(), "default_transaction_read_only", "off")) },
		},
	} {
		stored := g.health().Store.Events
		g.await("events are stored before it is "+trouble.name,
			func() bool { return g.health().Store.Events > stored+50 })
		trouble.begin()
		g.await("the gate spools while it is "+trouble.name,
			func() bool { return g.health().Queue.Spooled > 60 })
		if h := g.health(); h.Status != "degraded" || !strings.Contains(h.Queue.Degraded,
			"a 202 is worth this machine's disk") {
			t.Errorf("while it is %s the health is %+v", trouble.name, h)
		}
		event := fmt.Sprintf(`{"messageId":%q,"eventType":"t","orderingKey":%[1]q,"sequence":1}`,
			trouble.name)
		more = append(more, event+"\n"...)
		if status, body := g.send(event); status != http.StatusAccepted {
			t.Errorf("while it is %s a webhook is answered %d %s", trouble.name, status, body)
		}
		if status, body := g.request(http.MethodGet, "/readyz", ""); status != http.StatusOK {
			t.Errorf("while it is %s the gate is not ready: %d %s", trouble.name, status, body)
		}
		trouble.end()
		g.await("the gate is well again", func() bool { return g.health().Status == "ok" })
	}
	stream.end()
	g.awaitDrained()
	auditStore(t, g, append(stream.input, more...), stream.ledger)
	if _, body := g.request(http.MethodGet, "/api/health", ""); !strings.Contains(body,
		`"dead_letters":0`) {
		t.Errorf("something was dead-lettered: %s", body)
	}
}

// TestPostgresOlderCopy replaces the database by an older dump while the gates are stopped. Resends
// of the missing events are stored, and so are spooled ones. Resends of the others are duplicates.
// No id is used twice, and the audit chain is intact.
func TestPostgresOlderCopy(t *testing.T) {
	t.Parallel()
	cluster, database := sharedPostgres(t)
	env := []string{"DB_URL=" + cluster.URL(database)}
	one, two := startGate(t, startOptions{env: env}), startGate(t, startOptions{env: env})
	stop := func() {
		t.Helper()
		one.stop()
		two.stop()
	}
	again := func() {
		t.Helper()
		one = startGate(t, startOptions{env: env, dir: one.dir})
		two = startGate(t, startOptions{env: env, dir: two.dir})
	}
	kept := append(sendSome(t, one, "kept-1", 10), sendSome(t, two, "kept-2", 10)...)
	settle(one, two)
	stop()
	dump, err := cluster.Dump(t.Context(), database)
	must(t, err)
	again()
	lost := append(sendSome(t, one, "lost-1", 10), sendSome(t, two, "lost-2", 10)...)
	settle(one, two)
	before, _ := one.logBehind("")
	if len(before) != len(kept)+len(lost) {
		t.Fatalf("%d events are stored", len(before))
	}
	greatest := idsRise(t, before)
	if status, body := one.request(http.MethodPost, "/admin/maintenance",
		`{"mode":"buffer"}`); status != http.StatusOK {
		t.Fatalf("maintenance is answered %d %s", status, body)
	}
	spooled := sendSome(t, one, "spooled", 5)
	if h := one.health(); h.Queue.Spooled != int64(len(spooled)) {
		t.Fatalf("in buffer the health is %+v", h)
	}
	stop()

	must(t, cluster.Load(t.Context(), database, dump)) // its mode is normal
	again()
	settle(one, two)
	stored, _ := two.logBehind("")
	if want := slices.Concat(kept, spooled); !sameMembers(messagesOf(stored), want) {
		t.Errorf("over the older copy %v are stored, want %v", messagesOf(stored), want)
	}
	resend(one, lost, false)
	resend(two, slices.Concat(kept, spooled), true)
	settle(one, two)
	all, _ := one.logBehind("")
	idsRise(t, all)
	behind, _ := one.logBehind(strconv.FormatInt(greatest, 10))
	if want := slices.Concat(spooled, lost); !sameMembers(messagesOf(behind), want) ||
		len(all) != len(before)+len(spooled) {
		t.Errorf("behind the last id of before are %v, want %v; in all there are %d events",
			messagesOf(behind), want, len(all))
	}
	if !slices.Equal(all[:len(kept)], before[:len(kept)]) {
		t.Error("events of the older copy are not what they were")
	}
	auditVerify(one)
}
