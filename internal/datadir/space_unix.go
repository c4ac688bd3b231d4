//go:build unix

package datadir

import (
	"math"

	"golang.org/x/sys/unix"
)

// Space returns the bytes that a user without special rights may still write to the file system of
// the folder, and the size of the file system in bytes.
func (d Dir) Space() (free, size int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(string(d), &s); err != nil {
		return 0, 0, err
	}
	bytes := func(blocks uint64) int64 { return int64(min(blocks*uint64(s.Bsize), math.MaxInt64)) }
	return bytes(s.Bavail), bytes(s.Blocks), nil
}
