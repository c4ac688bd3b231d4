package rollback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

// maxReason is the longest reason that the admin trail takes, in bytes.
const maxReason = 500

// Remote is a Gate that is reached over its API.
type Remote struct {
	Client *api.Client
	// Reason is the operator's reason for the roll-back. Each call adds that of its step.
	Reason string
	// Approval is the id of the approval for the announcement; empty for none.
	Approval string
}

// State implements Gate.
func (g *Remote) State(ctx context.Context) (s State, err error) {
	health, err := g.Client.Health(ctx)
	if err != nil {
		return s, unanswered(err)
	}
	s.Version, s.Mode = health.Version, health.Mode
	q := health.Queue
	if s.Known = q.Depth != nil && q.Error == "" && q.Degraded == ""; s.Known {
		s.Queued = *q.Depth
	}
	return s, nil
}

// SetMode implements Gate.
func (g *Remote) SetMode(ctx context.Context, m control.Mode, reason string) error {
	if g.Reason != "" {
		reason += ": " + g.Reason
	}
	reason = strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
	_, err := g.Client.SetMode(ctx, m, api.WithReason(reason))
	return unanswered(err)
}

// Announce implements Gate.
func (g *Remote) Announce(ctx context.Context, id, expected string) error {
	_, err := g.Client.BeginRollback(ctx, api.RollbackStart{ID: id, ExpectedVersion: expected},
		api.WithReason(g.Reason), api.WithApproval(g.Approval))
	var failed *api.Error
	var needed *api.ApprovalError
	switch {
	case errors.As(err, &failed) && failed.Status == http.StatusNotFound:
		return nil // this version does not have the call; its trail has the steps all the same
	case errors.As(err, &needed):
		n := needed.Approval.ID
		return &Advised{
			Err: fmt.Errorf("the gate requires an approval, and has asked for it as number %s", n),
			Do: fmt.Sprintf("Another person: hookgate approvals approve %s --reason WHY. "+
				"Then: hookgate rollback --resume --approval %s", n, n),
		}
	}
	return unanswered(err)
}

// Record implements Gate.
func (g *Remote) Record(ctx context.Context, id, result, summary string) error {
	_, err := g.Client.EndRollback(ctx, id, api.RollbackResult{Result: result, Summary: summary},
		api.WithReason(g.Reason))
	return unanswered(err)
}

// unanswered marks the error of a gate that did not answer, or whose answer broke off.
func unanswered(err error) error {
	var failed *url.Error
	var network net.Error
	if errors.As(err, &failed) || errors.As(err, &network) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	return err
}
