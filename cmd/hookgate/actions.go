package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/hookgate/hookgate/control"
	"github.com/spf13/cobra"
)

// action is a row of the admin trail as the admin API shows it.
type action struct {
	At                                                   time.Time
	RequestID                                            string
	By, Role, RemoteAddr, Action, Target, Reason, Result string
}

func newAuditActionsCommand() *cobra.Command {
	var c client
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "actions",
		Short: "List what was done over the admin API: by whom, from where, why",
		Long: `List what was done over the admin API of a running gate, oldest first: who, with
which role, from where, what, with what result, and the reason that was given.

The trail has a row before each action and one after it; this shows an action as one
line, and --json shows the rows. A result of "begun" means that the action is under
way, or that the process ended before it could say what came of it.`,
		Example: `  hookgate audit actions
  hookgate audit actions --json | jq 'select(.by == "alice")'`,
		Args: cobra.NoArgs,
	}
	c.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print NDJSON, one row of the trail a line")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		rows, err := c.allRows(cmd.Context(), "/admin/actions", "actions", url.Values{})
		if err != nil {
			return err
		}
		return printRows(cmd.OutOrStdout(), rows, asJSON, printActions)
	}
	return cmd
}

// printActions prints one line for each action: its last row.
func printActions(out io.Writer, rows []json.RawMessage) error {
	all := make([]action, len(rows))
	last := map[string]int{} // by request id
	for i, row := range rows {
		if err := json.Unmarshal(row, &all[i]); err != nil {
			return fmt.Errorf("read the gate's answer: %w", err)
		}
		last[all[i].RequestID] = i
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "AT\tBY\tROLE\tFROM\tACTION\tTARGET\tRESULT\tREASON")
	for i, a := range all {
		if a.Result == control.ResultBegun && last[a.RequestID] != i {
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", a.At.Format(time.RFC3339), a.By, a.Role,
			a.RemoteAddr, a.Action, a.Target, a.Result, a.Reason)
	}
	return w.Flush()
}
