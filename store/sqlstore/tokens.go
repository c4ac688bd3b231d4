package sqlstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
)

const (
	tokenColumns = "name, role, hash, created_at, created_by, expires_at, revoked_at, subscriptions"
	readTokens   = "SELECT " + tokenColumns + " FROM webhook_tokens "
)

// CreateToken stores a token. It returns ErrExists if a token of that name exists or existed. After
// any other error the token may have been stored.
func (t *Tables) CreateToken(ctx context.Context, token control.Token) error {
	added := false
	err := t.change(ctx, Statement{
		SQL: "INSERT INTO webhook_tokens (" + tokenColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (name) DO NOTHING RETURNING name`,
		Args: []any{token.Name, string(token.Role), token.Hash[:], token.CreatedAt.UnixMicro(),
			t.Clean(token.CreatedBy), hookgate.Micros(token.ExpiresAt), hookgate.Micros(token.RevokedAt),
			strings.Join(token.Subscriptions, " ")},
		Row: func(Row) error { added = true; return nil },
	})
	if err == nil && !added {
		err = control.ErrExists
	}
	if err != nil {
		return fmt.Errorf("create token %s: %w", token.Name, err)
	}
	return nil
}

// Token finds a token by its hash, even if it is revoked or expired. It returns ErrNotFound if
// there is none.
func (t *Tables) Token(ctx context.Context, hash [32]byte) (token control.Token, err error) {
	found, err := t.one(ctx, readTokens+"WHERE hash = ?", func(r Row) error {
		token = scanToken(r)
		return nil
	}, hash[:])
	switch {
	case err != nil:
		return control.Token{}, fmt.Errorf("look up token: %w", err)
	case !found:
		return control.Token{}, fmt.Errorf("token: %w", hookgate.ErrNotFound)
	}
	return token, nil
}

// Tokens returns all tokens, oldest first.
func (t *Tables) Tokens(ctx context.Context) (all []control.Token, err error) {
	err = t.db.Query(ctx, Statement{SQL: readTokens + "ORDER BY created_at, name",
		Row: func(r Row) error {
			all = append(all, scanToken(r))
			return nil
		}})
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	return all, nil
}

// RevokeToken revokes a token for good and returns it. A token that is already revoked does not
// change. RevokeToken returns ErrNotFound if there is no such token.
func (t *Tables) RevokeToken(ctx context.Context, name string, at time.Time) (token control.Token,
	err error) {
	found := false
	if t.storable(name) {
		err = t.change(ctx,
			Statement{SQL: "UPDATE webhook_tokens SET revoked_at = ? WHERE name = ? AND revoked_at = 0",
				Args: []any{at.UnixMicro(), name}},
			Statement{SQL: readTokens + "WHERE name = ?", Args: []any{name}, Row: func(r Row) error {
				token, found = scanToken(r), true
				return nil
			}})
	}
	switch {
	case err != nil:
		return control.Token{}, fmt.Errorf("revoke token %s: %w", name, err)
	case !found:
		return control.Token{}, fmt.Errorf("token %s: %w", name, hookgate.ErrNotFound)
	}
	return token, nil
}

func scanToken(r Row) control.Token {
	t := control.Token{
		Name: r.Text(0), Role: control.Role(r.Text(1)),
		CreatedAt: micros(r.Int(3)), CreatedBy: r.Text(4),
		ExpiresAt: hookgate.FromMicros(r.Int(5)), RevokedAt: hookgate.FromMicros(r.Int(6)),
	}
	if names := strings.Fields(r.Text(7)); len(names) > 0 {
		t.Subscriptions = names
	}
	r.Copy(2, t.Hash[:])
	return t
}
