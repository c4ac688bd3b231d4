package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/hookgate/hookgate/control"
	"github.com/spf13/cobra"
)

// approvalPoll is how often a command that waits asks whether an approval is decided.
const approvalPoll = 2 * time.Second

// approval is what the admin API says about an approval.
type approval struct {
	ID, Action, Target, RequestedBy, Reason string
	State                                   control.ApprovalState
	RequestedAt, ExpiresAt                  time.Time
	DecidedBy, DecisionReason               string
}

func (a *approval) String() string { return fmt.Sprintf("%s of %s", a.Action, a.Target) }

// registerApproval adds the flags of a command whose action can need an approval.
func (c *client) registerApproval(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.approval, "approval", "",
		"`ID` of the approval to use, if the gate wants one")
	cmd.Flags().BoolVar(&c.wait, "wait", false,
		"if the gate wants an approval, wait until another person has given it, and go on")
	cmd.MarkFlagsMutuallyExclusive("approval", "wait")
	c.told = cmd.ErrOrStderr
}

// approvalAsked returns the approval that a call waits for, if that is what its answer says.
func approvalAsked(answer json.RawMessage) (a approval, asked bool) {
	var told struct {
		Status   string
		Approval approval
	}
	if json.Unmarshal(answer, &told) != nil || told.Status != "approval_required" {
		return a, false
	}
	return told.Approval, true
}

// awaitApproval makes the next call use an approval that was asked for, once it is given. If the
// command does not wait the error says what to do.
func (c *client) awaitApproval(ctx context.Context, a approval) error {
	if !c.wait {
		next := fmt.Sprintf("another person: hookgate approve %s --reason WHY\n  then the same command again with --approval %s (or with --wait in the first place)", a.ID, a.ID)
		if a.State == control.ApprovalApproved {
			next = fmt.Sprintf("it has been given: the same command again with --approval %s", a.ID)
		}
		return &needsApproval{a.ID, fmt.Sprintf(
			"nothing is done yet: %s needs an approval, number %s, until %s\n  %s", &a, a.ID,
			a.ExpiresAt.Local().Format(time.RFC3339), next)}
	}
	fmt.Fprintf(c.told(), "%s waits for approval %s, until %s. Another person: hookgate approve %s --reason WHY\n", &a, a.ID, a.ExpiresAt.Local().Format(time.RFC3339), a.ID)
	for {
		switch a.State {
		case control.ApprovalApproved:
			fmt.Fprintf(c.told(), "%s has approved: %s\n", a.DecidedBy, a.DecisionReason)
			c.approval = a.ID
			return nil
		case control.ApprovalPending:
		case control.ApprovalDenied:
			return &exitError{exitFail, fmt.Errorf("nothing is done: %s has denied approval %s: %s",
				a.DecidedBy, a.ID, a.DecisionReason)}
		default:
			return &exitError{exitFail, fmt.Errorf("nothing is done: approval %s is %s", a.ID, a.State)}
		}
		select {
		case <-time.After(approvalPoll):
		case <-ctx.Done():
			return fmt.Errorf("approval %s still waits; when it is given, the same command again with --approval %s: %w", a.ID, a.ID, ctx.Err())
		}
		err := c.get(ctx, "/admin/approvals/"+url.PathEscape(a.ID), nil, &a)
		if refused := (*refusal)(nil); errors.As(err, &refused) && refused.code >= 500 {
			continue // it cannot tell now
		}
		if err != nil {
			return fmt.Errorf("approval %s may still be given; then the same command again with --approval %s: %w", a.ID, a.ID, err)
		}
	}
}

// needsApproval is why nothing was done: an approval with this ID has been asked for.
type needsApproval struct{ id, text string }

func (e *needsApproval) Error() string { return e.text }

func newApprovalsCommand() *cobra.Command {
	var c client
	var state string
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "approvals [ID]",
		Short: "List what waits for approval, or has one",
		Long: `List the requests of a running gate that wait for the approval of another person, and
those that have it and are not used yet, oldest first; or the one with the ID given.

The setting approvals.required says which actions need an approval. A command that asks
for one of these says so and ends with exit code 2, or goes on by itself with --wait.`,
		Example: `  hookgate approvals
  hookgate approvals 17
  hookgate approvals --all --json | jq 'select(.decidedBy == "bob")'`,
		Args: cobra.MaximumNArgs(1),
	}
	c.register(cmd)
	cmd.Flags().StringVar(&state, "state", "",
		"those in this `state`: pending, approved, denied, used or expired")
	cmd.Flags().BoolVar(&all, "all", false, "those in every state")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print NDJSON, an approval a line")
	cmd.MarkFlagsMutuallyExclusive("state", "all")
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		rows, err := c.approvals(cmd.Context(), ids, state, all)
		if err != nil {
			return err
		}
		return printRows(cmd.OutOrStdout(), rows, asJSON, printApprovals)
	}
	return cmd
}

// approvals reads approvals: one, those in a state, all, or those that can still be used.
func (c *client) approvals(ctx context.Context, ids []string, state string,
	all bool) (rows []json.RawMessage, err error) {
	if len(ids) > 0 {
		if state != "" || all {
			return nil, errors.New("give an ID, or --state, or --all, and not two of them")
		}
		var row json.RawMessage
		if err := c.get(ctx, "/admin/approvals/"+url.PathEscape(ids[0]), nil, &row); err != nil {
			return nil, err
		}
		return []json.RawMessage{row}, nil
	}
	states := []string{string(control.ApprovalPending), string(control.ApprovalApproved)}
	switch {
	case all:
		states = []string{""}
	case state != "":
		states = []string{state}
	}
	for _, state := range states {
		query := url.Values{}
		if state != "" {
			query.Set("state", state)
		}
		some, err := c.allRows(ctx, "/admin/approvals", "approvals", query)
		if err != nil {
			return nil, err
		}
		rows = append(rows, some...)
	}
	return rows, nil
}

func printApprovals(out io.Writer, rows []json.RawMessage) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSTATE\tACTION\tTARGET\tBY\tREQUESTED\tEXPIRES\tREASON\tDECIDED BY\tWITH REASON")
	for _, row := range rows {
		var a approval
		if err := json.Unmarshal(row, &a); err != nil {
			return fmt.Errorf("read the gate's answer: %w", err)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", a.ID, a.State, a.Action, a.Target,
			a.RequestedBy, timeOr(&a.RequestedAt, ""),
			timeOr(&a.ExpiresAt, ""), a.Reason, a.DecidedBy, a.DecisionReason)
	}
	return w.Flush()
}

func newApproveCommand() *cobra.Command {
	return newDecisionCommand("approve", "Approve what another person asks to do",
		`Approve what another person asks to do; hookgate approvals lists it. It takes at least the
role that the action itself takes, and a token that is older than the request. Nobody
approves their own: the tokens of the configuration count as one person.

Whoever asked can use it once, until it expires. hookgate deny takes it back until then.

Exit code 0: it is approved. 2: it is not, and the message says why.`)
}

func newDenyCommand() *cobra.Command {
	return newDecisionCommand("deny", "Deny what another person asks to do, or withdraw what you ask",
		`Deny what another person asks to do, or take back an approval that is not used yet. Whoever
asked may do it too, and so withdraws the request.

Exit code 0: it is denied. 2: it is not, and the message says why.`)
}

func newDecisionCommand(verb, short, long string) *cobra.Command {
	var c client
	cmd := &cobra.Command{
		Use:     verb + " ID --reason WHY",
		Short:   short,
		Long:    long,
		Example: fmt.Sprintf(`  hookgate %s 17 --reason "looked at all twelve: tests"`, verb),
		Args:    cobra.ExactArgs(1),
	}
	c.register(cmd)
	c.registerReason(cmd)
	cmd.MarkFlagRequired("reason")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var a approval
		if err := c.change(cmd.Context(), http.MethodPost, "/admin/approvals/"+url.PathEscape(args[0])+
			"/"+verb, "", &a); err != nil {
			return err
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %s, asked for by %s: %s\n", a.State, a.ID, &a,
			a.RequestedBy, a.Reason)
		return err
	}
	return cmd
}
