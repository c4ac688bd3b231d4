// Package postgres is the store that several machines share: a PostgreSQL database.
//
// A batch is one transaction of one round trip, whatever its size, if this process is the only one
// that adds to the log and no event of the batch is stored: ids and hashes follow from where the
// log ended before. Else it takes two: the first locks what the batch depends on and reads what of
// it is stored; then it is decided here what is to be written; the second writes it, set by set,
// and commits. Lineage costs no row per stage (see the view webhook_audit_trail).
//
// Everything a transaction needs it brings along: there are no prepared statements, no settings of
// a session and no session locks, so that the database may stand behind PgBouncer in transaction
// mode.
//
// Transactions that store anything follow one another in the whole database, because each locks the
// row of webhook_log until its commit. That is the price of ids in the order of commits, on which
// readers that go on behind an id rely, and of one audit chain. Administration, retention and
// leases do not lock it. What adds throughput is larger batches.
package postgres

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/entry"
	"github.com/hookgate/hookgate/store/sqlstore"
)

// Config says where the database is. Zero fields but URL take their defaults.
type Config struct {
	// URL is that of the database, postgres://…, or a DSN of libpq.
	URL string
	// MaxConns bounds the connections; default 10. A worker needs one while it stores a batch.
	MaxConns int
	// ConnectTimeout bounds the opening of one connection. The default is connect_timeout of the URL, or
	// 5 s.
	ConnectTimeout time.Duration
	// StatementTimeout bounds one statement, with its wait for locks, and the pause between the two
	// halves of a transaction; default 30 s.
	StatementTimeout time.Duration
	// Schema is where the tables are; default DefaultSchema, or where a release that had none has
	// left them.
	Schema string
	// SkipMigrations leaves the tables as they are, and refuses those that are not this program's.
	SkipMigrations bool
}

const (
	defaultMaxConns         = 10
	defaultConnectTimeout   = 5 * time.Second
	defaultStatementTimeout = 30 * time.Second
	// rollbackTimeout bounds the way out of a failed transaction. A connection that does not manage it
	// is given up.
	rollbackTimeout = 5 * time.Second
)

func (c Config) withDefaults() Config {
	if c.MaxConns <= 0 {
		c.MaxConns = defaultMaxConns
	}
	if c.StatementTimeout <= 0 {
		c.StatementTimeout = defaultStatementTimeout
	}
	return c
}

// Store is a hookgate.Store and a hookgate.Reader in a PostgreSQL database.
type Store struct {
	*sqlstore.Tables
	config *pgx.ConnConfig
	// wanted is Config.Schema, and statementTimeout is Config.StatementTimeout.
	wanted           string
	statementTimeout time.Duration
	// checkOnly says that Prepare changes nothing.
	checkOnly bool
	// unprepared is why the schema is not known to be this program's; nil when it is.
	unprepared atomic.Pointer[error]

	pool *pgxpool.Pool
	// target names the database in errors, without its password.
	target string
	// begin is the way into every transaction, beginAppend that into one which locks the log, and
	// limits that into a statement outside of one. Prepare sets them before it clears unprepared.
	begin, beginAppend []statement
	limits             statement
	// callTimeout is how long a call waits for a server that may have vanished without a word. One that
	// is there has ended the statement before.
	callTimeout time.Duration

	// appending is for one call of this process at a time that adds to the log, and guards head and
	// careful.
	appending chan struct{}
	// head is where the log ends as far as this process knows; nil if it does not.
	head *logHead
	// lookUpFirst is how many of the next batches read where the log ends.
	lookUpFirst int
	// lastID is the last id that this process has seen.
	lastID atomic.Int64
	// name is that of this store among those of other processes that remove what is old. Removal stays
	// with it for holdTime.
	name     string
	holdTime time.Duration
	// pruning is for one call of Prune at a time, and guards the link and the entry of the log behind
	// which Prune goes on.
	pruning                  sync.Mutex
	pruneCursor, entryCursor int64

	// nextID is entry.NextID; tests that name events by their ids have another.
	nextID func(last int64, now time.Time) int64

	closed atomic.Bool
	// lastErr is why the last write failed; nil after one that did not.
	lastErr atomic.Pointer[error]
	// failCommit, if set by a test, is called before (done false) and after (true) each commit; its
	// error takes the commit's place.
	failCommit func(done bool) error
}

var (
	_ hookgate.Store  = (*Store)(nil)
	_ hookgate.Reader = (*Store)(nil)
	_ hookgate.Purger = (*Store)(nil)
)

// Open returns a store whose schema is prepared.
func Open(ctx context.Context, c Config) (*Store, error) {
	s, err := New(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := s.Prepare(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// New returns a store that has not asked the database for anything. Until Prepare has succeeded all
// calls fail with the reason. The error is a hookgate.MisconfiguredError: c makes no sense.
func New(ctx context.Context, c Config) (*Store, error) {
	c = c.withDefaults()
	config, err := parseConfig(c.URL)
	if err != nil {
		return nil, misconfigured(reasonSettings, fmt.Errorf("open store: %w", err))
	}
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, config.ConnConfig.ConnectTimeout, defaultConnectTimeout)
	configure(config.ConnConfig, c)
	config.MaxConns = int32(c.MaxConns)
	s := &Store{
		config:      config.ConnConfig.Copy(),
		wanted:      c.Schema,
		checkOnly:   c.SkipMigrations,
		target:      targetOf(config.ConnConfig),
		name:        rand.Text(),
		holdTime:    defaultHoldTime,
		callTimeout: c.ConnectTimeout + 3*c.StatementTimeout,
		nextID:      entry.NextID,
		appending:   make(chan struct{}, 1),

		statementTimeout: c.StatementTimeout,
	}
	s.Tables = sqlstore.New(db{s}, dialect, c.MaxConns)
	s.setUnprepared(fmt.Errorf("store %s is not open yet", s.target))
	if s.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, misconfigured(reasonSettings, fmt.Errorf("open store %s: %w", s.target, err))
	}
	return s, nil
}

// parseConfig reads a connection string. Its errors show no part of a password, which those of pgx
// do when a character in it makes the rest look like something else.
func parseConfig(text string) (*pgxpool.Config, error) {
	if scheme, rest, ok := strings.Cut(text, "://"); ok && (scheme == "postgres" ||
		scheme == "postgresql") {
		authority, path, _ := strings.Cut(rest, "/")
		path, _, _ = strings.Cut(path, "?")
		if _, err := url.Parse(text); err != nil || !strings.Contains(authority, "@") &&
			strings.Contains(path, "@") {
			return nil, errors.New("the URL of the database cannot be read:" +
				" in user and password write % / ? # and @ as %25 %2F %3F %23 and %40")
		}
	}
	return pgxpool.ParseConfig(text) // the error shows no password of a URL that can be read
}

// Prepare brings the schema of the database up to date, or demands that it is if the configuration
// says so. The error is a hookgate.MisconfiguredError if the database does not let this process in or has a
// schema that this program cannot use; any other means that it is away or not ready.
func (s *Store) Prepare(ctx context.Context) error {
	schema, err := prepareSchema(ctx, s.config, s.wanted, s.checkOnly)
	if err != nil {
		err = classifyOpenError(fmt.Errorf("open store %s: %w", s.target, err))
	} else {
		s.limits = readStart(schema, s.statementTimeout)
		s.begin = transactionStart(schema, s.statementTimeout, s.statementTimeout, 0)
		s.beginAppend = transactionStart(schema, s.statementTimeout, min(maxPause, s.statementTimeout),
			min(lockTimeout, s.statementTimeout))
	}
	s.setUnprepared(err)
	return err
}

func (s *Store) setUnprepared(err error) {
	if err == nil {
		s.unprepared.Store(nil)
		s.lastErr.Store(nil) // of writes that came too early
		return
	}
	s.unprepared.Store(&err)
}

// ConnectTimeout returns the bound on the opening of one connection.
func (s *Store) ConnectTimeout() time.Duration { return s.config.ConnectTimeout }

// Pool returns the state of the connections.
func (s *Store) Pool() *pgxpool.Stat { return s.pool.Stat() }

// configure makes a connection's configuration fit for a pooler.
func configure(config *pgx.ConnConfig, c Config) {
	c = c.withDefaults()
	config.ConnectTimeout = cmp.Or(c.ConnectTimeout, config.ConnectTimeout, defaultConnectTimeout)
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	config.StatementCacheCapacity = 0
	config.DescriptionCacheCapacity = 0
	config.OnNotice = noteWarning
	if _, named := config.RuntimeParams["application_name"]; !named {
		config.RuntimeParams["application_name"] = "hookgate"
	}
}

// targetOf names a database for people.
func targetOf(config *pgx.ConnConfig) string {
	return net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))) + "/" + config.Database
}

// transactionStart returns what begins a transaction that writes to the tables in schema. The
// time-outs bound each statement, the pause between two round trips, and each wait for a lock,
// which 0 leaves unbounded. The settings end with the transaction: a pooler may give the next one
// another session.
func transactionStart(schema string, timeout, pause, lock time.Duration) []statement {
	return []statement{
		{sql: "BEGIN ISOLATION LEVEL READ COMMITTED"},
		// A database that is set not to wait for its disk must do so for this: Apply promises it.
		// noteWarning needs the warnings.
		{sql: `SELECT set_config('statement_timeout', $1, true), set_config('idle_in_transaction_session_timeout', $2, true),
			set_config('lock_timeout', $3, true), set_config('search_path', $4, true), set_config('client_min_messages', 'warning', true),
			CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', true) END`,
			args: []arg{millis(timeout), millis(pause), millis(lock), argText(searchPath(schema))}},
	}
}

// readStart returns what bounds a statement that reads the tables in schema.
func readStart(schema string, timeout time.Duration) statement {
	return statement{
		sql:  "SELECT set_config('statement_timeout', $1, true), set_config('search_path', $2, true)",
		args: []arg{millis(timeout), argText(searchPath(schema))},
	}
}

// millis is a time-out as a setting has it. Less than a millisecond would be none.
func millis(d time.Duration) arg {
	n := d.Milliseconds()
	if d > 0 {
		n = max(1, n)
	}
	return argText(strconv.FormatInt(n, 10))
}

// Close closes the store when the calls under way have ended. Calls that come later get ErrClosed.
func (s *Store) Close() error {
	s.closed.Store(true)
	s.pool.Close()
	return nil
}

// Acquire implements hookgate.Store.
func (s *Store) Acquire(ctx context.Context, partition int) (epoch hookgate.Epoch, err error) {
	err = s.tx(ctx, []statement{{
		sql: `INSERT INTO webhook_partitions AS p (partition, epoch) VALUES ($1, 1)
			ON CONFLICT (partition) DO UPDATE SET epoch = p.epoch + 1 RETURNING p.epoch`,
		args: []arg{argInt(int64(partition))},
		row:  func(r row) error { epoch = hookgate.Epoch(r.Int(0)); return nil },
	}}, func() ([]statement, error) { return nil, nil })
	if err != nil {
		return 0, fmt.Errorf("acquire partition %d: %w", partition, err)
	}
	return epoch, nil
}

// read runs statements that change nothing, in one round trip.
func (s *Store) read(ctx context.Context, statements ...statement) error {
	return s.with(ctx, func(ctx context.Context, conn *pgconn.PgConn) error {
		_, err := exchange(ctx, conn, append([]statement{s.limits}, statements...))
		return err
	})
}

// with lends a connection to f.
func (s *Store) with(ctx context.Context, f func(context.Context, *pgconn.PgConn) error) error {
	if s.closed.Load() {
		return hookgate.ErrClosed
	}
	if why := s.unprepared.Load(); why != nil {
		return *why
	}
	ctx, cancel := context.WithTimeout(ctx, s.callTimeout)
	defer cancel()
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		if s.closed.Load() {
			return hookgate.ErrClosed
		}
		return fmt.Errorf("connect to %s: %w", s.target, err)
	}
	defer conn.Release()
	return f(ctx, conn.Conn().PgConn())
}

// Ping implements hookgate.Reader: it reports why the last write failed if it did, and else reads
// what it takes to write.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.lastErr.Load(); err != nil {
		return *err
	}
	readOnly := false
	err := s.read(ctx, statement{
		sql: `SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean, last_id FROM webhook_log`,
		row: func(r row) error { readOnly = r.Bool(0); s.lastID.Store(r.Int(1)); return nil },
	})
	if err == nil && readOnly {
		err = fmt.Errorf("database %s takes no writes: it is read-only, or a standby", s.target)
	}
	return err
}
