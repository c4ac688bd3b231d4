package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/progress"
	"github.com/spf13/cobra"
)

const (
	// drainPoll is how often drain asks the gate.
	drainPoll = 100 * time.Millisecond
	// firstAnswer is how long the gate may take to answer at all, however short the time-out.
	firstAnswer = 30 * time.Second
)

func newDrainCommand() *cobra.Command {
	var c client
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Wait until everything accepted is stored",
		Long: `Wait until everything that a running gate has accepted is stored: what is queued in Redis,
and what a process has spooled. Without Redis, and unless the gate spools, that is so
already.

The gate goes on taking webhooks; with a steady stream of them a queue may never be
empty, so set maintenance read_only first where that matters. While Redis is away nobody
knows what is left in it, and drain waits. In the mode buffer nothing is stored, and drain
fails at once unless the queue is empty.

Exit code 0: nothing is queued. 1: something is left when the time is over. 2: the gate
could not be asked.`,
		Example: `  hookgate maintenance read_only && hookgate drain --timeout 5m`,
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVar(&c.target, "target", "http://127.0.0.1:8080", "base `URL` of the gate")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if timeout <= 0 {
			return errors.New("--timeout must be positive")
		}
		d := drain{client: c, bar: progress.New(cmd.ErrOrStderr(), 0)}
		defer d.bar.Done()
		left, err := d.run(cmd.Context(), timeout)
		switch {
		case err == nil:
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "drained: %d records in %v\n", d.first,
				time.Since(d.begun).Round(time.Millisecond))
			return err
		case errors.Is(err, errBuffering):
			return &exitError{exitFail, fmt.Errorf("%d records are queued, and %w", left, err)}
		case errors.Is(err, context.DeadlineExceeded) && left > 0:
			return &exitError{exitFail,
				fmt.Errorf("%d records are still queued after %v; the health and the log of the gate say why",
					left, timeout)}
		case errors.Is(err, context.DeadlineExceeded) && d.unsure:
			return &exitError{exitFail,
				fmt.Errorf("the queue of the gate is away, and what is left in it is not known after %v",
					timeout)}
		case errors.Is(err, context.Canceled) && left > 0:
			return &exitError{exitFail, fmt.Errorf("interrupted: %d records are still queued", left)}
		}
		return err
	}
	return cmd
}

// errBuffering says what to do about a queue that nobody empties.
var errBuffering = errors.New("nothing is stored in mode buffer: `hookgate maintenance normal` or " +
	"`hookgate maintenance read_only` lets it be stored, then drain")

// drain watches the depth of a gate's queue.
type drain struct {
	client client
	bar    *progress.Bar
	begun  time.Time
	first  int64 // depth when it was first known
	mode   control.Mode
	unsure bool // there may be more than the gate knows of: a queue that is away does not tell
}

// run returns when nothing is queued, or after the time-out. An error comes with what was left when
// the gate answered last.
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
		if depth == 0 && !d.unsure {
			return 0, nil
		}
		if d.mode == control.ModeBuffer && depth > 0 {
			return left, errBuffering
		}
		select {
		case <-ctx.Done():
			return left, ctx.Err()
		case <-time.After(drainPoll):
		}
	}
}

func (d *drain) depth(ctx context.Context) (int64, error) {
	var health struct {
		Mode  control.Mode
		Queue struct {
			Depth           *int64
			Error, Degraded string
		}
	}
	if err := d.client.getOpen(ctx, "/api/health", &health); err != nil {
		return 0, err
	}
	d.mode = health.Mode
	d.unsure = health.Queue.Error != "" || health.Queue.Degraded != ""
	if health.Queue.Depth == nil && d.unsure {
		return 0, nil
	}
	if health.Queue.Depth == nil {
		return 0, fmt.Errorf("%s answers without the depth of a queue: is it a gate?", d.client.target)
	}
	return *health.Queue.Depth, nil
}

// rate returns how many records a second have left the queue so far, and how long the rest will
// take at that.
func (d *drain) rate(depth int64) (perSecond float64, rest time.Duration) {
	perSecond = float64(d.first-depth) / time.Since(d.begun).Seconds()
	if perSecond > 0 {
		rest = time.Duration(float64(depth) / perSecond * float64(time.Second)).Round(time.Second)
	}
	return perSecond, rest
}

func (d *drain) show(depth int64) {
	perSecond, rest := d.rate(depth)
	d.bar.Total(d.first)
	d.bar.Set(d.first-depth, fmt.Sprintf("%d queued, %.0f/s, about %v left", depth, perSecond, rest))
}
