package dashboard

import (
	"context"
	"strings"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

// approval is a request for approval on a page, with what the visitor may do with it.
type approval struct {
	api.Approval
	Decides `json:"-"`
}

// What describes the request in a few words.
func (a *approval) What() string { return strings.ReplaceAll(a.Action, "_", " ") + ", " + a.Target }

// Pending reports whether nobody has decided yet.
func (a *approval) Pending() bool { return a.State == control.ApprovalPending }

// Again is where the person who asked repeats the action after it is approved: a page, or the end
// of a command.
func (a *approval) Again() (where struct{ Page, Command string }) {
	switch a.Action {
	case "canary":
		where.Page = "/ui/control#canary"
	case "dlq_purge", "dlq_retry_all":
		where.Page = "/ui/dead-letters"
	case "subscription_seek", "subscription_skip":
		where.Command = "hookgate subscriptions " + strings.TrimPrefix(a.Action, "subscription_") +
			" … --approval " + a.ID
	default:
		where.Command = "hookgate " + a.Action + " … --approval " + a.ID
	}
	return where
}

// readApprovals returns the approvals that are pending or approved and not used, oldest first.
func readApprovals(ctx context.Context, v *Visitor) (all []approval, err error) {
	for _, state := range []control.ApprovalState{control.ApprovalPending,
		control.ApprovalApproved} {
		var page struct{ Approvals []approval }
		if err := v.Get(ctx, "/admin/approvals?state="+string(state), &page); err != nil {
			return nil, err
		}
		all = append(all, page.Approvals...)
	}
	for i := range all {
		a := &all[i]
		a.Decides = v.Decides(&control.Approval{RequestedBy: a.RequestedBy, Action: a.Action,
			Needs: a.Needs, RequestedAt: a.RequestedAt.Time})
	}
	return all, nil
}
