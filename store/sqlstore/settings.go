package sqlstore

import (
	"context"
	"fmt"
)

// Settings returns the settings that all processes of a gate share, by name.
func (t *Tables) Settings(ctx context.Context) (map[string]string, error) {
	all := map[string]string{}
	err := t.db.Query(ctx, Statement{SQL: "SELECT name, value FROM webhook_settings",
		Row: func(r Row) error {
			all[r.Text(0)] = r.Text(1)
			return nil
		}})
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	return all, nil
}

// SwapSetting sets a setting to after if its value is before, and reports whether it did. A setting
// that was never set has the value "". After an error the outcome is unknown.
func (t *Tables) SwapSetting(ctx context.Context, name, before, after string) (swapped bool,
	err error) {
	err = t.change(ctx, Statement{
		SQL: `INSERT INTO webhook_settings AS s (name, value)
			SELECT ?1, ?3 WHERE ?2 = '' OR EXISTS (SELECT 1 FROM webhook_settings WHERE name = ?1)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE s.value = ?2 RETURNING true`,
		Args: []any{name, before, after},
		Row:  func(Row) error { swapped = true; return nil },
	})
	if err != nil {
		return false, fmt.Errorf("set %s: %w", name, err)
	}
	return swapped, nil
}
