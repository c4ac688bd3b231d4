package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

func newMaintenanceCommand() *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:   "maintenance [normal|buffer|read_only]",
		Short: "Show or set the mode: buffer leaves the store alone, read_only rejects webhooks",
		Long: `Show the mode of a running gate, or set it.

In buffer the gate takes webhooks into Redis, or without Redis into the spool of each
process, and answers 202. All processes leave the store alone, so you can work on the
database. A full queue or spool still answers 503. A batch that is in progress is
finished first: nothing is written any more once the metric webhook_workers_storing is
0 in every process.

In read_only the gate answers webhooks with 503 and Retry-After, and goes on storing
what is queued. A sender that does not retry, such as GitHub, loses those events
(docs/reference/senders.md, "What a 503 costs").

The mode survives a restart. Setting it is written into the admin trail, with --reason.
If the trail cannot be written because the store is away, normal is rejected. With
Redis, which then keeps the mode, buffer and read_only are set all the same. Without
Redis the store keeps the mode, so no mode can be set while the store is away.`,
		Example: `  hookgate maintenance
  hookgate maintenance buffer --reason "upgrading PostgreSQL"
  hookgate maintenance normal`,
		Args: cobra.MaximumNArgs(1),
		ValidArgs: []string{string(control.ModeBuffer), string(control.ModeReadOnly),
			string(control.ModeNormal)},
	}
	c.register(cmd)
	c.registerReason(cmd)
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, args []string) error {
		if len(args) == 0 {
			answer, err := client.Mode(cmd.Context())
			if err == nil {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), answer.Mode)
			}
			return err
		}
		mode, err := control.ParseMode(args[0])
		if err != nil {
			return err
		}
		answer, err := client.SetMode(cmd.Context(), mode, c.options()...)
		if err != nil {
			return err
		}
		warnUnrecorded(cmd, answer.Recorded)
		_, err = fmt.Fprintln(cmd.OutOrStdout(), answer.Mode)
		return err
	})
	return cmd
}

// warnUnrecorded says that a change was made although the admin trail could not be written.
func warnUnrecorded(cmd *cobra.Command, recorded *bool) {
	if recorded != nil && !*recorded {
		fmt.Fprintln(cmd.ErrOrStderr(), "hookgate: warning: the admin trail could not be written; "+
			"only the log of the gate has this change")
	}
}
