package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// maxPause bounds the pause between two round trips of a transaction that locks the log: a process
	// that is frozen there, or whose machine has gone, holds the others up no longer.
	maxPause = time.Second
	// lockTimeout is how long such a transaction waits for the log before it looks whether the
	// one that holds it still sends.
	lockTimeout = 5 * time.Second
	// lookUpFirstAfterMiss is how many appends read where the log ends after one that expected it
	// somewhere else: other processes that add to it do so again soon, and duplicates come in bursts.
	lookUpFirstAfterMiss = 100
)

// errMoved says that the log has moved, or that something of the batch may be stored already.
var errMoved = errors.New("the log has moved")

// enter waits until no other call of this process adds to the log, which the lock on its row
// demands anyway. So this process knows where the log ends, if it is the only one.
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

// locked runs a transaction that locks the log. If another transaction holds the log and its client
// has stopped to send in the middle of a round trip, where PostgreSQL has no time-out, locked ends
// it.
func (s *Store) locked(ctx context.Context, f func(context.Context, *transaction) error) error {
	for waited := time.Duration(0); ; waited += lockTimeout {
		err := s.transact(ctx, s.beginAppend, f)
		if !hasState(err, lockNotAvailable) || waited >= s.statementTimeout {
			return err
		}
		if evictErr := s.evict(ctx); evictErr != nil {
			return errors.Join(err, evictErr)
		}
	}
}

// evict ends transactions that hold the log and whose clients do not send the rest of a statement.
func (s *Store) evict(ctx context.Context) error {
	err := s.read(ctx, statement{
		sql: `SELECT count(pg_terminate_backend(a.pid)) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
			WHERE l.locktype = 'relation' AND l.relation = 'webhook_log'::regclass AND l.granted
				AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
				AND a.state = 'active' AND a.wait_event = 'ClientRead' AND a.usename = current_user
				AND a.query_start < clock_timestamp() - $1 * interval '1 millisecond'`,
		args: []arg{argInt(lockTimeout.Milliseconds())},
	})
	if err != nil {
		return fmt.Errorf("end a transaction whose client has gone: %w", err)
	}
	return nil
}

// append adds to the log what steps decide: the first locks the log, after the statements that lock
// other rows, and the last commits.
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
