package postgres

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// While the listener is connected it checks the log this often, in case the connection has died
	// without a sign.
	listenCheck = 10 * time.Second
	// listenProof bounds the wait for the notification that proves that LISTEN works.
	listenProof = 3 * time.Second
	// The pause before the next attempt to listen doubles from one bound to the other. After an
	// attempt that showed that LISTEN does not work here it is the upper bound.
	minListenPause, maxListenPause = time.Second, 5 * time.Minute
	// Without a listener the pause between two checks of the log doubles while nothing changes.
	minPoll, maxPoll = 50 * time.Millisecond, time.Second
)

// errNoNotification means that a notification did not arrive: the database is behind PgBouncer in
// transaction mode, where a session of the client has no session of the server.
var errNoNotification = errors.New("LISTEN has no effect")

// Grown implements hookgate.Log. The first call starts a goroutine that listens on a connection of
// its own for appends by other processes, and for changes by a person. While it cannot listen, it
// polls. Appends by this process need neither.
func (s *Store) Grown() <-chan struct{} {
	next := s.growth.Next()
	s.listenOnce.Do(func() { s.listening.Go(s.listenLoop) })
	return next
}

// channelOf returns the channel of the notifications for the tables in a schema. Migration 11 has
// the same name.
func channelOf(schema string) string {
	sum := md5.Sum([]byte(schema))
	return "hookgate_" + hex.EncodeToString(sum[:])[:16]
}

// notify returns the statement that wakes other processes when the transaction commits. Their
// notifications carry a name, so that no process wakes for its own.
func (s *Store) notify() statement {
	if s.quiet {
		return statement{}
	}
	return statement{sql: "SELECT pg_notify($1, $2)", args: []arg{argText(s.channel), argText(s.name)}}
}

// listenLoop runs until the store closes.
func (s *Store) listenLoop() {
	ctx := s.listenCtx
	pause := minListenPause
	for ctx.Err() == nil {
		proven, err := s.listen(ctx)
		switch {
		case proven:
			pause = minListenPause
		case errors.Is(err, errNoNotification):
			pause = maxListenPause
		default:
			pause = min(2*pause, maxListenPause)
		}
		s.growth.Wake()
		s.poll(ctx, pause)
	}
}

// listen wakes readers by notifications until the connection fails. proven reports that
// notifications arrived.
func (s *Store) listen(ctx context.Context) (proven bool, err error) {
	if why := s.unprepared.Load(); why != nil {
		return false, *why
	}
	conn, err := pgx.ConnectConfig(ctx, s.config.Copy())
	if err != nil {
		return false, err
	}
	defer func() {
		s.listens.Store(false)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	pg := conn.PgConn()
	if _, err := pg.Exec(ctx, "LISTEN "+pgx.Identifier{s.channel}.Sanitize()).ReadAll(); err != nil {
		return false, err
	}
	// Another connection sends the proof. With PgBouncer in transaction mode the session that listens
	// may be that of any client by now.
	proof := statement{sql: "SELECT pg_notify($1, $2)",
		args: []arg{argText(s.channel), argText(s.name + " listens")}}
	if err := s.read(ctx, proof); err != nil {
		return false, err
	}
	deadline := time.Now().Add(listenProof)
	var seen mark
	for ctx.Err() == nil {
		limit := listenCheck
		if !proven {
			limit = max(time.Millisecond, time.Until(deadline))
		}
		n, err := waitNotification(ctx, conn, limit)
		switch {
		case err != nil:
			return proven, err
		case n == nil && !proven:
			return false, errNoNotification
		case n == nil:
			if err := s.check(ctx, &seen); err != nil {
				return true, err
			}
		case n.Payload == s.name+" listens":
			proven = true
			s.listens.Store(true)
			s.growth.Wake() // appends before LISTEN were not seen
		case n.Payload != s.name:
			s.growth.Wake()
		}
	}
	return proven, ctx.Err()
}

// waitNotification returns the next notification, or nil if there is none in time.
func waitNotification(ctx context.Context, conn *pgx.Conn, limit time.Duration) (
	*pgconn.Notification, error) {
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	n, err := conn.WaitForNotification(waiting)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil && !conn.IsClosed() {
		return nil, nil
	}
	return n, err
}

// mark is the end of the log and the sum of the versions of all subscriptions.
type mark struct{ last, versions int64 }

// check wakes readers if the log or a subscription has changed.
func (s *Store) check(ctx context.Context, seen *mark) error {
	var now mark
	err := s.read(ctx, statement{
		sql: `SELECT last_id, (SELECT coalesce(sum(version), 0)::bigint FROM webhook_subscriptions)
			FROM webhook_log`,
		row: func(r row) error { now = mark{r.Int(0), r.Int(1)}; return nil },
	})
	if err != nil {
		return fmt.Errorf("check the log: %w", err)
	}
	if now != *seen {
		*seen = now
		s.growth.Wake()
	}
	return nil
}

// poll checks the log again and again for a time.
func (s *Store) poll(ctx context.Context, length time.Duration) {
	end := time.Now().Add(length)
	pause := minPoll
	var seen mark
	for time.Now().Before(end) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		before := seen
		if err := s.check(ctx, &seen); err != nil || seen == before {
			pause = min(2*pause, maxPoll)
		} else {
			pause = minPoll
		}
	}
}
