package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hookgate/hookgate"
)

// Mark returns the id of the store and the id of its last log entry. The id of the store includes
// the server's timeline, which changes with every promotion and every recovery to a point in time.
func (s *Store) Mark(ctx context.Context) (m hookgate.StoreMark, err error) {
	standby := false
	err = s.read(ctx, statement{
		sql: "SELECT i.id, l.last_id, pg_is_in_recovery() FROM webhook_store i, webhook_log l",
		row: func(r row) error {
			m.ID, m.Last, standby = r.Text(0), r.Int(1), r.Bool(2)
			return nil
		},
	})
	if err == nil && (standby || m.ID == "") {
		err = errors.New("the database is a standby, or its schema is damaged")
	}
	if err == nil {
		err = s.read(ctx, statement{
			sql: "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)",
			row: func(r row) error { m.ID += "/" + r.Text(0); return nil },
		})
		// Some hosted servers lack this function. Then the id without the timeline must do.
		if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) && len(refused.Code) == 5 &&
			(refused.Code[:2] == "42" || refused.Code[:2] == "0A" || refused.Code[:2] == "55") {
			err = nil
		}
	}
	if err != nil {
		return hookgate.StoreMark{}, fmt.Errorf("read the last id of store %s: %w", s.target, err)
	}
	return m, nil
}
