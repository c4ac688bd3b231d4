package sqlite

import (
	"context"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/control"
)

const tokenColumns = `name, role, hash, created_at, created_by, expires_at, revoked_at`

// CreateToken keeps a token. ErrExists: there is one of its name, or was. Any other error leaves it
// unknown whether it is kept.
func (s *Store) CreateToken(_ context.Context, t control.Token) error {
	added := 0
	err := s.change(func() error {
		err := sqlitex.Execute(s.conn, `INSERT INTO webhook_tokens (`+tokenColumns+
			`) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING`,
			&sqlitex.ExecOptions{Args: []any{t.Name, string(t.Role), t.Hash[:], t.CreatedAt.UnixMicro(),
				t.CreatedBy,
				hookgate.Micros(t.ExpiresAt), hookgate.Micros(t.RevokedAt)}})
		added = s.conn.Changes()
		return err
	})
	if err == nil && added == 0 {
		err = control.ErrExists
	}
	if err != nil {
		return fmt.Errorf("create token %s: %w", t.Name, err)
	}
	return nil
}

// Token finds a token by its hash, revoked and expired ones too, or returns ErrNotFound.
func (s *Store) Token(ctx context.Context, hash [32]byte) (control.Token, error) {
	all, err := s.tokens(ctx, "WHERE hash = ?", hash[:])
	switch {
	case err != nil:
		return control.Token{}, fmt.Errorf("look up token: %w", err)
	case len(all) == 0:
		return control.Token{}, fmt.Errorf("token: %w", hookgate.ErrNotFound)
	}
	return all[0], nil
}

// Tokens returns all tokens, oldest first.
func (s *Store) Tokens(ctx context.Context) ([]control.Token, error) {
	all, err := s.tokens(ctx, "ORDER BY created_at, name")
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	return all, nil
}

func (s *Store) tokens(ctx context.Context, where string, args ...any) (all []control.Token,
	err error) {
	err = s.read(ctx, func(conn *sqlite.Conn) error {
		return sqlitex.Execute(conn, "SELECT "+tokenColumns+" FROM webhook_tokens "+where,
			&sqlitex.ExecOptions{
				Args: args,
				ResultFunc: func(row *sqlite.Stmt) error {
					t := control.Token{
						Name: row.ColumnText(0), Role: control.Role(row.ColumnText(1)),
						CreatedAt: micros(row.ColumnInt64(3)), CreatedBy: row.ColumnText(4),
						ExpiresAt: hookgate.FromMicros(row.ColumnInt64(5)),
						RevokedAt: hookgate.FromMicros(row.ColumnInt64(6)),
					}
					row.ColumnBytes(2, t.Hash[:])
					all = append(all, t)
					return nil
				},
			})
	})
	return all, err
}

// RevokeToken ends a token for good and returns it; one that was revoked before stays as it is. Or
// it returns ErrNotFound.
func (s *Store) RevokeToken(ctx context.Context, name string, at time.Time) (control.Token,
	error) {
	err := s.change(func() error {
		return sqlitex.Execute(s.conn,
			`UPDATE webhook_tokens SET revoked_at = ? WHERE name = ? AND revoked_at = 0`,
			&sqlitex.ExecOptions{Args: []any{at.UnixMicro(), name}})
	})
	var all []control.Token
	if err == nil {
		all, err = s.tokens(ctx, "WHERE name = ?", name)
	}
	switch {
	case err != nil:
		return control.Token{}, fmt.Errorf("revoke token %s: %w", name, err)
	case len(all) == 0:
		return control.Token{}, fmt.Errorf("token %s: %w", name, hookgate.ErrNotFound)
	}
	return all[0], nil
}

// RecordAction adds a row to the admin trail. It gives the row its number and its place in the
// chain. After an error the row may be there all the same.
func (s *Store) RecordAction(_ context.Context, a control.AdminAction) error {
	a.Sequence = 0
	err := s.change(func() error {
		if err := sqlitex.Execute(s.conn, "SELECT sequence, hash FROM webhook_admin_chain",
			&sqlitex.ExecOptions{
				ResultFunc: func(row *sqlite.Stmt) error {
					a.Sequence = row.ColumnInt64(0) + 1
					row.ColumnBytes(1, a.Previous[:])
					return nil
				},
			}); err != nil {
			return err
		}
		if a.Sequence == 0 {
			return audit.ErrNoTrail
		}
		a.Hash = a.ChainHash()
		if err := sqlitex.Execute(s.conn, "INSERT INTO webhook_admin_actions ("+actionColumns+
			") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", &sqlitex.ExecOptions{
			Args: []any{a.Sequence, a.Previous[:], a.Hash[:], a.At.UnixMicro(), a.RequestID.String(),
				a.Actor, string(a.Role),
				a.RemoteAddr, a.Action, a.Target, a.Reason, a.Result},
		}); err != nil {
			return err
		}
		return sqlitex.Execute(s.conn, "UPDATE webhook_admin_chain SET sequence = ?, hash = ?",
			&sqlitex.ExecOptions{Args: []any{a.Sequence, a.Hash[:]}})
	})
	if err != nil {
		return fmt.Errorf("record admin action %s: %w", a.Action, err)
	}
	return nil
}

const actionColumns = `sequence, previous_hash, hash, at, request_id, actor, role, remote_addr, action, target, reason, result`

// Actions returns the rows of the admin trail behind the one with the number after, oldest first,
// at most limit of them.
func (s *Store) Actions(ctx context.Context, after int64, limit int) (all []control.AdminAction,
	err error) {
	err = s.read(ctx, func(conn *sqlite.Conn) error {
		return sqlitex.Execute(conn, "SELECT "+actionColumns+
			" FROM webhook_admin_actions WHERE sequence > ? ORDER BY sequence LIMIT ?",
			&sqlitex.ExecOptions{
				Args: []any{after, limit},
				ResultFunc: func(row *sqlite.Stmt) (err error) {
					a := scanAction(row)
					a.AdminAction.RequestID, err = hookgate.ParseRequestID(a.RequestID)
					all = append(all, a.AdminAction)
					return err
				},
			})
	})
	if err != nil {
		return nil, fmt.Errorf("read admin actions: %w", err)
	}
	return all, nil
}

func scanAction(row *sqlite.Stmt) audit.Action {
	a := audit.Action{
		AdminAction: control.AdminAction{
			Sequence: row.ColumnInt64(0), At: micros(row.ColumnInt64(3)),
			Actor: row.ColumnText(5), Role: control.Role(row.ColumnText(6)), RemoteAddr: row.ColumnText(7),
			Action: row.ColumnText(8), Target: row.ColumnText(9), Reason: row.ColumnText(10),
			Result: row.ColumnText(11),
		},
		RequestID: row.ColumnText(4),
	}
	row.ColumnBytes(1, a.Previous[:])
	row.ColumnBytes(2, a.Hash[:])
	return a
}
