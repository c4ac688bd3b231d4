package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/progress"
)

func newRemoveTestsCommand() *cobra.Command {
	var c connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "remove-tests",
		Short: "Remove the bodies of test traffic for good; needs the role admin",
		Long: `Remove the bodies of all test traffic for good: the events of the source
hookgate-certify, to which certify and replay --test send. Their identities, digests and
lineage stay until retention removes them, so that hookgate audit verify still works. No
other event is touched, and dead letters stay: hookgate dlq purge removes those.

Do not run this during a certification: certify reads its events back at the end.

The gate removes the bodies in small transactions and takes webhooks meanwhile. After an
interruption run it again for the rest.

Exit code 0: none are left. 1: some may be left. 2: the gate could not be asked, or
rejected it.`,
		Example: `  hookgate events remove-tests --reason "certified 4.2"`,
		Args:    cobra.NoArgs,
	}
	c.register(cmd)
	c.registerReason(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, _ []string) error {
		var removed int64
		bar := progress.New(cmd.ErrOrStderr(), 0)
		err := client.RemoveAllTests(cmd.Context(), func(a api.RemovedTests) {
			removed += a.Removed
			bar.Set(removed, fmt.Sprintf("%d removed", removed))
		}, c.options()...)
		bar.Done()
		switch {
		case err != nil && removed > 0:
			return &exitError{exitFail,
				fmt.Errorf("%d removed, then: %w; run it again for the rest", removed, err)}
		case err != nil:
			return err
		case asJSON:
			return printLine(cmd.OutOrStdout(), map[string]int64{"removed": removed})
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d removed\n", removed)
		return err
	})
	return cmd
}
