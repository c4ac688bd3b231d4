package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
)

const (
	approvalColumns = `id, action, target, needs, requested_by, role, request_id, requested_at, reason, expires_at,
	state, decided_by, decided_at, decision_reason, used_by, used_at`
	oneApproval = "SELECT " + approvalColumns + " FROM webhook_approvals WHERE id = $1"
)

// RequestApproval keeps a request, gives it its ID and returns it. If one of the same person for
// the same action and target is pending or approved at its RequestedAt, that one is returned and
// nothing kept. ErrTooManyApprovals: maxPending requests of this person are pending. After any
// other error it is unknown whether it is kept; to ask again is harmless.
func (s *Store) RequestApproval(ctx context.Context, a control.Approval,
	maxPending int) (kept control.Approval, err error) {
	for _, text := range []*string{&a.Action, &a.Target, &a.RequestedBy, &a.Reason} {
		*text = clean(*text)
	}
	by, at := argText(a.RequestedBy), argInt(a.RequestedAt.UnixMicro())
	pending := int64(0)
	err = s.tx(ctx, []statement{
		// one request at a time, so that the bound holds and none is kept twice
		{sql: "LOCK TABLE webhook_approvals IN SHARE ROW EXCLUSIVE MODE"},
		{sql: "SELECT " + approvalColumns + ` FROM webhook_approvals
			WHERE requested_by = $1 AND state IN ('pending', 'approved') AND expires_at > $2 AND action = $3 AND target = $4 ORDER BY id LIMIT 1`,
			args: []arg{by, at, argText(a.Action), argText(a.Target)},
			row:  func(r row) (err error) { kept, err = scanApproval(r); return err }},
		{sql: `SELECT count(*), (SELECT coalesce(max(id), 0) + 1 FROM webhook_approvals)
			FROM webhook_approvals WHERE requested_by = $1 AND state = 'pending' AND expires_at > $2`,
			args: []arg{by, at},
			row:  func(r row) error { pending, a.ID = r.int(0), r.int(1); return nil }},
	}, func() ([]statement, error) {
		if kept.ID != 0 || pending >= int64(maxPending) {
			return nil, nil
		}
		a.State = control.ApprovalPending
		kept = a
		return []statement{{
			sql: `INSERT INTO webhook_approvals (` + approvalColumns +
				`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, '', 0, '', '', 0)`,
			args: []arg{argInt(a.ID), argText(a.Action), argText(a.Target), argText(string(a.Needs)), by,
				argText(string(a.Role)),
				argText(a.RequestID.String()), at, argText(a.Reason), argInt(a.ExpiresAt.UnixMicro()),
				argText(string(a.State))},
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

// DecideApproval approves a request that is pending and another's, or denies one that is pending or
// approved, unless it is expired, and returns it. ErrApprovalState: its state does not allow that,
// and it is returned as it stands. ErrNotFound: there is none. After any other error the outcome is
// unknown.
func (s *Store) DecideApproval(ctx context.Context, d control.ApprovalDecision) (control.Approval,
	error) {
	return s.changeApproval(ctx, "decide", d.ID,
		`UPDATE webhook_approvals SET state = $2, decided_by = $3, decided_at = $4, decision_reason = $5
		WHERE id = $1 AND expires_at > $4 AND (state = 'pending' AND requested_by <> $3 OR state IN ('pending', 'approved') AND $2 = 'denied')
		RETURNING id`, argText(string(d.State)), argText(clean(d.By)), argInt(d.At.UnixMicro()), argText(clean(d.Reason)))
}

// UseApproval uses up an approval that is approved and not expired, for a call, and returns it.
// Errors are those of DecideApproval.
func (s *Store) UseApproval(ctx context.Context, id int64, by hookgate.RequestID,
	at time.Time) (control.Approval, error) {
	return s.changeApproval(ctx, "use", id,
		`UPDATE webhook_approvals SET state = 'used', used_by = $2, used_at = $3
		WHERE id = $1 AND state = 'approved' AND expires_at > $3 RETURNING id`, argText(by.String()), argInt(at.UnixMicro()))
}

// changeApproval runs a statement that changes an approval, its first parameter, only if its state
// allows it, and returns its id then.
func (s *Store) changeApproval(ctx context.Context, doing string, id int64, update string,
	args ...arg) (a control.Approval, err error) {
	changed := false
	err = s.tx(ctx, []statement{
		{sql: update, args: append([]arg{argInt(id)}, args...),
			row: func(row) error { changed = true; return nil }},
		{sql: oneApproval, args: []arg{argInt(id)}, row: func(r row) (err error) {
			a,
				err = scanApproval(r)
			return err
		}},
	}, func() ([]statement, error) { return nil, nil })
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
func (s *Store) Approval(ctx context.Context, id int64) (control.Approval, error) {
	all, err := s.approvals(ctx, statement{sql: oneApproval, args: []arg{argInt(id)}})
	switch {
	case err != nil:
		return control.Approval{}, fmt.Errorf("read approval %d: %w", id, err)
	case len(all) == 0:
		return control.Approval{}, fmt.Errorf("approval %d: %w", id, hookgate.ErrNotFound)
	}
	return all[0], nil
}

// Approvals returns the approvals that match, oldest first.
func (s *Store) Approvals(ctx context.Context, f control.ApprovalFilter) ([]control.Approval,
	error) {
	all, err := s.approvals(ctx, statement{
		sql: "SELECT " + approvalColumns + ` FROM webhook_approvals WHERE id > $1
			AND ($2 = '' OR CASE WHEN state IN ('pending', 'approved') AND expires_at <= $3 THEN 'expired' ELSE state END = $2) ORDER BY id LIMIT $4`,
		args: []arg{argInt(f.After), argText(string(f.State)), argInt(hookgate.Micros(f.Now)),
			argInt(int64(f.Limit))},
	})
	if err != nil {
		return nil, fmt.Errorf("list approvals: %w", err)
	}
	return all, nil
}

func (s *Store) approvals(ctx context.Context, query statement) (all []control.Approval,
	err error) {
	query.row = func(r row) error {
		a, err := scanApproval(r)
		all = append(all, a)
		return err
	}
	err = s.read(ctx, query)
	return all, err
}

func scanApproval(r row) (a control.Approval, err error) {
	a = control.Approval{
		ID: r.int(0), Action: r.text(1), Target: r.text(2), Needs: control.Role(r.text(3)),
		RequestedBy: r.text(4), Role: control.Role(r.text(5)),
		RequestedAt: micros(r.int(7)), Reason: r.text(8), ExpiresAt: micros(r.int(9)),
		State: control.ApprovalState(r.text(10)), DecidedBy: r.text(11),
		DecidedAt: hookgate.FromMicros(r.int(12)), DecisionReason: r.text(13),
		UsedAt: hookgate.FromMicros(r.int(15)),
	}
	if a.RequestID, err = hookgate.ParseRequestID(r.text(6)); err != nil {
		return a, err
	}
	if used := r.text(14); used != "" {
		a.UsedBy, err = hookgate.ParseRequestID(used)
	}
	return a, err
}
