// Package history keeps the rates and latencies of the last 24 hours, by minute. They survive a
// restart and cover all processes, because the store keeps them.
//
//	counters of a process ─► Recorder ─► Store: a row for each minute, process and subject
//	                                       └──► Series: sums over processes and longer steps
package history

import (
	"context"
	"time"
)

const (
	// Span is how far back the history reaches.
	Span = 24 * time.Hour
	// Keep is how long the store keeps a minute. It is longer than Span, so that the first step of a
	// series is whole.
	Keep = 26 * time.Hour
)

// Kind says what a subject is.
type Kind string

// The kinds.
const (
	Gate         Kind = "gate" // all of it; its subject has no name
	Source       Kind = "source"
	Subscription Kind = "subscription"
)

// Temporary is the name that all temporary subscriptions share, so that they are counted together.
const Temporary = "temporary"

// Subject is something whose traffic is counted.
type Subject struct {
	Kind Kind
	// Name is that of the source or the subscription.
	Name string
}

// Selects reports whether other matches s. An empty kind matches every kind, and an empty name every
// name.
func (s Subject) Selects(other Subject) bool {
	return (s.Kind == "" || s.Kind == other.Kind) && (s.Name == "" || s.Name == other.Name)
}

// Counts are the numbers of a subject in some time. The kind of the subject decides which numbers
// can be above 0.
type Counts struct {
	// Of a source, its requests by answer. Accepted are all 2xx, handshakes and duplicates included.
	// Unauthenticated are 401, Refused other 4xx, and Unavailable 5xx.
	Accepted, Unauthenticated, Refused, Unavailable int64
	// Duplicates are requests of Accepted that repeated an event.
	Duplicates int64

	// Of a subscription, the events whose delivery has ended.
	Delivered, DeadLettered, Parked int64
	// Attempts are its attempts to deliver an event, and Failed those without a 2xx.
	Attempts, Failed int64

	// Stored are the requests that the gate has stored.
	Stored int64

	// Latency is the time from receipt to the 202; of a subscription, to the end of the delivery.
	// Duration is the time of an attempt.
	Latency, Duration Histogram
}

// Numbers returns all counts but the histograms, in the order of their columns in a store.
func (c *Counts) Numbers() [11]*int64 {
	return [...]*int64{&c.Accepted, &c.Unauthenticated, &c.Refused, &c.Unavailable, &c.Duplicates,
		&c.Delivered, &c.DeadLettered, &c.Parked, &c.Attempts, &c.Failed, &c.Stored}
}

// Add adds o.
func (c *Counts) Add(o *Counts) {
	from := o.Numbers()
	for i, n := range c.Numbers() {
		*n += *from[i]
	}
	c.Latency.add(&o.Latency, 1)
	c.Duration.add(&o.Duration, 1)
}

// Since returns c minus before, which is an earlier reading of the same counters.
func (c *Counts) Since(before *Counts) Counts {
	since := *c
	from := before.Numbers()
	for i, n := range since.Numbers() {
		*n -= *from[i]
	}
	since.Latency.add(&before.Latency, -1)
	since.Duration.add(&before.Duration, -1)
	return since
}

// Minute are the counts of one subject in one minute of one process.
type Minute struct {
	// At is the beginning of the minute.
	At time.Time
	// Process names the process since its start, or since its clock went back. A process that starts
	// again has another name.
	Process string
	Subject
	Counts
}

// Reader reads minutes.
type Reader interface {
	// Minutes calls each for the stored minutes of the subjects of only that begin at from or later,
	// and before to, oldest first. It does so while it reads, so each must not call the store.
	Minutes(ctx context.Context, from, to time.Time, only Subject, each func(*Minute)) error
}

// Store keeps minutes.
type Store interface {
	Reader
	// SaveMinutes stores minutes and removes those that begin before oldest and are older than Keep by
	// the clock of the store, in one transaction. So a process whose clock is ahead removes nothing
	// early. It replaces a stored minute with the same time, process and subject, so that a call with
	// an unknown outcome can be repeated.
	SaveMinutes(ctx context.Context, minutes []Minute, oldest time.Time) error
}
