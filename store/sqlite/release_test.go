package sqlite

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/storetest"
)

// released returns the path of a migrated store that the storetest of an earlier release has
// filled.
func released(t *testing.T, name string) string {
	t.Helper()
	path := releasedAsItWas(t, name)
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func releasedAsItWas(t *testing.T, name string) string {
	t.Helper()
	packed, err := os.Open(filepath.Join("testdata", "release-6deb59b-"+name+".db.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	r, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "store.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRelease: migrated stores of an earlier release keep the head of their audit. They accept
// entries, purges and removals after their chains, and the audit succeeds afterwards. Their data
// reads as before.
func TestRelease(t *testing.T) {
	for _, name := range []string{"filled", "pruned", "tests"} {
		t.Run(name, func(t *testing.T) {
			path := releasedAsItWas(t, name)
			before, err := Verify(t.Context(), path, nil)
			if err != nil || before.Break != nil {
				t.Fatalf("before the migration: %v (error %v)", before.Break, err)
			}
			s, err := Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			check := func(when string) Audit {
				t.Helper()
				found, err := Verify(t.Context(), path, nil)
				if err != nil || found.Break != nil {
					t.Fatalf("%s: %v (error %v)", when, found.Break, err)
				}
				return found
			}
			if after := check("after the migration"); after != before {
				t.Errorf("the audit found %+v before the migration and %+v after it", before, after)
			}
			old := storetest.Sample(0, 40) // an event of the pruned store
			old.RequestID = hookgate.NewRequestID(old.ReceivedAt)
			b := &hookgate.Batch{Records: []hookgate.Record{storetest.Sample(0, 20), old,
				storetest.Sample(0, 900)}, Worker: "w", Attempts: 1,
				Dead: []hookgate.DeadLetter{{Record: storetest.Sample(1, 901), Reason: "at fault"}}}
			outcome, err := s.Apply(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			if name == "pruned" && outcome.Results[1].DuplicateOf.IsZero() {
				t.Errorf("an event that the earlier release stored is stored again: %+v", outcome)
			}
			check("after new entries")
			var ids []string
			for d, err := range s.DeadLetters(t.Context(), hookgate.DeadLetterFilter{}) {
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, d.ID)
			}
			if _, err := s.Purge(t.Context(), hookgate.Purge{IDs: ids, By: "ops",
				Reason: "old"}); err != nil {
				t.Fatal(err)
			}
			check("after a purge")
			at := time.Now().Add(time.Second)
			for more := true; more; {
				p, err := s.Prune(t.Context(), hookgate.Cutoffs{Events: at, Trail: at}, 5)
				if err != nil {
					t.Fatal(err)
				}
				more = p.More
				check("between removals")
			}
			if found := check("at the end"); found.Events != 0 || found.Duplicates != 0 ||
				found.DeadLetters != 0 {
				t.Errorf("after all was removed, the audit found %+v", found)
			}
			if c, err := s.Counts(t.Context()); err != nil || c != (hookgate.StoreCounts{}) {
				t.Errorf("counts are %+v (error %v)", c, err)
			}
		})
	}
}

// TestNoRoom: a store on a disk that is too full is not migrated, and the error says how much space
// it needs.
func TestNoRoom(t *testing.T) {
	path := releasedAsItWas(t, "filled")
	if err := checkRoom(path, func(string) (int64, bool) { return 1 << 10, true }); err == nil ||
		!strings.Contains(err.Error(), "free some space") {
		t.Errorf("with 1 KiB free: %v", err)
	}
	for name, free := range map[string]func(string) (int64, bool){
		"enough": func(string) (int64, bool) { return 1 << 40, true }, "unknown": func(string) (int64,
			bool) {
			return 0, false
		},
	} {
		if err := checkRoom(path, free); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := checkRoom(released(t, "filled"), func(string) (int64, bool) {
		return 0,
			true
	}); err != nil {
		t.Errorf("after the migration: %v", err)
	}
}
