package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/consume"
	"github.com/hookgate/hookgate/internal/progress"
	"github.com/hookgate/hookgate/internal/show"
)

// eventFlags are the flags that select events.
type eventFlags struct {
	query    api.EventQuery
	from, to string
}

// register adds the flags for source, type and time of receipt.
func (f *eventFlags) register(cmd *cobra.Command, source string) {
	cmd.Flags().StringVar(&f.query.Source, "source", source, "only events of this `source`")
	cmd.Flags().StringVar(&f.query.EventType, "type", "", "only events of this event `type`")
	cmd.Flags().StringVar(&f.from, "from", "",
		"only events received at or after this `time` (RFC 3339)")
	cmd.Flags().StringVar(&f.to, "to", "", "only events received before this `time` (RFC 3339)")
}

// selected is the query that the flags stand for.
func (f *eventFlags) selected() (q api.EventQuery, err error) {
	q = f.query
	for _, t := range []struct {
		flag, text string
		to         *time.Time
	}{{"--from", f.from, &q.From}, {"--to", f.to, &q.To}} {
		if t.text == "" {
			continue
		}
		if *t.to, err = time.Parse(time.RFC3339, t.text); err != nil {
			return q, fmt.Errorf("%s is not a time like 2026-11-23T12:00:00Z", t.flag)
		}
	}
	return q, nil
}

func newEventsCommand() *cobra.Command {
	var c connection
	var f eventFlags
	var limit int
	var asJSON, newest, follow bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "List stored events",
		Long: `List stored events, oldest stored first. With --newest, list the newest first, in an order
for which the filter has an index (docs/reference/http.md).

With --follow, print events as they are stored, until SIGINT or SIGTERM, from now on or
from --after on. While the gate is away, the command waits for it and misses nothing. A
star in --type then stands for any text, and --json prints the body too, in base64.`,
		Example: `  hookgate events --type order.paid --limit 20
  hookgate events --follow --source stripe
  hookgate events --key customer-1 --json | jq .sequence
  hookgate events --newest --body '"invoice":4711' --limit 1`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(newRemoveTestsCommand())
	c.register(cmd)
	f.register(cmd, "")
	q := &f.query
	flags := cmd.Flags()
	flags.StringVar(&q.OrderingKey, "key", "", "only events of this ordering `key`")
	flags.StringVar(&q.MessageID, "message-id", "", "only events with this message `id`")
	flags.StringVar(&q.Prefix, "prefix", "", "only events whose message id begins with this `text`")
	flags.StringVar(&q.RequestID, "request-id", "", "only events of the request with this `id`")
	flags.StringVar(&q.Body, "body", "", "only events whose body contains this `text`")
	flags.StringVar(&q.After, "after", "", "only events stored after the one with this `id`")
	flags.BoolVar(&q.Tests, "tests", false,
		"list test traffic too: the events of the source hookgate-certify")
	flags.BoolVar(&newest, "newest", false, "list the newest first")
	flags.IntVar(&limit, "limit", 100, "the greatest number to list; 0 for all")
	flags.BoolVar(&asJSON, "json", false, "print NDJSON, one event per line")
	flags.BoolVarP(&follow, "follow", "f", false, "print events as they are stored")
	for _, other := range []string{"newest", "limit", "from", "to", "tests"} {
		cmd.MarkFlagsMutuallyExclusive("follow", other)
	}
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, _ []string) error {
		if follow {
			return followEvents(cmd, client, f.query, asJSON)
		}
		query, err := f.selected()
		if err != nil {
			return err
		}
		query.Limit = limit
		events := client.AllEvents(cmd.Context(), query)
		if newest {
			events = client.SearchEvents(cmd.Context(), query)
		}
		if asJSON {
			return show.Lines(cmd.OutOrStdout(), events)
		}
		return show.Events(cmd.OutOrStdout(), events)
	})
	return cmd
}

// followEvents prints the events that q selects as they are stored.
func followEvents(cmd *cobra.Command, client *api.Client, q api.EventQuery, asJSON bool) error {
	lines := show.NewEventLines(cmd.OutOrStdout())
	return consume.NewGate(client, noteTo(cmd)).Follow(cmd.Context(), q,
		func(e *api.LogEvent) error {
			if asJSON {
				return show.Line(cmd.OutOrStdout(), e)
			}
			return lines.Event(e)
		})
}

func newRemoveTestsCommand() *cobra.Command {
	var c connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "remove-tests",
		Short: "Remove the bodies of test traffic for good; needs the role admin",
		Long: `Remove the bodies of all test traffic for good: the events of the source
hookgate-certify, to which certify and replay --test send. Their identities, digests and
lineage stay until retention removes them, so that hookgate audit verify still works. No
other event is touched, and dead letters stay: hookgate dlq purge removes those.

Do not run this during a certification: certify reads its events back at the end.

The gate removes the bodies in small transactions and takes webhooks meanwhile. After an
interruption run it again for the rest.

Exit code 0: none are left. 1: some may be left. 2: the gate could not be asked, or
rejected it.`,
		Example: `  hookgate events remove-tests --reason "certified 4.2"`,
		Args:    cobra.NoArgs,
	}
	c.register(cmd)
	c.registerReason(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, _ []string) error {
		var removed int64
		bar := progress.New(cmd.ErrOrStderr(), 0)
		err := client.RemoveAllTests(cmd.Context(), func(a api.RemovedTests) {
			removed += a.Removed
			bar.Set(removed, fmt.Sprintf("%d removed", removed))
		}, c.options()...)
		bar.Done()
		switch {
		case err != nil && removed > 0:
			return &exitError{exitFail,
				fmt.Errorf("%d removed, then: %w; run it again for the rest", removed, err)}
		case err != nil:
			return err
		case asJSON:
			return show.Line(cmd.OutOrStdout(), map[string]int64{"removed": removed})
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d removed\n", removed)
		return err
	})
	return cmd
}
