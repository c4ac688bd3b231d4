package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/storetest"
)

// TestFileMoved: if the file is gone or was replaced, Apply returns an error, so that the worker
// keeps the batch. When the file is back, the batch is stored.
func TestFileMoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, _ := openStore(t, path)
	defer s.Close()
	epoch, err := s.Acquire(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, spoil := range []func() error{
		func() error { return nil },
		func() error { return os.WriteFile(path, nil, 0o600) },
	} {
		b := &hookgate.Batch{
			Records: []hookgate.Record{storetest.Sample(0, i)}, Epochs: map[int]hookgate.Epoch{0: epoch},
			Worker: "w", ProcessedAt: time.Now(), Attempts: 1,
		}
		move := func(from, to string) {
			t.Helper()
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
		move(path, path+".away")
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		var misconfig *hookgate.MisconfiguredError
		if err := s.Ping(t.Context()); !errors.As(err, &misconfig) {
			t.Errorf("a ping got %v", err)
		}
		if _, err := s.Apply(t.Context(), b); !errors.As(err, &misconfig) ||
			errors.Is(err, hookgate.ErrRejected) {
			t.Errorf("apply got %v", err)
		}
		move(path+".away", path)
		// The file disappears between the check and the end of the commit.
		s.failCommit = func(done bool) error {
			if done {
				move(path, path+".away")
			}
			return nil
		}
		if _, err := s.Apply(t.Context(), b); !errors.As(err, &misconfig) {
			t.Errorf("apply got %v, and what it stored is gone", err)
		}
		s.failCommit = nil
		move(path+".away", path)
		if _, err := s.Apply(t.Context(), b); err != nil {
			t.Errorf("when the file is back, apply got %v", err)
		}
		if err := s.Ping(t.Context()); err != nil {
			t.Errorf("when the file is back, a ping got %v", err)
		}
	}
	if n, err := s.Counts(t.Context()); err != nil || n.Events != 2 {
		t.Errorf("the store has %d events, want 2 (error %v)", n.Events, err)
	}
}

// TestReadMoved: reads fail while the store's files are away and leave nothing behind. When the
// files are back, every connection reads them, including those not used before.
func TestReadMoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, _ := openStore(t, path)
	defer s.Close()
	epoch, err := s.Acquire(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	b := &hookgate.Batch{
		Records: []hookgate.Record{storetest.Sample(0, 0)}, Epochs: map[int]hookgate.Epoch{0: epoch},
		Worker: "w", ProcessedAt: time.Now(), Attempts: 1,
	}
	if _, err := s.Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	files := []string{path, path + "-wal", path + "-shm"}
	for _, file := range files {
		if err := os.Rename(file, file+".away"); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range readers {
		var misconfig *hookgate.MisconfiguredError
		if n, err := s.Counts(t.Context()); !errors.As(err, &misconfig) {
			t.Errorf("while the files are away, counts are %+v, %v", n, err)
		}
	}
	for _, file := range files {
		if err := os.Rename(file+".away", file); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 * readers {
		if n, err := s.Counts(t.Context()); err != nil || n.Events != 1 {
			t.Errorf("when the files are back, counts are %+v, %v", n, err)
		}
	}
}
