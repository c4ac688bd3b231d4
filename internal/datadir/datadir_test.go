package datadir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hookgate/hookgate/control"
)

// TestStrangersKeys: the gate rejects keys, databases and links of another user in the data
// directory.
func TestStrangersKeys(t *testing.T) {
	if os.Geteuid() != 0 {
		return // only root can make a file that belongs to another
	}
	const stranger = 12345
	for _, name := range []string{"keys", "keys/admin_token", "keys/link", "queue.db", "store.db-wal",
		"hookgate.lock"} {
		d := Dir(t.TempDir())
		must(t, os.Mkdir(d.KeyDir(), 0o700))
		path := filepath.Join(string(d), name)
		switch name {
		case "keys":
		case "keys/link":
			path = d.KeyFile(AdminToken)
			elsewhere := filepath.Join(t.TempDir(), "token")
			must(t, os.WriteFile(elsewhere, []byte("a-token-that-a-stranger-knows"), 0o600))
			must(t, os.Symlink(elsewhere, path))
		default:
			must(t, os.WriteFile(path, []byte("a-token-that-a-stranger-knows"), 0o600))
		}
		must(t, os.Lchown(path, stranger, stranger))
		lock, err := d.Lock()
		if err == nil {
			defer lock.Close()
			_, _, err = d.Key(AdminToken)
		}
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s of a stranger: error %v", name, err)
		}
		must(t, os.Lchown(path, 0, 0))
	}
}

// TestFilesAreNotFollowed: neither the lock nor a rewritten file follows a link to another file.
func TestFilesAreNotFollowed(t *testing.T) {
	d := Dir(t.TempDir())
	other := filepath.Join(t.TempDir(), "other")
	must(t, os.WriteFile(other, []byte("precious"), 0o600))
	must(t, os.Symlink(other, d.ModeFile()+".new"))
	must(t, d.KeepMode(d.ModeFile(), control.ModeReadOnly))
	must(t, os.Symlink(other, filepath.Join(string(d), "hookgate.lock")))
	if lock, err := d.Lock(); err == nil {
		lock.Close()
		t.Error("the lock is taken through a link")
	}
	if text, err := os.ReadFile(other); err != nil || string(text) != "precious" {
		t.Errorf("the other file holds %q, %v", text, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
