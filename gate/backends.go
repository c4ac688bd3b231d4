package gate

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/adminapi"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/control/settings"
	"github.com/hookgate/hookgate/history"
	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/queue/spool"
	"github.com/hookgate/hookgate/refused"
	"github.com/hookgate/hookgate/store/retention"
)

// backends are the queue and the store of a process.
//
//	            no Database.URL               Database.URL
//	direct      store.db                      PostgreSQL
//	Redis       Redis ─► workers ─► store.db  Redis ─► workers ─► PostgreSQL
//
// While the first of them is away, webhooks go to spool.db. store.go opens the store, queue.go the
// queue, leftover.go the files of an earlier configuration.
type backends struct {
	store  hookgate.Store
	reader hookgate.Reader
	purger hookgate.Purger
	pruner retention.Store
	access adminapi.Access
	table  settings.Table
	// log and subscriptions are for delivery.
	log           adminapi.Log
	subscriptions subscriptionStore
	history       history.Store
	refused       refused.Store
	// away returns why PostgreSQL cannot be used yet; nil with SQLite.
	away func() error
	// mark identifies the store and says how far it has come.
	mark func(context.Context) (hookgate.StoreMark, error)
	// probe tries to write so many bytes; nil: the store has no such check.
	probe func(ctx context.Context, bytes int) error
	// pool returns the state of the connections to PostgreSQL; nil with SQLite.
	pool func() metrics.Pool
	// connectTimeout bounds opening a connection to PostgreSQL.
	connectTimeout time.Duration

	queue hookgate.Queue
	// front is queue without tracing. openLeftovers puts files in front of it.
	front spool.Appender
	// buffered is where workers read records from Redis; nil with a direct queue.
	buffered hookgate.BufferedQueue
	settings control.Settings
	// modeChanged receives after a change of the mode. It has room for one.
	modeChanged chan struct{}
	// holdings returns the partitions that this process has; nil with a direct queue.
	holdings func() metrics.Holdings
	// replaced returns when Redis found another store than before; nil with a direct queue.
	replaced func() time.Time

	// commit says for people what a commit of the store survives, promise what a 202 means.
	commit, promise string

	opened []io.Closer // in the order in which they were opened
}

// openStore opens the store that the options name. The caller closes the backends.
func openStore(ctx context.Context, o Options, log *slog.Logger) (_ *backends, err error) {
	b := &backends{modeChanged: make(chan struct{}, 1)}
	if o.Database.URL != "" {
		err = b.openPostgres(ctx, o, log)
	} else {
		err = b.openSQLite(ctx, o)
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// openQueue opens the queue that the options name, and moves the webhooks that an earlier
// configuration left in the data directory. After it returns, the queue takes webhooks.
func (b *backends) openQueue(ctx context.Context, o Options, m *metrics.Metrics,
	log *slog.Logger) error {
	if o.QueueKind() == QueueDirect {
		warnOfRedis(o, log)
		return b.openDirect(ctx, o, m, log)
	}
	if err := b.openRedis(ctx, o, log); err != nil {
		return err
	}
	return b.openLeftovers(ctx, o, log)
}

// noteMode tells the readers of modeChanged that the mode has changed.
func (b *backends) noteMode() {
	select {
	case b.modeChanged <- struct{}{}:
	default:
	}
}

// Close closes the queue and then the store.
func (b *backends) Close() error {
	var errs []error
	for i := len(b.opened) - 1; i >= 0; i-- {
		errs = append(errs, b.opened[i].Close())
	}
	b.opened = nil
	return errors.Join(errs...)
}
