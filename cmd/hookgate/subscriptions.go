package main

import (
	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/show"
)

func newSubscriptionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "subscriptions",
		Short: "Show, pause and move subscriptions; retry, skip and redeliver events",
		Long: `A subscription delivers stored events to your application. Its cursor is the id of the
event up to which it has passed everything. An event that it has passed and not delivered
has an exception:

  waiting   an attempt failed; the next one is due at a known time
  parked    the time to retry is over; later events of its key wait for you
  dead      a dead letter; nothing waits for it

To finish a delivery, use "retry". To do it again on purpose, use "redeliver" for some
events or "seek" for everything since a place: your application then gets a redelivery
number above 0. To do without it, use "skip" or "dead-letter".`,
		Example: `  hookgate subscriptions list
  hookgate subscriptions exceptions billing --state parked
  hookgate subscriptions retry billing --state parked --reason "fixed in 4.2"
  hookgate subscriptions redeliver billing --from 2026-11-24T02:00:00Z --dry-run`,
	}
	cmd.AddCommand(newSubscriptionsCheckCommand(), newSubscriptionsListCommand(),
		newSubscriptionsShowCommand(),
		newExceptionsCommand(), newPauseCommand("pause"), newPauseCommand("resume"),
		newExceptionChangeCommand(hookgate.ResolveRetry),
		newExceptionChangeCommand(hookgate.ResolveSkip),
		newExceptionChangeCommand(hookgate.ResolveDeadLetter), newSeekCommand(),
		newRedeliverCommand(), newJobsCommand(), newCancelCommand(), newForgetCommand())
	return cmd
}

func newSubscriptionsListCommand() *cobra.Command {
	var c connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the subscriptions with lag, backlog and exceptions",
		Long: `List the subscriptions. STATE is delivering, broken (the consumer does not work), unowned
(no process delivers it), paused, or removed (from the configuration). LAG is the age of
the first event after the cursor, BACKLOG the number of events after it before the filter.`,
		Args: cobra.NoArgs,
	}
	c.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print NDJSON, one subscription per line")
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, _ []string) error {
		answer, err := client.Subscriptions(cmd.Context())
		switch {
		case err != nil:
			return err
		case !asJSON:
			return show.Subscriptions(cmd.OutOrStdout(), answer.Subscriptions)
		}
		for _, s := range answer.Subscriptions {
			if err := show.Line(cmd.OutOrStdout(), s); err != nil {
				return err
			}
		}
		return nil
	})
	return cmd
}

func newSubscriptionsShowCommand() *cobra.Command {
	var c connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a subscription: its configuration, state and progress",
		Example: `  hookgate subscriptions show billing`,
		Args:    cobra.ExactArgs(1),
	}
	c.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, args []string) error {
		s, err := client.Subscription(cmd.Context(), args[0])
		switch {
		case err != nil:
			return err
		case asJSON:
			return show.Line(cmd.OutOrStdout(), s)
		}
		return show.Subscription(cmd.OutOrStdout(), &s)
	})
	return cmd
}

func newExceptionsCommand() *cobra.Command {
	var c connection
	var q api.ExceptionQuery
	var state string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "exceptions NAME",
		Short: "List the events that a subscription has passed and not delivered",
		Long: `List the events that a subscription has passed and not delivered, by event id: those that
wait for the next attempt, the parked ones, and the dead letters. SINCE is when an event
got its state, NEXT when its next attempt begins.`,
		Example: `  hookgate subscriptions exceptions billing --state parked
  hookgate subscriptions exceptions billing --json --limit 0 | jq -r .reason | sort | uniq -c`,
		Args: cobra.ExactArgs(1),
	}
	c.register(cmd)
	cmd.Flags().StringVar(&state, "state", "", "only those in this `state`: waiting, parked or dead")
	cmd.Flags().StringVar(&q.Key, "key", "", "only those that hold this ordering `key`")
	cmd.Flags().StringVar(&q.After, "after", "", "only those after this `event`")
	cmd.Flags().IntVar(&q.Limit, "limit", 100, "the greatest number to list; 0 for all")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print NDJSON, one exception per line")
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, args []string) error {
		q.State = hookgate.ExceptionState(state)
		rows := client.AllExceptions(cmd.Context(), args[0], q)
		if asJSON {
			return show.Lines(cmd.OutOrStdout(), rows)
		}
		return show.Exceptions(cmd.OutOrStdout(), rows)
	})
	return cmd
}

func newJobsCommand() *cobra.Command {
	var c connection
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "jobs NAME",
		Short: "List the redelivery jobs of a subscription, newest first",
		Args:  cobra.ExactArgs(1),
	}
	c.register(cmd)
	cmd.Flags().IntVar(&limit, "limit", 100, "the greatest number to list, at most 1000")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print NDJSON, one job per line")
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, args []string) error {
		answer, err := client.RedeliveryJobs(cmd.Context(), args[0], limit)
		switch {
		case err != nil:
			return err
		case !asJSON:
			return show.RedeliveryJobs(cmd.OutOrStdout(), answer.Jobs)
		}
		for _, job := range answer.Jobs {
			if err := show.Line(cmd.OutOrStdout(), job); err != nil {
				return err
			}
		}
		return nil
	})
	return cmd
}
