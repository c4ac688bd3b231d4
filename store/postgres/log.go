package postgres

import (
	"errors"
	"strings"
	"time"

	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/store/sqlstore"
)

// errNoLog is returned if webhook_log has no row.
var errNoLog = errors.New("webhook_log has no row: the schema is damaged; restore a backup")

// logHead is where the log ends, as in the row of webhook_log.
type logHead struct {
	lastID   int64
	hash     [32]byte
	anchored int64
}

// logPart is what a transaction adds to the log.
type logPart struct {
	nextID func(last int64, now time.Time) int64
	sum    audit.EntryHash
	// before is where the log ended, and logHead is where it ends with this part.
	before logHead
	logHead
	// read reports that before is known, and begun that the log has an entry.
	read, begun bool
	// trail and trailHash describe the last row of the admin trail.
	trail     int64
	trailHash [32]byte
	// The counters count what the part adds.
	events, duplicates, deadLetters, purges int64
	anchors                                 rows
}

// anchorWidth is the number of columns of webhook_anchors.
const anchorWidth = 4

func (s *Store) newLogPart() logPart {
	return logPart{nextID: s.nextID, anchors: newRows(anchorWidth)}
}

// The lock on this one row lasts until the commit; see the package comment and the schema.
const lockLog = `SELECT l.last_id, l.hash, l.anchored, coalesce(c.sequence, 0), c.hash
	FROM webhook_log l LEFT JOIN webhook_admin_chain c ON true FOR UPDATE OF l`

// lock returns the statement that locks and reads the row of webhook_log.
func (l *logPart) lock() statement {
	return statement{sql: lockLog, row: func(r row) error {
		l.read, l.begun = true, len(r[1]) > 0
		l.lastID, l.anchored, l.trail = r.Int(0), r.Int(2), r.Int(3)
		copy(l.hash[:], r[1])
		copy(l.trailHash[:], r[4])
		l.before = l.logHead
		return nil
	}}
}

// readFirstHash returns the statement that reads the heads of earlier releases' chains, if the log
// has no entry yet.
func (l *logPart) readFirstHash() ([]statement, error) {
	if !l.read {
		return nil, errNoLog
	}
	if l.begun {
		return nil, nil
	}
	var heads []audit.ChainHead
	l.hash = audit.FirstHash(nil)
	return []statement{{sql: sqlstore.ChainHeadsQuery, row: func(r row) error {
		heads = append(heads, sqlstore.ScanChainHead(r))
		l.hash = audit.FirstHash(heads)
		return nil
	}}}, nil
}

// anchor adds an entry that covers the admin trail, if the trail has grown since the last anchor.
// It runs before each entry that a call adds, so a call that adds nothing adds no anchor.
func (l *logPart) anchor(now time.Time) {
	if l.trail <= l.anchored {
		return
	}
	l.lastID = l.nextID(l.lastID, now)
	l.hash = l.sum.Anchor(l.hash, l.lastID, l.trail, l.trailHash)
	l.anchored = l.trail
	l.anchors.Int(l.lastID)
	l.anchors.Int(l.trail)
	l.anchors.Bytes(l.trailHash[:])
	l.anchors.Bytes(l.hash[:])
}

// moved reports whether the part adds anything.
func (l *logPart) moved() bool { return l.lastID != l.before.lastID }

// statements returns the statements that write the anchors and move the locked head.
func (l *logPart) statements() (writes []statement) {
	if l.anchors.len() > 0 {
		writes = append(writes, l.anchors.insert("webhook_anchors", "id, sequence, trail_hash, hash"))
	}
	return append(writes, statement{sql: moveLog, args: l.moveArgs()})
}

const moveLog = `UPDATE webhook_log SET last_id = $1, hash = $2, events = events + $3,
	duplicates = duplicates + $4,
	dead_letters = dead_letters + $5, purges = purges + $6, anchored = $7`

func (l *logPart) moveArgs() []arg {
	return []arg{argInt(l.lastID), argBytes(l.hash[:]), argInt(l.events), argInt(l.duplicates),
		argInt(l.deadLetters),
		argInt(l.purges), argInt(l.anchored)}
}

// moveFrom returns the statement that locks the row of webhook_log and moves the head. If the log
// no longer ends where the part begins, or the admin trail needs an anchor, the statement divides
// by zero, which ends the transaction.
func (l *logPart) moveFrom() statement {
	return statement{
		sql:  strings.Replace(moveLog, "last_id = $1", "last_id = $1 / ("+unmoved+")::integer", 1),
		args: append(l.moveArgs(), argInt(l.before.lastID), argBytes(l.before.hash[:])),
	}
}

// unmoved is the condition that the log ends where the part begins and that no action waits for an
// anchor.
const unmoved = `last_id = $8 AND hash = $9 AND anchored >= coalesce((SELECT sequence
	FROM webhook_admin_chain), 0)`

// ClockBehind returns how far the clock is behind the last id that this process has seen. New ids
// then no longer follow the clock. It returns 0 if the clock is less than a second behind.
func (s *Store) ClockBehind() time.Duration {
	behind := time.Duration(s.lastID.Load()-time.Now().UnixMicro()) * time.Microsecond
	if behind < time.Second {
		return 0
	}
	return behind
}
