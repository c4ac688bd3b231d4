package hookgate

import (
	"errors"
	"fmt"
)

// ErrFull is returned by Append when the queue holds as many unreleased records as its high-water
// mark allows. Nothing was stored. The HTTP edge answers 503 with Retry-After.
var ErrFull = errors.New("queue is at its high-water mark")

// ErrClosed is returned by calls on a queue, reader or store that was closed.
var ErrClosed = errors.New("closed")

var (
	// ErrFenced is returned by Apply when a partition of the batch has been acquired by another
	// owner since. Nothing was stored. The caller has been replaced: it must drop what it holds
	// of its partitions and open a new reader.
	ErrFenced = errors.New("partition has another owner")

	// ErrRejected is wrapped by the error of Apply when the store is well but refuses a record of the
	// batch, and the dead letter that would take its place too. Nothing was stored. A RejectedError
	// says which record that is; the others can be stored without it. Every other error of Apply but
	// ErrFenced means that the outcome is unknown and the same batch must be applied again.
	ErrRejected = errors.New("store rejects the batch")

	// ErrNotFound is returned by a Reader for something that is not there.
	ErrNotFound = errors.New("not found")
)

// RejectedError is an ErrRejected that names the record which the store refuses.
type RejectedError struct {
	// Index is that in Batch.Records, or len(Batch.Records) and more for one of Batch.Dead.
	Index int
	Err   error
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("%v: record %d: %v", ErrRejected, e.Index, e.Err)
}

// Unwrap returns ErrRejected and the cause.
func (e *RejectedError) Unwrap() []error { return []error{ErrRejected, e.Err} }

// PartialError is what Reader.Events yields when its context ended before it had looked at all
// events. The caller may continue with EventFilter.After set to After.
type PartialError struct {
	// After is the id of the last event that was looked at, whether it matched or not.
	After string
	Err   error
}

func (e *PartialError) Error() string { return e.Err.Error() }

func (e *PartialError) Unwrap() error { return e.Err }

// LeftoverError is the Degraded of a queue that still moves what a file holds that an earlier
// configuration used. Webhooks are taken meanwhile, unless Rejecting is set.
type LeftoverError struct {
	// File is the name of the file, without its folder, and Left how many records it holds.
	File string
	Left int64
	// Rejecting says that webhooks are rejected until all are moved.
	Rejecting bool
	// Err is what keeps them from being moved; nil if nothing does.
	Err error
}

// Error implements error.
func (e *LeftoverError) Error() string {
	text := fmt.Sprintf("%d webhooks of an earlier configuration in %s are moved to the queue", e.Left,
		e.File)
	if e.Err != nil {
		return text + ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns what keeps the records from being moved.
func (e *LeftoverError) Unwrap() error { return e.Err }

// MisconfiguredError says that a backend is there and must not be used as it is, or cannot be as it is
// configured: it stays so until a person has changed it or the settings. To open it again is
// harmless. Any other error of opening a backend means that it is away or not ready, which passes.
type MisconfiguredError struct {
	// Reason says what is wrong in words that anyone may read: it names no address and no value of a
	// setting.
	Reason string
	// Err has the whole of it.
	Err error
}

// Error implements error.
func (e *MisconfiguredError) Error() string { return e.Err.Error() }

// Unwrap returns the whole error.
func (e *MisconfiguredError) Unwrap() error { return e.Err }
