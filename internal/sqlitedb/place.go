package sqlitedb

import (
	"fmt"
	"os"

	"github.com/hookgate/hookgate"
)

// Place is where a database file was when it was opened. A file that is removed or replaced stays
// open, so that SQLite goes on writing where nobody will look after a restart.
type Place struct {
	path string
	file os.FileInfo
}

// Locate remembers which file is at path. The caller has it open.
func Locate(path string) (Place, error) {
	file, err := os.Stat(path)
	return Place{path, file}, err
}

// Check returns a hookgate.MisconfiguredError if the path no longer leads to the file. It costs a
// microsecond or two, so that it can stand beside every commit.
func (p Place) Check() error {
	now, err := os.Stat(p.path)
	if err == nil && os.SameFile(p.file, now) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("another file has taken the place of %s", p.path)
	}
	return &hookgate.MisconfiguredError{
		Reason: "a database file was removed or replaced while the gate uses it: put it back, or restart the gate",
		Err:    fmt.Errorf("%w; put the file back that the gate has open, or restart the gate to use what is there now", err),
	}
}
