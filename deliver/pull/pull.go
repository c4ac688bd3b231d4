// Package pull hands events to clients that fetch them.
//
// A [Server] has no owner of a subscription and no state that it needs: leases are rows, so any
// process answers any call.
//
//	pull ─┐
//	ack  ─┼─► line (one per subscription in use) ─► state ─► one Commit ─► answers
//	nack ─┘        ▲                                  ▲
//	               └── log has grown, timers          └── store, if another process was faster
//
// The line of a subscription applies all calls that wait for it to the state and commits once for
// all of them. The commit fails if another process has changed the subscription since the state was
// read. Then the line reads the state again and applies the same calls to it.
package pull

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver"
)

// Limits of the calls.
const (
	// MaxEvents and MaxBytes bound one lease: the number of events, and the size of their bodies
	// unless a single body is larger. DefaultEvents and DefaultBytes are used if a call names none.
	DefaultEvents, MaxEvents = 100, 1000
	DefaultBytes, MaxBytes   = 4 << 20, 32 << 20
	// MaxWait bounds how long a pull waits for events.
	DefaultWait, MaxWait = 0, time.Minute
	// DefaultLease and MaxLease bound how long a client may work on a lease before it must extend it.
	DefaultLease, MaxLease = time.Minute, 12 * time.Hour
	// MaxDelay bounds the wait for which a nack may ask.
	MaxDelay = 24 * time.Hour
)

// Request asks for events. Zero fields have the defaults.
type Request struct {
	// Max and MaxBytes bound the lease.
	Max, MaxBytes int
	// Wait is how long to wait for the first event.
	Wait time.Duration
	// Lease is how long the client may work on the events.
	Lease time.Duration
}

// Batch are the events of a new lease. It has no events and no lease if there were none in time.
type Batch struct {
	// Lease is the id of the lease, and Until when it ends.
	Lease  string
	Until  time.Time
	Events []Event
	free   func()
	back   func()
}

// Close gives the memory of the bodies back to the Server. The caller must call it after it has
// used the events. A second call does nothing.
func (b *Batch) Close() {
	if b.free != nil {
		b.free()
		b.free = nil
	}
}

// GiveBack closes a batch that no client gets. Its lease ends, and nobody is charged.
func (b *Batch) GiveBack() {
	b.Close()
	if b.back != nil {
		b.back()
	}
}

// Event is an event in a batch.
type Event struct {
	*hookgate.Event
	// Attempt counts from 1.
	Attempt int
	// Redelivery is 0, or above 0 if a person asked for the event again.
	Redelivery int64
}

// Nack says what happens to events that a client could not process.
type Nack struct {
	// Delay is the wait before the next attempt; nil: as the subscription's settings say.
	Delay *time.Duration
	// Reason says for people why.
	Reason string
	// Dead makes dead letters of the events at once.
	Dead bool
}

var (
	// ErrEnded is the error of a call for a lease that has run out, or for an event that the lease
	// has given back. Nothing was changed. The events come again.
	ErrEnded = errors.New("the lease has ended, and what was not acknowledged comes again")
	// ErrNotPull is the error of a call for a subscription that is not a pull subscription.
	ErrNotPull = errors.New("the subscription is not a pull subscription")
)

// AckError is the error of an ack or nack that names an event which the client cannot settle now.
// Nothing was changed.
type AckError struct {
	// Event is the event that was named.
	Event int64
	// Before is an earlier event of its key, which must be acknowledged first; 0 if Event is not in
	// the lease.
	Before int64
}

// Error implements error.
func (e *AckError) Error() string {
	if e.Before == 0 {
		return fmt.Sprintf("event %d is not in this lease", e.Event)
	}
	return fmt.Sprintf("event %d comes after event %d of the same key: acknowledge that one first, or"+
		" in the same call", e.Event, e.Before)
}

// Policy is what a pull subscription's definition says about failures.
type Policy struct {
	Retry deliver.Retry
	// DeadLetter makes a dead letter of an event that is out of time, and does not park it.
	DeadLetter bool
}

// Config configures a Server. Policy is required.
type Config struct {
	// Policy reads the text of a stored definition. ErrNotPull: it is not a pull subscription.
	Policy func(definition string) (Policy, error)
	// Recheck is how often a pull that waits looks for changes that other processes have made; 0 for
	// a store that no other process can use.
	Recheck time.Duration
	// Memory bounds the bodies of all batches that are not closed, in bytes; default 256 MiB. Beyond
	// it pulls wait. One subscription gets half of it at most.
	Memory int64
	// Paused reports whether delivery must wait, for all subscriptions. Call Wake after a change.
	Paused func() bool
	Logger *slog.Logger
	// Observer counts; it may be nil.
	Observer deliver.Observer
}
