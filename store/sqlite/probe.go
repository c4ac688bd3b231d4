package sqlite

import (
	"context"
	"fmt"

	"zombiezen.com/go/sqlite/sqlitex"
)

// leastProbe and mostProbe bound the number of bytes that a probe writes.
const leastProbe, mostProbe = 64 << 10, 4 << 20

// Probe checks that the store could durably write about that many bytes now: it writes them and
// removes them again. An empty transaction would succeed even on a full disk.
func (s *Store) Probe(_ context.Context, bytes int) error {
	for _, step := range []struct {
		query string
		args  []any
	}{
		{"INSERT OR REPLACE INTO webhook_settings VALUES ('probe', zeroblob(?))",
			[]any{min(max(bytes, leastProbe), mostProbe)}},
		{"DELETE FROM webhook_settings WHERE name = 'probe'", nil},
	} {
		if err := s.change(func() error {
			return sqlitex.Execute(s.conn, step.query, &sqlitex.ExecOptions{Args: step.args})
		}); err != nil {
			return fmt.Errorf("probe store %s: %w", s.path, err)
		}
	}
	return nil
}
