package postgres

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/store/retention"
	"github.com/hookgate/hookgate/store/storetest"
)

// BenchmarkApply measures the cost of lineage and audit chain, for several sizes of batches, on a
// server that waits for its disk. "lineage" is the store behind a queue, and "direct" is the store
// as the queue. "events" inserts the same events by one statement, with the same indexes and
// durability, but without trail, batches, chain, position, fence and lookup of duplicates. "two" is
// two workers, each with its own partitions. Compare events/s.
func BenchmarkApply(b *testing.B) {
	cluster, err := pgtest.Start(b.Context(), pgtest.Options{Fsync: true,
		Settings: []string{"max_wal_size=4GB", "checkpoint_timeout=1h"}})
	if err != nil {
		b.Fatal(err)
	}
	defer cluster.Close()
	open := func(b *testing.B) *Store {
		name, err := cluster.NewDatabase(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		s, err := Open(b.Context(), Config{URL: cluster.URL(name)})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { s.Close() })
		return s
	}
	for _, size := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("events/%d", size), func(b *testing.B) {
			s := open(b)
			if err := s.read(b.Context(), statement{sql: plainSchema}); err != nil {
				b.Fatal(err)
			}
			storetest.BenchmarkBatches(b, size, nil,
				func(batch *hookgate.Batch) error { return s.insertPlain(b.Context(), batch) })
		})
		b.Run(fmt.Sprintf("lineage/%d", size), func(b *testing.B) {
			storetest.BenchmarkApply(b, open(b), size)
		})
		b.Run(fmt.Sprintf("direct/%d", size), func(b *testing.B) {
			s := open(b)
			storetest.BenchmarkBatches(b, size, nil, func(batch *hookgate.Batch) error {
				_, err := s.Apply(b.Context(), batch)
				return err
			})
		})
		b.Run(fmt.Sprintf("two/%d", size), func(b *testing.B) {
			s := open(b)
			epochs := []map[int]hookgate.Epoch{storetest.AcquireBench(b, s, 0), storetest.AcquireBench(b, s,
				storetest.BenchPartitions)}
			n := 0
			for b.Loop() {
				b.StopTimer()
				var batches []*hookgate.Batch
				for w := range epochs {
					batch := storetest.BenchBatch(size, w*storetest.BenchPartitions, epochs[w])
					batches = append(batches, batch)
				}
				n++
				b.StartTimer()
				var all sync.WaitGroup
				for _, batch := range batches {
					all.Go(func() {
						if _, err := s.Apply(b.Context(), batch); err != nil {
							b.Error(err)
						}
					})
				}
				all.Wait()
			}
			b.ReportMetric(float64(2*n*size)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

const plainSchema = `DO $$ BEGIN
CREATE TABLE plain (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, message_id text COLLATE "C" NOT NULL, event_type text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL, ordering_key text COLLATE "C" NOT NULL, sequence bigint NOT NULL, payload bytea NOT NULL,
    sha256 bytea NOT NULL, request_id text COLLATE "C" NOT NULL, received_at bigint NOT NULL,
    UNIQUE (message_id, event_type, source)
);
CREATE INDEX plain_type ON plain (event_type, received_at DESC);
CREATE INDEX plain_request ON plain (request_id);
END $$`

func (s *Store) insertPlain(ctx context.Context, batch *hookgate.Batch) error {
	r := newRows(9)
	for i := range batch.Records {
		d := &batch.Records[i].Request
		sum := sha256.Sum256(d.Body)
		r.Text(d.MessageID)
		r.Text(d.EventType)
		r.Text(d.Source)
		r.Text(d.OrderingKey)
		r.Int(d.Sequence)
		r.Bytes(d.Body)
		r.Bytes(sum[:])
		r.Text(d.RequestID.String())
		r.Int(d.ReceivedAt.UnixMicro())
	}
	insert := r.insert("hookgate.plain",
		"message_id, event_type, source, ordering_key, sequence, payload, sha256, request_id,"+
			" received_at")
	insert.sql += " ON CONFLICT DO NOTHING"
	return s.with(ctx, func(ctx context.Context, conn *pgconn.PgConn) error {
		_, err := exchange(ctx, conn, []statement{{sql: "BEGIN"}, insert, {sql: "COMMIT"}})
		return err
	})
}

// BenchmarkPruning measures how retention slows down Apply.
func BenchmarkPruning(b *testing.B) {
	cluster, err := pgtest.Start(b.Context(), pgtest.Options{Fsync: true,
		Settings: []string{"max_wal_size=4GB"}})
	if err != nil {
		b.Fatal(err)
	}
	defer cluster.Close()
	name, err := cluster.NewDatabase(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	s, err := Open(b.Context(), Config{URL: cluster.URL(name)})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	removed := &storetest.Removals{}
	storetest.BenchmarkPruning(b, s, func(ctx context.Context) {
		retention.Run(ctx, retention.Config{Events: time.Nanosecond, Trail: time.Nanosecond,
			StepTarget: 100 * time.Millisecond}, s, removed)
	})
	removed.Report(b)
}

// BenchmarkReading measures reads of the API and the audit.
func BenchmarkReading(b *testing.B) {
	url := newDatabase(b)
	s, err := Open(b.Context(), Config{URL: url})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	storetest.BenchmarkReading(b, s, s, func() error {
		_, err := Verify(b.Context(), url, "", nil)
		return err
	})
}
