//go:build unix

package doctor

import (
	"math"

	"golang.org/x/sys/unix"
)

// DiskSpace returns the bytes that a user without rights may still write to the file system that
// holds path, and its size.
func DiskSpace(path string) (free, size int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, 0, err
	}
	bytes := func(blocks uint64) int64 { return int64(min(blocks*uint64(s.Bsize), math.MaxInt64)) }
	return bytes(s.Bavail), bytes(s.Blocks), nil
}

// freeSpace returns the first value of DiskSpace.
func freeSpace(path string) (int64, error) {
	free, _, err := DiskSpace(path)
	return free, err
}

// openFiles returns how many files a process may have open.
func openFiles() (uint64, error) {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	return uint64(limit.Max), err // Go raises the soft limit to the hard one
}
