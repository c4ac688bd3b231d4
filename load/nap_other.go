//go:build !linux

package load

import "time"

// nap sleeps as punctually as the runtime's timers are.
func nap(d time.Duration) { time.Sleep(d) }
