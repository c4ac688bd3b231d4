//go:build !linux

package load

import "time"

// nap sleeps with the precision of the runtime's timers.
func nap(d time.Duration) { time.Sleep(d) }
