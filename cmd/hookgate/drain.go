package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/progress"
)

func newDrainCommand() *cobra.Command {
	var c connection
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Wait until everything accepted is stored",
		Long: `Wait until everything that a running gate has accepted is stored: the records queued in
Redis, and those that a process has spooled. Without Redis, and unless the gate spools,
everything accepted is already stored.

The gate goes on taking webhooks, so under a steady stream the queue may never be empty.
Run "hookgate maintenance read_only" first where that matters. While Redis is away the
gate does not know what is left in it, and drain waits. In the mode buffer nothing is
stored, and drain fails at once unless the queue is empty.

Exit code 0: nothing is queued. 1: something was left when the time was over. 2: the gate
could not be asked.`,
		Example: `  hookgate maintenance read_only && hookgate drain --timeout 5m`,
		Args:    cobra.NoArgs,
	}
	c.registerOpen(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "the longest `time` to wait")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if timeout <= 0 {
			return errors.New("--timeout must be positive")
		}
		client, err := c.open()
		if err != nil {
			return err
		}
		begun, first := time.Now(), int64(-1)
		bar := progress.New(cmd.ErrOrStderr(), 0)
		last, err := client.AwaitDrained(cmd.Context(), timeout, func(s api.DrainState) {
			if first < 0 || s.Unsure {
				first = s.Left
			}
			bar.Total(first)
			bar.Set(first-s.Left, drainText(first, s.Left, time.Since(begun)))
		})
		bar.Done()
		switch {
		case err == nil:
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "drained: %d records in %v\n", first,
				time.Since(begun).Round(time.Millisecond))
			return err
		case errors.Is(err, api.ErrBuffering):
			err = fmt.Errorf("%d records are queued, and %w: run `hookgate maintenance normal` "+
				"or `hookgate maintenance read_only`, then drain", last.Left, err)
		case errors.Is(err, context.DeadlineExceeded) && last.Left > 0:
			err = fmt.Errorf("%d records are still queued after %v; see the log of the gate",
				last.Left, timeout)
		case errors.Is(err, context.DeadlineExceeded) && last.Unsure:
			err = fmt.Errorf("the queue is away, so it is unknown what is left in it after %v",
				timeout)
		case errors.Is(err, context.Canceled) && last.Left > 0:
			err = fmt.Errorf("interrupted: %d records are still queued", last.Left)
		default:
			return err
		}
		return &exitError{exitFail, err}
	}
	return cmd
}

// drainText says how many records are left, and how long they will take at the rate so far.
func drainText(first, left int64, took time.Duration) string {
	perSecond, rest := float64(first-left)/took.Seconds(), time.Duration(0)
	if perSecond > 0 {
		rest = time.Duration(float64(left) / perSecond * float64(time.Second)).Round(time.Second)
	}
	return fmt.Sprintf("%d queued, %.0f/s, about %v left", left, perSecond, rest)
}
