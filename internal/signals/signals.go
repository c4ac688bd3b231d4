// Package signals handles the signals that end a process, or must not.
package signals

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// Interruptible returns a context that ends with the first SIGINT or SIGTERM. A second one ends the
// process at once.
func Interruptible() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(128 + int(syscall.SIGTERM))
	}()
	return ctx, cancel
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
