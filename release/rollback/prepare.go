package rollback

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// prepareTimeout bounds the first question to the gate.
const prepareTimeout = 30 * time.Second

// Prepare checks that a plan has a command and an expected version, and that the gate runs another
// version, which it notes in the plan. With gateDown the gate need not answer.
func (p *Plan) Prepare(ctx context.Context, g Gate, gateDown bool) error {
	switch {
	case len(p.Command) == 0:
		return errors.New("no roll-back command: set rollback.command, or give the command after --")
	case p.ExpectedVersion == "":
		return errors.New("no expected version: set rollback.expected_version, or pass --expect")
	}
	ctx, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	s, err := g.State(ctx)
	switch {
	case err != nil && !gateDown:
		return fmt.Errorf("%w; if the gate is down, go on without it with --gate-down", err)
	case err == nil && s.Version == p.ExpectedVersion:
		return fmt.Errorf("the gate already runs version %s: there is nothing to roll back", s.Version)
	}
	p.FromVersion = s.Version
	return nil
}
