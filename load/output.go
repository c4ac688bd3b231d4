package load

import (
	"fmt"
	"io"
	"os"
)

// CreateOutput opens a file for writing that only its owner can read. It does not touch a file that
// has content.
func CreateOutput(path string) (io.WriteCloser, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create output: %w", err)
	}
	info, err := file.Stat()
	switch {
	case err != nil:
		err = fmt.Errorf("create output: %w", err)
	case info.Size() > 0:
		err = fmt.Errorf("%s exists and is not empty: remove it or name another file", path)
	case info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 && file.Chmod(0o600) != nil:
		err = fmt.Errorf("%s can be read by others and belongs to another user: name another file", path)
	default:
		return file, nil
	}
	file.Close()
	return nil, err
}
