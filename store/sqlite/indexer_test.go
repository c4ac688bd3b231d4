package sqlite

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate/store/storetest"
)

// TestVerifyFindsChangesInLateIndexes: the audit finds index rows that are missing or changed for
// events up to webhook_log.indexed, and rows that belong to no event. The store has 6 indexed
// events and 3 that are not.
func TestVerifyFindsChangesInLateIndexes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := openLate(t, path, byHand)
	s.nextID = storetest.NextID
	for i := range 9 {
		if _, err := applyLate(s, lateRecord(i)); err != nil {
			t.Fatal(err)
		}
		if i == 5 {
			if _, _, err := s.indexStep(6); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.Close()
	const of3 = "(SELECT identity FROM webhook_events WHERE id = 3)"
	var changes []storetest.Tampering
	for _, c := range [][3]string{
		{"identity removed", "DELETE FROM webhook_identities WHERE identity = " + of3,
			"log, entry 3: it is missing in the index of identities"},
		{"identity of another event", "UPDATE webhook_identities SET event = 4 WHERE identity = " + of3,
			"log, entry 3: the index of identities has event 4"},
		{"identity added", "INSERT INTO webhook_identities VALUES (x'00', 3)",
			"webhook_identities has 7 rows, and 6 of them"},
		{"identity of an event that waits",
			"INSERT INTO webhook_identities SELECT identity, 2 FROM webhook_events WHERE id = 8",
			"log, entry 8: the index of identities has event 2"},
		{"key removed", "DELETE FROM webhook_keys WHERE event = 2",
			"log, entry 2: it is missing in the index of ordering keys"},
		{"key changed", "UPDATE webhook_keys SET ordering_key = 'x' WHERE event = 2",
			"log, entry 2: it is missing in the index of ordering keys"},
		{"event of a key changed", "UPDATE webhook_keys SET event = 90 WHERE event = 2",
			"log, entry 2: it is missing in the index of ordering keys"},
		{"key added", "INSERT INTO webhook_keys VALUES ('k0', 99)",
			"webhook_keys has 7 rows, and 6 of them"},
		{"index said to go further", "UPDATE webhook_log SET indexed = 7",
			"log, entry 7: it is missing in the index of identities"},
		{"index said to go beyond the end", "UPDATE webhook_log SET indexed = 10",
			"log, entry 7: it is missing"},
		{"all indexed and said to go beyond the end",
			"UPDATE webhook_log SET indexed = 10; INSERT OR IGNORE INTO webhook_identities SELECT" +
				" identity, id FROM webhook_events; " +
				"INSERT OR IGNORE INTO webhook_keys SELECT ordering_key, id FROM webhook_events",
			"the indexes are said to hold the events up to 10"},
	} {
		changes = append(changes, storetest.Tampering{Name: c[0], Script: c[1], Want: c[2]})
	}
	findsChanges(t, path, changes)
	// This is the state after a crash between two slices.
	for _, script := range []string{
		"INSERT INTO webhook_identities SELECT identity, id FROM webhook_events WHERE id = 8",
		"UPDATE webhook_log SET indexed = 2",
	} {
		copied := copyStore(t, path)
		if err := execute(copied, withoutTriggers+script+";"); err != nil {
			t.Fatal(err)
		}
		if found, err := Verify(t.Context(), copied, nil); err != nil || found.Break != nil {
			t.Errorf("%s: %v (error %v)", script, found.Break, err)
		}
		mustKnow(t, script, openLate(t, copied, byHand), 9)
	}
}

// TestLateByItself: a store indexes its events in the background, and indexes the few that are left
// when it closes.
func TestLateByItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	late := lateBounds{set: 4, slice: 2, small: 1, most: 1 << 20, every: time.Millisecond}
	s, err := open(t.Context(), path, late)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 30 {
		if _, err := applyLate(s, lateRecord(i)); err != nil {
			t.Fatal(err)
		}
	}
	for s.indexer.waiting.Load() > 0 {
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
	mustKnow(t, "indexed", s, 30)
	s.Close()
	late = byHand
	s, err = open(t.Context(), path, late)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if _, err := applyLate(s, lateRecord(30+i)); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s = openLate(t, path, byHand)
	if n := s.recent.waiting(); n != 0 {
		t.Errorf("%d events wait after a close", n)
	}
	mustKnow(t, "after a close", s, 32)
}

// TestLateKilled: a process that appends and indexes is killed. Each acknowledged event is stored
// once and can be found. The test runs itself as the child process.
func TestLateKilled(t *testing.T) {
	if path := os.Getenv("HOOKGATE_TEST_LATE"); path != "" {
		s, err := open(t.Context(), path, lateBounds{set: 4, slice: 2, small: 1, most: 16,
			every: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		first, _ := strconv.Atoi(os.Getenv("HOOKGATE_TEST_FIRST"))
		for n := first; ; n++ {
			if o, err := applyLate(s, lateRecord(n)); err != nil {
				t.Fatal(err)
			} else if o.Stored == 1 {
				fmt.Println("stored", n)
			} else {
				fmt.Println("known", n)
			}
		}
	}
	path, n := filepath.Join(t.TempDir(), "store.db"), 0
	for round := range 4 {
		child := exec.Command(os.Args[0], "-test.run=^TestLateKilled$")
		child.Env = append(os.Environ(), "HOOKGATE_TEST_LATE="+path, fmt.Sprint("HOOKGATE_TEST_FIRST=",
			n))
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines, acknowledged := bufio.NewScanner(out), 0
		for lines.Scan() {
			if !strings.HasPrefix(lines.Text(), "stored ") && !strings.HasPrefix(lines.Text(), "known ") {
				t.Errorf("the child says %q", lines.Text())
			}
			n++
			if acknowledged++; acknowledged == 20+7*round {
				if err := child.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		child.Wait()
		s := openLate(t, path, byHand)
		c, err := s.Counts(t.Context())
		if err != nil || c.Events < int64(n) || c.Events > int64(n)+1 {
			t.Fatalf("the store has %+v (error %v), %d were acknowledged", c, err, n)
		}
		n = int(c.Events)
		mustKnow(t, fmt.Sprint("after kill ", round), s, n)
		s.Close()
	}
}
