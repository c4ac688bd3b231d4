package sqlite

import (
	"context"
	"fmt"

	"github.com/hookgate/hookgate"
)

// Mark returns the id of the store and the id of its last log entry.
func (s *Store) Mark(context.Context) (m hookgate.StoreMark, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return m, hookgate.ErrClosed
	}
	row := s.stmts.mark
	defer row.Reset()
	if found, err := row.Step(); err != nil || !found {
		return m, fmt.Errorf("read the last id of store %s: %w", s.path, err)
	}
	return hookgate.StoreMark{ID: row.ColumnText(0), Last: row.ColumnInt64(1)}, nil
}
