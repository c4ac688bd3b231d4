// Command make made queue.db and spool.db in this folder. It builds in a checkout of commit 6deb59b,
// the last with a queue of claims:
//
//	git worktree add /tmp/old 6deb59b
//	mkdir /tmp/old/cmd/make && cp make.go /tmp/old/cmd/make
//	cd /tmp/old && go run ./cmd/make
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/queue/sqlite"
)

var keys = []string{"a", "b", "c", "d", "e"}

func main() {
	ctx := context.Background()
	queue(ctx)
	spool(ctx)
}

// queue has 8 events of each of 5 keys on 4 partitions, every fourth of them twice. The first 10
// records that a worker got are released: their claims are in the file. A person has set the mode and
// the canary.
func queue(ctx context.Context) {
	q := open(ctx, "queue.db", sqlite.Options{Partitions: 4})
	for n := range 8 {
		for _, key := range keys {
			add(ctx, q, delivery(key, n))
			if n%4 == 0 {
				add(ctx, q, delivery(key, n))
			}
		}
	}
	c, err := q.Consume(ctx)
	check(err)
	records, err := c.Next(ctx, 10, 1<<20)
	check(err)
	check(c.Commit(ctx, hookgate.LastOffsets(records)))
	check(c.Close())
	check(q.SetMode(ctx, hookgate.ModeReadOnly))
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	check(q.SetCanary(ctx, hookgate.Canary{Version: 3, Percent: 50, At: at, By: "ana", Reason: "half"}))
	check(q.Close())
}

// spool has a delivery, its repetition, a replay, a request of two events and one whose type is not
// proved, all of one key, and one of another key, on 16 partitions.
func spool(ctx context.Context) {
	q := open(ctx, "spool.db", sqlite.Options{KeepDuplicates: true})
	first := delivery("a", 0)
	add(ctx, q, first)
	add(ctx, q, delivery("a", 0))
	replay := *first
	replay.ReplayedAt = first.ReceivedAt.Add(time.Hour)
	replay.RequestID, replay.ReplayOf = hookgate.NewRequestID(replay.ReplayedAt), first.RequestID
	add(ctx, q, &replay)
	several := delivery("a", 1)
	several.RequestID, several.Body = several.RequestID.WithoutPart(), []byte("12")
	several.SetParts("default", []hookgate.Part{
		{EventType: "t", MessageID: "x", OrderingKey: "a", Sequence: hookgate.NoSequence, Start: 0, End: 1},
		{EventType: "t", MessageID: "y", OrderingKey: "a", Sequence: hookgate.NoSequence, Start: 1, End: 2},
	})
	add(ctx, q, several)
	unproven := delivery("a", 2)
	unproven.TypeUnproven = true
	add(ctx, q, unproven)
	add(ctx, q, delivery("b", 0))
	check(q.Close())
}

func open(ctx context.Context, path string, o sqlite.Options) *sqlite.Queue {
	q, err := sqlite.Open(ctx, path, o)
	check(err)
	return q
}

func delivery(key string, n int) *hookgate.Delivery {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return &hookgate.Delivery{
		RequestID:   hookgate.NewRequestID(now),
		Identity:    hookgate.Identity{Source: "default", EventType: "t", MessageID: fmt.Sprintf("%s-%d", key, n)},
		OrderingKey: key, Sequence: int64(n), Body: fmt.Appendf(nil, `{"n":%d}`, n), ReceivedAt: now,
	}
}

func add(ctx context.Context, q *sqlite.Queue, d *hookgate.Delivery) {
	_, err := q.Append(ctx, d)
	check(err)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
