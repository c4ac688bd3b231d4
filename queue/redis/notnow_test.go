package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/redistest"
)

// senders append like senders of webhooks: each waits for the answer, and repeats a request until
// it is accepted.
type senders struct {
	t          *testing.T
	q          *Queue
	stop       chan struct{}
	running    sync.WaitGroup
	taken      atomic.Int64
	refused    atomic.Int64
	rejections sync.Map // the first words of errors of Redis
	sent       []int    // by sender; valid when they have ended
}

func startSenders(t *testing.T, q *Queue, n int) *senders {
	s := &senders{t: t, q: q, stop: make(chan struct{}), sent: make([]int, n)}
	for i := range n {
		s.running.Go(func() {
			for {
				d := testRequest(fmt.Sprint("k", i), s.sent[i])
				for {
					_, err := q.Append(context.Background(), d)
					if err == nil {
						break
					}
					s.refused.Add(1)
					for word := range strings.FieldsSeq(err.Error()) {
						s.rejections.Store(word, true)
					}
				}
				s.sent[i]++
				s.taken.Add(1)
				select {
				case <-s.stop:
					return
				default:
				}
			}
		})
	}
	return s
}

// awaitAccepted waits until so many more requests are accepted.
func (s *senders) awaitAccepted(n int64) {
	s.t.Helper()
	reached := s.taken.Load() + n
	eventually(s.t, fmt.Sprint(n, " more appends are taken"),
		func() bool { return s.taken.Load() >= reached })
}

// awaitRejected waits until Redis rejects an append with an error that begins with a word.
func (s *senders) awaitRejected(word string) {
	s.t.Helper()
	eventually(s.t, "an append is refused with "+word,
		func() bool { _, ok := s.rejections.Load(word); return ok })
}

// end ends the senders and compares the records with the requests that they sent: each once, and
// those of a key in order.
func (s *senders) end(c hookgate.PartitionReader) {
	s.t.Helper()
	close(s.stop)
	s.running.Wait()
	want := 0
	for _, n := range s.sent {
		want += n
	}
	places := map[string]hookgate.Offset{}
	next := map[string]int64{}
	eventually(s.t, "everything comes", func() bool {
		records, err := c.Next(context.Background(), 500, 1<<30)
		if err != nil {
			return false // a lease was lost; the records under it come again
		}
		for _, r := range records {
			place := hookgate.Offset{Partition: r.Partition, Position: r.Position}
			if before, came := places[r.MessageID]; came {
				if before != place {
					s.t.Fatalf("%s stands at %v and at %v", r.MessageID, before, place)
				}
				continue
			}
			if !r.DuplicateOf.IsZero() || r.Sequence != next[r.OrderingKey] {
				s.t.Fatalf("%s (duplicate of %s) came where %d was due", r.MessageID, r.DuplicateOf,
					next[r.OrderingKey])
			}
			places[r.MessageID] = place
			next[r.OrderingKey]++
		}
		// Records that are not released come again.
		_ = c.Commit(context.Background(), hookgate.LastOffsets(records))
		return len(places) == want
	})
	eventually(s.t, "nothing is left", func() bool {
		stats, err := s.q.Stats(context.Background())
		if err == nil && stats.Err == nil && stats.Depth == 0 {
			return true
		}
		moment, cancel := context.WithTimeout(context.Background(), pollEvery)
		defer cancel()
		if records, err := c.Next(moment, 500, 1<<30); err == nil {
			_ = c.Commit(context.Background(), hookgate.LastOffsets(records))
		}
		return false
	})
	s.t.Logf("%d taken, %d rejections", want, s.refused.Load())
}

// TestLoading: a server that loads its file after a crash rejects appends until it has loaded.
// Nothing is lost or doubled.
func TestLoading(t *testing.T) {
	server := redistest.Start(t, redistest.Options{AppendFsync: "always"})
	q := mustOpen(t, Config{URL: server.URL(), Partitions: 4})
	c := mustOpenReader(t, q)
	s := startSenders(t, q, 8)
	s.awaitAccepted(200)
	server.RestartLoading()
	s.awaitRejected("LOADING")
	if healthy(q) {
		t.Error("the stats do not tell that Redis loads")
	}
	server.EndLoading()
	s.awaitAccepted(200)
	eventually(t, "the queue is well", func() bool { return healthy(q) })
	s.end(c)
}

// TestMasterDown: a replica that has lost its master and serves no stale data rejects appends and
// reads until it becomes a master.
func TestMasterDown(t *testing.T) {
	server := redistest.Start(t, redistest.Options{Extra: []string{"replica-serve-stale-data no"}})
	q := mustOpen(t, Config{URL: server.URL(), Partitions: 4, LeaseTTL: time.Minute})
	s := startSenders(t, q, 8)
	s.awaitAccepted(200)
	c := mustOpenReader(t, q)
	server.MustDo("REPLICAOF", "127.0.0.1", "1")
	s.awaitRejected("READONLY")
	eventually(t, "reads are refused with MASTERDOWN", func() bool {
		moment, cancel := context.WithTimeout(t.Context(), pollEvery)
		defer cancel()
		_, err := c.Next(moment, 500, 1<<30)
		return err != nil && strings.Contains(err.Error(), "MASTERDOWN")
	})
	if healthy(q) {
		t.Error("the stats do not tell of it")
	}
	server.MustDo("REPLICAOF", "NO", "ONE")
	s.awaitAccepted(200)
	eventually(t, "the queue is well", func() bool { return healthy(q) })
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	s.end(mustOpenReader(t, q)) // it also gets the records that the other reader had
}

// TestSlotMoves: during appends the slot of a partition moves to another node of the cluster and
// back, key by key.
func TestSlotMoves(t *testing.T) {
	nodes := redistest.Cluster(t, 3, redistest.Options{})
	q := mustOpen(t, Config{URL: redistest.ClusterURL(nodes), Partitions: 4})
	c := mustOpenReader(t, q)
	s := startSenders(t, q, 16)
	s.awaitAccepted(500)
	slot, err := strconv.Atoi(nodes[0].MustDo("CLUSTER", "KEYSLOT", q.keys.log[0]))
	if err != nil {
		t.Fatal(err)
	}
	from := nodeOf(t, nodes, q.keys.log[0])
	to := (from + 1) % 3
	redistest.MoveSlot(t, nodes, slot, from, to, func() { s.awaitRejected("TRYAGAIN") })
	s.awaitAccepted(500)
	redistest.MoveSlot(t, nodes, slot, to, from, func() {})
	s.awaitAccepted(500)
	eventually(t, "the queue is well", func() bool { return healthy(q) })
	s.end(c)
}

// TestOpenNotNow: an error that passes by itself is not a configuration error. TestStartIsRefused
// of e2e has the configuration errors.
func TestOpenNotNow(t *testing.T) {
	for name, leave := range map[string]func(*redistest.Server){
		"too many clients": func(s *redistest.Server) {
			mustOpen(t, Config{URL: s.URL()}) // whose connections count
			s.MustDo("CONFIG", "SET", "maxclients", "1")
		},
		"a replica": func(s *redistest.Server) { s.MustDo("REPLICAOF", "127.0.0.1", "1") },
		"loading":   (*redistest.Server).RestartLoading,
		"dead":      (*redistest.Server).Kill,
	} {
		server := redistest.Start(t, redistest.Options{AppendFsync: "no"})
		leave(server)
		q, err := Open(t.Context(), Config{URL: server.URL()})
		var misconfigured *hookgate.MisconfiguredError
		if err == nil {
			q.Close()
		}
		if err == nil || errors.As(err, &misconfigured) {
			t.Errorf("%s: open got %v", name, err)
		}
	}
}

// TestCountWakes: a count that finds an append of another process to an idle partition wakes its
// reader. A count of an empty partition does not.
func TestCountWakes(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	config := Config{URL: server.URL(), Partitions: 1, LeaseTTL: time.Minute}
	q, other := mustOpen(t, config), mustOpen(t, config)
	c := mustOpenReader(t, q).(*reader)
	eventually(t, "the partition is leased", func() bool { return held(q) == 1 })
	// A reader reads a new lease once in any case.
	brief, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Next(brief, 1, 1<<20); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("next on an empty queue: %v", err)
	}
	if err := q.measure(t.Context()); err != nil || len(c.woken) > 0 {
		t.Errorf("a count of nothing got %v and woke %d", err, len(c.woken))
	}
	mustAppend(t, other, testRequest("k", 0))
	if err := q.measure(t.Context()); err != nil || len(c.woken) != 1 {
		t.Errorf("a count of one got %v and woke %d", err, len(c.woken))
	}
}
