package spoolfile

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/hookgate/hookgate"
)

// TestModel drives a file with random appends, reads, releases, failing transactions, changes of
// reader, restarts and crashes, and compares it with a list. A reader must see all acknowledged
// records in order, from the first one that is not released. Records of failed appends may be among
// them, because their outcome is unknown.
func TestModel(t *testing.T) {
	root := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(root, "")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "spool.db")
		var (
			f            *faults
			q            *File
			c            hookgate.PartitionReader
			acknowledged []int64 // sequences, and
			released     int64   // the highest of those that were released
			seen         int64   // the highest that the reader has seen, or released
			appended     int64   // the highest that was ever tried
			inHand       []hookgate.Record
		)
		reopen := func() {
			f = &faults{}
			if q, err = open(context.Background(), path, Options{}, f.hook); err != nil {
				t.Fatal(err)
			}
			c, inHand, seen = mustOpenReader(t, q), nil, 0
		}
		reopen()
		defer func() { q.Close() }()
		// due is the first acknowledged sequence that the reader has not seen.
		due := func() (int64, bool) {
			i := slices.IndexFunc(acknowledged, func(n int64) bool { return n > max(seen, released) })
			if i < 0 {
				return 0, false
			}
			return acknowledged[i], true
		}
		next := func(max int) {
			if _, ok := due(); !ok {
				return
			}
			records, err := c.Next(context.Background(), max, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				// No record is skipped, comes twice or comes early.
				if first, ok := due(); r.Sequence <= seen || ok && r.Sequence > first || r.Sequence > appended {
					t.Fatalf("sequence %d came behind %d, with %d due", r.Sequence, seen, first)
				}
				seen = r.Sequence
			}
			inHand = append(inHand, records...)
		}
		commit := func(n int) {
			if n == 0 {
				return
			}
			if err := c.Commit(context.Background(), hookgate.LastOffsets(inHand[:n])); err == nil ||
				f.when.Load() != nil {
				released = max(released, inHand[n-1].Sequence) // or maybe
			} else {
				t.Fatal(err)
			}
			inHand = inHand[n:]
		}
		failing := map[string]moment{"not done": commits, "done": committed}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				appended++
				if _, err := q.Append(context.Background(), testRequest("k", int(appended))); err == nil {
					acknowledged = append(acknowledged, appended)
				} else if f.when.Load() == nil {
					t.Fatal(err)
				}
			},
			"next":   func(t *rapid.T) { next(rapid.IntRange(1, 6).Draw(t, "max")) },
			"commit": func(t *rapid.T) { commit(rapid.IntRange(0, len(inHand)).Draw(t, "n")) },
			"fail": func(t *rapid.T) {
				f.fail(failing[rapid.SampledFrom([]string{"not done", "done"}).Draw(t, "how")])
			},
			"work": func(*rapid.T) { f.end() },
			"changeReader": func(*rapid.T) {
				c.Close()
				c, inHand, seen = mustOpenReader(t, q), nil, 0
			},
			"restart": func(*rapid.T) {
				f.end()
				if err := q.Close(); err != nil {
					t.Fatal(err)
				}
				reopen()
			},
			"crash": func(*rapid.T) {
				f.fail(commits) // nothing reaches the file any more
				q.Close()
				reopen()
			},
		})
		f.end()
		for _, more := due(); more; _, more = due() {
			next(10)
		}
	})
}
