package spoolfile

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/modeltest"
)

// keys is the number of ordering keys that the child uses.
const keys = 4

// spoolForEver appends requests of some keys and prints each acknowledged one, while a reader
// reads, releases and prints what it has released. It continues at the end of the file. It never
// returns.
func spoolForEver(path string) {
	ctx := context.Background()
	q, err := Open(ctx, path, Options{})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var from int
	fmt.Sscan(os.Getenv(childFile+"_FROM"), &from)
	var mu sync.Mutex // guards the output
	say := func(what string, key string, n int64) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(what, key, n)
	}
	for k := range keys {
		go func() {
			key := string(rune('a' + k))
			for n := from; ; n++ {
				if _, err := q.Append(ctx, testRequest(key, n)); err == nil {
					say("appended", key, int64(n))
				}
			}
		}()
	}
	c, err := q.OpenReader(ctx)
	for err == nil {
		records, _ := c.Next(ctx, 3, 1<<20)
		for _, r := range records { // before the release: a crash may come in between
			say("releases", r.OrderingKey, r.Sequence)
		}
		err = c.Commit(ctx, hookgate.LastOffsets(records))
	}
	fmt.Println("error", err)
	os.Exit(1)
}

// TestKilled kills a process that spools and releases, repeatedly, and then reads its file. All
// records that were acknowledged and not released are there, and each key is in order.
func TestKilled(t *testing.T) {
	path := newPath(t)
	acknowledged, released := map[place]bool{}, map[place]bool{}
	from := int64(0)
	for range modeltest.Pick(3, 20) {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childFile+"="+path, fmt.Sprintf("%s_FROM=%d", childFile, from))
		out, err := child.StdoutPipe()
		if err == nil {
			err = child.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			var what string
			var r place
			if _, err := fmt.Sscan(lines.Text(), &what, &r.key, &r.sequence); err != nil || what == "error" {
				t.Fatalf("the child says %q", lines.Text())
			}
			if what == "appended" {
				acknowledged[r] = true
			} else {
				released[r] = true
			}
			from = max(from, r.sequence+2) // one of each key may be in the file without an answer
			if n == 300 {
				child.Process.Kill() // and go on reading what it had said
			}
		}
		child.Wait()

		q, _ := mustOpen(t, path, Options{})
		last, left := map[string]int64{}, map[place]bool{}
		for _, r := range mustNext(t, mustOpenReader(t, q), int(stats(t, q).Depth)) {
			if before, seen := last[r.OrderingKey]; seen && r.Sequence <= before {
				t.Fatalf("%s came behind %d", r.MessageID, before)
			}
			last[r.OrderingKey] = r.Sequence
			left[place{r.OrderingKey, r.Sequence}] = true
		}
		q.Close()
		for r := range acknowledged {
			if !released[r] && !left[r] {
				t.Fatalf("%s-%d was acknowledged and not released, and is gone", r.key, r.sequence)
			}
		}
	}
}

// place names one record.
type place struct {
	key      string
	sequence int64
}
