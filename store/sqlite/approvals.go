package sqlite

import (
	"context"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
)

const approvalColumns = `id, action, target, needs, requested_by, role, request_id, requested_at, reason, expires_at,
	state, decided_by, decided_at, decision_reason, used_by, used_at`

// RequestApproval keeps a request, gives it its ID and returns it. If one of the same person for
// the same action and target is pending or approved at its RequestedAt, that one is returned and
// nothing kept. ErrTooManyApprovals: maxPending requests of this person are pending. After any
// other error it is unknown whether it is kept; to ask again is harmless.
func (s *Store) RequestApproval(_ context.Context, a control.Approval,
	maxPending int) (kept control.Approval, err error) {
	at := a.RequestedAt.UnixMicro()
	err = s.change(func() error {
		same, err := selectApprovals(s.conn,
			`WHERE requested_by = ? AND state IN ('pending', 'approved') AND expires_at > ? AND action = ? AND target = ?
			ORDER BY id LIMIT 1`, a.RequestedBy, at, a.Action, a.Target)
		if err != nil {
			return err
		}
		if len(same) > 0 {
			kept = same[0]
			return nil
		}
		pending := 0
		if err := sqlitex.Execute(s.conn,
			`SELECT count(*), (SELECT coalesce(max(id), 0) + 1 FROM webhook_approvals)
			FROM webhook_approvals WHERE requested_by = ? AND state = 'pending' AND expires_at > ?`, &sqlitex.ExecOptions{
				Args: []any{a.RequestedBy, at},
				ResultFunc: func(row *sqlite.Stmt) error {
					pending, a.ID = row.ColumnInt(0),
						row.ColumnInt64(1)
					return nil
				},
			}); err != nil || pending >= maxPending {
			return err
		}
		a.State = control.ApprovalPending
		kept = a
		return sqlitex.Execute(s.conn, `INSERT INTO webhook_approvals (`+approvalColumns+
			`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', 0, '', '', 0)`,
			&sqlitex.ExecOptions{Args: []any{a.ID, a.Action, a.Target, string(a.Needs), a.RequestedBy,
				string(a.Role), a.RequestID.String(),
				at, a.Reason, a.ExpiresAt.UnixMicro(), string(a.State)}})
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
func (s *Store) DecideApproval(_ context.Context, d control.ApprovalDecision) (control.Approval,
	error) {
	return s.changeApproval("decide", d.ID,
		`UPDATE webhook_approvals SET state = ?2, decided_by = ?3, decided_at = ?4, decision_reason = ?5
		WHERE id = ?1 AND expires_at > ?4 AND (state = 'pending' AND requested_by <> ?3 OR state IN ('pending', 'approved') AND ?2 = 'denied')`,
		d.ID, string(d.State), d.By, d.At.UnixMicro(), d.Reason)
}

// UseApproval uses up an approval that is approved and not expired, for a call, and returns it.
// Errors are those of DecideApproval.
func (s *Store) UseApproval(_ context.Context, id int64, by hookgate.RequestID,
	at time.Time) (control.Approval, error) {
	return s.changeApproval("use", id,
		`UPDATE webhook_approvals SET state = 'used', used_by = ?2, used_at = ?3
		WHERE id = ?1 AND state = 'approved' AND expires_at > ?3`, id, by.String(), at.UnixMicro())
}

// changeApproval runs a statement that changes an approval only if its state allows it.
func (s *Store) changeApproval(doing string, id int64, update string,
	args ...any) (a control.Approval, err error) {
	changed := 0
	err = s.change(func() (err error) {
		if err := sqlitex.Execute(s.conn, update, &sqlitex.ExecOptions{Args: args}); err != nil {
			return err
		}
		changed = s.conn.Changes()
		all, err := selectApprovals(s.conn, "WHERE id = ?", id)
		if len(all) > 0 {
			a = all[0]
		}
		return err
	})
	switch {
	case err != nil:
		return control.Approval{}, fmt.Errorf("%s approval %d: %w", doing, id, err)
	case a.ID == 0:
		return a, fmt.Errorf("approval %d: %w", id, hookgate.ErrNotFound)
	case changed == 0:
		return a, fmt.Errorf("%s approval %d: %w", doing, id, control.ErrApprovalState)
	}
	return a, nil
}

// Approval returns an approval, or ErrNotFound.
func (s *Store) Approval(ctx context.Context, id int64) (control.Approval, error) {
	all, err := s.approvals(ctx, "WHERE id = ?", id)
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
	all, err := s.approvals(ctx, `WHERE id > ?1 AND (?2 = '' OR CASE WHEN state IN ('pending', 'approved') AND expires_at <= ?3 THEN 'expired' ELSE state END = ?2)
		ORDER BY id LIMIT ?4`, f.After, string(f.State), hookgate.Micros(f.Now), f.Limit)
	if err != nil {
		return nil, fmt.Errorf("list approvals: %w", err)
	}
	return all, nil
}

func (s *Store) approvals(ctx context.Context, where string, args ...any) (all []control.Approval,
	err error) {
	err = s.read(ctx, func(conn *sqlite.Conn) (err error) {
		all, err = selectApprovals(conn, where, args...)
		return err
	})
	return all, err
}

func selectApprovals(conn *sqlite.Conn, where string, args ...any) (all []control.Approval,
	err error) {
	err = sqlitex.Execute(conn, "SELECT "+approvalColumns+" FROM webhook_approvals "+where,
		&sqlitex.ExecOptions{
			Args: args,
			ResultFunc: func(row *sqlite.Stmt) (err error) {
				a := control.Approval{
					ID: row.ColumnInt64(0), Action: row.ColumnText(1), Target: row.ColumnText(2),
					Needs:       control.Role(row.ColumnText(3)),
					RequestedBy: row.ColumnText(4), Role: control.Role(row.ColumnText(5)),
					RequestedAt: micros(row.ColumnInt64(7)), Reason: row.ColumnText(8),
					ExpiresAt: micros(row.ColumnInt64(9)),
					State:     control.ApprovalState(row.ColumnText(10)), DecidedBy: row.ColumnText(11),
					DecidedAt: hookgate.FromMicros(row.ColumnInt64(12)), DecisionReason: row.ColumnText(13),
					UsedAt: hookgate.FromMicros(row.ColumnInt64(15)),
				}
				if a.RequestID, err = hookgate.ParseRequestID(row.ColumnText(6)); err != nil {
					return err
				}
				if used := row.ColumnText(14); used != "" {
					a.UsedBy, err = hookgate.ParseRequestID(used)
				}
				all = append(all, a)
				return err
			},
		})
	return all, err
}
