package sqlstore

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/hookgate/hookgate"
)

// addEvent notes the event of a trail, from the metadata of its stage persisted.
func (l *lineage) addEvent(trail int, metadata []byte) error {
	var m struct {
		Event string `json:"event"`
	}
	if err := json.Unmarshal(metadata, &m); err != nil {
		return fmt.Errorf("read the stage %s: %w", hookgate.StagePersisted, err)
	}
	id, err := strconv.ParseInt(m.Event, 10, 64)
	if err != nil {
		return fmt.Errorf("read the stage %s: %w", hookgate.StagePersisted, err)
	}
	if l.events == nil {
		l.events = map[int64]int{}
	}
	l.events[id] = trail
	return nil
}

// trailAttempts selects the last MaxTrailAttempts attempts of each subscription, and how many there
// are.
const trailAttempts = `SELECT * FROM (SELECT ` + attemptColumns + `, ` + attemptName + `,
		row_number() OVER (PARTITION BY d.subscription, d.event
			ORDER BY d.redelivery DESC, d.number DESC) AS place,
		count(*) OVER (PARTITION BY d.subscription, d.event) AS attempts
		FROM webhook_deliveries d WHERE ` + anySubscription + ` AND d.event IN (%s)) a
	WHERE place <= ? ORDER BY at, name, redelivery, number`

// addDeliveries adds the attempts to deliver the events of the trails.
func (l *lineage) addDeliveries(query func(Statement) error) error {
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(l.events)), listMax) {
		args := make([]any, len(ids), len(ids)+1)
		for i, id := range ids {
			args[i] = id
		}
		err := query(Statement{
			SQL:  fmt.Sprintf(trailAttempts, marks(len(ids))),
			Args: append(args, hookgate.MaxTrailAttempts),
			Row:  l.addAttempt,
		})
		if err != nil {
			return err
		}
	}
	for _, i := range l.events {
		sortDeliveries(l.trails[i].Entries)
	}
	return nil
}

// addAttempt adds a row of trailAttempts to the trail of its event.
func (l *lineage) addAttempt(r Row) error {
	a := scanAttempt(r)
	m := trailAttempt{Subscription: r.Text(9), Attempt: a.Number, Redelivery: a.Redelivery,
		Status: a.Status, DurationMs: float64(a.Took.Microseconds()) / 1000, Reason: a.Reason, By: a.By}
	// The oldest attempt that is shown tells how many came before it.
	if place, all := r.Int(10), r.Int(11); place == hookgate.MaxTrailAttempts {
		m.Omitted = all - place
	}
	metadata, err := json.Marshal(m)
	if err != nil {
		return err
	}
	trail := &l.trails[l.events[a.Event]]
	trail.Entries = append(trail.Entries, hookgate.TrailEntry{Stage: stageOf(&a), Timestamp: a.At,
		Metadata: metadata})
	return nil
}

// trailAttempt is the metadata of a stage of a delivery.
type trailAttempt struct {
	Subscription string  `json:"subscription"`
	Attempt      int     `json:"attempt"`
	Redelivery   int64   `json:"redelivery,omitempty"`
	Status       int     `json:"status,omitempty"`
	DurationMs   float64 `json:"durationMs,omitempty"`
	Reason       string  `json:"reason,omitempty"`
	By           string  `json:"by,omitempty"`
	// Omitted counts the earlier attempts that the trail leaves out.
	Omitted int64 `json:"omitted,omitempty"`
}

func stageOf(a *hookgate.Attempt) hookgate.Stage {
	switch a.Outcome {
	case hookgate.AttemptDelivered:
		if a.Redelivery > 0 {
			return hookgate.StageRedelivered
		}
		return hookgate.StageDelivered
	case hookgate.AttemptDeadLettered:
		return hookgate.StageDeadLettered
	case hookgate.AttemptSkipped:
		return hookgate.StageSkipped
	case hookgate.AttemptParked:
		return hookgate.StageParked
	}
	return hookgate.StageAttemptFailed
}

// sortDeliveries brings what follows the stage persisted in the order of time. That are deliveries
// and the removal of the body.
func sortDeliveries(entries []hookgate.TrailEntry) {
	stored := slices.IndexFunc(entries, func(e hookgate.TrailEntry) bool {
		return e.Stage == hookgate.StagePersisted
	})
	slices.SortStableFunc(entries[stored+1:], func(a, b hookgate.TrailEntry) int {
		return a.Timestamp.Compare(b.Timestamp)
	})
}
