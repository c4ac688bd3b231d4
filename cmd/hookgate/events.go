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
	var asJSON, newest, tests bool
	filters := map[string]*string{}
	cmd := &cobra.Command{
		Use:   "events",
		Short: "List stored events, oldest stored first, or newest first",
		Example: `  hookgate events --type order.paid --limit 20
  hookgate events --key customer-1 --json | jq .sequence
  hookgate events --newest --body '"invoice":4711' --limit 1`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(newRemoveTestsCommand())
	c.register(cmd)
	for _, f := range []struct{ flag, parameter, usage string }{
		{"source", "source", "events of this `source`"},
		{"type", "type", "events of this event `type`"},
		{"key", "key", "events of this ordering `key`"},
		{"message-id", "messageId", "events with this message `id`"},
		{"prefix", "prefix", "events whose message id begins with `text`"},
		{"request-id", "requestId", "the events of the request with this `id`"},
		{"body", "body", "events whose body contains `text`, byte for byte"},
		{"from", "from", "events received at or after this `time` (RFC 3339)"},
		{"to", "to", "events received before this `time` (RFC 3339)"},
		{"after", "after", "events stored after the one with this `id`"},
	} {
		filters[f.parameter] = cmd.Flags().String(f.flag, "", f.usage)
	}
	cmd.Flags().BoolVar(&tests, "tests", false,
		"list test traffic too: the events of the source hookgate-certify")
	cmd.Flags().BoolVar(&newest, "newest", false,
		"newest first, as docs/reference/http.md says; goes on until --limit is reached or all is searched")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many; 0 for all")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print NDJSON, one event a line")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		query := url.Values{}
		for name, value := range filters {
			if *value != "" {
				query.Set(name, *value)
			}
		}
		if tests {
			query.Set("tests", "true")
		}
		if limit > 0 && !newest {
			query.Set("limit", fmt.Sprint(limit))
		}
		print := printEvents
		if asJSON {
			print = copyRows("events")
		}
		if newest {
			return c.newestEvents(cmd, query, limit, print)
		}
		return c.list(cmd, "/api/events", query, print)
	}
	return cmd
}

// newestEvents prints events page by page, newest first, until there are limit, or all if that is
// 0.
func (c *client) newestEvents(cmd *cobra.Command, query url.Values, limit int,
	print func(io.Writer, io.Reader) error) error {
	const page = 500
	query.Set("order", "newest")
	rows, out := io.Pipe()
	defer rows.Close()
	go func() {
		for left, more := limit, true; more; {
			query.Set("limit", fmt.Sprint(page))
			if limit > 0 {
				query.Set("limit", fmt.Sprint(min(page, left)))
			}
			var answer struct {
				Events []json.RawMessage
				Next   string
			}
			err := c.get(cmd.Context(), "/api/events", query, &answer)
			for i := 0; err == nil && i < len(answer.Events); i++ {
				_, err = out.Write(append(answer.Events[i], '\n'))
			}
			if err != nil {
				out.CloseWithError(err)
				return
			}
			left -= len(answer.Events)
			more = answer.Next != "" && (limit == 0 || left > 0)
			query.Set("after", answer.Next)
		}
		out.Close()
	}()
	return print(cmd.OutOrStdout(), rows)
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
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", e.ID,
			e.ReceivedAt.Format("2006-01-02T15:04:05.000Z07:00"),
			e.Source, e.EventType, e.MessageID, e.OrderingKey, sequence, e.Size)
	}
}
