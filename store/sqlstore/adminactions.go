package sqlstore

import (
	"context"
	"fmt"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/control"
)

// actionColumns are the columns of webhook_admin_actions in the order in which scanAction reads
// them.
const actionColumns = "sequence, previous_hash, hash, at, request_id, actor, role, remote_addr," +
	" action, target, reason, result"

// RecordAction adds a row to the admin trail, numbers it and links it to the chain. After an error
// the row may have been added.
func (t *Tables) RecordAction(ctx context.Context, a control.AdminAction) error {
	for _, text := range []*string{&a.Actor, &a.RemoteAddr, &a.Action, &a.Target, &a.Reason,
		&a.Result} {
		*text = t.Clean(*text)
	}
	a.Sequence = 0
	err := t.db.Change(ctx, []Statement{{
		SQL: "SELECT sequence, hash FROM webhook_admin_chain" + t.ForUpdate,
		Row: func(r Row) error {
			a.Sequence = r.Int(0) + 1
			r.Copy(1, a.Previous[:])
			return nil
		},
	}}, func() ([]Statement, error) {
		if a.Sequence == 0 {
			return nil, audit.ErrNoTrail
		}
		a.Hash = a.ChainHash()
		return []Statement{
			{SQL: "INSERT INTO webhook_admin_actions (" + actionColumns +
				") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
				Args: []any{a.Sequence, a.Previous[:], a.Hash[:], a.At.UnixMicro(), a.RequestID.String(),
					a.Actor, string(a.Role), a.RemoteAddr, a.Action, a.Target, a.Reason, a.Result}},
			{SQL: "UPDATE webhook_admin_chain SET sequence = ?, hash = ?",
				Args: []any{a.Sequence, a.Hash[:]}},
		}, nil
	})
	if err != nil {
		return fmt.Errorf("record admin action %s: %w", a.Action, err)
	}
	return nil
}

// Actions returns rows of the admin trail.
func (t *Tables) Actions(ctx context.Context, f control.ActionFilter) (all []control.AdminAction,
	err error) {
	if !t.storable(f.Actor, f.Action) {
		return nil, nil
	}
	c, order := &conditions{}, "sequence"
	switch {
	case !f.Newest:
		c.add("sequence > ?", f.After)
	case f.After > 0:
		c.add("sequence < ?", f.After)
	}
	if f.Newest {
		order = "sequence DESC"
	}
	c.equal("actor", f.Actor)
	c.equal("action", f.Action)
	if !f.From.IsZero() {
		c.add("at >= ?", f.From.UnixMicro())
	}
	if !f.To.IsZero() {
		c.add("at < ?", f.To.UnixMicro())
	}
	err = t.db.Query(ctx, Statement{
		SQL: "SELECT " + actionColumns + " FROM webhook_admin_actions" + c.where() + " ORDER BY " +
			order + " LIMIT ?",
		Args: append(c.args, f.Limit),
		Row: func(r Row) (err error) {
			a := scanAction(r)
			a.AdminAction.RequestID, err = hookgate.ParseRequestID(a.RequestID)
			all = append(all, a.AdminAction)
			return err
		},
	})
	if err != nil {
		return nil, fmt.Errorf("read admin actions: %w", err)
	}
	return all, nil
}

// scanAction reads a row of actionColumns.
func scanAction(r Row) audit.Action {
	a := audit.Action{
		AdminAction: control.AdminAction{
			Sequence: r.Int(0), At: micros(r.Int(3)), Actor: r.Text(5), Role: control.Role(r.Text(6)),
			RemoteAddr: r.Text(7), Action: r.Text(8), Target: r.Text(9), Reason: r.Text(10),
			Result: r.Text(11),
		},
		RequestID: r.Text(4),
	}
	r.Copy(1, a.Previous[:])
	r.Copy(2, a.Hash[:])
	return a
}
