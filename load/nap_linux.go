package load

import (
	"time"

	"golang.org/x/sys/unix"
)

// nap sleeps in the kernel, with a precision of about 0.1 ms. A signal can end it early.
func nap(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	unix.Nanosleep(&ts, nil)
}
