package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/hookgate/hookgate"
)

// TestFileMoved: while the file of the queue is gone, or another one is in its place, nothing is
// acknowledged, and the stats say why without any append. When it is back everything goes on.
func TestFileMoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := mustOpen(t, path, Options{})
	mustAppend(t, q, testDelivery("k", 1))
	why := func() error {
		t.Helper()
		s, err := q.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Err
	}
	for i, spoil := range []func() error{
		func() error { return nil },
		func() error { return os.WriteFile(path, nil, 0o600) },
	} {
		if err := errors.Join(os.Rename(path, path+".away"), spoil()); err != nil {
			t.Fatal(err)
		}
		var unfit *hookgate.UnfitError
		eventually(t, "the stats say why", func() bool { return errors.As(why(), &unfit) })
		if _, err := q.Append(t.Context(), testDelivery("k", 2+i)); !errors.As(err, &unfit) {
			t.Errorf("an append got %v", err)
		}
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the queue writes again", func() bool { return why() == nil })
		if r := mustAppend(t, q, testDelivery("k", 2+i)); r.Duplicate() {
			t.Error("what was not acknowledged was kept")
		}
	}
	if s, err := q.Stats(t.Context()); err != nil || s.Depth != 3 {
		t.Errorf("the queue holds %d records, want 3 (error %v)", s.Depth, err)
	}
}

// TestFetchMoved: records that must be read from the file while it is away are not handed out, and every
// connection reads them when it is back, also those that had not been used before.
func TestFetchMoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := mustOpen(t, path, Options{CacheBytes: 1})
	for i := range 2 * readers {
		mustAppend(t, q, testDelivery("k", i))
	}
	c, err := q.Consume(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	files := []string{path, path + "-wal", path + "-shm"}
	for _, file := range files {
		if err := os.Rename(file, file+".away"); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 * readers {
		var unfit *hookgate.UnfitError
		if records, err := c.Next(t.Context(), 1, 1<<20); !errors.As(err, &unfit) {
			t.Errorf("while the files are away, next got %d records, %v", len(records), err)
		}
	}
	for _, file := range files {
		if err := os.Rename(file+".away", file); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 * readers {
		if records, err := c.Next(t.Context(), 1, 1<<20); err != nil || len(records) != 1 {
			t.Errorf("when the files are back, next got %d records, %v", len(records), err)
		}
	}
}
