package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// maxPause bounds the pause between two round trips of a transaction that locks the log. So a
	// process that freezes there, or loses its machine, blocks the others no longer than this.
	maxPause = time.Second
	// lockTimeout is how long such a transaction waits for the log before it checks whether the
	// client that holds the log is still sending.
	lockTimeout = 5 * time.Second
	// After an append that expected the end of the log elsewhere, the next lookUpFirstAfterMiss
	// appends read it first. Other processes that add to the log soon do so again, and duplicates
	// come in bursts.
	lookUpFirstAfterMiss = 100
)

// errMoved reports that the log has moved, or that the batch may contain something that is already
// stored.
var errMoved = errors.New("the log has moved")

// enter waits until no other call of this process adds to the log. The lock on the log's row would
// make it wait anyway. So if this is the only process, it knows where the log ends.
func (s *Store) enter(ctx context.Context) (leave func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, s.callTimeout)
	defer cancel()
	select {
	case s.appending <- struct{}{}:
		return func() { <-s.appending }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// keepHead remembers where the log ends after a commit.
func (s *Store) keepHead(l *logPart) {
	s.lastID.Store(l.lastID)
	if !l.begun && !l.moved() {
		s.head = nil
		return
	}
	head := l.logHead
	s.head = &head
}

// locked runs a transaction that locks the log. PostgreSQL has no time-out for a client that stops
// sending in the middle of a round trip. If such a client's transaction holds the log, locked ends
// that transaction.
func (s *Store) locked(ctx context.Context, f func(context.Context, *transaction) error) error {
	for waited := time.Duration(0); ; waited += lockTimeout {
		err := s.transact(ctx, &s.beginAppend, f)
		if !hasState(err, lockNotAvailable) || waited >= s.statementTimeout {
			return err
		}
		if evictErr := s.evict(ctx); evictErr != nil {
			return errors.Join(err, evictErr)
		}
	}
}

// evict ends the transactions that hold the log while their clients do not send the rest of a
// statement.
func (s *Store) evict(ctx context.Context) error {
	err := s.read(ctx, statement{
		sql: `SELECT count(pg_terminate_backend(a.pid)) FROM pg_locks l
			JOIN pg_stat_activity a ON a.pid = l.pid
			WHERE l.locktype = 'relation' AND l.relation = 'webhook_log'::regclass AND l.granted
				AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
				AND a.state = 'active' AND a.wait_event = 'ClientRead' AND a.usename = current_user
				AND a.query_start < clock_timestamp() - $1 * interval '1 millisecond'`,
		args: []arg{argInt(lockTimeout.Milliseconds())},
	})
	if err != nil {
		return fmt.Errorf("end a transaction whose client does not respond: %w", err)
	}
	return nil
}

// append adds to the log in one transaction. The statements of first lock other rows and then the
// log. Each function of rest returns the next statements; those of the last one commit.
func (s *Store) append(ctx context.Context, l *logPart, first []statement,
	rest ...func() ([]statement, error)) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	s.head = nil
	err = s.locked(ctx, func(ctx context.Context, t *transaction) error {
		return t.steps(ctx, first, rest...)
	})
	if err == nil {
		s.keepHead(l)
	}
	s.note(err)
	return err
}
