package redis

import (
	"time"

	"github.com/hookgate/hookgate"
)

// lane is this process's side of a partition: its lease and what has been read under it. Queue.mu
// guards it.
type lane struct {
	phase lanePhase
	owner *reader // holder of the lease; nil in laneFree
	lease lease
	// read, handed and released say how far the owner has come under this lease: read from Redis,
	// returned by Next, released by Commit.
	read, handed, released hookgate.Position
	unread                 []hookgate.Record // read from Redis and not returned by Next
	// stirred says that there may be more to read. Appends of other processes do not set it; for these
	// the reader polls all its lanes.
	stirred bool
}

// lanePhase says what this process does with the lease of a partition.
//
//	          acquired            another reader is due it, or its reader closes
//	laneFree ──────────► laneHeld ──────────────────────────────────────────────► laneReturning
//	    ▲                   │                                                         │
//	    │                   │ lost: it ran out, or the server failed over             │ Redis answered,
//	    └───────────────────┴─────────────────────────────────────────────────────────┘ or failed
//
// Only hold, giveBack and free change the phase.
type lanePhase int

const (
	laneFree      lanePhase = iota // this process has no lease
	laneHeld                       // the owner reads under the lease
	laneReturning                  // nothing is read; the lease is on its way back
)

// lease is a lease as Redis gave it.
type lease struct {
	token   string   // as it stands in Redis
	number  uint64   // see hookgate.Record.Lease
	scripts *binding // read and release under it
	// until is when it may have run out, unless it is renewed.
	until time.Time
}

func (l *lane) hold(owner *reader, under lease) {
	*l = lane{phase: laneHeld, owner: owner, lease: under, stirred: true}
}

func (l *lane) giveBack() { l.phase = laneReturning }

func (l *lane) free() { *l = lane{} }

// inHand reports whether the owner has records that are not released.
func (l *lane) inHand() bool { return l.handed.Compare(l.released) > 0 }

// usable reports whether r may return records of the lane now. due is the reader that the partition
// is due to.
func (l *lane) usable(r *reader, due string, now time.Time) bool {
	return l.phase == laneHeld && l.owner == r && due == r.id && now.Before(l.lease.until)
}
