package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/internal/redistest"
)

// TestServeCluster runs gates on a Redis Cluster of three masters. Each master in turn dies under
// load and comes back.
func TestServeCluster(t *testing.T) {
	t.Parallel()
	nodes := redistest.Cluster(t, 3, redistest.Options{AppendFsync: "always",
		Extra: []string{"cluster-require-full-coverage no"}})
	s := newSharedOn(t, redistest.ClusterURL(nodes))
	ingest, worker := s.start(roleIngest), s.start(roleWorker)
	stream := startStream(t, ingest, 400)
	stream.whileSending(modeltest.Pick(3, 9), 500*time.Millisecond, func(n int) {
		node := nodes[n%3]
		node.Kill()
		ingest.await("the gate spools", func() bool { return ingest.health().Queue.Spooled > 0 })
		node.Restart()
	})
	ingest.await("the gate is well", func() bool { return ingest.health().Status == "ok" })
	ingest.awaitDrained()
	auditStore(t, ingest, stream.input, stream.ledger)
	// In the short form a node may be back before a lease on it has run out.
	if modeltest.Soak() && !strings.Contains(worker.logs.String(), "lease of a partition was lost") {
		t.Error("no partition changed hands")
	}
}

// TestServeSentinel kills the master under load, and its replica takes over. Replication is
// asynchronous, so a master can die with records that its replica lacks. The test prevents that:
// the master delays its writes until the replica has them. The gate spools webhooks meanwhile.
func TestServeSentinel(t *testing.T) {
	t.Parallel()
	redis := redistest.StartSentinel(t, redistest.Options{AppendFsync: "always"})
	s := newSharedOn(t, redis.URL())
	g := s.start(roleAll)
	stream := startStream(t, g, 400)
	g.await("something is stored", func() bool { return g.health().Store.Events > 200 })
	redis.Master.MustDo("CLIENT", "PAUSE", "600000", "WRITE")
	g.await("the gate spools", func() bool { return g.health().Queue.Spooled > 100 })
	redis.AwaitReplicated()
	redis.Master.Kill()
	redis.Replica.Await("role:master", "INFO", "replication")
	stream.end()
	g.await("the gate is well", func() bool { return g.health().Status == "ok" })
	g.awaitDrained()
	auditStore(t, g, stream.input, stream.ledger)
	if out := g.out.String() + g.logs.String(); !strings.Contains(out,
		"a failover to a replica loses the events that it had not received") {
		t.Errorf("the start does not tell that replicas are not waited for:\n%s", out)
	}
}
