//go:build unix

package sqlitedb

import "golang.org/x/sys/unix"

// FreeBytes returns how many bytes of the folder's disk are free for this process.
func FreeBytes(dir string) (free int64, known bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), true
}
