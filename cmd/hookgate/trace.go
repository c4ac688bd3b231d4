package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/show"
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
				err = show.Line(cmd.OutOrStdout(), t)
			case after == "" && len(t.Requests) == 0:
				return &exitError{exitFail,
					fmt.Errorf("no stored request carried the message id %q; it may still be queued", args[0])}
			default:
				err = show.Trails(cmd.OutOrStdout(), t.Requests)
			}
			if err != nil || t.Next == "" {
				return err
			}
			after = t.Next
		}
	})
	return cmd
}
