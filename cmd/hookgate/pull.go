package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/consume"
	"github.com/hookgate/hookgate/internal/show"
)

func newPullCommand() *cobra.Command {
	var c connection
	var p consume.Puller
	var command string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "pull NAME",
		Short: "Pull the events of a subscription: print them, or hand them to a command",
		Long: `Pull the events of a subscription that has "pull: {}" in the configuration. The command
prints each event and then acknowledges it, so that it does not come again.

With --exec, each batch goes to a process of its own: sh runs the command with one JSON
object per line on its standard input, in the order of event ids. Exit code 0
acknowledges the batch. After any other exit code the whole batch comes again later, with
the exit code and the last line of standard error as the reason.

hookgate pull extends the lease while the command runs. If hookgate pull is killed, the
lease runs out and the events come again. SIGINT or SIGTERM ends it after the current
batch; a second one also kills the command. While the gate is away, it waits. Several
processes can pull one subscription: no two get events of one ordering key at a time.

A token of the role consumer, bound to the subscription, is enough.`,
		Example: `  hookgate pull warehouse
  hookgate pull warehouse --json --once | jq -r '.body | @base64d'
  hookgate pull warehouse --exec 'python3 load.py' --max 500`,
		Args: cobra.ExactArgs(1),
	}
	c.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&command, "exec", "", "shell `command` that works on each batch")
	flags.BoolVar(&asJSON, "json", false, "print NDJSON, one event per line, with its body in base64")
	flags.IntVar(&p.Max, "max", 100, "the greatest number of events in a batch, up to 1000")
	flags.DurationVar(&p.Wait, "wait", 30*time.Second,
		"`time` that a call waits for an event, up to 1m")
	flags.DurationVar(&p.Lease, "lease", time.Minute,
		"`time` without a sign of life after which the gate gives the events to another client")
	flags.BoolVar(&p.Once, "once", false, "end after one batch, or if no event comes within --wait")
	cmd.MarkFlagsMutuallyExclusive("exec", "json")
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, args []string) error {
		if p.Lease < time.Second || p.Max < 1 || p.Wait < 0 {
			return errors.New("--lease must be at least 1s, --max at least 1, and --wait not negative")
		}
		p.Gate, p.Subscription = consume.NewGate(client, noteTo(cmd)), args[0]
		p.Work = printing(cmd.OutOrStdout(), asJSON)
		if command != "" {
			p.Work = (&consume.Command{Line: command, Stdout: os.Stdout, Stderr: os.Stderr}).Work
		}
		if !p.Once {
			noteTo(cmd)("pulling " + p.Subscription + "; Ctrl-C ends it")
		}
		err := p.Run(cmd.Context())
		if _, failed := errors.AsType[*consume.FailedError](err); failed {
			return &exitError{exitFail, errors.New("the batch comes again later")}
		}
		if api.HasStatus(err, http.StatusNotFound) {
			return fmt.Errorf("%w (hookgate subscriptions list)", err)
		}
		return err
	})
	return cmd
}

// printing returns the work of printing events.
func printing(out io.Writer, asJSON bool) func([]api.PulledEvent) error {
	lines := show.NewEventLines(out)
	return func(events []api.PulledEvent) (err error) {
		for i := range events {
			if asJSON {
				err = show.Line(out, &events[i])
			} else {
				err = lines.Pulled(&events[i])
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// noteTo returns a function that prints a line for the person who runs a command.
func noteTo(cmd *cobra.Command) func(string) {
	return func(text string) { fmt.Fprintln(cmd.ErrOrStderr(), "hookgate:", text) }
}
