// Package sqlitetest saves tests the time of migrations, which take longer than most tests.
package sqlitetest

import (
	"os"
	"path/filepath"
	"sync"
)

// Template is an SQLite file that is made once in a process and then copied.
type Template struct {
	// Create makes and closes the file at a path. It must leave no log beside it.
	Create func(path string) error

	once sync.Once
	data []byte
	err  error
}

// Copy writes the file to path.
func (t *Template) Copy(path string) error {
	t.once.Do(func() { t.data, t.err = t.make() })
	if t.err != nil {
		return t.err
	}
	return os.WriteFile(path, t.data, 0o600)
}

func (t *Template) make() ([]byte, error) {
	dir, err := os.MkdirTemp("", "hookgate-template-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "template.db")
	if err := t.Create(path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}
