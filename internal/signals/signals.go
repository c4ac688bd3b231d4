// Package signals handles the signals that end a process, or must not.
package signals

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// Interruptible returns a context that ends with the first SIGINT or SIGTERM. A second one ends the
// process at once, after the functions of BeforeExit.
func Interruptible() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		exiting.Lock() // for ever: no other function is added
		for _, f := range exits {
			f()
		}
		os.Exit(128 + int(syscall.SIGTERM))
	}()
	return ctx, cancel
}

var (
	exiting sync.Mutex         // guards the variables below
	exits   = map[int]func(){} // functions of BeforeExit
	nextKey int
)

// BeforeExit adds a function that is called before a second signal ends the process. remove
// removes it.
func BeforeExit(f func()) (remove func()) {
	exiting.Lock()
	defer exiting.Unlock()
	key := nextKey
	nextKey++
	exits[key] = f
	return func() {
		exiting.Lock()
		defer exiting.Unlock()
		delete(exits, key)
	}
}

// SurviveHangups keeps SIGHUP from ending the process until stop is called. Some people send SIGHUP
// to reload settings.
func SurviveHangups(log *slog.Logger) (stop func()) {
	hangups, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		defer close(done)
		for range hangups {
			log.Warn("SIGHUP changes nothing: there is no reload. Restart to have settings read again;" +
				" a certificate is read again by itself when its files change")
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(hangups)
		<-done
	}
}
