package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/sqlstore"
)

// SQLSTATEs.
const (
	uniqueViolation  = "23505"
	divisionByZero   = "22012"
	lockNotAvailable = "55P03"
)

// hasState reports whether the server answered with one of the SQLSTATEs.
func hasState(err error, states ...string) bool {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return false
	}
	for _, state := range states {
		if refused.Code == state {
			return true
		}
	}
	return false
}

// transaction is a transaction that runs on a connection.
type transaction struct {
	*Store
	conn *pgconn.PgConn
	// begin are the statements to send before the first ones.
	begin []statement
}

// run runs statements in one round trip.
func (t *transaction) run(ctx context.Context, statements ...statement) error {
	if len(statements) == 0 && t.begin == nil {
		return nil
	}
	_, err := t.exchange(ctx, statements)
	return rejection(err)
}

func (t *transaction) exchange(ctx context.Context, statements []statement) (tag string,
	err error) {
	statements = append(t.begin[:len(t.begin):len(t.begin)], statements...)
	t.begin = nil
	return exchange(ctx, t.conn, statements)
}

// commit runs statements and commits with them. After an error the outcome is unknown.
func (t *transaction) commit(ctx context.Context, statements ...statement) error {
	if t.failCommit != nil {
		if err := t.failCommit(false); err != nil {
			return err
		}
	}
	tag, err := t.exchange(ctx, append(statements, statement{sql: "COMMIT"}))
	if err == nil && tag != "COMMIT" {
		err = fmt.Errorf("the server answered the commit with %s", tag)
	}
	if cancelled := cancelledWait(t.conn); err == nil {
		err = cancelled
	}
	return rejection(err)
}

// transact runs f with a durable transaction. f must commit it. It reads begin, a field of s, once
// Prepare has succeeded.
func (s *Store) transact(ctx context.Context, begin *[]statement, f func(context.Context,
	*transaction) error) error {
	return s.with(ctx, func(ctx context.Context, conn *pgconn.PgConn) error {
		if err := f(ctx, &transaction{Store: s, conn: conn, begin: *begin}); err != nil {
			s.rollBack(ctx, conn)
			return err
		}
		if s.failCommit != nil {
			return s.failCommit(true)
		}
		return nil
	})
}

// note remembers the error of a write for Ping.
func (s *Store) note(err error) {
	switch {
	case err == nil:
		s.lastErr.Store(nil)
	case sqlstore.IsAnswer(err), errors.Is(err, context.Canceled): // the caller is gone
	default:
		s.lastErr.Store(&err)
	}
}

// tx runs a durable transaction. The first round trip begins it and runs the statements of first.
// Each function of rest returns the statements of one more round trip; the last one commits. After
// an error of the last round trip the outcome is unknown.
func (s *Store) tx(ctx context.Context, first []statement, rest ...func() ([]statement,
	error)) error {
	err := s.transact(ctx, &s.begin, func(ctx context.Context,
		t *transaction) error {
		return t.steps(ctx, first, rest...)
	})
	s.note(err)
	return err
}

func (t *transaction) steps(ctx context.Context, first []statement, rest ...func() ([]statement,
	error)) error {
	// Without statements the transaction begins together with the next ones.
	if len(first) > 0 {
		if err := t.run(ctx, first...); err != nil {
			return err
		}
	}
	for i, next := range rest {
		statements, err := next()
		if err != nil {
			return err
		}
		if i == len(rest)-1 {
			return t.commit(ctx, statements...)
		}
		if err := t.run(ctx, statements...); err != nil {
			return err
		}
	}
	return nil
}

// rollBack makes a connection ready for the next transaction. If that fails, the pool drops the
// connection.
func (s *Store) rollBack(ctx context.Context, conn *pgconn.PgConn) {
	if conn.IsClosed() || conn.TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	_, _ = exchange(ctx, conn, []statement{{sql: "ROLLBACK"}})
}

// rejection wraps an error in ErrRejected if the error concerns the data to store rather than the
// state of the store: data, constraints, and program limits. There is one exception: if the new id
// already exists, webhook_log is behind, for example after a partial restore. Then the event is not
// at fault, and a person must repair the store.
func rejection(err error) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) && len(refused.Code) == 5 {
		if refused.Code == uniqueViolation && strings.HasPrefix(refused.ConstraintName, "webhook_") &&
			strings.HasSuffix(refused.ConstraintName, "_pkey") {
			return fmt.Errorf("webhook_log is behind the stored rows;"+
				" set its last_id to the greatest id: %w",
				err)
		}
		switch refused.Code[:2] {
		case "22", "23", "54":
			return fmt.Errorf("%w: %w", hookgate.ErrRejected, err)
		}
	}
	return err
}
