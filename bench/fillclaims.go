package main

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/hookgate/hookgate"
)

// claimTTL is the default of queue.claim_ttl.
const claimTTL = 7 * 24 * time.Hour

// redisClaims puts claims into Redis in the format of queue/redis (keys.go).
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
				commands[i] = client.B().Set().Key(key).Value(value).Px(time.Until(r.ReceivedAt.Add(claimTTL))).
					Build()
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

// noClaims is for a gate whose store recognizes repetitions.
func noClaims(context.Context, []hookgate.Record) error { return nil }
