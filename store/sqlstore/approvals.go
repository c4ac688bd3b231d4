package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
)

const (
	approvalColumns = "id, action, target, needs, requested_by, role, request_id, requested_at," +
		" reason," +
		" expires_at, state, decided_by, decided_at, decision_reason, used_by, used_at"
	readApprovals = "SELECT " + approvalColumns + " FROM webhook_approvals WHERE "
)

// RequestApproval stores a request, gives it an ID and returns it. If the same person already has a
// pending or approved request for the same action and target, RequestApproval returns that one and
// stores nothing. It returns ErrTooManyApprovals if maxPending requests of the person are pending.
// After any other error the request may have been stored; you can safely call again.
func (t *Tables) RequestApproval(ctx context.Context, a control.Approval,
	maxPending int) (kept control.Approval, err error) {
	for _, text := range []*string{&a.Action, &a.Target, &a.RequestedBy, &a.Reason} {
		*text = t.Clean(*text)
	}
	at, pending := a.RequestedAt.UnixMicro(), int64(0)
	var reads []Statement
	if t.LockApprovals != "" {
		// Without the lock two concurrent requests could both be stored and exceed maxPending.
		reads = append(reads, Statement{SQL: t.LockApprovals})
	}
	reads = append(reads, Statement{
		SQL: readApprovals + `requested_by = ? AND state IN ('pending', 'approved') AND expires_at > ?
			AND action = ? AND target = ? ORDER BY id LIMIT 1`,
		Args: []any{a.RequestedBy, at, a.Action, a.Target},
		Row:  func(r Row) (err error) { kept, err = scanApproval(r); return err },
	}, Statement{
		SQL: `SELECT count(*), (SELECT coalesce(max(id), 0) + 1 FROM webhook_approvals)
			FROM webhook_approvals WHERE requested_by = ? AND state = 'pending' AND expires_at > ?`,
		Args: []any{a.RequestedBy, at},
		Row:  func(r Row) error { pending, a.ID = r.Int(0), r.Int(1); return nil },
	})
	err = t.db.Change(ctx, reads, func() ([]Statement, error) {
		if kept.ID != 0 || pending >= int64(maxPending) {
			return nil, nil
		}
		a.State = control.ApprovalPending
		kept = a
		return []Statement{{
			SQL: "INSERT INTO webhook_approvals (" + approvalColumns +
				") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', 0, '', '', 0)",
			Args: []any{a.ID, a.Action, a.Target, string(a.Needs), a.RequestedBy, string(a.Role),
				a.RequestID.String(), at, a.Reason, a.ExpiresAt.UnixMicro(), string(a.State)},
		}}, nil
	})
	if err == nil && kept.ID == 0 {
		err = control.ErrTooManyApprovals
	}
	if err != nil {
		return control.Approval{}, fmt.Errorf("request approval of %s: %w", a.Action, err)
	}
	return kept, nil
}

// DecideApproval approves or denies a request that has not expired, and returns it. Only a pending
// request of another person can be approved; a pending or approved one can be denied.
// DecideApproval returns ErrApprovalState, with the approval, if its state does not allow the
// decision, and ErrNotFound if there is none. After any other error the outcome is unknown.
func (t *Tables) DecideApproval(ctx context.Context, d control.ApprovalDecision) (control.Approval,
	error) {
	return t.changeApproval(ctx, "decide", d.ID,
		`UPDATE webhook_approvals SET state = ?2, decided_by = ?3, decided_at = ?4, decision_reason = ?5
		WHERE id = ?1 AND expires_at > ?4 AND (state = 'pending' AND requested_by <> ?3
			OR state IN ('pending', 'approved') AND ?2 = 'denied') RETURNING id`,
		d.ID, string(d.State), t.Clean(d.By), d.At.UnixMicro(), t.Clean(d.Reason))
}

// UseApproval marks an approved request that has not expired as used by a call, and returns it. It
// returns the same errors as DecideApproval.
func (t *Tables) UseApproval(ctx context.Context, id int64, by hookgate.RequestID,
	at time.Time) (control.Approval, error) {
	return t.changeApproval(ctx, "use", id,
		`UPDATE webhook_approvals SET state = 'used', used_by = ?2, used_at = ?3
		WHERE id = ?1 AND state = 'approved' AND expires_at > ?3 RETURNING id`,
		id, by.String(), at.UnixMicro())
}

// changeApproval runs an update that returns the id if it changed the approval.
func (t *Tables) changeApproval(ctx context.Context, doing string, id int64, update string,
	args ...any) (a control.Approval, err error) {
	changed := false
	err = t.change(ctx,
		Statement{SQL: update, Args: args, Row: func(Row) error { changed = true; return nil }},
		Statement{SQL: readApprovals + "id = ?", Args: []any{id}, Row: func(r Row) (err error) {
			a, err = scanApproval(r)
			return err
		}})
	switch {
	case err != nil:
		return control.Approval{}, fmt.Errorf("%s approval %d: %w", doing, id, err)
	case a.ID == 0:
		return a, fmt.Errorf("approval %d: %w", id, hookgate.ErrNotFound)
	case !changed:
		return a, fmt.Errorf("%s approval %d: %w", doing, id, control.ErrApprovalState)
	}
	return a, nil
}

// Approval returns an approval, or ErrNotFound.
func (t *Tables) Approval(ctx context.Context, id int64) (a control.Approval, err error) {
	found, err := t.one(ctx, readApprovals+"id = ?", func(r Row) (err error) {
		a, err = scanApproval(r)
		return err
	}, id)
	switch {
	case err != nil:
		return control.Approval{}, fmt.Errorf("read approval %d: %w", id, err)
	case !found:
		return control.Approval{}, fmt.Errorf("approval %d: %w", id, hookgate.ErrNotFound)
	}
	return a, nil
}

// Approvals returns the approvals that match, oldest first.
func (t *Tables) Approvals(ctx context.Context, f control.ApprovalFilter) (all []control.Approval,
	err error) {
	err = t.db.Query(ctx, Statement{
		SQL: readApprovals + `id > ?1 AND (?2 = '' OR CASE WHEN state IN ('pending', 'approved')
			AND expires_at <= ?3 THEN 'expired' ELSE state END = ?2) ORDER BY id LIMIT ?4`,
		Args: []any{f.After, string(f.State), hookgate.Micros(f.Now), f.Limit},
		Row: func(r Row) error {
			a, err := scanApproval(r)
			all = append(all, a)
			return err
		},
	})
	if err != nil {
		return nil, fmt.Errorf("list approvals: %w", err)
	}
	return all, nil
}

func scanApproval(r Row) (a control.Approval, err error) {
	a = control.Approval{
		ID: r.Int(0), Action: r.Text(1), Target: r.Text(2), Needs: control.Role(r.Text(3)),
		RequestedBy: r.Text(4), Role: control.Role(r.Text(5)),
		RequestedAt: micros(r.Int(7)), Reason: r.Text(8), ExpiresAt: micros(r.Int(9)),
		State: control.ApprovalState(r.Text(10)), DecidedBy: r.Text(11),
		DecidedAt: hookgate.FromMicros(r.Int(12)), DecisionReason: r.Text(13),
		UsedAt: hookgate.FromMicros(r.Int(15)),
	}
	if a.RequestID, err = hookgate.ParseRequestID(r.Text(6)); err != nil {
		return a, err
	}
	if used := r.Text(14); used != "" {
		a.UsedBy, err = hookgate.ParseRequestID(used)
	}
	return a, err
}
