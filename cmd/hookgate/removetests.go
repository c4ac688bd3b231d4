package main

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hookgate/hookgate/internal/progress"
	"github.com/spf13/cobra"
)

func newRemoveTestsCommand() *cobra.Command {
	var c client
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "remove-tests",
		Short: "Remove the bodies of test traffic for good; takes the role admin",
		Long: `Remove the bodies of all test traffic for good: the events of the source
hookgate-certify, which certify and replay --test send. Their identities, digests and
lineage stay until retention removes them, so that hookgate audit verify goes on across
them. No other event is touched, and dead letters stay: hookgate dlq purge removes those.

Do not run it while certify is under way: certify reads its events back at the end.

The gate removes them in small transactions and takes webhooks meanwhile. After an
interruption run it again for the rest.

Exit code 0: none are left. 1: some may be left. 2: the gate could not be asked, or refused.`,
		Example: `  hookgate events remove-tests --reason "certified 4.2"`,
		Args:    cobra.NoArgs,
	}
	c.register(cmd)
	c.registerReason(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		bar := progress.New(cmd.ErrOrStderr(), 0)
		defer bar.Done()
		removed := 0
		for idle := 0; ; {
			var answer struct {
				Removed int
				More    bool
			}
			err := c.change(cmd.Context(), http.MethodPost, "/admin/test-events/remove", "", &answer)
			var refused *refusal
			switch {
			case errors.As(err, &refused) && refused.code == http.StatusServiceUnavailable &&
				idle < dlqPatience: // another call is under way, or the store is away
				idle++
				select {
				case <-time.After(max(refused.retryAfter, 100*time.Millisecond)):
					continue
				case <-cmd.Context().Done():
				}
			case err == nil:
				idle = 0
			}
			if err != nil && removed > 0 {
				return &exitError{exitFail,
					fmt.Errorf("%d removed, then: %w; run it again for the rest", removed, err)}
			}
			if err != nil {
				return err
			}
			removed += answer.Removed
			bar.Set(int64(removed), fmt.Sprintf("%d removed", removed))
			if !answer.More {
				break
			}
		}
		bar.Done()
		if asJSON {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "{\"removed\":%d}\n", removed)
			return err
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%d removed\n", removed)
		return err
	}
	return cmd
}
