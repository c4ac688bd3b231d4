package e2e

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/modeltest"
)

// chaosSubscriptions are those of the chaos tests: one for each order.
var chaosSubscriptions = []subscribed{
	{name: "ledger", timeout: time.Second},
	{name: "rare", order: hookgate.OrderAll, types: []string{rareType}},
	{name: "views", order: hookgate.OrderNone, types: []string{keylessType, "order.c*"},
		concurrency: 4},
}

// longBefore and longAfter match messages whose first request takes longer than the gate waits. The
// short form sends few messages.
var (
	longBefore = modeltest.Pick("m-[26]0", "m-[1-3]00")
	longAfter  = modeltest.Pick("m-[26]5", "m-[1-3]50")
)

// chaosBehaviours make some keys slow and some fail twice. The gate gives up the first requests for
// some events, which still do their work.
var chaosBehaviours = []behaviour{
	{Subscription: "ledger", Message: longBefore, UpTo: 1,
		Before: 1500 * time.Millisecond, Stubborn: true},
	{Subscription: "ledger", Message: longAfter, UpTo: 1,
		After: 1500 * time.Millisecond, Stubborn: true},
	{Subscription: "ledger", Key: "*-?7", UpTo: 2, Status: 500},
	{Key: "*-?1", Before: 100 * time.Millisecond},
	{Type: rareType, UpTo: 1, Status: 500},
}

// fleet are the processes of a gate that uses PostgreSQL, and maybe Redis.
type fleet struct {
	t        *testing.T
	consumer *consumer
	faults   faults
	// subscriptions are those of all processes; default: chaosSubscriptions.
	subscriptions []subscribed
	env           []string
	members       []*member
}

// member is one process. Its name changes with each start, so that the consumer tells them apart.
type member struct {
	*gate
	role, name string
	starts     int
	options    startOptions
}

// start starts a new process, or one that was killed.
func (f *fleet) start(m *member) {
	f.t.Helper()
	if f.subscriptions == nil {
		f.subscriptions = chaosSubscriptions
	}
	m.starts++
	m.name = fmt.Sprintf("%s-%d.%d", m.role, len(f.members), m.starts)
	if m.gate == nil {
		m.name = fmt.Sprintf("%s-%d.%d", m.role, len(f.members)+1, m.starts)
		f.members = append(f.members, m)
	}
	o := m.options
	o.args = []string{"--role", m.role}
	o.env = append(append(append([]string{}, f.env...), f.consumer.subscribe(m.name,
		f.subscriptions...)...), o.env...)
	m.gate = startGate(f.t, o)
	m.options.dir, m.options.listen = m.dir, strings.TrimPrefix(m.url, "http://")
}

// restart kills a process and starts it again.
func (f *fleet) restart(m *member) {
	f.t.Helper()
	f.faults.on(m.name)
	m.kill()
	f.start(m)
}

// owner returns the process that delivers a subscription, or nil.
func (f *fleet) owner(subscription string) *member {
	for _, m := range f.members {
		if s, ok := m.subscription(subscription); ok && s.Live != nil {
			return m
		}
	}
	return nil
}

// awaitOwner waits until a process delivers a subscription, and returns it.
func (f *fleet) awaitOwner(subscription string) (m *member) {
	f.t.Helper()
	f.members[0].await(subscription+" has an owner", func() bool {
		m = f.owner(subscription)
		return m != nil
	})
	return m
}

// audit waits until everything is delivered, and audits it. kills is how often the owner of a
// subscription, or what it needs, may have been killed.
func (f *fleet) audit(s *stream, kills int) {
	f.t.Helper()
	g := f.members[0].gate
	g.awaitDrained()
	for _, s := range f.subscriptions {
		g.awaitDelivered(f.consumer, s)
	}
	auditStore(f.t, g, s.input, s.ledger)
	audit := deliveryAudit{t: f.t, gate: g, consumer: f.consumer, faults: &f.faults,
		again: kills * 4 * subscribed{}.filled().concurrency}
	audit.run(f.subscriptions...)
}

// awaitDelivered waits until a subscription has delivered every event of the log that it selects.
func (g *gate) awaitDelivered(r *consumer, s subscribed) {
	g.t.Helper()
	events, ok := g.logBehind("")
	if !ok {
		g.t.Fatal("the log cannot be read")
	}
	want, last := 0, int64(0)
	for _, e := range events {
		if s.selects(e.EventType) {
			want++
			last, _ = strconv.ParseInt(e.ID, 10, 64)
		}
	}
	got := 0
	defer func() {
		if g.t.Failed() {
			state, _ := g.subscription(s.name)
			g.t.Logf("%s has done %d of %d: %+v", s.name, got, want, state)
		}
	}()
	g.await(s.name+" delivers everything", func() bool {
		got = r.count(s.name)
		return got >= want
	})
	// The results of the last ones are on the way to the store. If their process was killed before,
	// they are delivered again.
	g.awaitSubscription(s.name, "nothing waits", func(state api.Subscription) bool {
		cursor, _ := strconv.ParseInt(state.Cursor, 10, 64)
		return cursor >= last && state.Waiting == 0 && state.Parked == 0 && state.Held == 0 &&
			state.Leased == 0
	})
}

// TestDeliveryChaosEmbedded kills the embedded gate and the consumer in turn with SIGKILL, under
// load. deliveryAudit checks the result.
func TestDeliveryChaosEmbedded(t *testing.T) {
	t.Parallel()
	f := &fleet{t: t, consumer: startConsumer(t)}
	gate := &member{role: roleAll}
	f.start(gate)
	stream := startStreamOf(t, gate.gate, modeltest.Pick(60.0, 500), &stream{mixed: true})
	kills := 0
	f.consumer.behave(chaosBehaviours...)
	stream.whileSending(modeltest.Pick(2, 30), 700*time.Millisecond, func(n int) {
		kills++
		if n%4 == 1 {
			f.consumer.kill()
			f.consumer.start()
			return
		}
		f.restart(gate)
	})
	f.audit(stream, kills)
}

// TestDeliveryChaos runs three processes, each with every role, on PostgreSQL, and three with
// different roles on Redis and PostgreSQL. It kills the owner of a subscription, the consumer, the
// database and Redis in turn with SIGKILL, under load. deliveryAudit checks the result.
func TestDeliveryChaos(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		roles   []string
		redis   bool
		victims []string
	}{
		{"PostgreSQL", []string{roleAll, roleAll, roleAll}, false,
			[]string{"owner", "consumer", "postgres"}},
		{"Redis and PostgreSQL", []string{roleIngest, roleWorker, roleDeliver, roleDeliver}, true,
			[]string{"owner", "redis", "worker", "postgres", "consumer"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newMortal(t)
			f := &fleet{t: t, consumer: startConsumer(t), env: s.env()}
			if !c.redis {
				f.env = []string{"DB_URL=" + s.postgres.URL(s.database)}
			}
			for _, role := range c.roles {
				f.start(&member{role: role})
			}
			f.consumer.behave(chaosBehaviours...)
			stream := startStreamOf(t, f.members[0].gate, modeltest.Pick(50.0, 300),
				&stream{mixed: true})
			for _, s := range f.subscriptions {
				f.awaitOwner(s.name)
			}
			kills := 0
			stream.whileSending(modeltest.Pick(len(c.victims), 30), 500*time.Millisecond, func(n int) {
				kills++
				switch c.victims[n%len(c.victims)] {
				case "owner":
					f.restart(f.awaitOwner(f.subscriptions[rand.IntN(len(f.subscriptions))].name))
				case "worker":
					f.restart(f.members[1])
				case "consumer":
					f.consumer.kill()
					f.consumer.start()
				case "redis":
					s.redis.Kill()
					s.redis.Restart()
				case "postgres":
					must(t, s.postgres.Kill())
					s.restartPostgres()
				}
			})
			f.audit(stream, kills)
		})
	}
}

// TestDeliveryStaleOwner stops the owner of all subscriptions with SIGSTOP until its leases have
// run out and its successor delivers, and continues it meanwhile. The fence rejects its results.
func TestDeliveryStaleOwner(t *testing.T) {
	t.Parallel()
	s := newMortal(t)
	f := &fleet{t: t, consumer: startConsumer(t)}
	f.env = []string{"DB_URL=" + s.postgres.URL(s.database)}
	ingest, stale := &member{role: roleIngest}, &member{role: roleDeliver}
	f.start(ingest)
	f.start(stale)
	f.consumer.behave(chaosBehaviours...)
	stream := startStreamOf(t, ingest.gate, modeltest.Pick(50.0, 300), &stream{mixed: true})
	ledger := chaosSubscriptions[0].name
	done := func(more int) {
		t.Helper()
		before := f.consumer.count(ledger)
		ingest.await("the consumer gets more", func() bool {
			return f.consumer.count(ledger) >= before+more
		})
	}
	some := modeltest.Pick(20, 100)
	for range modeltest.Pick(1, 10) {
		done(some)
		f.faults.on(stale.name)
		stale.signal(syscall.SIGSTOP)
		successor := &member{role: roleDeliver}
		f.start(successor)
		ingest.await("the successor delivers", func() bool {
			s, ok := successor.subscription(ledger)
			return ok && s.Live != nil
		})
		done(some)
		stale.signal(syscall.SIGCONT)
		done(some)
		f.faults.on(successor.name)
		successor.stop()
		f.awaitOwner(ledger)
	}
	stream.end()
	f.audit(stream, 2*modeltest.Pick(1, 10))
}

// TestDeliveryBehindHang lets one event hang while hundreds behind it succeed, and then kills the
// gate. The next owner knows from the store what is settled, although the cursor could not move on.
func TestDeliveryBehindHang(t *testing.T) {
	t.Parallel()
	patient := append([]subscribed{}, chaosSubscriptions...)
	patient[0].timeout = time.Hour
	f := &fleet{t: t, consumer: startConsumer(t), subscriptions: patient}
	gate := &member{role: roleAll}
	f.start(gate)
	f.consumer.behave(behaviour{Subscription: "ledger", Message: "m-5", Before: forever, UpTo: 1})
	stream := startStreamOf(t, gate.gate, 1000, &stream{mixed: true})
	want := modeltest.Pick(250, 3500)
	gate.await("many behind it succeed", func() bool { return f.consumer.count("ledger") >= want })
	state, _ := gate.subscription("ledger")
	if state.Waiting > 0 || state.Backlog < int64(want)/2 {
		t.Errorf("while an event hangs, the subscription is %+v", state)
	}
	f.consumer.behave()
	f.restart(gate)
	stream.end()
	f.audit(stream, 1)
}
