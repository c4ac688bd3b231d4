package main

import (
	"fmt"
	"net/http"

	"github.com/hookgate/hookgate/control"
	"github.com/spf13/cobra"
)

func newMaintenanceCommand() *cobra.Command {
	var c client
	cmd := &cobra.Command{
		Use:   "maintenance [buffer|read_only|normal]",
		Short: "Show or set the mode: buffer takes webhooks and leaves the store alone, read_only refuses them",
		Long: `Show the mode of a running gate, or set it.

In buffer the gate takes webhooks into Redis, or without Redis into the spool of each
process, and answers 202, while all processes leave the store alone: the mode for work on
the database. A full queue or spool still answers 503. A batch that is under way is finished first: nothing is written any
more once the metric webhook_workers_storing is 0 in every process.

In read_only the gate answers webhooks with 503 and Retry-After, while workers go on
storing what is queued. A sender that does not retry, such as GitHub, loses those
events (docs/reference/senders.md, "What a 503 costs"). The mode survives a restart.

Setting it is written into the admin trail, with --reason. If the trail cannot be
written because the store is away, normal is refused; buffer and read_only are set all
the same with Redis, which keeps the mode then. Without Redis the store keeps it, and no
mode can be set while the store is away.`,
		Example: `  hookgate maintenance
  hookgate maintenance buffer --reason "upgrading PostgreSQL"
  hookgate maintenance normal`,
		Args: cobra.MaximumNArgs(1),
		ValidArgs: []string{string(control.ModeBuffer), string(control.ModeReadOnly),
			string(control.ModeNormal)},
	}
	c.register(cmd)
	c.registerReason(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var answer struct {
			Mode     string
			Recorded *bool
		}
		if len(args) == 0 {
			if err := c.get(cmd.Context(), "/admin/maintenance", nil, &answer); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), answer.Mode)
			return err
		}
		mode, err := control.ParseMode(args[0])
		if err != nil {
			return err
		}
		if err := c.change(cmd.Context(), http.MethodPost, "/admin/maintenance",
			fmt.Sprintf(`{"mode":%q}`, mode), &answer); err != nil {
			return err
		}
		if answer.Recorded != nil && !*answer.Recorded {
			fmt.Fprintln(cmd.ErrOrStderr(),
				"hookgate: the admin trail could not be written, and does not have this; the log of the gate has")
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), answer.Mode)
		return err
	}
	return cmd
}
