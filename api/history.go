package api

import (
	"context"
	"net/url"
	"time"
)

// History is the answer of GET /api/history: the traffic of the last 24 hours, summed up over all
// processes.
type History struct {
	// From and To bound the time, rounded to whole steps.
	From Time `json:"from"`
	To   Time `json:"to"`
	// StepSeconds is the length of a point.
	StepSeconds int `json:"stepSeconds"`
	// Series are sorted by kind and name. A subject without traffic has none.
	Series []HistorySeries `json:"series"`
}

// HistorySeries is the traffic of one source, one subscription or the gate.
type HistorySeries struct {
	// Kind is source, subscription or gate. A gate has no name; the subscription "temporary" stands
	// for all temporary ones.
	Kind  string        `json:"kind"`
	Name  string        `json:"name"`
	Total HistoryCounts `json:"total"`
	// Points are the steps with traffic, oldest first.
	Points []HistoryPoint `json:"points"`
}

// HistoryPoint is one step of a series.
type HistoryPoint struct {
	At Time `json:"at"` // its beginning
	HistoryCounts
}

// HistoryCounts are numbers of events or requests. Those that are 0 are missing from the answer.
type HistoryCounts struct {
	// Of a source, its requests by answer: Accepted are all 2xx, duplicates and handshakes included,
	// Unauthenticated 401, Refused other 4xx, and Unavailable 5xx.
	Accepted        int64 `json:"accepted,omitempty"`
	Duplicates      int64 `json:"duplicates,omitempty"`
	Unauthenticated int64 `json:"unauthenticated,omitempty"`
	Refused         int64 `json:"refused,omitempty"`
	Unavailable     int64 `json:"unavailable,omitempty"`
	// Of a subscription: events by outcome, and attempts. Failed are attempts without a 2xx.
	Delivered    int64 `json:"delivered,omitempty"`
	DeadLettered int64 `json:"deadLettered,omitempty"`
	Parked       int64 `json:"parked,omitempty"`
	Attempts     int64 `json:"attempts,omitempty"`
	Failed       int64 `json:"failed,omitempty"`
	// Of the gate: requests stored.
	Stored int64 `json:"stored,omitempty"`
	// Latency is the time from receipt to the 202 of a source, or to the end of the delivery of a
	// subscription. Duration is that of an attempt. Nil if nothing was counted.
	Latency  *HistoryLatency `json:"latency,omitempty"`
	Duration *HistoryLatency `json:"duration,omitempty"`
}

// HistoryLatency has quantiles in milliseconds, exact to the width of a bucket.
type HistoryLatency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50"`
	P95   float64 `json:"p95"`
	P99   float64 `json:"p99"`
}

// HistoryQuery selects a part of the history. The zero value selects the last 24 hours.
type HistoryQuery struct {
	// From and To bound the time. Zero means 24 hours before To, and now.
	From, To time.Time
	// Step is the length of a point in whole minutes; 0 lets the gate choose one.
	Step time.Duration
	// Kind and Name select subjects; empty means all.
	Kind, Name string
}

// History returns the traffic of the last 24 hours.
func (c *Client) History(ctx context.Context, q HistoryQuery) (History, error) {
	v := url.Values{}
	setTime(v, "from", q.From)
	setTime(v, "to", q.To)
	if q.Step > 0 {
		v.Set("step", q.Step.String())
	}
	setText(v, "kind", q.Kind)
	setText(v, "name", q.Name)
	return get[History](ctx, c, "/api/history", v)
}
