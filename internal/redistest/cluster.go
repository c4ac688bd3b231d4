package redistest

import (
	"strconv"
	"strings"
	"testing"
)

const slots = 16384

// Cluster starts a Redis Cluster of n masters without replicas and waits until each of them finds it in order.
func Cluster(t testing.TB, n int, o Options) []*Server {
	t.Helper()
	o.Extra = append([]string{"cluster-enabled yes", "cluster-node-timeout 2000"}, o.Extra...)
	nodes := make([]*Server, n)
	for i := range nodes {
		nodes[i] = Start(t, o)
		nodes[i].MustDo("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/n), strconv.Itoa((i+1)*slots/n-1))
		nodes[i].MustDo("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
	}
	for _, node := range nodes[1:] {
		nodes[0].MustDo("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(node.port))
	}
	for _, node := range nodes {
		node.Await("cluster_known_nodes:"+strconv.Itoa(n), "CLUSTER", "INFO")
		// The state alone is ok before a node has heard of all slots, if it need not cover them all.
		node.Await("cluster_slots_ok:"+strconv.Itoa(slots), "CLUSTER", "INFO")
		node.Await("cluster_state:ok", "CLUSTER", "INFO")
	}
	return nodes
}

// ClusterURL returns a redis:// URL that names all nodes.
func ClusterURL(nodes []*Server) string {
	addrs := make([]string, len(nodes))
	for i, node := range nodes {
		addrs[i] = node.Addr()
	}
	return "redis://" + strings.Join(addrs, ",")
}
