// Package postgres is the store that several machines share: a PostgreSQL database.
//
// A batch of any size takes one transaction. It takes one round trip if this is the only process
// that adds to the log and no event of the batch is stored: the end of the log then determines ids
// and hashes. Otherwise it takes two round trips. The first locks what the batch depends on and
// reads which records are stored. The second writes the rest, one statement for each table, and
// commits. Lineage is not stored as rows (see the view webhook_audit_trail).
//
// A transaction uses no prepared statements, session settings or session locks. So the database may
// be behind PgBouncer in transaction mode.
//
// In the whole database only one transaction at a time can add to the log, because each locks the
// row of webhook_log until its commit. This is the price of ids in the order of commits, which
// readers rely on, and of a single audit chain. Administration, retention and leases do not take
// this lock. For more throughput use larger batches.
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
	"github.com/hookgate/hookgate/store/prune"
	"github.com/hookgate/hookgate/store/sqlstore"
)

// Config configures the store. All fields except URL have defaults.
type Config struct {
	// URL is the address of the database: postgres://…, or a DSN of libpq.
	URL string
	// MaxConns is the largest number of connections; default 10. A worker uses one while it stores
	// a batch.
	MaxConns int
	// ConnectTimeout bounds the opening of one connection. The default is connect_timeout of the URL,
	// or 5 s.
	ConnectTimeout time.Duration
	// StatementTimeout bounds one statement, including its wait for locks, and the pause between
	// the round trips of a transaction; default 30 s.
	StatementTimeout time.Duration
	// Schema is the schema of the tables. The default is DefaultSchema, or the schema in which a
	// release without this setting created them.
	Schema string
	// SkipMigrations makes Prepare change nothing and return an error if a migration is missing.
	SkipMigrations bool
}

const (
	defaultMaxConns         = 10
	defaultConnectTimeout   = 5 * time.Second
	defaultStatementTimeout = 30 * time.Second
	// rollbackTimeout bounds the rollback of a failed transaction. After that the pool drops the
	// connection.
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

// Store implements hookgate.Store, hookgate.Reader and hookgate.Purger in a PostgreSQL database.
type Store struct {
	*sqlstore.Tables
	subscriptions *sqlstore.Subscriptions
	config        *pgx.ConnConfig
	// wanted is Config.Schema, and statementTimeout is Config.StatementTimeout.
	wanted           string
	statementTimeout time.Duration
	// checkOnly is Config.SkipMigrations.
	checkOnly bool
	// unprepared is why the store cannot use the schema yet; nil once Prepare has succeeded.
	unprepared atomic.Pointer[error]

	pool *pgxpool.Pool
	// target names the database in errors, without its password.
	target string
	// begin starts every transaction, beginAppend a transaction that locks the log, and limits a
	// statement outside of a transaction. Prepare sets them before it clears unprepared.
	begin, beginAppend []statement
	limits             statement
	// callTimeout bounds a call, in case the server has vanished. A server that still runs ends the
	// statement earlier.
	callTimeout time.Duration

	// appending admits one call at a time that adds to the log. It guards head and lookUpFirst.
	appending chan struct{}
	// head is where the log ends, as far as this process knows; nil if it does not know.
	head *logHead
	// lookUpFirst is how many of the next batches must read where the log ends.
	lookUpFirst int
	// lastID is the last id that this process has seen.
	lastID atomic.Int64
	// name identifies this store among the processes that remove old rows. The process that removes
	// keeps that right for holdTime.
	name     string
	holdTime time.Duration
	// pruning admits one call of Prune at a time. It guards the link, the log entry and the kept
	// event after which Prune continues.
	pruning                  sync.Mutex
	pruneCursor, entryCursor int64
	keptPass                 prune.KeptPass

	// nextID is entry.NextID, except in tests that need predictable ids.
	nextID func(last int64, now time.Time) int64

	// growth wakes the readers of the log. listening is the goroutine that wakes them for other
	// processes; it runs until listenCtx ends. listens reports that notifications arrive. channel is
	// that of the notifications; Prepare sets it.
	growth     sqlstore.Growth
	listenOnce sync.Once
	listening  sync.WaitGroup
	listenCtx  context.Context
	listenEnd  context.CancelFunc
	listens    atomic.Bool
	channel    string

	closed atomic.Bool
	// lastErr is the error of the last write, or nil if that succeeded.
	lastErr atomic.Pointer[error]
	// Tests set failCommit. The store calls it before each commit (done false) and after it (done
	// true); an error replaces the result of the commit.
	failCommit func(done bool) error
	// quiet keeps appends from notifying other processes. A benchmark sets it.
	quiet bool
}

var (
	_ hookgate.Store  = (*Store)(nil)
	_ hookgate.Reader = (*Store)(nil)
	_ hookgate.Purger = (*Store)(nil)
)

// Open returns a store after a successful Prepare.
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

// New returns a store without connecting to the database. Until Prepare succeeds, all calls return
// the reason why they cannot run. If c is invalid, New returns a hookgate.MisconfiguredError.
func New(ctx context.Context, c Config) (*Store, error) {
	c = c.withDefaults()
	config, err := parseConfig(c.URL)
	if err != nil {
		return nil, misconfigured(reasonSettings, fmt.Errorf("open store: %w", err))
	}
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, config.ConnConfig.ConnectTimeout,
		defaultConnectTimeout)
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
	s.listenCtx, s.listenEnd = context.WithCancel(context.WithoutCancel(ctx))
	s.Tables = sqlstore.New(db{s}, dialect, c.MaxConns)
	s.subscriptions = sqlstore.NewSubscriptions(db{s}, dialect)
	s.setUnprepared(fmt.Errorf("store %s is not open yet", s.target))
	if s.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, misconfigured(reasonSettings, fmt.Errorf("open store %s: %w", s.target, err))
	}
	return s, nil
}

// parseConfig parses a connection string. Its errors contain no part of a password. Those of pgx
// can, if a special character in the password confuses the parser.
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
	return pgxpool.ParseConfig(text) // if the URL parses, the error shows no password
}

// Prepare migrates the schema of the database, or checks it if Config.SkipMigrations is set. It
// returns a hookgate.MisconfiguredError if the database rejects this process or has a schema that
// this program cannot use. Any other error means that the database is unavailable or not ready.
func (s *Store) Prepare(ctx context.Context) error {
	schema, err := prepareSchema(ctx, s.config, s.wanted, s.checkOnly)
	if err != nil {
		err = classifyOpenError(fmt.Errorf("open store %s: %w", s.target, err))
	} else {
		s.channel = channelOf(schema)
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
		s.lastErr.Store(nil) // the error of writes before Prepare
		return
	}
	s.unprepared.Store(&err)
}

// ConnectTimeout returns the bound on the time to open one connection.
func (s *Store) ConnectTimeout() time.Duration { return s.config.ConnectTimeout }

// Pool returns the state of the connections.
func (s *Store) Pool() *pgxpool.Stat { return s.pool.Stat() }

// configure makes connections work with a pooler.
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

// targetOf names a database in messages.
func targetOf(config *pgx.ConnConfig) string {
	return net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))) + "/" + config.Database
}

// transactionStart returns the statements that begin a transaction on the tables in schema. timeout
// bounds each statement, pause the time between two round trips, and lock each wait for a lock; 0
// means no bound. The settings end with the transaction, because a pooler may run the next one in
// another session.
func transactionStart(schema string, timeout, pause, lock time.Duration) []statement {
	return []statement{
		{sql: "BEGIN ISOLATION LEVEL READ COMMITTED"},
		// Apply promises durability, so a database configured not to wait for its disk must wait
		// here. noteWarning needs the warnings.
		{sql: `SELECT set_config('statement_timeout', $1, true),
			set_config('idle_in_transaction_session_timeout', $2, true),
			set_config('lock_timeout', $3, true), set_config('search_path', $4, true),
				set_config('client_min_messages', 'warning', true),
			CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit',
				'on', true) END`,
			args: []arg{millis(timeout), millis(pause), millis(lock), argText(searchPath(schema))}},
	}
}

// readStart returns the statement that sets the bounds for reads of the tables in schema.
func readStart(schema string, timeout time.Duration) statement {
	return statement{
		sql:  "SELECT set_config('statement_timeout', $1, true), set_config('search_path', $2, true)",
		args: []arg{millis(timeout), argText(searchPath(schema))},
	}
}

// millis returns a time-out in the form of a setting. It rounds up to a millisecond, because 0
// means no time-out.
func millis(d time.Duration) arg {
	n := d.Milliseconds()
	if d > 0 {
		n = max(1, n)
	}
	return argText(strconv.FormatInt(n, 10))
}

// Subscriptions returns the subscriptions in this store.
func (s *Store) Subscriptions() *sqlstore.Subscriptions { return s.subscriptions }

// Close implements hookgate.Store. It waits for calls that are running. Later calls return
// ErrClosed.
func (s *Store) Close() error {
	s.closed.Store(true)
	s.listenOnce.Do(func() {}) // it must not start any more
	s.listenEnd()
	s.listening.Wait()
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

// read runs statements that only read, in one round trip.
func (s *Store) read(ctx context.Context, statements ...statement) error {
	return s.with(ctx, func(ctx context.Context, conn *pgconn.PgConn) error {
		_, err := exchange(ctx, conn, append([]statement{s.limits}, statements...))
		return err
	})
}

// snapshot runs statements that only read, in one round trip. All of them see the same state of the
// database.
func (s *Store) snapshot(ctx context.Context, statements ...statement) error {
	return s.with(ctx, func(ctx context.Context, conn *pgconn.PgConn) error {
		begin := statement{sql: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"}
		all := append([]statement{begin, s.limits}, statements...)
		_, err := exchange(ctx, conn, append(all, statement{sql: "COMMIT"}))
		if err != nil {
			s.rollBack(ctx, conn)
		}
		return err
	})
}

// with runs f with a connection of the pool.
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

// Ping implements hookgate.Reader. It returns the error of the last write, if that failed, and
// otherwise checks that the database takes writes.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.lastErr.Load(); err != nil {
		return *err
	}
	readOnly := false
	err := s.read(ctx, statement{
		sql: `SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean, last_id
			FROM webhook_log`,
		row: func(r row) error { readOnly = r.Bool(0); s.lastID.Store(r.Int(1)); return nil },
	})
	if err == nil && readOnly {
		err = fmt.Errorf("database %s takes no writes: it is read-only or a standby", s.target)
	}
	return err
}
