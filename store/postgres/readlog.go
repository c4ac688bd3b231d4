package postgres

import (
	"context"
	"fmt"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/sqlstore"
)

var _ hookgate.Log = (*Store)(nil)

const (
	// The queries of a page read the sizes of the bodies first and then the rows that fit, at least
	// one. The last two columns say whether more rows follow, and where the log ends. The planner does
	// not know where the log ends, so the queries compare with that after the LIMIT, which makes the
	// planner use the order of the index. LATERAL and LIMIT force it to look up each row by its index.
	readPage = readEnd + `
		found AS MATERIALIZED (SELECT id, size FROM (
			SELECT id, octet_length(payload) AS size FROM webhook_events WHERE id > $1
			ORDER BY id LIMIT $3 + 1) f WHERE id <= (SELECT last FROM log)),` + fitting + `
		SELECT ` + ofEvent + `, (SELECT bool_or(more) FROM page), (SELECT last FROM log)
		FROM webhook_events e WHERE id > $1 AND id <= (SELECT max(id) FROM page WHERE fits)
		ORDER BY id LIMIT $3 + 1`
	readKeyPage = readEnd + `
		found AS MATERIALIZED (SELECT id, size FROM (
			(SELECT id, octet_length(payload) AS size FROM webhook_events WHERE ` + ofKey + `)
			UNION ALL
			(SELECT id, octet_length(payload) FROM webhook_kept_events WHERE ` + ofKey + `)
			ORDER BY id LIMIT $3 + 1) f WHERE id <= (SELECT last FROM log)),` + fitting + `
		SELECT ` + ofEvent + `, more, (SELECT last FROM log) FROM page p CROSS JOIN LATERAL (
			(SELECT ` + sqlstore.LogColumns + ` FROM webhook_events WHERE id = p.id LIMIT 1) UNION ALL
			(SELECT ` + sqlstore.LogColumns + ` FROM webhook_kept_events WHERE id = p.id LIMIT 1)
			LIMIT 1) e WHERE fits ORDER BY e.id`
	// With ordering_key = $5 the planner may instead read the table by id until it has enough events
	// of the key.
	ofKey = `(ordering_key, id) > ($5, $1) AND (ordering_key, id) <= ($5, 9223372036854775807)
				AND keyed ORDER BY ordering_key, id LIMIT $3 + 1`
	readEnd = `WITH log AS (SELECT CASE $2 WHEN 0 THEN last_id ELSE least($2, last_id) END AS last
			FROM webhook_log),`
	fitting = ` page AS (SELECT id, n = 1 OR n <= $3 AND bytes <= $4 AS fits,
			total > 1 AND NOT bool_and(n = 1 OR n <= $3 AND bytes <= $4) OVER () AS more
		FROM (SELECT id, row_number() OVER (ORDER BY id) AS n, sum(size) OVER (ORDER BY id) AS bytes,
			count(*) OVER () AS total FROM found) f)`
	readStored = `SELECT ` + sqlstore.LogColumns + ` FROM webhook_events WHERE id = ANY ($1)
		UNION ALL SELECT ` + sqlstore.LogColumns + ` FROM webhook_kept_events WHERE id = ANY ($1)`
)

const ofEvent = `e.id, message_id, event_type, source, ordering_key, keyed, request_id, headers,
	received_at, persisted_at, payload`

// ReadLog implements hookgate.Log. It takes one round trip.
func (s *Store) ReadLog(ctx context.Context, q hookgate.LogQuery) (page hookgate.LogPage,
	err error) {
	end := int64(0)
	events := statement{
		sql:  readPage,
		args: []arg{argInt(q.After), argInt(q.Until), argInt(int64(q.Max)), argInt(int64(q.MaxBytes))},
		row: func(r row) error {
			e, err := sqlstore.ScanLogEvent(r)
			page.Events = append(page.Events, e)
			page.More, end = r.Bool(11), r.Int(12)
			return err
		},
	}
	if q.OrderingKey != "" {
		events.sql, events.args = readKeyPage, append(events.args, argText(q.OrderingKey))
	}
	// The first statement counts if the second one finds nothing: then nothing follows up to there.
	err = s.read(ctx, statement{sql: readEnd[:len(readEnd)-1] + " SELECT last FROM log",
		args: []arg{argInt(0), argInt(q.Until)},
		row:  func(r row) error { end = r.Int(0); return nil }}, events)
	if err != nil {
		return hookgate.LogPage{}, fmt.Errorf("read the log after %d: %w", q.After, err)
	}
	if page.Next = max(q.After, end); page.More {
		page.Next = page.Events[len(page.Events)-1].ID
	}
	return page, nil
}

// ReadEvents implements hookgate.Log.
func (s *Store) ReadEvents(ctx context.Context, ids []int64) (events []hookgate.Event,
	err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	r := newRows(1)
	for _, id := range ids {
		r.Int(id)
	}
	err = s.read(ctx, statement{sql: readStored, args: r.args(), row: func(r row) error {
		e, err := sqlstore.ScanLogEvent(r)
		events = append(events, e)
		return err
	}})
	if err != nil {
		return nil, fmt.Errorf("read %d events: %w", len(ids), err)
	}
	return sqlstore.InOrderOf(ids, events), nil
}
