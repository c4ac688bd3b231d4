package sqlite

import (
	"context"
	"fmt"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// Settings returns what SwapSetting has kept, by name.
func (s *Store) Settings(ctx context.Context) (map[string]string, error) {
	all := map[string]string{}
	err := s.query(ctx, "SELECT name, value FROM webhook_settings", nil, func(row *sqlite.Stmt) error {
		all[row.ColumnText(0)] = row.ColumnText(1)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	return all, nil
}

// SwapSetting keeps a setting in place of the one before, and reports whether it did: not if
// another one is kept than before. An empty text stands for a setting that is not there. After an
// error the setting may have been kept.
func (s *Store) SwapSetting(_ context.Context, name, before, after string) (swapped bool,
	err error) {
	err = s.change(func() error {
		have := ""
		if err := s.execute("SELECT value FROM webhook_settings WHERE name = ?",
			[]any{name}, func(row *sqlite.Stmt) error {
				have = row.ColumnText(0)
				return nil
			}); err != nil {
			return err
		}
		if swapped = have == before; !swapped {
			return nil
		}
		query, args := "DELETE FROM webhook_settings WHERE name = ?1", []any{name}
		if after != "" {
			query = "INSERT INTO webhook_settings VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2"
			args = append(args, after)
		}
		return sqlitex.Execute(s.conn, query, &sqlitex.ExecOptions{Args: args})
	})
	if err != nil {
		return false, fmt.Errorf("keep setting %s: %w", name, err)
	}
	return swapped, nil
}
