package spool

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/queue/queuetest"
	"github.com/hookgate/hookgate/queue/spool/spoolfile"
)

// firstRequest returns the first request that the trail entry of a duplicate names; zero for any
// other entry.
func firstRequest(t queuetest.TB, e hookgate.TrailEntry) hookgate.RequestID {
	t.Helper()
	var meta struct{ FirstRequestID hookgate.RequestID }
	if e.Stage == hookgate.StageDuplicate {
		if err := json.Unmarshal(e.Metadata, &meta); err != nil {
			t.Fatalf("metadata %s: %v", e.Metadata, err)
		}
	}
	return meta.FirstRequestID
}

// edit runs statements on a file without its owner.
func edit(t *testing.T, path, script string) {
	t.Helper()
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := sqlitex.ExecuteScript(conn, script, nil); err != nil {
		t.Fatal(err)
	}
}

// TestCorruptEntry: a spooled record that cannot be decoded is quarantined and holds up nothing.
func TestCorruptEntry(t *testing.T) {
	bothWays(t, func(t *testing.T, oneByOne bool) {
		dir := t.TempDir()
		p := openPair(t, dir, setup{})
		p.paused.Store(true)
		for _, d := range []*hookgate.Request{newRequest("k", 0), newRequest("x", 0),
			newRequest("k", 1)} {
			mustAppend(t, p, d)
		}
		if err := p.close(); err != nil {
			t.Fatal(err)
		}
		edit(t, filepath.Join(dir, "spool.db"),
			"UPDATE records SET data = CAST('raw' AS BLOB) WHERE id = 2")
		p = openPair(t, dir, setup{oneByOne: oneByOne})
		defer p.close()
		eventually(t, "the queue is direct", p.isDirect)
		p.store.mustHold(t, map[string]int{"k": 2, "x": 0})
		if len(p.aside) != 1 || string(p.aside[0].Body) != "raw" {
			t.Errorf("put aside are %+v", p.aside)
		}
	})
}

// TestLockedStore: another program locks the store's file for seconds, as VACUUM does, while
// senders go on. No request is rejected, and in the end each is stored once and in order.
func TestLockedStore(t *testing.T) {
	dir := t.TempDir()
	p := openPair(t, dir, setup{timeout: 100 * time.Millisecond})
	defer p.close()
	const senders = 4
	var counts [senders]atomic.Int64
	stop := make(chan struct{})
	var sending sync.WaitGroup
	for s := range senders {
		sending.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
				}
				if _, err := p.Append(context.Background(), newRequest(string(rune('a'+s)), n)); err != nil {
					t.Errorf("sender %d, request %d: %v", s, n, err)
					return
				}
				counts[s].Store(int64(n + 1))
			}
		})
	}
	eventually(t, "something is stored", func() bool { return len(p.store.events(t)) > 10 })
	conn, err := sqlite.OpenConn(filepath.Join(dir, "store.db"), sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetBusyTimeout(waitFor)
	if err := sqlitex.ExecuteTransient(conn, "BEGIN IMMEDIATE", nil); err != nil {
		t.Fatal(err)
	}
	locked := time.Now()
	eventually(t, "webhooks are spooled for 2 seconds", func() bool {
		return mustStats(t, p).Spooled > 100 && time.Since(locked) > 2*time.Second
	})
	if err := errors.Join(sqlitex.ExecuteTransient(conn, "ROLLBACK", nil), conn.Close()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the queue is direct again, under load", p.isDirect)
	close(stop)
	sending.Wait()
	eventually(t, "the queue is direct", p.isDirect)
	want := map[string]int{}
	for s := range senders {
		want[string(rune('a'+s))] = int(counts[s].Load())
	}
	p.store.mustHold(t, want)
}

// childDir is the environment variable that turns this test binary into a process that runs until
// it is killed.
const childDir = "HOOKGATE_FAILOVER_CHILD"

// child appends requests of some keys and prints each acknowledged one. Its store fails now and
// then, so it spools and drains in turn. With childDir_DRAIN it drains queue.db. It never returns.
func child(dir string) {
	fail := func(err error) {
		fmt.Println("error", err)
		os.Exit(1)
	}
	if os.Getenv(childDir+"_DRAIN") != "" {
		p, err := tryOpen(dir, setup{})
		if err != nil {
			fail(err)
		}
		if err := drainFile(p, filepath.Join(dir, "queue.db"), p.primary, 1); err != nil {
			fail(err)
		}
		fmt.Println("drained")
		os.Exit(0)
	}
	p, err := tryOpen(dir, setup{timeout: impatient})
	if err != nil {
		fail(err)
	}
	var from int
	fmt.Sscan(os.Getenv(childDir+"_FROM"), &from)
	var mu sync.Mutex // guards the output
	for k := range 4 {
		go func() {
			key := string(rune('a' + k))
			for n := from; ; n++ {
				if _, err := p.Append(context.Background(), newRequest(key, n)); err != nil {
					fail(err)
				}
				mu.Lock()
				fmt.Println("acknowledged", key, n)
				mu.Unlock()
			}
		}()
	}
	for {
		p.store.mood.Store([]int32{well, refuses, well, lies, well, hangs}[rand.IntN(6)])
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	}
}

// run starts a child and passes each line of its output to read. When read returns false, run kills
// the child and waits for its end.
func run(t *testing.T, environ []string, read func(line string) bool) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), environ...)
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if !read(lines.Text()) {
			c.Process.Kill() // and go on reading what it had said
		}
	}
	c.Wait()
}

// TestKilled kills a process that spools and drains, repeatedly. In the end every acknowledged
// request is stored, once and in the order of its key.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	from, spooled := 0, int64(0)
	for range modeltest.Pick(5, 40) {
		lines := 0
		run(t, []string{childDir + "=" + dir, fmt.Sprintf("%s_FROM=%d", childDir,
			from)}, func(line string) bool {
			var what, key string
			var n int
			if _, err := fmt.Sscan(line, &what, &key, &n); err != nil || what == "error" {
				t.Errorf("the child says %q", line)
				return false
			}
			acknowledged[fmt.Sprintf("%s-%d", key, n)] = true
			from = max(from, n+2) // one of each key may be stored without an answer
			lines++
			return lines < 100+rand.IntN(200)
		})
		left, err := spoolfile.Unreleased(t.Context(), filepath.Join(dir, "spool.db"))
		if err != nil {
			t.Fatal(err)
		}
		spooled += left
	}
	p := openPair(t, dir, setup{})
	defer p.close()
	eventually(t, "the queue is direct", p.isDirect)
	last := map[string]int64{}
	for _, e := range p.store.events(t) {
		if before, seen := last[e.OrderingKey]; seen && e.Sequence <= before {
			t.Fatalf("%s is stored behind %d", e.MessageID, before)
		}
		last[e.OrderingKey] = e.Sequence
		delete(acknowledged, e.MessageID)
	}
	for id := range acknowledged {
		t.Errorf("%s was acknowledged and is not stored", id)
	}
	t.Logf("%d records were spooled when the process was killed", spooled)
}

// earlierQueue copies the file of an earlier release into a folder: 40 records of 5 keys. See
// testdata of spoolfile.
func earlierQueue(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "queue.db")
	data, err := os.ReadFile("spoolfile/testdata/queue.db")
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// few returns few records at a time.
type few struct {
	hookgate.BufferedQueue
	max int
}

type fewReader struct {
	hookgate.PartitionReader
	max int
}

func (f few) OpenReader(ctx context.Context) (hookgate.PartitionReader, error) {
	c, err := f.BufferedQueue.OpenReader(ctx)
	return fewReader{c, f.max}, err
}

func (c fewReader) Next(ctx context.Context, _, maxBytes int) ([]hookgate.Record, error) {
	records, err := c.PartitionReader.Next(ctx, c.max, maxBytes)
	if os.Getenv(childDir) != "" && len(records) > 0 {
		fmt.Println("drains")
	}
	return records, err
}

// drainFile drains the file at path, a few records at a time.
func drainFile(p *pair, path string, to Appender, atATime int) error {
	left, err := spoolfile.Open(context.Background(), path, spoolfile.Options{})
	if err != nil {
		return err
	}
	return errors.Join(Drain(context.Background(), to, few{left, atATime},
		p.options(setup{timeout: waitFor})), left.Close())
}

// mustHoldEarlier checks that the store has the records of the earlier release's file.
func mustHoldEarlier(t *testing.T, f *fickle) {
	t.Helper()
	last, n, duplicates := map[string]int64{}, 0, 0
	for _, r := range f.kept(t) {
		if !r.DuplicateOf.IsZero() {
			duplicates++
			continue
		}
		before, seen := last[r.OrderingKey]
		if seen && r.Sequence != before+1 || len(r.Body) == 0 {
			t.Fatalf("%s with %d bytes is stored behind %d", r.MessageID, len(r.Body), before)
		}
		last[r.OrderingKey] = r.Sequence
		n++
	}
	for key, sequence := range last {
		if sequence != 7 {
			t.Errorf("the last event of %s is %d", key, sequence)
		}
	}
	if len(last) != 5 || n+duplicates > 40 || duplicates < 5 {
		t.Errorf("%d events of %d keys and %d duplicates are stored", n, len(last), duplicates)
	}
}

// TestDrain: the file of an earlier release is drained into a store that fails now and then, each
// key in order. Duplicates without body stay duplicates.
func TestDrain(t *testing.T) {
	bothWays(t, func(t *testing.T, oneByOne_ bool) {
		p := newPair(t, setup{timeout: impatient})
		path := earlierQueue(t, t.TempDir())
		to := Appender(p.primary)
		if oneByOne_ {
			to = oneByOne{p.primary}
		}
		stop := make(chan struct{})
		var failing sync.WaitGroup
		failing.Go(func() {
			for mood := int32(0); ; mood = (mood + 1) % (sluggish + 1) {
				p.store.mood.Store(mood)
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond):
				}
			}
		})
		err := drainFile(p, path, to, 3)
		close(stop)
		failing.Wait()
		if err != nil {
			t.Fatal(err)
		}
		mustHoldEarlier(t, p.store)
		if n, err := spoolfile.Unreleased(t.Context(), path); err != nil || n != 0 {
			t.Errorf("%d records are left (error %v)", n, err)
		}
	})
}

// TestDrainKilled: a process that drains an old file is killed repeatedly, and the next one drains
// the rest.
func TestDrainKilled(t *testing.T) {
	dir := t.TempDir()
	path := earlierQueue(t, dir)
	for kills, drained := 0, false; !drained; kills++ {
		lines := 0
		run(t, []string{childDir + "=" + dir, childDir + "_DRAIN=1"}, func(line string) bool {
			drained = line == "drained"
			lines++
			return line == "drains" && lines < 10 || drained
		})
		if kills > 40 {
			t.Fatal("the file does not become empty")
		}
	}
	if n, err := spoolfile.Unreleased(t.Context(), path); err != nil || n != 0 {
		t.Errorf("%d records are left (error %v)", n, err)
	}
	p := openPair(t, dir, setup{})
	defer p.close()
	mustHoldEarlier(t, p.store)
}

// TestDrainEnds: the end of the context ends a drain that makes no progress, and nothing is lost.
func TestDrainEnds(t *testing.T) {
	p := newPair(t, setup{})
	path := earlierQueue(t, t.TempDir())
	p.store.mood.Store(refuses)
	left, err := spoolfile.Open(t.Context(), path, spoolfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer left.Close()
	ctx, cancel := context.WithTimeout(t.Context(), impatient)
	defer cancel()
	if err := Drain(ctx, p.primary, left, p.options(setup{timeout: waitFor})); err == nil {
		t.Error("a drain that got nowhere succeeded")
	}
	if n := mustStats(t, left).Depth; n != 40 {
		t.Errorf("%d records are left, want 40", n)
	}
}

// TestLeftover: the records of a leftover file go to the primary once, each key in order and before
// new ones. Afterwards the file is empty, and appends return the primary's errors.
func TestLeftover(t *testing.T) {
	bothWays(t, func(t *testing.T, oneByOne bool) {
		dir := t.TempDir()
		path := earlierQueue(t, dir)
		s := setup{spoolFile: "queue.db", leftover: true, oneByOne: oneByOne}
		p := openPair(t, dir, s)
		p.store.mood.Store(refuses)
		for _, key := range []string{"a", "b", "c", "d", "e"} {
			mustAppend(t, p, newRequest(key, 8))
		}
		var leftover *hookgate.LeftoverError
		if s := mustStats(t, p); !errors.As(s.Degraded, &leftover) || leftover.Left == 0 ||
			leftover.File != "queue.db" || s.Err != nil {
			t.Errorf("stats are %+v", s)
		}
		if err := p.close(); err != nil { // nothing more is released than after a crash
			t.Fatal(err)
		}
		var emptied atomic.Bool
		s.emptied = func() { emptied.Store(true) }
		p = openPair(t, dir, s)
		defer p.close()
		eventually(t, "the file is empty", emptied.Load)
		if n, err := spoolfile.Unreleased(t.Context(), path); err != nil || n != 0 {
			t.Errorf("%d records are left (error %v)", n, err)
		}
		last := map[string]int64{}
		for _, e := range p.store.events(t) {
			if before, seen := last[e.OrderingKey]; seen && e.Sequence != before+1 {
				t.Errorf("%s is stored behind %d", e.MessageID, before)
			}
			last[e.OrderingKey] = e.Sequence
		}
		for _, key := range []string{"a", "b", "c", "d", "e"} {
			if last[key] != 8 {
				t.Errorf("the last event of %s is %d", key, last[key])
			}
		}
		p.store.mood.Store(refuses)
		if _, err := p.Append(t.Context(), newRequest("a", 9)); !errors.Is(err, errAway) {
			t.Errorf("afterwards an append gets %v, want what the primary answers", err)
		}
	})
}

// TestLeftoverRejects: with Options.Reject, requests are rejected until the file is empty.
func TestLeftoverRejects(t *testing.T) {
	dir := t.TempDir()
	earlierQueue(t, dir)
	var emptied atomic.Bool
	p := openPair(t, dir, setup{spoolFile: "queue.db", leftover: true, reject: true,
		emptied: func() { emptied.Store(true) }})
	defer p.close()
	p.paused.Store(true)
	var leftover *hookgate.LeftoverError
	if _, err := p.Append(t.Context(), newRequest("a", 8)); err == nil {
		// The drainer may have emptied the file before the pause.
		eventually(t, "the file is empty", emptied.Load)
	} else if !errors.As(err, &leftover) || !leftover.Rejecting || !errors.As(mustStats(t, p).Err,
		&leftover) {
		t.Errorf("an append gets %v", err)
	}
	p.paused.Store(false)
	eventually(t, "the file is empty", emptied.Load)
	mustAppend(t, p, newRequest("a", 8))
}
