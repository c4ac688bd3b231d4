package main

import (
	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

func newAuditActionsCommand() *cobra.Command {
	var c connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "actions",
		Short: "List the admin trail: what was done, by whom, from where and why",
		Long: `List what was done over the admin API of a running gate, oldest first: who did it, with
which role, from where, with what result, and the reason given.

The admin trail has one row before each action and one after it. The table shows an
action as one line, and --json shows the rows. The result "begun" means that the action
is in progress, or that the process ended before it could record the outcome.`,
		Example: `  hookgate audit actions
  hookgate audit actions --json | jq 'select(.by == "alice")'`,
		Args: cobra.NoArgs,
	}
	c.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print NDJSON, one row of the trail per line")
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, _ []string) error {
		rows := client.Actions(cmd.Context())
		if asJSON {
			return printLines(cmd.OutOrStdout(), rows)
		}
		var all []api.Action
		last := map[string]int{} // row of each request id
		for a, err := range rows {
			if err != nil {
				return err
			}
			last[a.RequestID] = len(all)
			all = append(all, a)
		}
		t := newTable(cmd.OutOrStdout(), "AT", "BY", "ROLE", "FROM", "ACTION", "TARGET", "RESULT",
			"REASON")
		for i, a := range all {
			if a.Result == control.ResultBegun && last[a.RequestID] != i {
				continue // its second row follows
			}
			t.row(a.At, a.By, a.Role, a.RemoteAddr, a.Action, a.Target, a.Result, a.Reason)
		}
		return t.flush()
	})
	return cmd
}
