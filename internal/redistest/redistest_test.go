package redistest

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestLife: a server keeps its data over a crash and a restart, hangs when told to, and goes on.
func TestLife(t *testing.T) {
	s := Start(t, Options{AppendFsync: "always", MaxMemory: "64mb", MaxMemoryPolicy: "noeviction"})
	s.MustDo("SET", "k", "v")
	s.Kill()
	if _, err := s.Do("GET", "k"); err == nil {
		t.Fatal("a killed server answers")
	}
	s.Restart()
	if got := s.MustDo("GET", "k"); got != "v" {
		t.Errorf("after the restart k is %q", got)
	}
	s.Hang()
	if _, err := s.Do("GET", "k"); err == nil {
		t.Error("a hanging server answers")
	}
	s.Resume()
	s.Await("v", "GET", "k")
	s.Stop()
}

// TestLoading: a server that loads says so until it is let go on, and then has its data.
func TestLoading(t *testing.T) {
	s := Start(t, Options{AppendFsync: "always"})
	s.MustDo("SET", "k", "v")
	s.RestartLoading()
	if _, err := s.Do("GET", "k"); err == nil || !strings.Contains(err.Error(), "LOADING") {
		t.Errorf("while it loads the server answers %v", err)
	}
	s.EndLoading()
	if got := s.MustDo("GET", "k"); got != "v" {
		t.Errorf("afterwards k is %q", got)
	}
}

// TestCluster: three masters share the slots.
func TestCluster(t *testing.T) {
	nodes := Cluster(t, 3, Options{})
	nodes[2].Await("cluster_slots_ok:16384", "CLUSTER", "INFO")
}

// TestSentinel: when the master dies, the replica takes its place.
func TestSentinel(t *testing.T) {
	s := StartSentinel(t, Options{})
	s.Master.Kill()
	before := time.Now()
	s.Replica.Await("role:master", "INFO", "replication")
	t.Logf("failover took %v", time.Since(before))
}
