//go:build profile

package signals

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

// A binary built with the tag "profile", which nothing but bench/ builds, profiles itself between
// two SIGUSR1 and then writes the file that BENCH_CPU_PROFILE names.
func init() {
	path := os.Getenv("BENCH_CPU_PROFILE")
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGUSR1)
	go func() {
		for range signals {
			var profile bytes.Buffer
			err := pprof.StartCPUProfile(&profile)
			<-signals
			pprof.StopCPUProfile()
			if err == nil {
				err = os.WriteFile(path, profile.Bytes(), 0o600)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, "hookgate: profile:", err)
			}
		}
	}()
}
