package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
)

// claimTTL is queue.claim_ttl as it is by default.
const claimTTL = 7 * 24 * time.Hour

// redisClaims puts claims into Redis as queue/redis does, see keys.go there.
func redisClaims(client rueidis.Client) func(context.Context, []hookgate.Record) error {
	const pipeline = 5000
	return func(ctx context.Context, records []hookgate.Record) error {
		for chunk := range slices.Chunk(records, pipeline) {
			commands := make([]rueidis.Completed, len(chunk))
			for i := range chunk {
				r := &chunk[i]
				hash := r.Identity.Hash()
				key := "hookgate:{" + strconv.Itoa(r.Partition) + "}:claim:" + string(hash[:])
				value := string(r.RequestID[:]) + r.Position.String()
				commands[i] = client.B().Set().Key(key).Value(value).Px(time.Until(r.ReceivedAt.Add(claimTTL))).Build()
			}
			for _, result := range client.DoMulti(ctx, commands...) {
				if err := result.Error(); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// sqliteClaims puts claims into the embedded queue's file, which is closed, as queue/sqlite does, see claims.go there.
func sqliteClaims(path string) (claim func(context.Context, []hookgate.Record) error, done func() error, err error) {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		return nil, nil, err
	}
	// The order of insertion matters, not how durable a filling is on the way.
	for _, pragma := range []string{"synchronous = OFF", "cache_size = -1048576"} {
		if err := sqlitex.ExecuteTransient(conn, "PRAGMA "+pragma, nil); err != nil {
			conn.Close()
			return nil, nil, err
		}
	}
	type claimed struct {
		hash    [16]byte
		request hookgate.RequestID
		at      int64
	}
	claim = func(_ context.Context, records []hookgate.Record) (err error) {
		all := make([]claimed, len(records))
		for i := range records {
			all[i] = claimed{records[i].Identity.Hash(), records[i].RequestID, records[i].EnqueuedAt.UnixMicro()}
		}
		slices.SortFunc(all, func(a, b claimed) int { return bytes.Compare(a.hash[:], b.hash[:]) })
		defer sqlitex.Transaction(conn)(&err)
		insert, err := conn.Prepare("INSERT INTO claims (identity, request_id, claimed_at) VALUES (?, ?, ?)")
		if err != nil {
			return err
		}
		for i := range all {
			insert.BindBytes(1, all[i].hash[:])
			insert.BindBytes(2, all[i].request[:])
			insert.BindInt64(3, all[i].at)
			if _, err := insert.Step(); err != nil {
				return fmt.Errorf("insert a claim: %w", err)
			}
			if err := insert.Reset(); err != nil {
				return err
			}
		}
		return nil
	}
	return claim, conn.Close, nil
}
