package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math"

	"github.com/hookgate/hookgate"
)

// ErrNoTrail is returned when an action cannot be recorded because webhook_admin_chain has no row.
var ErrNoTrail = errors.New("webhook_admin_chain has no row:" +
	" the head of the admin trail was removed; run `hookgate audit verify` to see what else is" +
	" missing")

// actionsTo checks the admin trail up to a row number, or to its end.
func (w *walker) actionsTo(sequence int64) error {
	for last := w.action; last.Sequence < sequence; w.action = last {
		a, ok, err := w.Action()
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		broken := func(format string, args ...any) error {
			return &Break{Partition: AdminTrail, Sequence: a.Sequence, What: fmt.Sprintf(format, args...)}
		}
		if a.AdminAction.RequestID, err = hookgate.ParseRequestID(a.RequestID); err != nil {
			return broken("%v", err)
		}
		switch {
		case a.Sequence != last.Sequence+1:
			return broken("follows row %d: rows are missing", last.Sequence)
		case a.Previous != last.Hash:
			return broken("does not carry the hash of the row before")
		case a.Hash != a.ChainHash():
			return broken("its hash does not fit what it holds")
		}
		last = ActionHead{a.Sequence, a.Hash}
		w.audit.Actions++
	}
	return nil
}

// actions checks the rest of the admin trail. It adds the head of the trail to the sum of all
// heads, unless the trail is empty.
func (w *walker) actions(sum hash.Hash) error {
	if err := w.actionsTo(math.MaxInt64); err != nil {
		return err
	}
	last := w.action
	want, err := w.LastAction()
	if err != nil {
		return err
	}
	if last != want {
		return &Break{Partition: AdminTrail, Sequence: want.Sequence,
			What: fmt.Sprintf("the trail ends with row %d, and was left at row %d", last.Sequence,
				want.Sequence)}
	}
	if last.Sequence > 0 {
		trail := int64(AdminTrail)
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(trail)))
		sum.Write(last.Hash[:])
	}
	return nil
}
