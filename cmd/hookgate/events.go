package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

func newEventsCommand() *cobra.Command {
	var c client
	var limit int
	var asJSON bool
	filters := map[string]*string{}
	cmd := &cobra.Command{
		Use:   "events",
		Short: "List stored events, oldest stored first",
		Example: `  hookgate events --type order.paid --limit 20
  hookgate events --key customer-1 --json | jq .sequence`,
		Args: cobra.NoArgs,
	}
	c.register(cmd)
	for _, f := range []struct{ flag, parameter, usage string }{
		{"source", "source", "events of this `source`"},
		{"type", "type", "events of this event `type`"},
		{"key", "key", "events of this ordering `key`"},
		{"message-id", "messageId", "events with this message `id`"},
		{"prefix", "prefix", "events whose message id begins with `text`"},
		{"from", "from", "events received at or after this `time` (RFC 3339)"},
		{"to", "to", "events received before this `time` (RFC 3339)"},
		{"after", "after", "events stored after the one with this `id`"},
	} {
		filters[f.parameter] = cmd.Flags().String(f.flag, "", f.usage)
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many; 0 for all")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print NDJSON, one event a line")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		query := url.Values{}
		for name, value := range filters {
			if *value != "" {
				query.Set(name, *value)
			}
		}
		if limit > 0 {
			query.Set("limit", fmt.Sprint(limit))
		}
		print := printEvents
		if asJSON {
			print = copyRows("events")
		}
		return c.list(cmd, "/api/events", query, print)
	}
	return cmd
}

// printEvents prints NDJSON as a table.
func printEvents(out io.Writer, body io.Reader) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tRECEIVED\tSOURCE\tTYPE\tMESSAGE ID\tKEY\tSEQ\tBYTES")
	for events := json.NewDecoder(body); ; {
		var e struct {
			ID, Source, MessageID, EventType, OrderingKey string
			Sequence                                      *int64
			ReceivedAt                                    time.Time
			Size                                          int64
		}
		if err := events.Decode(&e); errors.Is(err, io.EOF) {
			return t.Flush()
		} else if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		sequence := "-"
		if e.Sequence != nil && *e.Sequence >= 0 {
			sequence = fmt.Sprint(*e.Sequence)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", e.ID, e.ReceivedAt.Format("2006-01-02T15:04:05.000Z07:00"),
			e.Source, e.EventType, e.MessageID, e.OrderingKey, sequence, e.Size)
	}
}
