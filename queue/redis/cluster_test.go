package redis

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/redistest"
)

// keyOn returns an ordering key whose partition is, or is not, on the given node of a cluster of
// three.
func keyOn(t *testing.T, q *Queue, nodes []*redistest.Server, node int, lies bool) string {
	t.Helper()
	for i := range 1000 {
		key := strconv.Itoa(i)
		if (nodeOf(t, nodes, q.keys.log[hookgate.Partition(key, q.opts.Partitions)]) == node) == lies {
			return key
		}
	}
	t.Fatal("no such ordering key")
	return ""
}

func nodeOf(t *testing.T, nodes []*redistest.Server, key string) int {
	t.Helper()
	slot, err := strconv.Atoi(nodes[0].MustDo("CLUSTER", "KEYSLOT", key))
	if err != nil {
		t.Fatal(err)
	}
	node := 0
	for node+1 < len(nodes) && slot >= (node+1)*16384/len(nodes) {
		node++
	}
	return node
}

// TestClusterNodeHangs: while one node hangs, the partitions of the others accept and return
// records and keep their leases. When the node goes on, so do its partitions.
func TestClusterNodeHangs(t *testing.T) {
	const lease = 3 * time.Second
	nodes := redistest.Cluster(t, 3,
		redistest.Options{Extra: []string{"cluster-require-full-coverage no"}})
	q := openAtLast(t, Config{URL: redistest.ClusterURL(nodes), OpTimeout: 200 * time.Millisecond,
		LeaseTTL: lease})
	victim := (nodeOf(t, nodes, q.keys.members) + 1) % 3
	good, bad := keyOn(t, q, nodes, victim, false), keyOn(t, q, nodes, victim, true)
	c := openReaderAtLast(t, q)
	nodes[victim].Hang()
	if _, err := q.Append(t.Context(), testRequest(bad, 0)); err == nil {
		t.Error("append to the node that hangs succeeded")
	}
	if healthy(q) {
		t.Error("the stats do not tell that a node hangs")
	}
	held, since, seen := uint64(0), time.Now(), time.Now()
	for n, limit := 0, time.Now().Add(60*time.Second); time.Since(since) < lease+time.Second; n++ {
		appendAtLast(t, q, testRequest(good, n))
		for {
			records, err := c.Next(t.Context(), 10, 1<<20)
			if time.Now().After(limit) {
				t.Fatalf("record %d does not come, or no lease is kept: %v", n, err)
			}
			if err != nil {
				continue
			}
			if len(records) != 1 || records[0].Sequence != int64(n) {
				t.Fatalf("for record %d came %+v", n, records)
			}
			eventually(t, "the record is released, or its lease is lost", func() bool {
				err = c.Commit(t.Context(), hookgate.LastOffsets(records))
				return err == nil || errors.Is(err, errLost)
			})
			// Only a machine that stood still may lose the lease; the record then comes again.
			if got := records[0].Lease; got != held || err != nil {
				if stood := time.Since(seen); held != 0 && stood < lease/3 {
					t.Fatalf("record %d came under lease %d, after %d, and was released with %v,"+
						" %v after the one before", n, got, held, err, stood)
				}
				held, since = got, time.Now()
			}
			if err != nil {
				continue // it comes again
			}
			seen = time.Now()
			break
		}
	}
	nodes[victim].Resume()
	eventually(t, "the queue is well", func() bool { return healthy(q) })
	again := testRequest(bad, 1)
	appendAtLast(t, q, again)
	eventually(t, "the node's partitions are handed out again", func() bool {
		records, err := c.Next(context.Background(), 10, 1<<20)
		return err == nil && records[len(records)-1].RequestID == again.RequestID
	})
}
