package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/hookgate/hookgate"
)

const (
	// fillBatch is the number of events in one transaction. It is large and its ids are sorted, so
	// each page of an index is written once for several of them. After many transactions the indexes
	// look like those of random ids.
	fillBatch = 200_000
	// fillPartitions is the number of partitions, the default of hookgate.
	fillPartitions = 16
	// fillAge is the age of the oldest event. It is less than the time to live of a claim.
	fillAge = 6 * 24 * time.Hour
	// fillSamples is the number of events that checkFilling checks.
	fillSamples = 200
)

// filling puts events into a store with the Apply of the store, and their claims into Redis.
type filling struct {
	store hookgate.Store
	// claim puts the claims of released records into a queue.
	claim  func(context.Context, []hookgate.Record) error
	events int
	size   int
	// batch bounds the events in one transaction.
	batch int
	// keys, if set, returns the ordering key of the n-th event, and whether it is the sender's own.
	keys func(n int, eventType string) (key string, keyed bool)
	rng  *rand.Rand
	text []byte // source of the bodies
	// samples are some of the events.
	samples []hookgate.Record
}

func newFilling(store hookgate.Store, claim func(context.Context, []hookgate.Record) error, events,
	size int) *filling {
	f := &filling{store: store, claim: claim, events: events, size: size, batch: fillBatch,
		rng: rand.New(rand.NewPCG(4711, 0))}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	f.text = make([]byte, 64<<10)
	for i := range f.text {
		f.text[i] = letters[f.rng.IntN(len(letters))]
	}
	return f
}

// run fills the store and the claims.
func (f *filling) run(ctx context.Context) error {
	epochs := map[int]hookgate.Epoch{}
	for p := range fillPartitions {
		epoch, err := f.store.Acquire(ctx, p)
		if err != nil {
			return err
		}
		epochs[p] = epoch
	}
	begin := time.Now()
	for n, done := 0, 0; done < f.events; n++ {
		size := min(f.batch, f.events-done)
		records := f.records(n%fillPartitions, done, size)
		batch := &hookgate.Batch{Records: records, Epochs: epochs, Worker: "filling",
			ProcessedAt: time.Now(), Attempts: 1}
		outcome, err := f.store.Apply(ctx, batch)
		if err != nil {
			return err
		}
		if outcome.Stored != size {
			return fmt.Errorf("of %d events only %d were new", size, outcome.Stored)
		}
		if err := f.claim(ctx, records); err != nil {
			return fmt.Errorf("claims: %w", err)
		}
		done += size
		progress("filled in %d of %d events, %.0f/s", done, f.events,
			float64(done)/time.Since(begin).Seconds())
	}
	return nil
}

// records makes size events of a partition that already has before events.
func (f *filling) records(partition, before, size int) []hookgate.Record {
	ids := make([][16]byte, size)
	for i := range ids {
		for j := range ids[i] {
			ids[i][j] = byte(f.rng.Uint32())
		}
	}
	slices.SortFunc(ids, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	key := keyOf(partition)
	types := []string{"order.created", "order.paid", "order.shipped", "order.cancelled"}
	first := time.Now().Add(-fillAge)
	records := make([]hookgate.Record, size)
	bodies := make([]byte, 0, size*f.size)
	for i := range records {
		n := before + i
		at := first.Add(time.Duration(float64(fillAge) * float64(n) / float64(f.events))).
			Truncate(time.Microsecond)
		id := hookgate.Identity{Source: "default", EventType: types[f.rng.IntN(len(types))],
			MessageID: "evt-" + hex.EncodeToString(ids[i][:])}
		key, keyed := key, false
		if f.keys != nil {
			key, keyed = f.keys(n, id.EventType)
		}
		start := len(bodies)
		bodies = f.appendBody(bodies, id, key, n)
		records[i] = hookgate.Record{
			Request: hookgate.Request{
				RequestID: hookgate.NewRequestID(at), Identity: id, OrderingKey: key, Keyed: keyed, Sequence: int64(n),
				Body:       bodies[start:len(bodies):len(bodies)],
				RemoteAddr: "127.0.0.1:40000", ReceivedAt: at,
			},
			Partition: partition, Position: hookgate.Position{Major: uint64(at.UnixMilli()),
				Minor: uint64(n)}, EnqueuedAt: at.Add(time.Millisecond),
		}
		if n%max(f.events/fillSamples, 1) == 0 {
			sample := records[i]
			sample.Body = bytes.Clone(sample.Body)
			f.samples = append(f.samples, sample)
		}
	}
	return records
}

// appendBody appends a body in the form of load.Generator.
func (f *filling) appendBody(dst []byte, id hookgate.Identity, key string, n int) []byte {
	start := len(dst)
	dst = append(append(dst, `{"messageId":"`...), id.MessageID...)
	dst = append(append(dst, `","eventType":"`...), id.EventType...)
	dst = append(append(dst, `","orderingKey":"`...), key...)
	dst = strconv.AppendInt(append(dst, `","sequence":`...), int64(n), 10)
	dst = append(dst, `,"payload":{"data":"`...)
	const end = `"}}`
	if room := f.size - (len(dst) - start) - len(end); room > 0 {
		from := f.rng.IntN(len(f.text) - room)
		dst = append(dst, f.text[from:from+room]...)
	}
	return append(dst, end...)
}

// keyOf returns an ordering key of a partition.
func keyOf(partition int) string {
	for i := 0; ; i++ {
		if key := fmt.Sprint("customer-", i); hookgate.Partition(key, fillPartitions) == partition {
			return key
		}
	}
}
