package sqlite

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/hookgate/hookgate/internal/sqlitedb"
)

const (
	// enoughToClean is the number of released records at which appends begin to take some cleaning along
	// in their transactions. Claims are random keys: the more of them are written in key order at
	// a time, the more share a page.
	enoughToClean = 16384
	// quietStep is how much is cleaned in one transaction when no append waits; an append that comes
	// meanwhile is held up for about 3 ms.
	quietStep = 128
	// removalsPerClaim is how many records can be removed at the cost of inserting one claim.
	removalsPerClaim = 4
)

// cleanup is the removal of a pile of released records, spread over transactions: first their claims
// go into the table in key order, then they leave the log in id order. A crash in between does no harm:
// what is still in the log is taken up again, and its claim is written again.
//
// It is a value: step works on a copy, which replaces the original once its transaction is committed.
type cleanup struct {
	pile    []*entry // sorted by key until all claims are in, then by id
	from    int      // claims in before this step
	claims  int      // claims in
	removed int      // records removed
}

func (c cleanup) done() bool { return c.removed == len(c.pile) }

// begin returns c, or if that is done, the cleaning of the next pile, if it is at least min high.
func (c cleanup) begin(l *lanes, min int) cleanup {
	if !c.done() {
		return c
	}
	pile := l.takeReleased(min)
	slices.SortFunc(pile, func(a, b *entry) int { return bytes.Compare(a.key[:], b.key[:]) })
	return cleanup{pile: pile}
}

// step does a part of the work that costs about as much as inserting n claims.
func (c *cleanup) step(w *writer, n int) error {
	if c.done() {
		return nil
	}
	c.from = c.claims
	if c.claims < len(c.pile) {
		until := min(c.claims+n, len(c.pile))
		for _, e := range c.pile[c.claims:until] {
			if !e.claims {
				continue
			}
			if err := w.claims.insert(e.key, claim{e.requestID, e.enqueuedAt}); err != nil {
				return fmt.Errorf("insert claim: %w", err)
			}
		}
		c.claims = until
		return nil
	}
	until := min(c.removed+n*removalsPerClaim, len(c.pile))
	for c.removed < until {
		first := c.pile[c.removed].id
		last := first
		for c.removed++; c.removed < until && c.pile[c.removed].id == last+1; c.removed++ {
			last++
		}
		w.remove.BindInt64(1, first)
		w.remove.BindInt64(2, last)
		if err := sqlitedb.Run(w.remove); err != nil {
			return fmt.Errorf("remove released records: %w", err)
		}
	}
	w.keepLastID.BindInt64(1, c.pile[until-1].id)
	if err := sqlitedb.Run(w.keepLastID); err != nil {
		return fmt.Errorf("note last id: %w", err)
	}
	return nil
}

// finish returns c for the next step, after the transaction of the last one was committed.
func (c cleanup) finish(l *lanes) cleanup {
	if c.from < c.claims {
		l.forget(c.pile[c.from:c.claims])
		c.from = c.claims
		if c.claims == len(c.pile) {
			slices.SortFunc(c.pile, func(a, b *entry) int { return cmp.Compare(a.id, b.id) })
		}
	}
	return c
}
