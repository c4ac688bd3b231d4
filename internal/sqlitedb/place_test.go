package sqlitedb

import (
	"os"
	"path/filepath"
	"testing"
)

// TestPlace: Check notices when the file is removed or replaced, and when it returns.
func TestPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(path, []byte("a"), 0o600))
	p, err := Locate(path)
	must(err)
	must(p.Check())
	must(os.WriteFile(path, []byte("changed"), 0o600))
	must(p.Check())
	must(os.Rename(path, path+".away"))
	if p.Check() == nil {
		t.Error("a file that is gone is not missed")
	}
	must(os.WriteFile(path, []byte("changed"), 0o600))
	if p.Check() == nil {
		t.Error("a file that was replaced is not missed")
	}
	must(os.Rename(path+".away", path))
	must(p.Check())
}
