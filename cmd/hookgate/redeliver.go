package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/progress"
	"github.com/hookgate/hookgate/internal/show"
)

// redeliverCommand is the command that delivers events again.
type redeliverCommand struct {
	connection
	request api.RedeliveryRequest
	detach  bool
	asJSON  bool
}

func newRedeliverCommand() *cobra.Command {
	r := &redeliverCommand{}
	cmd := &cobra.Command{
		Use:   "redeliver NAME [EVENT...]",
		Short: "Deliver events again: those given, or those stored since a time",
		Long: `Deliver events again, whether they were delivered before or not: those with the given
ids, or those from a place on that the flags and the subscription's filter select. Your
application gets them with a redelivery number above 0, so that it does the work again.

The gate stores a job for that, which survives restarts, and the command shows its
progress. After an interruption the job goes on: "hookgate subscriptions jobs" shows it,
and "hookgate subscriptions cancel" ends it. A redelivery that fails is retried as usual,
but holds up no later event of its key. Events after the cursor are left out, because they
are delivered anyway.

Exit code 0: the job is done, or stored with --detach. 1: it was cancelled. 2: the gate
could not be asked.`,
		Example: `  hookgate subscriptions redeliver billing 1795486498952256
  hookgate subscriptions redeliver billing --from 2026-11-24T02:00:00Z --type 'invoice.*' --dry-run
  hookgate subscriptions redeliver billing --from 2026-11-24T02:00:00Z --rate 50 --detach`,
		Args: cobra.MinimumNArgs(1),
	}
	r.register(cmd)
	r.registerReason(cmd)
	f := cmd.Flags()
	f.StringVar(&r.request.From, "from", "",
		"from this `place` on: a time of storing (RFC 3339), an event id, or beginning")
	f.StringVar(&r.request.To, "to", "",
		"up to this `place`: a time, not included, or an event id, included (default: the cursor)")
	f.StringSliceVar(&r.request.Sources, "source", nil, "only those of this `source`")
	f.StringSliceVar(&r.request.Types, "type", nil,
		"only those of this event `type`; * stands for any text")
	f.StringVar(&r.request.Key, "key", "", "only those of this ordering `key`")
	f.IntVar(&r.request.Rate, "rate", 0,
		"deliveries per second; 0 for the rate of the subscription")
	f.BoolVar(&r.request.DryRun, "dry-run", false, "count, and change nothing")
	f.BoolVar(&r.detach, "detach", false, "do not wait for the end of the job")
	f.BoolVar(&r.asJSON, "json", false, "print the job as JSON")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "detach")
	cmd.RunE = r.with(func(cmd *cobra.Command, client *api.Client, args []string) error {
		r.request.IDs = args[1:]
		if len(r.request.IDs) == 0 && r.request.From == "" {
			return errors.New("name the events: ids from hookgate events, or --from")
		}
		return r.run(cmd, client, args[0])
	})
	return cmd
}

func (r *redeliverCommand) run(cmd *cobra.Command, client *api.Client, name string) error {
	out := cmd.OutOrStdout()
	made, err := client.Redeliver(cmd.Context(), name, r.request, r.options()...)
	if err != nil {
		return err
	}
	events := eventsText(made.Events)
	job := made.Job
	switch {
	case r.request.DryRun && r.asJSON:
		return show.Line(out, made)
	case r.request.DryRun:
		_, err := fmt.Fprintf(out, "%s would be delivered again (dry run: nothing has changed)\n", events)
		return err
	case !r.detach:
		if job, err = r.follow(cmd, client, name, made); err != nil {
			if cmd.Context().Err() != nil {
				err = errors.New("interrupted")
			}
			return fmt.Errorf("%w; job %s goes on: see hookgate subscriptions jobs %s", err, job.ID, name)
		}
	}
	switch {
	case r.asJSON:
		err = show.Line(out, job)
	case job.State == api.JobRunning:
		_, err = fmt.Fprintf(out, "job %s delivers %s again, as redelivery %d\n", job.ID, events,
			job.Redelivery)
	default:
		_, err = fmt.Fprintf(out, "job %s is %s: %d delivered, %d failed\n", job.ID, job.State,
			job.Delivered, job.Failed)
	}
	if err == nil && job.Failed > 0 && !r.asJSON {
		_, err = fmt.Fprintf(out, "the failed ones are retried as usual: hookgate subscriptions"+
			" exceptions %s\n", name)
	}
	if err == nil && job.State == api.JobCancelled {
		err = &exitError{exitFail, fmt.Errorf("job %s was cancelled", job.ID)}
	}
	return err
}

// follow shows the progress of a job until it has ended.
func (r *redeliverCommand) follow(cmd *cobra.Command, client *api.Client, name string,
	made api.Redelivery) (api.RedeliveryJob, error) {
	bar := progress.New(cmd.ErrOrStderr(), int64(made.Events))
	defer bar.Done()
	last := made.Job
	_, err := client.AwaitRedelivery(cmd.Context(), name, made.Job.ID, func(j api.RedeliveryJob) {
		last = j
		bar.Set(j.Delivered+j.Failed, fmt.Sprintf("job %s: %d of %s, %d failed", j.ID,
			j.Delivered+j.Failed, eventsText(made.Events), j.Failed))
	})
	return last, err
}

// eventsText is a number of events, which is counted up to hookgate.MaxBacklog.
func eventsText(n int) string {
	switch {
	case n == 1:
		return "1 event"
	case n >= hookgate.MaxBacklog:
		return fmt.Sprintf("at least %d events", n)
	}
	return fmt.Sprintf("%d events", n)
}

func newCancelCommand() *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:     "cancel NAME JOB",
		Short:   "End a redelivery job",
		Example: `  hookgate subscriptions cancel billing 3 --reason "wrong day"`,
		Args:    cobra.ExactArgs(2),
	}
	c.register(cmd)
	c.registerReason(cmd)
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, args []string) error {
		j, err := client.CancelRedelivery(cmd.Context(), args[0], args[1], c.options()...)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "job %s is %s: %d delivered, %d failed\n", j.ID, j.State,
			j.Delivered, j.Failed)
		return err
	})
	return cmd
}
