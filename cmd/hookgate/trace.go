package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/api"
)

func newTraceCommand() *cobra.Command {
	var c connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "trace MESSAGE_ID",
		Short: "Show the lineage of every request that carried a message id",
		Example: `  hookgate trace evt-1
  hookgate trace evt-1 --json`,
		Args: cobra.ExactArgs(1),
	}
	c.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, one object per 1,000 requests")
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, args []string) error {
		for after := ""; ; {
			t, err := client.Trace(cmd.Context(), args[0], after)
			switch {
			case err != nil:
				return err
			case asJSON:
				err = printLine(cmd.OutOrStdout(), t)
			case after == "" && len(t.Requests) == 0:
				return &exitError{exitFail,
					fmt.Errorf("no stored request carried the message id %q (it may still be queued)", args[0])}
			default:
				err = printTrails(cmd.OutOrStdout(), t.Requests)
			}
			if err != nil || t.Next == "" {
				return err
			}
			after = t.Next
		}
	})
	return cmd
}

// printTrails prints the lineage of requests.
func printTrails(out io.Writer, requests []api.RequestTrail) error {
	for _, r := range requests {
		fmt.Fprintf(out, "request %s\n", r.RequestID)
		t := newTable(out)
		for i, s := range r.Stages {
			since := ""
			if i > 0 {
				took := s.Timestamp.Sub(r.Stages[0].Timestamp.Time)
				since = fmt.Sprintf("+%.3f ms", float64(took.Microseconds())/1000)
			}
			t.row("  "+string(s.Stage), s.Timestamp.String(), since, string(s.Metadata))
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	return nil
}
