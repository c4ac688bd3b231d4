package hookgate

import (
	"cmp"
	"context"
	"time"
)

// Order says which events of a subscription wait for each other.
type Order string

// The orders.
const (
	// OrderKey delivers the events of one ordering key one at a time. An event without a key of its
	// own waits for no other event.
	OrderKey Order = "key"
	// OrderAll delivers all events of the subscription one at a time.
	OrderAll Order = "all"
	// OrderNone delivers events in any order.
	OrderNone Order = "none"
)

// Start says where a new subscription begins.
type Start struct {
	// At is StartNow, StartBeginning, StartTime or StartAfter.
	At StartAt
	// Time is for StartTime: the first event is the first one stored at or after it.
	Time time.Time
	// After is for StartAfter: the first event is the first one with a higher id. An id that the log
	// has not reached yet means its end.
	After int64
}

// StartAt is a kind of Start.
type StartAt string

// The kinds of Start.
const (
	StartNow       StartAt = "now"
	StartBeginning StartAt = "beginning"
	StartTime      StartAt = "time"
	StartAfter     StartAt = "id"
)

// SubscriptionDefinition is the part of a subscription's configuration that its processes share.
type SubscriptionDefinition struct {
	Name string
	// Start is used once, when the subscription is new.
	Start Start
	Order Order
	// Filter selects the events of the subscription. A changed filter applies after the cursor.
	Filter Filter
	// Definition is the whole configuration as JSON, Filter and Order included, without secrets and
	// without Start. Two processes whose texts are equal have the same configuration.
	Definition string
}

// Subscriptions keeps the state of subscriptions: cursors, exceptions, holds and attempts. Each
// subscription has at most one owner, and only its owner delivers. All methods may be called
// concurrently.
//
// A cursor is the id of the event up to which the subscription has passed everything. An event at
// or below the cursor that the filter selects is settled, or it has an exception, or its key has a
// hold with a lower After.
type Subscriptions interface {
	// Define stores the definitions and creates the subscriptions that are new. It reads the end of
	// the log under the lock of appends, so that StartNow is before every request whose Append begins
	// after Define. A definition that differs from the stored one replaces it and gets the next
	// revision, and the version grows. Define returns the revision of each definition, in their order.
	//
	// complete reports that the caller delivers. Subscriptions that are not among its defs are then
	// marked as removed: they keep their state and no longer hold up retention. A removed
	// subscription that is defined again continues at its cursor. A temporary one becomes a configured
	// one. A changed Order of a subscription with exceptions, holds or open leases is an *OrderError;
	// then nothing has changed.
	Define(ctx context.Context, defs []SubscriptionDefinition, complete bool) (revisions []int64,
		err error)

	// Renew extends the leases of this process by ttl and returns all subscriptions and the number of
	// processes that deliver. It also extends a lease that has run out, unless another process has
	// taken the subscription. An embedded store ignores ttl, because no other process can use it.
	Renew(ctx context.Context, owner string, ttl time.Duration) (Roster, error)

	// Acquire makes owner the owner of a subscription for ttl, unless another owner's lease is still
	// running, and returns its state with a new epoch. From then on Save rejects a lower epoch.
	// revision is that of the caller's definition.
	//
	// Errors: ErrLeased (another owner has it), ErrRevision (another process has stored a newer
	// definition), ErrNotFound.
	Acquire(ctx context.Context, name, owner string, ttl time.Duration, revision int64) (
		*SubscriptionState, error)

	// Release ends the lease of an epoch, so that another process need not wait for its end. An older
	// epoch changes nothing.
	Release(ctx context.Context, name string, epoch Epoch) error

	// Due returns the exceptions of a subscription that are waiting and due, the holds whose first
	// event has no exception, and what a person may have changed. See DueQuery.
	Due(ctx context.Context, name string, q DueQuery) (Due, error)

	// Save stores results in one durable transaction. It returns the version of the subscription's
	// row, which grows with each change by a person and with each new definition.
	//
	// Errors: ErrFenced: nothing was stored and the caller no longer is the owner; also if the
	// subscription was forgotten, and created again meanwhile. After any other
	// error the outcome is unknown, and the caller must save the same results again before any other.
	// Saving results again is harmless.
	Save(ctx context.Context, name string, epoch Epoch, r *Results) (version int64, err error)
}

// Roster is what Renew returns.
type Roster struct {
	// Processes is the number of processes that deliver, this one included.
	Processes int
	// Subscriptions are all subscriptions, by name.
	Subscriptions []RosterEntry
}

// RosterEntry describes one subscription to the processes that deliver.
type RosterEntry struct {
	Name string
	// Owner is the process whose lease is running, or empty.
	Owner string
	Epoch Epoch
	// Revision is that of the stored definition.
	Revision int64
	// Version grows with each change by a person and with each new definition.
	Version int64
}

// SubscriptionState is the state of a subscription as its new owner finds it.
type SubscriptionState struct {
	Epoch Epoch
	// Version grows with each change by a person and with each new definition.
	Version int64
	// Cursor is the last id that the subscription has passed.
	Cursor int64
	// Settled are the events above Cursor that are settled, in rising order.
	Settled []int64
	// Excepted are the events above Cursor that have an exception, in rising order.
	Excepted []int64
	// Holds are the keys that are held, with or without an exception.
	Holds []Hold
	// Exceptions is the number of exceptions that are waiting or parked.
	Exceptions int
	// Clock is the time for which the subscription has been neither paused nor broken. See
	// Exception.Since.
	Clock time.Duration
	// Paused reports whether the subscription is paused.
	Paused bool
	// Redelivery is the number for the events up to RedeliverUntil, because a person has moved the
	// cursor back. Later events have the number 0.
	Redelivery, RedeliverUntil int64
	// Jobs are the redelivery jobs that are not finished, oldest first.
	Jobs []RedeliveryJob
	// Leases are the leases with open events, oldest first. A new owner, which pushes, gives them
	// back. See Leases.
	Leases []Lease
}

// Hold is an ordering key whose events wait. The first of them may have an exception.
type Hold struct {
	OrderingKey string
	// After is an event id. The events of the key up to it are settled; those after it that the
	// subscription has passed are not.
	After int64
	// Excepted reports whether an event of the key has an exception that is waiting or parked. In
	// Results it is ignored.
	Excepted bool
	// LeaseMax bounds the number of events of the next lease that has one of the key, because an
	// earlier lease ran out; 0: no bound. The last Save counts.
	LeaseMax int
}

// ExceptionState is the state of an exception.
type ExceptionState string

// The states. A dead exception is settled: it holds nobody and does not expire.
//
//	   ┌──────────── retry (a person) ◄──────────┐
//	   ▼                                         │
//	waiting ──► delivered (no exception)         │
//	   │  └───► dead ────────────────────────────┤
//	   └──────► parked ──────────────────────────┤
//	              └──► dead, or skipped (no exception), by a person
const (
	ExceptionWaiting ExceptionState = "waiting"
	ExceptionParked  ExceptionState = "parked"
	ExceptionDead    ExceptionState = "dead"
)

// Exception is an event at or below the cursor, or soon to be, that has not been delivered.
type Exception struct {
	Event int64
	// Redelivery is the number of the delivery.
	Redelivery int64
	// OrderingKey is the key that the event holds; empty if it holds nobody.
	OrderingKey string
	State       ExceptionState
	// Attempts counts the attempts that failed.
	Attempts int
	// Due is when the next attempt begins, for ExceptionWaiting.
	Due time.Time
	// Since is the reading of the subscription's clock at the first failure. Time for which the
	// consumer asked by Retry-After is added to it. So the clock's reading less Since is the time
	// that counts against the time to retry.
	Since time.Duration
	// Wait is the wait before Due. The next one doubles it.
	Wait time.Duration
	// Reason says for people why the last attempt failed.
	Reason string
	// Status is the HTTP status of the last attempt, or 0.
	Status int
	// Changed is when the exception got its state.
	Changed time.Time
	// LeaseMax bounds the number of events of the next lease that has this one, because an earlier
	// lease ran out; 0: no bound.
	LeaseMax int
}

// DueQuery asks for exceptions and holds to work on.
type DueQuery struct {
	// Now is the time to compare with Exception.Due.
	Now time.Time
	// Max bounds the exceptions and, separately, the holds that are returned.
	Max int
	// NotEvents are exceptions to leave out, because they are being attempted. NotKeys are holds to
	// leave out.
	NotEvents []EventRedelivery
	NotKeys   []string
	// MaxHolds bounds the holds in place of Max; 0 means Max, and a number below 0 leaves out all
	// holds. An owner that has read them needs them again only after a change by a person.
	MaxHolds int
}

// EventRedelivery names a delivery within a subscription.
type EventRedelivery struct {
	Event, Redelivery int64
}

// Due is what Subscriptions.Due returns.
type Due struct {
	// Exceptions are those whose time has come, by Exception.Due.
	Exceptions []Exception
	// Holds are those whose first event has no exception: their events can be delivered now.
	Holds []Hold
	// Next is when the next exception that is not returned and not left out becomes due; zero if
	// there is none.
	Next time.Time
	// Count is the number of exceptions that are waiting or parked, and Held the number of holds.
	// Large numbers may be some seconds old, and are counted up to MaxBacklog.
	Count, Held int
	// Version, Paused and Jobs are as in SubscriptionState, read in the same transaction.
	Version int64
	Paused  bool
	Jobs    []RedeliveryJob
}

// AttemptOutcome is the outcome of an attempt.
type AttemptOutcome string

// The outcomes. The first three settle the event.
const (
	AttemptDelivered    AttemptOutcome = "delivered"
	AttemptDeadLettered AttemptOutcome = "dead_lettered"
	AttemptSkipped      AttemptOutcome = "skipped" // by a person, without an attempt
	AttemptFailed       AttemptOutcome = "failed"
	AttemptParked       AttemptOutcome = "parked" // failed, and no attempt follows
)

// Settles reports whether an event with this outcome is settled.
func (o AttemptOutcome) Settles() bool {
	return o == AttemptDelivered || o == AttemptDeadLettered || o == AttemptSkipped
}

// Attempt is a row of the history of deliveries.
type Attempt struct {
	Event, Redelivery int64
	// Number counts the attempts of the delivery from 1. A skip has the number of the attempt that it
	// replaces.
	Number  int
	Outcome AttemptOutcome
	// Status is the HTTP status, or 0 if there was no answer.
	Status int
	// At is when the attempt ended, and Took how long it took.
	At   time.Time
	Took time.Duration
	// Reason says for people why it failed, with an excerpt of the response; empty if it did not.
	Reason string
	// By is the person who skipped the event; empty otherwise.
	By string
}

// Results are the changes of one Save. Zero fields change nothing.
type Results struct {
	// Cursor is the new cursor. A cursor never moves back by Save.
	Cursor int64
	// Clock is the new reading of the clock.
	Clock time.Duration
	// Attempts are added to the history. Attempts that settle an event also remove its exception,
	// except that AttemptDeadLettered leaves the exception in Exceptions.
	Attempts []Attempt
	// Created are new exceptions. An exception is ignored if the store has it, or if an earlier Save
	// or a person has settled its delivery.
	Created []Exception
	// Updated are exceptions that the store has. One that a person has settled meanwhile is ignored.
	// So is one with an attempt in Attempts that the history has: these results are saved again, and
	// a person may have retried the event since.
	Updated []Exception
	// Holds are holds that are new or whose After grows. After never falls by Save.
	Holds []Hold
	// Freed are the keys whose hold is removed.
	Freed []string
	// Jobs is the progress of redelivery jobs. That of a job that has ended is ignored.
	Jobs []JobProgress
	// Pause pauses the subscription if it is not empty, and is the reason.
	Pause string
	// BrokenSince is when the breaker opened, for people; set to the zero time when it closes. nil:
	// no change.
	BrokenSince *time.Time
	// Leases are leases that are new or changed; each replaces the stored one of its id. One without
	// an open event has ended: see Leases.EndedLease.
	Leases []Lease
	// Expired are the ids of leases to remove, because they have run out.
	Expired []string
}

// RedeliveryJob delivers events again because a person asked for it.
type RedeliveryJob struct {
	// ID differs between the jobs of all subscriptions. It may be used again after Forget.
	ID int64
	// Redelivery is the number of all deliveries of this job.
	Redelivery int64
	// Events are the ids to deliver, in rising order, whether the filters select them or not. It is
	// empty if After and Until select the events.
	Events []int64
	// After (exclusive) and Until (inclusive) are the ids that the job covers. Redeliver sets an
	// Until that is 0 or after the end of the log to the end.
	After, Until int64
	// Filter selects events between After and Until, besides the filter of the subscription.
	Filter Filter
	// OrderingKey selects the events of one key; empty: of all keys.
	OrderingKey string
	// Rate bounds deliveries per second; 0: the rate of the subscription.
	Rate int
	// Position is the id up to which the job is done.
	Position int64
	// Delivered and Failed count the events that the job has handed over, or given to the retries of
	// the subscription.
	Delivered, Failed int64
}

// JobProgress is the progress of a redelivery job.
type JobProgress struct {
	ID, Position int64
	// Delivered and Failed are the new totals.
	Delivered, Failed int64
	// Done reports that the job is finished.
	Done bool
}

// SubscriptionReader shows subscriptions. It never writes. All methods may be called concurrently.
type SubscriptionReader interface {
	// Subscriptions returns all subscriptions by name, removed ones too. It does not read every
	// stored event, because it is called every few seconds.
	Subscriptions(ctx context.Context) ([]SubscriptionInfo, error)
	// Exceptions returns one page of the exceptions that match, by event id. ErrNotFound: there is no
	// such subscription.
	Exceptions(ctx context.Context, f ExceptionFilter) ([]StoredException, error)
	// Attempts returns the attempts of an event in all subscriptions, oldest first.
	Attempts(ctx context.Context, event int64) ([]StoredAttempt, error)
	// RecentAttempts returns a page of the attempts of one subscription, the last first. It examines
	// a bounded number of attempts, so a page with a Next may have any length, also 0. ErrNotFound:
	// there is no such subscription.
	RecentAttempts(ctx context.Context, f AttemptFilter) (AttemptPage, error)
	// RedeliveryJobs returns the jobs of a subscription, newest first.
	RedeliveryJobs(ctx context.Context, name string, limit int) ([]StoredJob, error)
}

// SubscriptionInfo describes a subscription to people.
type SubscriptionInfo struct {
	SubscriptionDefinition
	Revision int64
	// Cursor is the last id that the subscription has passed, and End the last id of the log.
	Cursor, End int64
	// OldestStoredAt is when the first event after the cursor was stored, whether the filter selects
	// it or not; zero if there is none.
	OldestStoredAt time.Time
	// Backlog is the number of events after the cursor before the filter, counted up to MaxBacklog.
	Backlog int64
	// Waiting, Parked and Dead count exceptions, and Held counts holds.
	Waiting, Parked, Dead, Held int64
	// Leases counts the leases with open events, and Leased their open events.
	Leases, Leased int64
	// PulledAt is when a client last called; zero if none has.
	PulledAt time.Time
	// Idle is the time without a call after which the gate forgets the subscription; 0: never. See
	// Leases.CreateTemporary.
	Idle time.Duration
	// Owner is the process that delivers; empty if there is none.
	Owner string
	// PausedAt is zero if the subscription is not paused. PausedBy is empty if the gate paused it.
	PausedAt              time.Time
	PausedBy, PauseReason string
	// BrokenSince is when the breaker opened; zero if it is closed.
	BrokenSince time.Time
	// CreatedAt is when the subscription was first defined, and RemovedAt when it went missing from
	// the configuration; zero if it is there.
	CreatedAt, RemovedAt time.Time
	// LastDeliveredAt is when an attempt last succeeded; zero if none has.
	LastDeliveredAt time.Time
}

// MaxBacklog is how far SubscriptionInfo.Backlog counts.
const MaxBacklog = 100_000

// ExceptionFilter selects exceptions of one subscription. Zero fields select everything.
type ExceptionFilter struct {
	Subscription string
	State        ExceptionState
	OrderingKey  string
	// Held selects the waiting and parked exceptions whose key is held.
	Held bool
	// Events selects by event id.
	Events []int64
	// After is the event id and redelivery to continue after.
	After EventRedelivery
	// Limit bounds the number of exceptions; 0 means 100.
	Limit int
}

// StoredException is an exception with its event, for people.
type StoredException struct {
	Exception
	Identity
	RequestID  RequestID
	ReceivedAt time.Time
	// Size is the size of the body in bytes.
	Size int64
}

// StoredAttempt is an attempt of an event.
type StoredAttempt struct {
	Subscription string
	Attempt
}

// AttemptFilter selects attempts of one subscription. Zero fields select everything.
type AttemptFilter struct {
	Subscription string
	Outcomes     []AttemptOutcome
	// Status selects by HTTP status; 0 stands for no answer.
	Status      *StatusRange
	OrderingKey string
	// From (inclusive) and To (exclusive) select by the end of the attempt.
	From, To time.Time
	// After is the place to continue after.
	After AttemptPlace
	// Limit bounds the number of attempts; 0 means 100.
	Limit int
}

// StatusRange is a range of HTTP statuses, From and To included.
type StatusRange struct{ From, To int }

// AttemptPlace names an attempt of a subscription in the order of time.
type AttemptPlace struct {
	At                time.Time
	Event, Redelivery int64
	Number            int
}

// Place returns the place of the attempt.
func (a *Attempt) Place() AttemptPlace {
	return AttemptPlace{At: a.At, Event: a.Event, Redelivery: a.Redelivery, Number: a.Number}
}

// Compare returns -1 if p is before o, 1 if it is after o, and 0 if they are equal.
func (p AttemptPlace) Compare(o AttemptPlace) int {
	return cmp.Or(p.At.Compare(o.At), cmp.Compare(p.Event, o.Event),
		cmp.Compare(p.Redelivery, o.Redelivery), cmp.Compare(p.Number, o.Number))
}

// RecentAttempt is an attempt with its event, for people.
type RecentAttempt struct {
	Attempt
	Identity
	OrderingKey string
}

// AttemptPage is what SubscriptionReader.RecentAttempts returns.
type AttemptPage struct {
	Attempts []RecentAttempt
	// Next is the After of the next page; zero on the last one.
	Next AttemptPlace
}

// StoredJob is a redelivery job with who asked for it and why.
type StoredJob struct {
	RedeliveryJob
	Subscription string
	By, Reason   string
	CreatedAt    time.Time
	// EndedAt is when the job finished or was cancelled; zero while it runs.
	EndedAt   time.Time
	Cancelled bool
}

// SubscriptionControl is what people do with subscriptions. Each call is one durable transaction.
// After an error other than those named, the outcome is unknown. ErrNotFound: there is no such
// subscription. All methods may be called concurrently.
type SubscriptionControl interface {
	// SetPaused pauses or resumes a subscription. It reports whether that changed anything.
	SetPaused(ctx context.Context, name string, paused bool, p Person) (changed bool, err error)
	// Seek moves the cursor and takes a new epoch, so that the owner starts again. Going back deletes
	// the exceptions after the new cursor, dead ones too, and the holds whose After is not before it.
	// The events are delivered again with a new redelivery number. Going forward, also to the same
	// cursor, records each waiting or parked exception up to the new cursor as skipped, and removes
	// the holds that are left without an exception and whose After is before the new cursor.
	//
	// Errors: *HorizonError and *AheadError, ErrNotFound, and ErrLeasesOut while clients have open
	// leases; then nothing has changed. A dry run ignores leases.
	Seek(ctx context.Context, name string, to Start, dryRun bool, p Person) (SeekResult, error)
	// Resolve retries, skips or dead-letters exceptions and returns how many it changed, or would
	// change with dryRun. Exceptions that do not match any more are ignored. If it settles one that
	// is waiting or parked, After of the hold of its key becomes the event. A Limit of 0 is no limit.
	Resolve(ctx context.Context, f ExceptionFilter, a Resolution, dryRun bool, p Person) (int, error)
	// Redeliver stores a redelivery job. Its fields ID, Redelivery, Position, Delivered and Failed
	// are set by the store. With dryRun nothing is stored. It returns the job and the number of
	// events that it covers, counted up to MaxBacklog.
	Redeliver(ctx context.Context, name string, job RedeliveryJob, dryRun bool, p Person) (
		StoredJob, int, error)
	// CancelJob ends a redelivery job. It reports whether the job was running; false also if there is
	// no such job.
	CancelJob(ctx context.Context, name string, id int64, p Person) (cancelled bool, err error)
	// Forget removes a subscription and all its state but its attempts. It must be paused or removed
	// from the configuration: else the error is ErrInUse and nothing has changed.
	Forget(ctx context.Context, name string, p Person) error
}

// Person is who asks for a change, and why.
type Person struct{ By, Reason string }

// Resolution says what a person does with an exception.
type Resolution string

// The resolutions.
const (
	// ResolveRetry makes a waiting, parked or dead exception due now and renews its time to retry.
	// One that was dead does not hold its key again.
	ResolveRetry Resolution = "retry"
	// ResolveSkip settles a waiting, parked or dead exception without delivering the event.
	ResolveSkip Resolution = "skip"
	// ResolveDeadLetter turns a waiting or parked exception into a dead letter. It counts as an
	// attempt.
	ResolveDeadLetter Resolution = "dead_letter"
)

// SeekResult describes a seek.
type SeekResult struct {
	// From and To are the cursors before and after.
	From, To int64
	// Skipped is the number of exceptions recorded as skipped, and Deleted of those deleted.
	Skipped, Deleted int
	// Events is the number of events between the two cursors before the filter, counted up to
	// MaxBacklog.
	Events int
	// Redelivery is the number of the deliveries that a seek back asks for; 0 for a seek forward.
	Redelivery int64
}
