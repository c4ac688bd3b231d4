package redistest

import (
	"strconv"
	"strings"
	"testing"
)

// SentinelMaster is the sentinel's name for the master.
const SentinelMaster = "hookgate"

// Sentinel is a master with a replica, and one sentinel that may fail over alone.
type Sentinel struct {
	Master, Replica, Watcher *Server
}

// StartSentinel starts all three, and waits until the replica follows and the sentinel knows it.
// The sentinel replaces a master that does not answer for half a second.
func StartSentinel(t testing.TB, o Options) *Sentinel {
	t.Helper()
	master := Start(t, o)
	port := strconv.Itoa(master.port)
	o.Extra = append([]string{"replicaof 127.0.0.1 " + port, "repl-diskless-sync-delay 0"}, o.Extra...)
	replica := Start(t, o)
	replica.Await("master_link_status:up", "INFO", "replication")
	watcher := start(t, freePort(t), []string{
		"sentinel monitor " + SentinelMaster + " 127.0.0.1 " + port + " 1",
		"sentinel down-after-milliseconds " + SentinelMaster + " 500",
		"sentinel failover-timeout " + SentinelMaster + " 5000",
	}, "--sentinel")
	watcher.Await("slaves=1", "INFO", "sentinel")
	return &Sentinel{Master: master, Replica: replica, Watcher: watcher}
}

// URL returns a redis:// URL through the sentinel.
func (s *Sentinel) URL() string { return s.Watcher.URL() + "?master=" + SentinelMaster }

// AwaitReplicated waits until the replica has everything that the master has. Nothing may write to
// the master meanwhile.
func (s *Sentinel) AwaitReplicated() {
	s.Master.t.Helper()
	for line := range strings.Lines(s.Master.MustDo("INFO", "replication")) {
		if offset, ok := strings.CutPrefix(strings.TrimSpace(line), "master_repl_offset:"); ok {
			s.Replica.Await("slave_repl_offset:"+offset+"\r\n", "INFO", "replication")
			return
		}
	}
	s.Master.t.Fatal("the master does not tell how far it is")
}
