package sqlite

import (
	"context"
	"crypto/sha256"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/sqlitedb"
	"github.com/hookgate/hookgate/store/retention"
	"github.com/hookgate/hookgate/store/storetest"
)

// batchSize is the size of a batch under load.
const batchSize = 500

// BenchmarkApply measures the cost of lineage and audit chain. "lineage" is the store. "events"
// inserts the same events with the same indexes and durability, but without trail, batches, chain,
// position and fence. Compare events/s.
func BenchmarkApply(b *testing.B) {
	b.Run("events", func(b *testing.B) {
		conn, err := sqlitedb.OpenWriter(b.Context(), filepath.Join(b.TempDir(), "plain.db"),
			fstest.MapFS{"1_plain.sql": {Data: []byte(plainSchema)}})
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		insert, err := conn.Prepare(`INSERT INTO webhook_events VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?,` +
			` ?) ON CONFLICT DO NOTHING`)
		if err != nil {
			b.Fatal(err)
		}
		storetest.BenchmarkBatches(b, batchSize, nil, func(batch *hookgate.Batch) error {
			return sqlitedb.Tx(conn, func() error {
				for i := range batch.Records {
					if err := insertPlain(insert, &batch.Records[i].Request); err != nil {
						return err
					}
				}
				return nil
			})
		})
	})
	b.Run("lineage", func(b *testing.B) {
		s, err := Open(b.Context(), filepath.Join(b.TempDir(), "store.db"))
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		storetest.BenchmarkApply(b, s, batchSize)
	})
}

const plainSchema = `-- +goose Up
CREATE TABLE webhook_events (
    id INTEGER PRIMARY KEY, message_id TEXT NOT NULL, event_type TEXT NOT NULL, source TEXT NOT NULL, ordering_key TEXT NOT NULL,
    sequence INTEGER NOT NULL, payload BLOB NOT NULL, sha256 BLOB NOT NULL, request_id TEXT NOT NULL, received_at INTEGER NOT NULL,
    UNIQUE (message_id, event_type, source)
);
CREATE INDEX webhook_events_type ON webhook_events (event_type, received_at DESC);
CREATE INDEX webhook_events_request ON webhook_events (request_id);
`

func insertPlain(s *sqlite.Stmt, d *hookgate.Request) error {
	sum := sha256.Sum256(d.Body)
	s.BindText(1, d.MessageID)
	s.BindText(2, d.EventType)
	s.BindText(3, d.Source)
	s.BindText(4, d.OrderingKey)
	s.BindInt64(5, d.Sequence)
	s.BindBytes(6, d.Body)
	s.BindBytes(7, sum[:])
	s.BindText(8, d.RequestID.String())
	s.BindInt64(9, d.ReceivedAt.UnixMicro())
	return sqlitedb.Run(s)
}

// BenchmarkPruning measures how retention slows down Apply.
func BenchmarkPruning(b *testing.B) {
	s, err := Open(b.Context(), filepath.Join(b.TempDir(), "store.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	removed := &storetest.Removals{}
	storetest.BenchmarkPruning(b, s, func(ctx context.Context) {
		retention.Run(ctx, retention.Config{Events: time.Nanosecond, Trail: time.Nanosecond}, s, removed)
	})
	removed.Report(b)
}

// BenchmarkReading measures reads of the API and the audit.
func BenchmarkReading(b *testing.B) {
	path := filepath.Join(b.TempDir(), "store.db")
	s, err := Open(b.Context(), path)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	storetest.BenchmarkReading(b, s, s, func() error {
		_, err := Verify(b.Context(), path, nil)
		return err
	})
}
