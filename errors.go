package hookgate

import (
	"errors"
	"fmt"
)

// ErrFull is the error of Append when the queue holds as many unreleased records as its high-water
// mark allows. Nothing was stored. The HTTP edge answers 503 with Retry-After.
var ErrFull = errors.New("queue is at its high-water mark")

// ErrClosed is the error of calls on a closed queue, reader or store.
var ErrClosed = errors.New("closed")

var (
	// ErrFenced is the error of Apply when another owner has acquired a partition of the batch.
	// Nothing was stored. The caller has lost its partitions: it must drop their records and open a
	// new reader. It is also the error of Subscriptions.Save when the subscription has a newer epoch.
	ErrFenced = errors.New("another owner has taken over")

	// ErrRejected is the error of Apply when the store works but rejects a record of the batch, and
	// also the dead letter in its place. Nothing was stored. A RejectedError names the record; the
	// others can be stored without it. After any other error of Apply but ErrFenced the outcome is
	// unknown, and the caller must apply the same batch again.
	ErrRejected = errors.New("store rejects the batch")

	// ErrLeased is the error of acquiring a subscription that has another owner. Nothing was changed.
	// The caller tries again when the lease has run out.
	ErrLeased = errors.New("subscription has another owner")

	// ErrRevision is the error of acquiring a subscription whose stored definition is newer than the
	// caller's. Nothing was changed. The caller must not deliver until it defines the subscription
	// again.
	ErrRevision = errors.New("another process has stored a newer definition of the subscription")

	// ErrInUse is the error of forgetting a subscription that is configured and not paused. Nothing
	// was changed.
	ErrInUse = errors.New("subscription is in use: pause it or remove it from the configuration first")

	// ErrLeasesOut is the error of moving the cursor of a pull subscription while clients have
	// leases. Nothing was changed. The caller revokes the leases and tries again.
	ErrLeasesOut = errors.New("clients have leases of the subscription")

	// ErrNameTaken is the error of creating a subscription whose name another one has. Nothing was
	// changed.
	ErrNameTaken = errors.New("there is a subscription of this name")

	// ErrNotFound is the error of a Reader for something that does not exist.
	ErrNotFound = errors.New("not found")
)

// RejectedError is an ErrRejected that names the record.
type RejectedError struct {
	// Index is the index in Batch.Records. For a record of Batch.Dead it is the index there plus
	// len(Batch.Records).
	Index int
	Err   error
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("%v: record %d: %v", ErrRejected, e.Index, e.Err)
}

// Unwrap returns ErrRejected and the cause.
func (e *RejectedError) Unwrap() []error { return []error{ErrRejected, e.Err} }

// PartialError is the error of Reader.Events when its context ended before it had read all events.
// To continue, set EventFilter.After to After.
type PartialError struct {
	// After is the id of the last event that was read, whether it matched or not.
	After string
	Err   error
}

func (e *PartialError) Error() string { return e.Err.Error() }

func (e *PartialError) Unwrap() error { return e.Err }

// LeftoverError is the QueueStats.Degraded of a queue that moves records out of a file which an
// earlier configuration used. The gate accepts webhooks meanwhile, unless Rejecting is set.
type LeftoverError struct {
	// File is the name of the file, without its folder, and Left the number of records in it.
	File string
	Left int64
	// Rejecting reports whether the gate rejects webhooks until all records are moved.
	Rejecting bool
	// Err is why the records cannot be moved now; nil if they can.
	Err error
}

// Error implements error.
func (e *LeftoverError) Error() string {
	text := fmt.Sprintf("moving %d webhooks of an earlier configuration from %s to the queue", e.Left,
		e.File)
	if e.Err != nil {
		return text + ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns why the records cannot be moved now.
func (e *LeftoverError) Unwrap() error { return e.Err }

// MisconfiguredError is a configuration error of a backend: it answers, but must not be used as it
// is, or cannot be used with these settings. It stays so until a person changes the backend or the
// settings. Opening it again is harmless. Any other error of opening a backend means that the
// backend is away or not ready yet, which passes by itself.
type MisconfiguredError struct {
	// Reason is for everyone to read: it names no address and no value of a setting.
	Reason string
	// Err is the full error.
	Err error
}

// Error implements error.
func (e *MisconfiguredError) Error() string { return e.Err.Error() }

// Unwrap returns the full error.
func (e *MisconfiguredError) Unwrap() error { return e.Err }

// OrderError is the error of defining a subscription with another Order while it has exceptions,
// holds or open leases. Nothing was changed. A person must retry, skip or dead-letter the
// exceptions first, and clients must settle their leases.
type OrderError struct {
	Subscription string
	// Exceptions is the number of exceptions that are waiting or parked.
	Exceptions int
	// Leases is the number of leases with open events.
	Leases int
}

// Error implements error.
func (e *OrderError) Error() string {
	if e.Leases > 0 {
		return fmt.Sprintf("subscription %s: its order cannot change while %d of its events are waiting"+
			" or parked and clients have %d leases; stop the clients until the leases have ended, and"+
			" retry, skip or dead-letter the events first", e.Subscription, e.Exceptions, e.Leases)
	}
	return fmt.Sprintf("subscription %s: its order cannot change while %d of its events are waiting"+
		" or parked; retry, skip or dead-letter them first", e.Subscription, e.Exceptions)
}

// HorizonError is the error of reading or seeking to a place that retention has removed.
type HorizonError struct {
	// Horizon is the highest id that retention has removed. Events with higher ids are stored.
	Horizon int64
}

// Error implements error.
func (e *HorizonError) Error() string {
	return fmt.Sprintf("retention has removed the events up to id %d", e.Horizon)
}

// AheadError is the error of reading or seeking to a place after the end of the log. The caller may
// have come from a store that was restored to an earlier state.
type AheadError struct {
	// End is the last id of the log.
	End int64
}

// Error implements error.
func (e *AheadError) Error() string {
	return fmt.Sprintf("the log ends at id %d", e.End)
}
