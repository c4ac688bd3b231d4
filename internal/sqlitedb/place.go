package sqlitedb

import (
	"fmt"
	"os"

	"github.com/hookgate/hookgate"
)

// Place identifies the database file that was at a path when it was opened. SQLite keeps writing to
// that file even if someone removes or replaces it, and after a restart nobody would find the data.
type Place struct {
	path string
	file os.FileInfo
}

// Locate returns the place of the file at path, which the caller has open.
func Locate(path string) (Place, error) {
	file, err := os.Stat(path)
	return Place{path, file}, err
}

// Check returns a hookgate.MisconfiguredError if the path no longer leads to the file. It takes a
// microsecond or two, so it can run after every commit.
func (p Place) Check() error {
	now, err := os.Stat(p.path)
	if err == nil && os.SameFile(p.file, now) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%s was replaced by another file", p.path)
	}
	return &hookgate.MisconfiguredError{
		Reason: "a database file was removed or replaced while the gate uses it: put it back," +
			" or restart the gate",
		Err: fmt.Errorf("%w; put back the file that the gate has open,"+
			" or restart the gate to use the new one", err),
	}
}
