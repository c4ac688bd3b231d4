package main

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate"
)

func newMaintenanceCommand() *cobra.Command {
	var c client
	cmd := &cobra.Command{
		Use:   "maintenance [read_only|normal]",
		Short: "Show or set the mode: read_only refuses webhooks with 503 while the queue drains",
		Long: `Show the mode of a running gate, or set it.

In read_only the gate answers webhooks with 503 and Retry-After, so that senders
keep them, and workers go on storing what is queued. The mode survives a restart.`,
		Example: `  hookgate maintenance
  hookgate maintenance read_only
  hookgate maintenance normal`,
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: []string{string(hookgate.ModeReadOnly), string(hookgate.ModeNormal)},
	}
	c.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var answer struct{ Mode string }
		if len(args) == 0 {
			if err := c.get(cmd.Context(), "/admin/maintenance", nil, &answer); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), answer.Mode)
			return err
		}
		mode, err := hookgate.ParseMode(args[0])
		if err != nil {
			return err
		}
		body, err := c.do(cmd.Context(), http.MethodPost, "/admin/maintenance", nil, "application/json",
			strings.NewReader(fmt.Sprintf(`{"mode":%q}`, mode)))
		if err != nil {
			return err
		}
		if err := decodeAnswer(body, &answer); err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), answer.Mode)
		return err
	}
	return cmd
}
