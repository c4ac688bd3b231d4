package e2e

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/internal/pgtest"
)

// pullSubscriptions are those of the chaos tests of pull: one for each order.
var pullSubscriptions = []subscribed{
	{name: "ledger", pull: true},
	{name: "rare", pull: true, order: hookgate.OrderAll, types: []string{rareType}},
	{name: "views", pull: true, order: hookgate.OrderNone, types: []string{keylessType, "order.c*"}},
}

// pullBehaviours let some keys fail twice. For some events the consumer takes longer than a lease,
// before or after its work.
var pullBehaviours = []behaviour{
	{Subscription: "ledger", Message: longBefore, UpTo: 1,
		Before: 3 * pullerLease / 2, Stubborn: true},
	{Subscription: "ledger", Message: longAfter, UpTo: 1,
		After: 3 * pullerLease / 2, Stubborn: true},
	{Subscription: "ledger", Key: "*-?7", UpTo: 2, Status: 500},
	{Type: rareType, Message: "*31", UpTo: 1, Status: 500},
}

// TestPullChaosEmbedded kills the embedded gate and its clients in turn with SIGKILL, under load.
// deliveryAudit checks the result.
func TestPullChaosEmbedded(t *testing.T) {
	t.Parallel()
	f := &fleet{t: t, consumer: startConsumer(t), subscriptions: pullSubscriptions}
	gate := &member{role: roleAll}
	f.start(gate)
	f.consumer.behave(pullBehaviours...)
	pullers := f.startPullers(2)
	stream := startStreamOf(t, gate.gate, modeltest.Pick(60.0, 500), &stream{mixed: true})
	kills := 0
	stream.whileSending(modeltest.Pick(2, 30), 700*time.Millisecond, func(n int) {
		kills++
		if n%2 == 0 {
			pullers[n/2%2].kill()
			pullers[n/2%2].start()
			return
		}
		f.restart(gate)
	})
	f.audit(stream, kills)
}

// TestPullChaos runs three processes on PostgreSQL, and clients that send each call to any of them.
// It kills a process, a client and the database in turn with SIGKILL, under load. It also stops a
// client until its leases have ended, and continues it: its acknowledgements come too late.
// deliveryAudit checks the result.
func TestPullChaos(t *testing.T) {
	t.Parallel()
	cluster, database := startPostgres(t, pgtest.Options{})
	f := &fleet{t: t, consumer: startConsumer(t), subscriptions: pullSubscriptions,
		env: []string{"DB_URL=" + cluster.URL(database)}}
	for range 3 {
		f.start(&member{role: roleAll})
	}
	f.consumer.behave(pullBehaviours...)
	pullers := f.startPullers(2)
	stream := startStreamOf(t, f.members[0].gate, modeltest.Pick(40.0, 300), &stream{mixed: true})
	victims := []string{"process", "stopped client", "postgres", "client"}
	kills := 0
	stream.whileSending(modeltest.Pick(3, 30), 500*time.Millisecond, func(n int) {
		kills++
		client := pullers[rand.IntN(len(pullers))]
		switch victims[n%len(victims)] {
		case "client":
			client.kill()
			client.start()
		case "process":
			f.restart(f.members[rand.IntN(len(f.members))])
		case "stopped client":
			client.signal(syscall.SIGSTOP)
			stopped, before := time.Now(), f.consumer.count("ledger")
			f.members[0].await("its leases have ended, and the other client goes on", func() bool {
				return time.Since(stopped) > 2*pullerLease &&
					f.consumer.count("ledger") >= before+modeltest.Pick(10, 50)
			})
			client.signal(syscall.SIGCONT)
		case "postgres":
			must(t, cluster.Kill())
			must(t, cluster.Restart(t.Context()))
		}
	})
	f.audit(stream, kills)
}
