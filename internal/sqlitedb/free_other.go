//go:build !unix

package sqlitedb

// FreeBytes is not known on this system.
func FreeBytes(string) (free int64, known bool) { return 0, false }
