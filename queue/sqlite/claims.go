package sqlite

import (
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/sqlitedb"
)

// claimKey is the hash of an identity.
type claimKey [16]byte

// claim says which request claimed an identity, and when, in microseconds since 1970.
type claim struct {
	requestID hookgate.RequestID
	claimedAt int64
}

func (c claim) expired(now time.Time, ttl time.Duration) bool {
	return c.claimedAt <= now.Add(-ttl).UnixMicro()
}

// claimTable is the table of the claims whose records are released. It is for the writer's goroutine.
type claimTable struct {
	ttl                      time.Duration
	find, put, page, removal *sqlite.Stmt
	// swept is the key up to which this round of the sweep has come.
	swept claimKey
	// filter is asked before the table, and next is to take its place once it is complete; nil if there is none.
	filter, next *filter
	// refill starts to fill a filter that has room for all claims; nil if there is to be none.
	refill func() *filter
}

// putClaim keeps the later of two claims of one identity: records of two partitions may be released in
// another order than they came.
const putClaim = `INSERT INTO claims (identity, request_id, claimed_at) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET request_id = excluded.request_id, claimed_at = excluded.claimed_at
WHERE excluded.claimed_at > claimed_at`

func newClaimTable(conn *sqlite.Conn, ttl time.Duration) (*claimTable, error) {
	t := &claimTable{ttl: ttl}
	for text, s := range map[string]**sqlite.Stmt{
		"SELECT request_id, claimed_at FROM claims WHERE identity = ?": &t.find,
		putClaim: &t.put,
		"SELECT identity, claimed_at FROM claims WHERE identity > ? ORDER BY identity LIMIT ?": &t.page,
		"DELETE FROM claims WHERE identity = ?":                                                &t.removal,
	} {
		var err error
		if *s, err = conn.Prepare(text); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// renewFilter takes up the next filter when it is complete, and begins one when there is none or it is full.
func (t *claimTable) renewFilter() {
	switch {
	case t.next != nil && t.next.complete.Load():
		t.filter, t.next = t.next, nil
	case t.next == nil && t.refill != nil && (t.filter == nil || t.filter.full()):
		t.next = t.refill()
	}
}

// lookup returns the claim of key, unless there is none or it has expired.
func (t *claimTable) lookup(key claimKey, now time.Time) (claim, bool, error) {
	if t.filter != nil && !t.filter.has(key) {
		return claim{}, false, nil
	}
	defer t.find.Reset()
	t.find.BindBytes(1, key[:])
	found, err := t.find.Step()
	if err != nil || !found {
		return claim{}, false, err
	}
	var c claim
	t.find.ColumnBytes(0, c.requestID[:])
	c.claimedAt = t.find.ColumnInt64(1)
	return c, !c.expired(now, t.ttl), nil
}

func (t *claimTable) insert(key claimKey, c claim) error {
	// Before it can be in the table; if it does not come there, that costs a look in vain.
	for _, f := range []*filter{t.filter, t.next} {
		if f != nil {
			f.add(key)
		}
	}
	t.put.BindBytes(1, key[:])
	t.put.BindBytes(2, c.requestID[:])
	t.put.BindInt64(3, c.claimedAt)
	return sqlitedb.Run(t.put)
}

// sweepSize is the number of claims that one step of the sweep looks at.
const sweepSize = 1000

// sweep removes those that have expired among the next claims in key order. It reports whether it
// came to the end, so that the next step begins a new round.
func (t *claimTable) sweep(now time.Time) (ended bool, err error) {
	var expired []claimKey
	seen := 0
	from := t.swept
	defer t.page.Reset() // else the next step could not bind
	t.page.BindBytes(1, from[:])
	t.page.BindInt64(2, sweepSize)
	for {
		found, err := t.page.Step()
		if err != nil {
			return false, fmt.Errorf("read claims: %w", err)
		}
		if !found {
			break
		}
		seen++
		t.page.ColumnBytes(0, from[:])
		if (claim{claimedAt: t.page.ColumnInt64(1)}).expired(now, t.ttl) {
			expired = append(expired, from)
		}
	}
	for _, key := range expired {
		t.removal.BindBytes(1, key[:])
		if err := sqlitedb.Run(t.removal); err != nil {
			return false, fmt.Errorf("remove expired claim: %w", err)
		}
	}
	if seen < sweepSize {
		t.swept = claimKey{}
		return true, nil
	}
	t.swept = from
	return false, nil
}
