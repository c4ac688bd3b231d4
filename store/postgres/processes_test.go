package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/pgtest"
)

// follow polls the log after the last event it has seen, until done is closed and once more. It
// returns the message ids in the order seen, and the id of each.
func follow(t *testing.T, s *Store, done <-chan struct{}) (order []string, ids map[string]string) {
	t.Helper()
	ids = map[string]string{}
	for after, last := "", false; ; {
		for e, err := range s.Events(t.Context(), hookgate.EventFilter{After: after}) {
			if err != nil {
				t.Fatal(err)
			}
			after = e.ID
			order = append(order, e.MessageID)
			if _, twice := ids[e.MessageID]; twice {
				t.Errorf("event %s is stored twice", e.MessageID)
			}
			ids[e.MessageID] = e.ID
		}
		if last {
			return order, ids
		}
		select {
		case <-done:
			last = true // one more look
		default:
		}
	}
}

// inOrder checks that the events of each process are in the order in which it sent them.
func inOrder(t *testing.T, order []string) {
	t.Helper()
	next := map[string]int{}
	for _, message := range order {
		process, number, _ := strings.Cut(message, "-")
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Fatal(err)
		}
		if n < next[process] {
			t.Errorf("event %s stands behind event %d of its key", message, next[process])
		}
		next[process] = n
	}
}

// TestProcesses: 1, 2 and 4 processes append together. A reader that polls after the last id misses
// nothing, the ids are the acknowledged ones, the order per key holds, and the audit succeeds.
func TestProcesses(t *testing.T) {
	for _, processes := range []int{1, 2, 4} {
		t.Run(fmt.Sprint(processes), func(t *testing.T) {
			url := newDatabase(t)
			s, _ := openStore(t, url)
			defer s.Close()
			const batches = 60
			acknowledged := make([]map[string]string, processes)
			done := make(chan struct{})
			var all sync.WaitGroup
			for p := range processes {
				c := startAppender(t, url, p, batches, -1)
				acknowledged[p] = map[string]string{}
				all.Go(func() {
					if failed := c.acknowledged(t, acknowledged[p]); failed > 0 {
						t.Errorf("%d appends of process %d failed", failed, p)
					}
				})
			}
			go func() {
				all.Wait()
				close(done)
			}()
			order, ids := follow(t, s, done)
			if len(order) != processes*batches*3 {
				t.Errorf("the reader saw %d events, want %d", len(order), processes*batches*3)
			}
			inOrder(t, order)
			for _, acked := range acknowledged {
				for message, id := range acked {
					if ids[message] != id {
						t.Errorf("event %s was acknowledged with id %s and is stored with %q", message, id,
							ids[message])
					}
				}
			}
			if err := verified(url); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFrozenProcess: a process freezes between two round trips, while it holds the log. The others
// continue. After it thaws, its append fails, and succeeds when repeated.
func TestFrozenProcess(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	mustApply(t, s, directBatch(0, 0, 3), 3)
	c := startAppender(t, url, 1, 4, 2)
	ids := map[string]string{}
	for c.lines.Scan() && c.lines.Text() != "between" {
		id, message, _ := strings.Cut(c.lines.Text(), " ")
		ids[message] = id
	}
	if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for n := range 3 {
		mustApply(t, s, directBatch(0, 3+n*3, 3), 3)
	}
	if took := time.Since(start); took > 2*time.Minute {
		t.Errorf("the others went on after %v", took)
	} else {
		t.Logf("the others went on after %v", took)
	}
	if err := c.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if _, err := c.stdin.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if failed := c.acknowledged(t, ids); failed == 0 {
		t.Error("the append of the frozen process did not fail")
	}
	done := make(chan struct{})
	close(done)
	order, stored := follow(t, s, done)
	inOrder(t, order)
	if len(order) != 12+12 {
		t.Errorf("%d events are stored, want 24", len(order))
	}
	for message, id := range ids {
		if stored[message] != id {
			t.Errorf("event %s was acknowledged with id %s and is stored with %q", message, id,
				stored[message])
		}
	}
	if err := verified(url); err != nil {
		t.Error(err)
	}
}

// TestHeldConnection: the network stops in the middle of an append's data, after the server has
// locked the log. PostgreSQL has no time-out for this; another process ends the transaction.
func TestHeldConnection(t *testing.T) {
	t.Parallel()
	cluster, err := pgtest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	name, err := cluster.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := pgtest.StartProxy(cluster.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	s, _ := openStore(t, cluster.URL(name))
	defer s.Close()
	far, _ := openStore(t, proxy.URL(name))
	defer far.Close()
	mustApply(t, far, directBatch(1, 0, 3), 3)
	large := directBatch(1, 3, 1)
	large.Records[0].Body = make([]byte, 8<<20)
	proxy.HoldAfter(1 << 20)
	failed := make(chan error, 1)
	go func() {
		_, err := far.Apply(context.Background(), large)
		failed <- err
	}()
	watcher := connect(t, cluster.URL(name))
	for held := 0; held == 0; {
		if err := watcher.QueryRow(t.Context(),
			`SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
			WHERE l.relation = 'webhook_log'::regclass AND a.wait_event = 'ClientRead' AND a.state = 'active'`).Scan(&held); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	mustApply(t, s, directBatch(0, 0, 3), 3)
	if took := time.Since(start); took > 2*time.Minute {
		t.Errorf("the others went on after %v", took)
	} else {
		t.Logf("the others went on after %v", took)
	}
	proxy.Release()
	if err := <-failed; err == nil || errors.Is(err, hookgate.ErrRejected) {
		t.Errorf("the append that was held got %v", err)
	}
	mustApply(t, far, large, 1)
	if err := verified(cluster.URL(name)); err != nil {
		t.Error(err)
	}
}

// TestFailover: the primary dies with its data while processes append. The synchronous standby is
// promoted and takes over the address. No acknowledged event is lost or stored twice, ids keep
// growing, the order per key holds, and the audit succeeds.
func TestFailover(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	primary, err := pgtest.Start(ctx, pgtest.Options{Fsync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer primary.Close()
	standby, err := primary.StartStandby(ctx, "second")
	if err != nil {
		t.Fatal(err)
	}
	defer standby.Close()
	if err := primary.Set(ctx, "synchronous_standby_names", "second"); err != nil {
		t.Fatal(err)
	}
	proxy, err := pgtest.StartProxy(primary.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	url := proxy.URL("postgres")
	s, _ := openStore(t, url)
	defer s.Close()

	const processes = 3
	type result struct {
		id    int64
		after bool // the failover
	}
	acked := make([]map[string]result, processes)
	isMoved := make(chan struct{})
	var all sync.WaitGroup
	enough := make(chan struct{}, processes)
	for p := range processes {
		acked[p] = map[string]result{}
		store, _ := openStore(t, url)
		defer store.Close()
		all.Go(func() {
			for n, reported := 0, false; ; n += 2 {
				b := directBatch(p, n, 2)
				after := false
				select {
				case <-isMoved:
					after = true
				default:
				}
				for {
					attempt, cancel := context.WithTimeout(context.Background(), 20*time.Second)
					o, err := store.Apply(attempt, b)
					cancel()
					if errors.Is(err, hookgate.ErrRejected) {
						t.Error(err)
						return
					}
					if err == nil {
						for i, r := range o.Results {
							acked[p][b.Records[i].MessageID] = result{r.ID, after}
						}
						break
					}
					time.Sleep(20 * time.Millisecond) // it is away
				}
				if !reported && n >= 40 {
					reported = true
					enough <- struct{}{}
				}
				if after && n >= 60 {
					return
				}
			}
		})
	}
	for range processes {
		<-enough
	}
	if err := primary.Close(); err != nil { // its data is gone
		t.Fatal(err)
	}
	proxy.Move(standby.Address())
	if _, err := s.Apply(ctx, directBatch(9, 0, 1)); err == nil ||
		errors.Is(err, hookgate.ErrRejected) {
		t.Errorf("an append to a standby got %v", err)
	}
	if err := standby.Promote(ctx); err != nil {
		t.Fatal(err)
	}
	close(isMoved)
	all.Wait()

	done := make(chan struct{})
	close(done)
	order, stored := follow(t, s, done)
	inOrder(t, order)
	var before, after []int64
	for _, acks := range acked {
		for message, r := range acks {
			if stored[message] != strconv.FormatInt(r.id, 10) {
				t.Errorf("event %s was acknowledged with id %d and is stored with %q", message, r.id,
					stored[message])
			}
			if r.after {
				after = append(after, r.id)
			} else {
				before = append(before, r.id)
			}
		}
	}
	if len(before) < processes*40 || len(after) == 0 {
		t.Fatalf("%d events were acknowledged before and %d after", len(before), len(after))
	}
	if slices.Max(before) >= slices.Max(after) {
		t.Errorf("the ids end with %d, and before the failover one was %d", slices.Max(after),
			slices.Max(before))
	}
	if err := verified(url); err != nil {
		t.Error(err)
	}
	if worth, err := s.Durability(ctx); err != nil || strings.Contains(worth, "survives the loss") {
		t.Errorf("without a standby a commit %s (error %v)", worth, err)
	}
}
