package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"zombiezen.com/go/sqlite"
)

// Goal: a probe fails while the file cannot grow, succeeds when it can, and leaves nothing behind.
// Method: a limit on the pages of the database.
func TestProbe(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	pages := func(n int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.execute(fmt.Sprint("PRAGMA max_page_count = ", n), nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	pages(1) // the current number of pages
	if err := s.Probe(t.Context(), 1<<20); sqlite.ErrCode(errors.Unwrap(err)).
		ToPrimary() != sqlite.ResultFull {
		t.Errorf("the probe of a full store: %v", err)
	}
	if s.Ping(t.Context()) == nil {
		t.Error("the store does not say that it cannot write")
	}
	pages(1 << 30)
	if err := s.Probe(t.Context(), 1<<20); err != nil {
		t.Errorf("the probe of a store with room: %v", err)
	}
	if all, err := s.Settings(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("settings are %v, %v", all, err)
	}
}
