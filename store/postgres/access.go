package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/control"
)

const tokenColumns = `name, role, hash, created_at, created_by, expires_at, revoked_at`

// CreateToken keeps a token. ErrExists: there is one of its name, or was. Any other error leaves it
// unknown whether it is kept.
func (s *Store) CreateToken(ctx context.Context, t control.Token) error {
	added := false
	err := s.tx(ctx, []statement{{
		sql: `INSERT INTO webhook_tokens (` + tokenColumns +
			`) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO NOTHING RETURNING name`,
		args: []arg{argText(t.Name), argText(string(t.Role)), argBytes(t.Hash[:]),
			argInt(t.CreatedAt.UnixMicro()), argText(clean(t.CreatedBy)),
			argInt(hookgate.Micros(t.ExpiresAt)), argInt(hookgate.Micros(t.RevokedAt))},
		row: func(row) error { added = true; return nil },
	}}, func() ([]statement, error) { return nil, nil })
	if err == nil && !added {
		err = control.ErrExists
	}
	if err != nil {
		return fmt.Errorf("create token %s: %w", t.Name, err)
	}
	return nil
}

// Token finds a token by its hash, revoked and expired ones too, or returns ErrNotFound.
func (s *Store) Token(ctx context.Context, hash [32]byte) (control.Token, error) {
	all, err := s.tokens(ctx, "WHERE hash = $1", argBytes(hash[:]))
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

func (s *Store) tokens(ctx context.Context, where string, args ...arg) (all []control.Token,
	err error) {
	err = s.read(ctx, statement{sql: "SELECT " + tokenColumns + " FROM webhook_tokens " + where,
		args: args, row: func(r row) error {
			all = append(all, scanToken(r))
			return nil
		}})
	return all, err
}

func scanToken(r row) control.Token {
	t := control.Token{
		Name: r.text(0), Role: control.Role(r.text(1)),
		CreatedAt: micros(r.int(3)), CreatedBy: r.text(4),
		ExpiresAt: hookgate.FromMicros(r.int(5)), RevokedAt: hookgate.FromMicros(r.int(6)),
	}
	copy(t.Hash[:], r[2])
	return t
}

// RevokeToken ends a token for good and returns it; one that was revoked before stays as it is. Or
// it returns ErrNotFound.
func (s *Store) RevokeToken(ctx context.Context, name string, at time.Time) (t control.Token,
	err error) {
	found := false
	if storable(name) {
		err = s.tx(ctx, []statement{
			{sql: "UPDATE webhook_tokens SET revoked_at = $2 WHERE name = $1 AND revoked_at = 0",
				args: []arg{argText(name), argInt(at.UnixMicro())}},
			{sql: "SELECT " + tokenColumns + " FROM webhook_tokens WHERE name = $1",
				args: []arg{argText(name)},
				row:  func(r row) error { t, found = scanToken(r), true; return nil }},
		}, func() ([]statement, error) { return nil, nil })
	}
	switch {
	case err != nil:
		return control.Token{}, fmt.Errorf("revoke token %s: %w", name, err)
	case !found:
		return control.Token{}, fmt.Errorf("token %s: %w", name, hookgate.ErrNotFound)
	}
	return t, nil
}

// RecordAction adds a row to the admin trail. It gives the row its number and its place in the
// chain. After an error the row may be there all the same.
func (s *Store) RecordAction(ctx context.Context, a control.AdminAction) error {
	for _, text := range []*string{&a.Actor, &a.RemoteAddr, &a.Action, &a.Target, &a.Reason,
		&a.Result} {
		*text = clean(*text)
	}
	a.Sequence = 0
	err := s.tx(ctx, []statement{{
		sql: "SELECT sequence, hash FROM webhook_admin_chain FOR UPDATE",
		row: func(r row) error {
			a.Sequence = r.int(0) + 1
			copy(a.Previous[:], r[1])
			return nil
		},
	}}, func() ([]statement, error) {
		if a.Sequence == 0 {
			return nil, audit.ErrNoTrail
		}
		a.Hash = a.ChainHash()
		return []statement{
			{sql: `INSERT INTO webhook_admin_actions (` + actionColumns +
				`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
				args: []arg{argInt(a.Sequence), argBytes(a.Previous[:]), argBytes(a.Hash[:]),
					argInt(a.At.UnixMicro()),
					argText(a.RequestID.String()), argText(a.Actor), argText(string(a.Role)),
					argText(a.RemoteAddr),
					argText(a.Action), argText(a.Target), argText(a.Reason), argText(a.Result)}},
			{sql: "UPDATE webhook_admin_chain SET sequence = $1, hash = $2", args: []arg{argInt(a.Sequence),
				argBytes(a.Hash[:])}},
		}, nil
	})
	if err != nil {
		return fmt.Errorf("record admin action %s: %w", a.Action, err)
	}
	return nil
}

const (
	actionColumns = `sequence, previous_hash, hash, at, request_id, actor, role, remote_addr, action, target, reason, result`
	actionPage    = "SELECT " + actionColumns +
		" FROM webhook_admin_actions WHERE sequence > $1 ORDER BY sequence LIMIT $2"
)

// Actions returns the rows of the admin trail behind the one with the number after, oldest first,
// at most limit of them.
func (s *Store) Actions(ctx context.Context, after int64, limit int) (all []control.AdminAction,
	err error) {
	err = s.read(ctx, statement{sql: actionPage, args: []arg{argInt(after), argInt(int64(limit))},
		row: func(r row) (err error) {
			var a audit.Action
			scanAction(r, &a)
			a.AdminAction.RequestID, err = hookgate.ParseRequestID(a.RequestID)
			all = append(all, a.AdminAction)
			return err
		}})
	if err != nil {
		return nil, fmt.Errorf("read admin actions: %w", err)
	}
	return all, nil
}

func scanAction(r row, a *audit.Action) int64 {
	*a = audit.Action{
		AdminAction: control.AdminAction{
			Sequence: r.int(0), At: micros(r.int(3)),
			Actor: r.text(5), Role: control.Role(r.text(6)), RemoteAddr: r.text(7),
			Action: r.text(8), Target: r.text(9), Reason: r.text(10), Result: r.text(11),
		},
		RequestID: r.text(4),
	}
	copy(a.Previous[:], r[1])
	copy(a.Hash[:], r[2])
	return a.Sequence
}
