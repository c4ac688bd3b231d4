package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/progress"
)

const (
	// drainPoll is the time between two questions to the gate.
	drainPoll = 100 * time.Millisecond
	// firstAnswer is how long the gate may take for its first answer, however short the time-out.
	firstAnswer = 30 * time.Second
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
		d := drain{client: client, bar: progress.New(cmd.ErrOrStderr(), 0)}
		left, err := d.run(cmd.Context(), timeout)
		d.bar.Done()
		switch {
		case err == nil:
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "drained: %d records in %v\n", d.first,
				time.Since(d.begun).Round(time.Millisecond))
			return err
		case errors.Is(err, errBuffering):
			return &exitError{exitFail, fmt.Errorf("%d records are queued, and %w", left, err)}
		case errors.Is(err, context.DeadlineExceeded) && left > 0:
			return &exitError{exitFail,
				fmt.Errorf("%d records are still queued after %v; see /api/health and the log of the gate",
					left, timeout)}
		case errors.Is(err, context.DeadlineExceeded) && d.unsure:
			return &exitError{exitFail,
				fmt.Errorf("the queue of the gate is away, so it is unknown what is left in it after %v",
					timeout)}
		case errors.Is(err, context.Canceled) && left > 0:
			return &exitError{exitFail, fmt.Errorf("interrupted: %d records are still queued", left)}
		}
		return err
	}
	return cmd
}

// errBuffering says how to get a queue stored that is not stored in this mode.
var errBuffering = errors.New("nothing is stored in mode buffer: run `hookgate maintenance normal` or " +
	"`hookgate maintenance read_only`, then drain")

// drain watches the depth of a gate's queue.
type drain struct {
	client *api.Client
	bar    *progress.Bar
	begun  time.Time
	first  int64 // depth when it was first known
	mode   control.Mode
	// unsure means that the queue may hold more than the gate knows: it is away.
	unsure bool
}

// run returns when nothing is queued, or after the time-out. An error comes with the depth that the
// gate reported last.
func (d *drain) run(ctx context.Context, timeout time.Duration) (left int64, err error) {
	d.begun, d.first = time.Now(), -1
	asking, cancelAsking := context.WithTimeout(ctx, max(timeout, firstAnswer))
	defer cancelAsking()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for ; ; asking = ctx {
		depth, err := d.depth(asking)
		if err != nil {
			if asking.Err() != nil {
				err = asking.Err()
			}
			return left, err
		}
		if d.first < 0 || d.unsure {
			d.first = depth
		}
		left = depth
		d.show(depth)
		switch {
		case depth == 0 && !d.unsure:
			return 0, nil
		case d.mode == control.ModeBuffer && depth > 0:
			return left, errBuffering
		}
		if err := sleep(ctx, drainPoll); err != nil {
			return left, err
		}
	}
}

// depth returns the depth of the queue; 0 with unsure set if it is not known.
func (d *drain) depth(ctx context.Context) (int64, error) {
	health, err := d.client.Health(ctx)
	if err != nil {
		return 0, err
	}
	d.mode = health.Mode
	d.unsure = health.Queue.Error != "" || health.Queue.Degraded != ""
	switch {
	case health.Queue.Depth != nil:
		return *health.Queue.Depth, nil
	case d.unsure:
		return 0, nil
	}
	return 0, fmt.Errorf("%s answers without the depth of a queue: is it a gate?", d.client.URL)
}

// show shows how many records are left, and how long they will take at the rate so far.
func (d *drain) show(depth int64) {
	perSecond := float64(d.first-depth) / time.Since(d.begun).Seconds()
	rest := time.Duration(0)
	if perSecond > 0 {
		rest = time.Duration(float64(depth) / perSecond * float64(time.Second)).Round(time.Second)
	}
	d.bar.Total(d.first)
	d.bar.Set(d.first-depth, fmt.Sprintf("%d queued, %.0f/s, about %v left", depth, perSecond, rest))
}
