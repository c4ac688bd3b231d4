//go:build unix

package doctor

import (
	"math"

	"golang.org/x/sys/unix"
)

// freeSpace returns the bytes that a user without rights may still write.
func freeSpace(path string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, err
	}
	return int64(min(uint64(s.Bavail)*uint64(s.Bsize), math.MaxInt64)), nil
}

// openFiles returns how many files a process may have open.
func openFiles() (uint64, error) {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	return uint64(limit.Max), err // Go raises the soft limit to the hard one
}
