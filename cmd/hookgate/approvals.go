package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/show"
)

func newApprovalsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "approvals",
		Short: "List, approve and deny what other people ask to do",
		Long: `List, approve and deny the actions that need the approval of a second person. The
setting approvals.required names these actions.

A command that needs an approval prints the number of the approval and ends with exit
code 2. Repeat it with --approval when another person has approved, or use --wait.`,
	}
	cmd.AddCommand(newApprovalsListCommand(),
		newDecisionCommand("approve", "Approve what another person asks to do",
			`Approve what another person asks to do. This needs at least the role that the action
itself needs, and a token that is older than the request. Nobody can approve their own
request; the tokens of the configuration count as one person.

The approval can be used once, until it expires. Take it back with
"hookgate approvals deny".

Exit code 0: approved. 2: not approved; the message says why.`, (*api.Client).Approve),
		newDecisionCommand("deny", "Deny what another person asks to do, or withdraw your request",
			`Deny what another person asks to do, or take back an approval that is not used yet. You
can also deny your own request, which withdraws it.

Exit code 0: denied. 2: not denied; the message says why.`, (*api.Client).Deny))
	return cmd
}

func newApprovalsListCommand() *cobra.Command {
	var c connection
	var state string
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "list [ID]",
		Short: "List the approvals that are pending, or approved and not used yet",
		Long: `List the approvals that are pending, and those that are approved and not used yet,
oldest first. With an ID, show that one.`,
		Example: `  hookgate approvals list
  hookgate approvals list 17
  hookgate approvals list --all --json | jq 'select(.decidedBy == "bob")'`,
		Args: cobra.MaximumNArgs(1),
	}
	c.register(cmd)
	cmd.Flags().StringVar(&state, "state", "",
		"only those in this `state`: pending, approved, denied, used or expired")
	cmd.Flags().BoolVar(&all, "all", false, "those in every state")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print NDJSON, one approval per line")
	cmd.MarkFlagsMutuallyExclusive("state", "all")
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, ids []string) error {
		rows := func(yield func(api.Approval, error) bool) {
			for _, id := range ids {
				if a, err := client.Approval(cmd.Context(), id); !yield(a, err) || err != nil {
					return
				}
			}
			for _, s := range approvalStates(len(ids) > 0, state, all) {
				for a, err := range client.Approvals(cmd.Context(), s) {
					if !yield(a, err) {
						return
					}
				}
			}
		}
		if asJSON {
			return show.Lines(cmd.OutOrStdout(), rows)
		}
		return show.Approvals(cmd.OutOrStdout(), rows)
	})
	return cmd
}

// approvalStates are the states to list; the empty one stands for all.
func approvalStates(byID bool, state string, all bool) []control.ApprovalState {
	switch {
	case all:
		return []control.ApprovalState{""}
	case state != "":
		return []control.ApprovalState{control.ApprovalState(state)}
	case byID:
		return nil
	}
	return []control.ApprovalState{control.ApprovalPending, control.ApprovalApproved}
}

// newDecisionCommand returns the command that approves, or the one that denies.
func newDecisionCommand(verb, short, long string, decide func(*api.Client, context.Context, string,
	...api.Option) (api.Approval, error)) *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:     verb + " ID --reason WHY",
		Short:   short,
		Long:    long,
		Example: fmt.Sprintf(`  hookgate approvals %s 17 --reason "checked all twelve: tests"`, verb),
		Args:    cobra.ExactArgs(1),
	}
	c.register(cmd)
	c.registerReason(cmd)
	cmd.MarkFlagRequired("reason")
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, args []string) error {
		a, err := decide(client, cmd.Context(), args[0], c.options()...)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %s of %s, requested by %s: %s\n", a.State, a.ID,
			a.Action, a.Target, a.RequestedBy, a.Reason)
		return err
	})
	return cmd
}
