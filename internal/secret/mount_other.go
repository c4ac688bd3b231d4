//go:build !linux

package secret

import "os"

// mountedAlone reports whether a file was mounted for this container; containers run Linux.
func mountedAlone(string, *os.File) bool { return false }
