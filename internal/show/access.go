package show

import (
	"cmp"
	"io"
	"iter"
	"strings"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

// Approvals prints approvals.
func Approvals(out io.Writer, rows iter.Seq2[api.Approval, error]) error {
	t := NewTable(out, "ID", "STATE", "ACTION", "TARGET", "BY", "REQUESTED", "EXPIRES",
		"REASON", "DECIDED BY", "WITH REASON")
	for a, err := range rows {
		if err != nil {
			return err
		}
		t.Row(a.ID, a.State, a.Action, a.Target, a.RequestedBy, a.RequestedAt, a.ExpiresAt, a.Reason,
			TextOf(a.DecidedBy), TextOf(a.DecisionReason))
	}
	return t.Flush()
}

// Tokens prints tokens.
func Tokens(out io.Writer, all api.Tokens) error {
	t := NewTable(out, "NAME", "ROLE", "SUBSCRIPTIONS", "CREATED", "BY", "EXPIRES", "REVOKED")
	for _, k := range all.Tokens {
		t.Row(k.Name, k.Role, cmp.Or(strings.Join(k.Subscriptions, ","), "-"), k.CreatedAt,
			k.CreatedBy, TimeOr(k.ExpiresAt, "never"), TimeOr(k.RevokedAt, "-"))
	}
	return t.Flush()
}

// Actions prints one line for each action of the admin trail: its last row.
func Actions(out io.Writer, rows iter.Seq2[api.Action, error]) error {
	var all []api.Action
	last := map[string]int{} // row of each request id
	for a, err := range rows {
		if err != nil {
			return err
		}
		last[a.RequestID] = len(all)
		all = append(all, a)
	}
	t := NewTable(out, "AT", "BY", "ROLE", "FROM", "ACTION", "TARGET", "RESULT",
		"REASON")
	for i, a := range all {
		if a.Result == control.ResultBegun && last[a.RequestID] != i {
			continue // its second row follows
		}
		t.Row(a.At, a.By, a.Role, a.RemoteAddr, a.Action, a.Target, a.Result, a.Reason)
	}
	return t.Flush()
}
