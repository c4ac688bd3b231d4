package sqlite

import (
	"context"
	"fmt"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/internal/sqlitedb"
	"github.com/hookgate/hookgate/store/sqlstore"
)

// Audit is the result of Verify.
type Audit = audit.Audit

// Break reports where and how the store differs from its audit chain.
type Break = audit.Break

// Verify audits the store in the file at path (see audit.Run). It reads everything once, in one
// snapshot, and holds at most about a megabyte of events in memory. The gate may run meanwhile. An
// error means that Verify could not finish. If progress is not nil, Verify calls it from time to
// time.
func Verify(ctx context.Context, path string, progress func(Audit)) (Audit, error) {
	found, err := verify(ctx, path, progress)
	if err != nil {
		return found, fmt.Errorf("verify store %s: %w", path, err)
	}
	return found, nil
}

func verify(ctx context.Context, path string, progress func(Audit)) (found Audit, err error) {
	pool, err := sqlitedb.OpenReaders(path, 1)
	if err != nil {
		return found, err
	}
	defer pool.Close()
	conn, err := pool.Take(ctx)
	if err != nil {
		return found, err
	}
	defer pool.Put(conn)
	endSnapshot := sqlitex.Transaction(conn)
	defer endSnapshot(&err)
	hasLog := false
	if err := sqlitex.Execute(conn, "SELECT count(*) FROM sqlite_master WHERE name = 'webhook_log'",
		&sqlitex.ExecOptions{
			ResultFunc: func(r *sqlite.Stmt) error { hasLog = r.ColumnBool(0); return nil },
		}); err != nil {
		return found, err
	}
	source := auditSource{AuditSource: sqlstore.NewAuditSource(
		func(s sqlstore.Statement) error { return run(conn, s) }, hasLog, "x''")}
	if hasLog {
		if err := source.late.prepare(conn); err != nil {
			return found, err
		}
		defer source.late.close()
	}
	if found, err = audit.Run(&source, progress); err != nil || found.Break != nil {
		return found, err
	}
	found.Break, err = source.late.compare(conn)
	return found, err
}

// auditSource also compares the late indexes with the events that it reads.
type auditSource struct {
	*sqlstore.AuditSource
	late lateAudit
}

// Event implements audit.Source.
func (s *auditSource) Event() (*audit.Row, bool, error) {
	e, ok, err := s.AuditSource.Event()
	if ok {
		err = s.late.event(e)
	}
	return e, ok, err
}
