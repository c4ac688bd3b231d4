package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/show"
	"github.com/hookgate/hookgate/internal/terminal"
)

func newDLQCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "List, show, retry and purge dead letters",
		Long: `A dead letter is an event that could not be stored, however often the gate tried. It is
kept whole, with the reason, until a person retries or purges it. It never expires.

Each dead letter is in one of four states, which follow from what is stored:

  open         nobody has dealt with it; "list" shows these
  stored       its event is stored: by a retry, or because the sender sent it again
  superseded   a retry of it has failed too and is a dead letter of its own, which is open
  purged       its body was removed; its lineage stays

When the cause is fixed, retry: the event goes through the queue again with its identity,
body and ordering key, and the duplicate check lets it pass. However often a dead letter
is retried, and from wherever, one event is stored.

A subscription has dead letters too: stored events that your application did not take.
With --subscription these commands list, show and retry them, and "purge" skips them.
Their events stay stored. See hookgate subscriptions.`,
		Example: `  hookgate dlq list
  hookgate dlq show 17
  hookgate dlq retry 17
  hookgate dlq retry --type order.paid --failed-with "violates check constraint"
  hookgate dlq retry --all --reason "the constraint is fixed"
  hookgate dlq purge --all
  hookgate dlq retry --subscription billing --all`,
	}
	var subscription string
	cmd.PersistentFlags().StringVar(&subscription, "subscription", "",
		"the dead letters of this subscription, by `name`")
	cmd.AddCommand(newDLQListCommand(&subscription), newDLQShowCommand(&subscription),
		newDLQRetryCommand(&subscription), newDLQPurgeCommand(&subscription))
	return cmd
}

// letterFilter has the flags that select dead letters, by the names of their parameters.
type letterFilter map[string]*string

func (f letterFilter) register(cmd *cobra.Command) {
	for _, flag := range []struct{ name, parameter, usage string }{
		{"source", "source", "only those of this `source`"},
		{"type", "type", "only those of this event `type`"},
		{"key", "key", "only those of this ordering `key`"},
		{"message-id", "messageId", "only those with this message `id`"},
		{"failed-with", "reason", "only those whose reason contains this `text`"},
		{"from", "from", "only those that failed at or after this `time` (RFC 3339)"},
		{"to", "to", "only those that failed before this `time` (RFC 3339)"},
	} {
		f[flag.parameter] = cmd.Flags().String(flag.name, "", flag.usage)
	}
}

// set returns the parameters that are given.
func (f letterFilter) set() map[string]string {
	given := map[string]string{}
	for name, value := range f {
		if *value != "" {
			given[name] = *value
		}
	}
	return given
}

func newDLQListCommand(subscription *string) *cobra.Command {
	var c connection
	var state, after string
	var limit int
	var all, asJSON bool
	filter := letterFilter{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the open dead letters, oldest first",
		Example: `  hookgate dlq list
  hookgate dlq list --all --type order.paid
  hookgate dlq list --json --limit 0 | jq -r .reason | sort | uniq -c`,
		Args: cobra.NoArgs,
	}
	c.register(cmd)
	filter.register(cmd)
	cmd.Flags().StringVar(&state, "state", "",
		"only those in this `state`: open, stored, superseded or purged")
	cmd.Flags().BoolVar(&all, "all", false, "those in every state")
	cmd.Flags().StringVar(&after, "after", "", "only those stored after the one with this `id`")
	cmd.Flags().IntVar(&limit, "limit", 100, "the greatest number to list; 0 for all")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print NDJSON, one dead letter per line")
	cmd.MarkFlagsMutuallyExclusive("state", "all")
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, _ []string) error {
		if *subscription != "" {
			return listDeadExceptions(cmd, client, *subscription, filter, asJSON)
		}
		if all {
			state = api.AnyState
		}
		letters := client.AllDeadLetters(cmd.Context(), api.DeadLetterQuery{Filter: filter.set(),
			State: hookgate.DeadLetterState(state), After: after, Limit: limit})
		if asJSON {
			return show.Lines(cmd.OutOrStdout(), letters)
		}
		return show.DeadLetters(cmd.OutOrStdout(), letters)
	})
	return cmd
}

func newDLQShowCommand(subscription *string) *cobra.Command {
	var c connection
	var asJSON, body bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a dead letter: its reasons, its lineage and its body",
		Long: `Show everything about a dead letter: the request it came with, why each attempt to store
it failed, and the lineage of every request of its identity. ID is the one in the list,
or the request id.

With --body, print nothing but its exact bytes. If the queue's entry could not be
decoded, these are the bytes of the entry.`,
		Example: `  hookgate dlq show 17
  hookgate dlq show 17 --body > event.json`,
		Args: cobra.ExactArgs(1),
	}
	c.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&body, "body", false, "print the body, byte for byte")
	cmd.MarkFlagsMutuallyExclusive("json", "body")
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, args []string) error {
		if *subscription != "" && !body {
			return showDeadException(cmd, client, *subscription, args[0], asJSON)
		}
		if body {
			read := client.DeadLetterBody
			if *subscription != "" {
				read = client.EventBody
			}
			bytes, err := read(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer bytes.Close()
			if _, err := io.Copy(terminal.Exact(cmd.OutOrStdout()), bytes); err != nil {
				return fmt.Errorf("read the body: %w", err)
			}
			return nil
		}
		details, err := client.DeadLetter(cmd.Context(), args[0])
		switch {
		case err != nil:
			return err
		case asJSON:
			return show.Line(cmd.OutOrStdout(), details)
		}
		return show.DeadLetter(cmd.OutOrStdout(), &details)
	})
	return cmd
}
