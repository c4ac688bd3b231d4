package redistest

import (
	"context"
	"strconv"
	"strings"
	"testing"
)

const slots = 16384

// Cluster starts a Redis Cluster of n masters without replicas, and waits until each of them
// reports that it is complete.
func Cluster(t testing.TB, n int, o Options) []*Server {
	t.Helper()
	o.Extra = append([]string{"cluster-enabled yes", "cluster-node-timeout 2000"}, o.Extra...)
	nodes := make([]*Server, n)
	for i := range nodes {
		nodes[i] = Start(t, o)
		nodes[i].MustDo("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/n),
			strconv.Itoa((i+1)*slots/n-1))
		nodes[i].MustDo("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
	}
	for _, node := range nodes[1:] {
		nodes[0].MustDo("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(node.port))
	}
	for _, node := range nodes {
		node.Await("cluster_known_nodes:"+strconv.Itoa(n), "CLUSTER", "INFO")
		// The state alone can be ok before a node knows of all slots, if it need not cover them all.
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

// MoveSlot moves a slot from one node of a cluster to another, key by key, as resharding does. It
// calls half when both nodes have some of the keys.
func MoveSlot(t testing.TB, nodes []*Server, slot, from, to int, half func()) {
	t.Helper()
	number, ids := strconv.Itoa(slot), make([]string, len(nodes))
	for i, node := range nodes {
		ids[i] = node.MustDo("CLUSTER", "MYID")
	}
	nodes[to].MustDo("CLUSTER", "SETSLOT", number, "IMPORTING", ids[from])
	nodes[from].MustDo("CLUSTER", "SETSLOT", number, "MIGRATING", ids[to])
	for moved := 0; ; moved++ {
		keys := nodes[from].keysInSlot(number)
		if len(keys) == 0 {
			break
		}
		if moved == 1 {
			half()
		}
		batch := keys[:max(1, len(keys)/2)]
		args := []string{"MIGRATE", "127.0.0.1", strconv.Itoa(nodes[to].port), "", "0", "10000", "KEYS"}
		nodes[from].MustDo(append(args, batch...)...)
	}
	for _, i := range []int{to, from} {
		nodes[i].MustDo("CLUSTER", "SETSLOT", number, "NODE", ids[to])
	}
	for i, node := range nodes {
		if i != to && i != from {
			node.MustDo("CLUSTER", "SETSLOT", number, "NODE", ids[to])
		}
	}
}

func (s *Server) keysInSlot(slot string) []string {
	s.t.Helper()
	client, err := s.client()
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	keys, err := client.Do(ctx, client.B().Arbitrary("CLUSTER", "GETKEYSINSLOT", slot,
		"1000").Build()).AsStrSlice()
	if err != nil {
		s.t.Fatalf("list the keys of slot %s: %v", slot, err)
	}
	return keys
}
