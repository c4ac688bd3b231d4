package load

import (
	"time"

	"golang.org/x/sys/unix"
)

// nap sleeps in the kernel, which is punctual to about 0.1 ms. It may return early on a signal.
func nap(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	unix.Nanosleep(&ts, nil)
}
