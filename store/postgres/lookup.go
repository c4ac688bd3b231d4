package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/store/entry"
)

const (
	// readHolders finds the events that have the keys of items. LATERAL and LIMIT force the planner
	// to look up each row by its index.
	readHolders = `SELECT i.n, e.id, e.request_id, e.message_id, e.event_type, e.source
		FROM unnest($1, $2) AS i (n, identity)
		CROSS JOIN LATERAL (SELECT * FROM webhook_events e WHERE e.identity = i.identity LIMIT 1) e`
	// holdersOfAnyType is for events whose type is not proved.
	holdersOfAnyType = ` FROM unnest($1, $2, $3, $4, $5, $6) AS i (n, low, high, message_id, source,
		request_id)
		CROSS JOIN LATERAL (SELECT * FROM webhook_events e WHERE e.identity >= i.low
			AND e.identity <= i.high
			AND e.message_id = i.message_id AND e.source = i.source `
	// If there are several holders, this prefers the item's own request.
	readHoldersOfAnyType = `SELECT i.n, e.id, e.request_id, e.message_id, e.event_type, e.source` +
		holdersOfAnyType +
		`ORDER BY e.request_id = i.request_id DESC LIMIT 1) e`
	// guardTypes divides by zero if there is a holder.
	guardTypes   = `SELECT 1 / (count(*) = 0)::integer` + holdersOfAnyType + `LIMIT 1) e`
	readRequests = `SELECT i.n, r.id FROM unnest($1, $2) AS i (n, request_id)
		CROSS JOIN LATERAL (SELECT id FROM webhook_requests r
			WHERE r.request_id = i.request_id LIMIT 1) r`
	// This locks the partitions in order, so that two batches never wait for each other. Batches of
	// different processes share the locks; the next owner waits.
	readEpochs = `SELECT partition, epoch FROM webhook_partitions WHERE partition = ANY ($1)
		ORDER BY partition FOR SHARE`
	// guardEpochs divides by zero unless all epochs are current.
	guardEpochs = `SELECT 1 / (count(*) = $3)::integer FROM (SELECT FROM webhook_partitions p
		JOIN unnest($1, $2) AS u (partition, epoch) ON p.partition = u.partition
		WHERE p.epoch <= u.epoch ORDER BY p.partition FOR SHARE OF p) held`
)

// partitions returns the partitions of the items, if the batch has epochs.
func (a *application) partitions() (all []int) {
	if a.batch.Epochs == nil {
		return nil
	}
	for i := range a.items {
		if p := a.items[i].Partition; !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}

// unproven returns the items whose type is not proved, for readHoldersOfAnyType and guardTypes. It
// skips message ids that PostgreSQL cannot store, because no event has one.
func (a *application) unproven() rows {
	r := newRows(6)
	for n := range a.items {
		it := &a.items[n]
		if !it.TypeUnproven || it.Outcome != hookgate.StagePersisted || !storable(it.MessageID) ||
			!storable(it.Source) {
			continue
		}
		low, high := audit.MessageRange(it.MessageID)
		r.Int(int64(n))
		r.Bytes(low[:])
		r.Bytes(high[:])
		r.Text(it.MessageID)
		r.Text(it.Source)
		r.Text(it.RequestID.String())
	}
	return r
}

// lookUp locks the partitions and the log, and reads which records of the batch are stored. Until
// this transaction ends, nobody can store more of them.
func (a *application) lookUp(ctx context.Context, t *transaction) error {
	partitions := a.partitions()
	if err := t.run(ctx, a.lookups(partitions)...); err != nil {
		return err
	}
	for _, p := range partitions {
		epoch, ok := a.epochs[p]
		if !ok {
			return fmt.Errorf("partition %d was never acquired", p)
		}
		if have := a.batch.Epochs[p]; have < epoch {
			return fmt.Errorf("partition %d has epoch %d, the batch %d: %w", p, epoch, have,
				hookgate.ErrFenced)
		}
	}
	more, err := a.log.readFirstHash()
	if err != nil {
		return err
	}
	if err := t.run(ctx, more...); err != nil {
		return err
	}
	a.persistedAt = time.Now()
	return nil
}

// lookups returns the statements of lookUp.
func (a *application) lookups(partitions []int) (reads []statement) {
	if len(partitions) > 0 {
		r := newRows(1)
		for _, p := range partitions {
			r.Int(int64(p))
		}
		reads = append(reads, statement{sql: readEpochs, args: r.args(), row: func(r row) error {
			a.epochs[int(r.Int(0))] = hookgate.Epoch(r.Int(1))
			return nil
		}})
	}
	reads = append(reads, a.log.lock())
	if len(a.items) == 0 {
		return reads
	}
	identities, requests := newRows(2), newRows(2)
	for n := range a.items {
		it := &a.items[n]
		if it.Outcome == hookgate.StagePersisted && !it.TypeUnproven {
			identities.Int(int64(n))
			identities.Bytes(it.Key[:])
		}
		requests.Int(int64(n))
		requests.Text(it.RequestID.String())
	}
	takeHolder := func(r row) error {
		request, err := hookgate.ParseRequestID(r.Text(2))
		a.holders[r.Int(0)] = entry.Holder{ID: r.Int(1), Request: request,
			Identity: hookgate.Identity{MessageID: r.Text(3), EventType: r.Text(4), Source: r.Text(5)}}
		return err
	}
	if identities.len() > 0 {
		reads = append(reads, statement{sql: readHolders, args: identities.args(), row: takeHolder})
	}
	if unproven := a.unproven(); unproven.len() > 0 {
		reads = append(reads, statement{sql: readHoldersOfAnyType, args: unproven.args(),
			row: takeHolder})
	}
	reads = append(reads, statement{sql: readRequests, args: requests.args(), row: func(r row) error {
		a.stored[r.Int(0)] = r.Int(1)
		return nil
	}})
	return reads
}
