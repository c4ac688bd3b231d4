package postgres

import (
	"context"
	"fmt"
)

// Settings returns the settings that are kept for all processes of a gate, by their names.
func (s *Store) Settings(ctx context.Context) (map[string]string, error) {
	all := map[string]string{}
	err := s.read(ctx, statement{sql: "SELECT name, value FROM webhook_settings",
		row: func(r row) error {
			all[r.text(0)] = r.text(1)
			return nil
		}})
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	return all, nil
}

// SwapSetting sets a setting to after if its value is before, and reports whether it did. A setting
// that was never set has the value "". After an error the outcome is unknown.
func (s *Store) SwapSetting(ctx context.Context, name, before, after string) (swapped bool,
	err error) {
	err = s.tx(ctx, []statement{{
		sql: `INSERT INTO webhook_settings AS s (name, value)
			SELECT $1, $3 WHERE $2 = '' OR EXISTS (SELECT FROM webhook_settings WHERE name = $1)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE s.value = $2 RETURNING true`,
		args: []arg{argText(name), argText(before), argText(after)},
		row:  func(row) error { swapped = true; return nil },
	}}, func() ([]statement, error) { return nil, nil })
	if err != nil {
		return false, fmt.Errorf("set %s: %w", name, err)
	}
	return swapped, nil
}
