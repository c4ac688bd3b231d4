//go:build !unix

package sqlitedb

// FreeBytes cannot measure free space on this system.
func FreeBytes(string) (free int64, known bool) { return 0, false }
