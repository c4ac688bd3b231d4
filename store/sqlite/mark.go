package sqlite

import (
	"context"
	"fmt"

	"github.com/hookgate/hookgate"
)

// Mark says which store this is and how far it has come.
func (s *Store) Mark(context.Context) (m hookgate.StoreMark, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return m, hookgate.ErrClosed
	}
	row := s.stmts.mark
	defer row.Reset()
	if found, err := row.Step(); err != nil || !found {
		return m, fmt.Errorf("read how far store %s has come: %w", s.path, err)
	}
	return hookgate.StoreMark{ID: row.ColumnText(0), Last: row.ColumnInt64(1)}, nil
}
