package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/sqlitedb"
	"github.com/hookgate/hookgate/retention"
	"github.com/hookgate/hookgate/store/storetest"
)

// batchSize is that of a worker under load, over as many partitions as it may own.
const batchSize, benchPartitions = 500, 8

// benchBatch returns the n-th batch of new events with bodies of 500 bytes.
func benchBatch(n int, epochs map[int]hookgate.Epoch) *hookgate.Batch {
	b := &hookgate.Batch{Epochs: epochs, Worker: "gate/1", ProcessedAt: time.Now(), Attempts: 1}
	body := bytes.Repeat([]byte("x"), 500)
	for i := range batchSize {
		r := storetest.Sample(i*benchPartitions/batchSize, n*batchSize+i)
		r.Body, r.Headers = body, nil
		b.Records = append(b.Records, r)
	}
	return b
}

// BenchmarkApply measures what lineage and audit chain cost: "lineage" is the store as it is, "events" inserts the same
// events with the same indexes and durability but without trail, batches, chain, position and fence. The metric
// to compare is events/s.
func BenchmarkApply(b *testing.B) {
	b.Run("events", func(b *testing.B) {
		conn, err := sqlitedb.OpenWriter(b.Context(), filepath.Join(b.TempDir(), "plain.db"), fstest.MapFS{"1_plain.sql": {Data: []byte(plainSchema)}})
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		insert, err := conn.Prepare(`INSERT INTO webhook_events VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`)
		if err != nil {
			b.Fatal(err)
		}
		run(b, nil, func(batch *hookgate.Batch) error {
			return sqlitedb.Tx(conn, func() error {
				for i := range batch.Records {
					if err := insertPlain(insert, &batch.Records[i].Delivery); err != nil {
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
		epochs := map[int]hookgate.Epoch{}
		for p := range benchPartitions {
			if epochs[p], err = s.Acquire(b.Context(), p); err != nil {
				b.Fatal(err)
			}
		}
		run(b, epochs, func(batch *hookgate.Batch) error {
			_, err := s.Apply(b.Context(), batch)
			return err
		})
	})
}

// run times apply alone, without the making of its batches.
func run(b *testing.B, epochs map[int]hookgate.Epoch, apply func(*hookgate.Batch) error) {
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		b.StopTimer()
		batch := benchBatch(n, epochs)
		b.StartTimer()
		if err := apply(batch); err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.ReportMetric(float64(n*batchSize)/b.Elapsed().Seconds(), "events/s")
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

func insertPlain(s *sqlite.Stmt, d *hookgate.Delivery) error {
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

// BenchmarkPruning measures what a running retention costs those who store.
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
