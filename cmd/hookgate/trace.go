package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// trace is what the read API says about a message id.
type trace struct {
	MessageID string
	Next      string
	Requests  []struct {
		RequestID string
		Stages    []struct {
			Stage     string
			Timestamp time.Time
			Metadata  json.RawMessage
		}
	}
}

func newTraceCommand() *cobra.Command {
	var c client
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "trace MESSAGE_ID",
		Short: "Show the lineage of every request that carried a message id",
		Example: `  hookgate trace evt-1
  hookgate trace evt-1 --json`,
		Args: cobra.ExactArgs(1),
	}
	c.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, one object for each 1,000 requests")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		query := url.Values{"limit": {"1000"}}
		for page := 0; ; page++ {
			var answer json.RawMessage
			if err := c.get(cmd.Context(), "/api/trace/"+url.PathEscape(args[0]), query,
				&answer); err != nil {
				return err
			}
			var t trace
			if err := json.Unmarshal(answer, &t); err != nil {
				return fmt.Errorf("read the gate's answer: %w", err)
			}
			var err error
			switch {
			case asJSON:
				_, err = fmt.Fprintln(cmd.OutOrStdout(), string(answer))
			case page == 0 && len(t.Requests) == 0:
				return &exitError{exitFail,
					fmt.Errorf("no stored request carried the message id %q (it may still be queued)", args[0])}
			default:
				err = t.print(cmd.OutOrStdout())
			}
			if err != nil || t.Next == "" {
				return err
			}
			query.Set("after", t.Next)
		}
	}
	return cmd
}

func (t trace) print(out io.Writer) error {
	for _, r := range t.Requests {
		fmt.Fprintf(out, "request %s\n", r.RequestID)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for i, s := range r.Stages {
			since := ""
			if i > 0 {
				since = fmt.Sprintf("+%.3f ms",
					float64(s.Timestamp.Sub(r.Stages[0].Timestamp).Microseconds())/1000)
			}
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", s.Stage,
				s.Timestamp.Format("2006-01-02T15:04:05.000000Z07:00"), since, s.Metadata)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}
