package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/show"
)

// newPauseCommand returns the command that pauses, or the one that resumes.
func newPauseCommand(verb string) *cobra.Command {
	var c connection
	short, done, same := "Pause a subscription: nothing is delivered until you resume it",
		"paused", "was paused before"
	call := (*api.Client).PauseSubscription
	if verb == "resume" {
		short, done, same = "Resume a paused subscription", "resumed", "was not paused"
		call = (*api.Client).ResumeSubscription
	}
	cmd := &cobra.Command{Use: verb + " NAME", Short: short, Args: cobra.ExactArgs(1)}
	if verb == "pause" {
		cmd.Long = `Pause a subscription. Attempts that have begun end as usual; no other begins. Events are
stored as before and wait. The time to retry stands still.`
	}
	c.register(cmd)
	c.registerReason(cmd)
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, args []string) error {
		a, err := call(client, cmd.Context(), args[0], c.options()...)
		if err != nil {
			return err
		}
		if !a.Changed {
			done = same
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", a.Name, done)
		return err
	})
	return cmd
}

func newForgetCommand() *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:   "forget NAME",
		Short: "Remove a subscription with its cursor and exceptions; needs the role admin",
		Long: `Remove a subscription with its cursor, exceptions and redelivery jobs, for good. The
history of its attempts stays.

It must be paused, or no longer in the configuration. If it is in the configuration, the
next start of the gate creates it again, and it begins where "start" says.`,
		Example: `  hookgate subscriptions forget billing --reason "replaced by invoices"`,
		Args:    cobra.ExactArgs(1),
	}
	c.register(cmd)
	c.registerReason(cmd)
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, args []string) error {
		a, err := client.ForgetSubscription(cmd.Context(), args[0], c.options()...)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s forgotten\n", a.Name)
		return err
	})
	return cmd
}

func newSeekCommand() *cobra.Command {
	var c connection
	var r api.SeekRequest
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "seek NAME --to PLACE",
		Short: "Move the cursor of a subscription, back or forward",
		Long: `Move the cursor of a subscription to a place:

  now         the end of the log: what is stored later comes next
  beginning   the oldest stored event comes next
  a time      the first event stored at this time or later comes next (RFC 3339)
  an id       the event after the one with this id comes next

Back: the events in between are delivered again with a new redelivery number, also those
that were delivered. Exceptions in between are deleted. Forward: the events in between are
not delivered, and waiting and parked exceptions are recorded as skipped.

With --dry-run, count and change nothing. If a seek needs an approval
(approvals.required), nothing is done until another person has approved: see hookgate
approvals.`,
		Example: `  hookgate subscriptions seek billing --to 2026-11-24T02:00:00Z --dry-run
  hookgate subscriptions seek billing --to 2026-11-24T02:00:00Z --reason "lost its database"
  hookgate subscriptions seek search --to now`,
		Args: cobra.ExactArgs(1),
	}
	c.register(cmd)
	c.registerReason(cmd)
	c.registerApproval(cmd)
	cmd.Flags().StringVar(&r.To, "to", "", "the `place`: now, beginning, a time or an event id")
	cmd.MarkFlagRequired("to")
	cmd.Flags().BoolVar(&r.DryRun, "dry-run", false, "count, and change nothing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, args []string) error {
		var done api.Sought
		err := c.approved(cmd, client, func(o ...api.Option) (err error) {
			done, err = client.SeekSubscription(cmd.Context(), args[0], r, o...)
			return err
		})
		switch {
		case err != nil:
			return err
		case asJSON:
			return show.Line(cmd.OutOrStdout(), done)
		}
		return show.Sought(cmd.OutOrStdout(), args[0], &done)
	})
	return cmd
}

// resolutionHelp is the help of a command that changes exceptions.
type resolutionHelp struct{ use, past, short, long, example string }

var resolutions = map[hookgate.Resolution]resolutionHelp{
	hookgate.ResolveRetry: {
		"retry", "retried", "Try exceptions again now",
		`Try exceptions again now, waiting, parked or dead: those of the given events, or those
that --state and --key select, or all. Each gets the full time to retry again. This is the
same delivery: the redelivery number stays, so a consumer that has done the work before
can recognise it.

A dead letter that is retried holds up no later event of its key, because these were
delivered before.`,
		`  hookgate subscriptions retry billing 1795486498952256
  hookgate subscriptions retry billing --state parked --reason "fixed in 4.2"`,
	},
	hookgate.ResolveSkip: {
		"skip", "skipped", "Settle exceptions without delivering their events",
		`Settle exceptions without delivering their events: those of the given events, or those
that --state and --key select, or all. Later events of their keys go on. The events stay
stored, and the lineage records who skipped them and why. To deliver one later all the
same, use "hookgate subscriptions redeliver".

If a skip of several events needs an approval (approvals.required), nothing is done until
another person has approved: see hookgate approvals. The approval covers the exceptions
there are by then.`,
		`  hookgate subscriptions skip billing 1795486498952256 --reason "a test order"
  hookgate subscriptions skip billing --key customer-1 --dry-run`,
	},
	hookgate.ResolveDeadLetter: {
		"dead-letter", "dead-lettered", "Turn waiting and parked exceptions into dead letters",
		`Turn waiting and parked exceptions into dead letters: those of the given events, or those
that --state and --key select, or all. Later events of their keys go on. A dead letter
does not expire; retry it when its cause is fixed, or skip it.`,
		`  hookgate subscriptions dead-letter billing 1795486498952256
  hookgate dlq list --subscription billing`,
	},
}

// newExceptionChangeCommand returns the command that retries, skips or dead-letters exceptions.
func newExceptionChangeCommand(how hookgate.Resolution) *cobra.Command {
	help := resolutions[how]
	e := &exceptionChange{how: how, past: help.past}
	cmd := &cobra.Command{
		Use:   help.use + " NAME [EVENT...]",
		Short: help.short,
		Long: help.long + `

Exit code 0: done. 1: one of the given events has no such exception. 2: the gate could not
be asked.`,
		Example: help.example,
		Args:    cobra.MinimumNArgs(1),
	}
	e.register(cmd)
	if how == hookgate.ResolveSkip {
		e.registerApproval(cmd)
	}
	e.registerSelection(cmd)
	cmd.Flags().StringVar(&e.state, "state", "", "those in this `state`: waiting, parked or dead")
	cmd.RunE = e.with(func(cmd *cobra.Command, client *api.Client, args []string) error {
		switch byID, filtered := len(args) > 1, e.state != "" || e.key != ""; {
		case byID && (e.all || e.key != ""), e.all && filtered:
			return errors.New("give events, which may go with --state, or --all, or --state and --key")
		case !byID && !e.all && !filtered:
			return fmt.Errorf("name the exceptions: events from hookgate subscriptions exceptions %s,"+
				" --state, --key, or --all", args[0])
		}
		return e.run(cmd, client, args[0], args[1:])
	})
	return cmd
}

// exceptionChange is a command that retries, skips or dead-letters exceptions.
type exceptionChange struct {
	connection
	how    hookgate.Resolution
	past   string // of the verb
	state  string
	key    string
	all    bool
	dryRun bool
	asJSON bool
}

// registerSelection adds the flags that select exceptions, but for --state.
func (e *exceptionChange) registerSelection(cmd *cobra.Command) {
	e.registerReason(cmd)
	cmd.Flags().StringVar(&e.key, "key", "", "those that hold this ordering `key`")
	cmd.Flags().BoolVar(&e.all, "all", false, "all of them")
	cmd.Flags().BoolVar(&e.dryRun, "dry-run", false, "count, and change nothing")
	cmd.Flags().BoolVar(&e.asJSON, "json", false, "print JSON")
}

// run changes what the events and flags select.
func (e *exceptionChange) run(cmd *cobra.Command, client *api.Client, name string,
	events []string) error {
	s := api.ExceptionSelection{IDs: events, All: e.all, State: hookgate.ExceptionState(e.state),
		Key: e.key, DryRun: e.dryRun}
	total, err := e.resolve(cmd.Context(), cmd, client, name, s)
	switch {
	case err != nil && total.Changed > 0:
		return &exitError{exitFail, fmt.Errorf("%d %s, then: %w; run it again for the rest",
			total.Changed, e.past, err)}
	case err != nil:
		return err
	case e.asJSON:
		err = show.Line(cmd.OutOrStdout(), total)
	case e.dryRun:
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d would be %s (dry run: nothing has changed)\n",
			total.Changed, e.past)
	default:
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d %s\n", total.Changed, e.past)
	}
	if n := len(total.Missing); err == nil && n > 0 {
		for _, id := range total.Missing {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: not %s: it has no exception in %s\n", id, e.past, name)
		}
		err = &exitError{exitFail, fmt.Errorf("%d could not be %s", n, e.past)}
	}
	return err
}

// resolve makes calls until everything is changed, and returns their sum.
func (e *exceptionChange) resolve(ctx context.Context, cmd *cobra.Command, client *api.Client,
	name string, s api.ExceptionSelection) (total api.Resolved, err error) {
	total.DryRun = s.DryRun
	err = e.approved(cmd, client, func(o ...api.Option) error {
		return client.ResolveAll(ctx, name, e.how, s, func(a api.Resolved) {
			total.Changed += a.Changed
			total.Missing = append(total.Missing, a.Missing...)
		}, o...)
	})
	return total, err
}
