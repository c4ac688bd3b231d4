//go:build !linux

package doctor

// filesystemOf knows no filesystem here.
func filesystemOf(string) (string, error) { return "", nil }
