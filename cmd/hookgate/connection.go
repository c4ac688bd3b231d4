package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/config"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/datadir"
	"github.com/hookgate/hookgate/internal/secret"
	"github.com/hookgate/hookgate/internal/show"
)

const defaultTarget = "http://127.0.0.1:8080"

// connection is how a command reaches a running gate, and what it sends along with a change.
type connection struct {
	target, dataDir, ca string

	reason   string // of a change, for the admin trail
	approval string // that a change uses, if any
	wait     bool   // for the approval, if a change needs one
}

// register adds the flags that say which gate is meant, and where its token is.
func (c *connection) register(cmd *cobra.Command) {
	c.registerOpen(cmd)
	cmd.Flags().StringVar(&c.dataDir, "data-dir", defaultDataDir(),
		"data `folder` of a gate on this machine, for its admin token (elsewhere set HOOKGATE_TOKEN)")
}

// registerOpen is register for calls that need no token.
func (c *connection) registerOpen(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.target, "target", defaultTarget, "base `URL` of the gate")
	cmd.Flags().StringVar(&c.ca, "ca", "",
		"`file` of certificates to trust, in PEM (default: those of this machine)")
}

// registerReason adds the flag of every command that changes something.
func (c *connection) registerReason(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.reason, "reason", "", "`why`, for the admin trail")
}

// registerApproval adds the flags of a command whose change may need an approval.
func (c *connection) registerApproval(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.approval, "approval", "",
		"`ID` of the approval to use, if the gate requires one")
	cmd.Flags().BoolVar(&c.wait, "wait", false,
		"if the gate requires an approval, wait until another person has approved, then go on")
	cmd.MarkFlagsMutuallyExclusive("approval", "wait")
}

// open returns a client for the calls that need no token.
func (c *connection) open() (*api.Client, error) {
	if u, err := url.Parse(c.target); err != nil || u.Host == "" {
		return nil, errTarget
	}
	client := &api.Client{URL: c.target}
	if c.ca == "" {
		return client, nil
	}
	var err error
	if client.HTTP, err = api.TrustFile(c.ca); err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	return client, nil
}

// client returns a client with a token.
func (c *connection) client() (*api.Client, error) {
	client, err := c.open()
	if err != nil {
		return nil, err
	}
	client.Token, err = c.token()
	return client, err
}

func defaultDataDir() string {
	if dir := os.Getenv("HOOKGATE_DATA_DIR"); dir != "" {
		return dir
	}
	return config.Default().DataDir
}

// errTarget does not repeat the URL, which may contain a password.
var errTarget = errors.New("--target is not a URL like " + defaultTarget)

// token is HOOKGATE_TOKEN, else ADMIN_TOKEN, else the one in the data directory. The last is only
// sent to a gate on this machine.
func (c *connection) token() (string, error) {
	if token := strings.TrimSpace(os.Getenv(config.TokenVariable)); token != "" {
		return token, nil
	}
	if token, err := secret.Variable(os.Getenv, "ADMIN_TOKEN"); token != "" || err != nil {
		return token, err
	}
	u, err := url.Parse(c.target)
	if err != nil {
		return "", errTarget
	}
	if host := u.Hostname(); host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return "", fmt.Errorf("no token for %s: set HOOKGATE_TOKEN", u.Host)
	}
	token, err := datadir.Dir(c.dataDir).ReadKey(datadir.AdminToken)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("no token: set HOOKGATE_TOKEN, or --data-dir (%w)", err)
	}
	return token, err
}

// gateFunc is the function of a command that calls the gate.
type gateFunc = func(*cobra.Command, *api.Client, []string) error

// with returns run as the function of a command.
func (c *connection) with(run gateFunc) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		client, err := c.client()
		if err != nil {
			return err
		}
		return run(cmd, client, args)
	}
}

// options accompany a change.
func (c *connection) options() []api.Option {
	return []api.Option{api.WithReason(c.reason), api.WithApproval(c.approval)}
}

// approved makes a call that may need an approval. If it does, approved waits for that, or returns
// an error that says how to get it.
func (c *connection) approved(cmd *cobra.Command, client *api.Client,
	call func(...api.Option) error) error {
	for {
		err := call(c.options()...)
		var needed *api.ApprovalError
		switch {
		case !errors.As(err, &needed):
			return err
		case !c.wait:
			return &approvalNeeded{needed}
		}
		a := &needed.Approval
		fmt.Fprintf(cmd.ErrOrStderr(), "%s of %s waits for approval %s until %s. Another person: "+
			"hookgate approvals approve %s --reason WHY\n", a.Action, a.Target, a.ID,
			a.ExpiresAt.Local().Format(time.RFC3339), a.ID)
		decided, err := client.AwaitApproval(cmd.Context(), *a)
		switch {
		case err != nil:
			return fmt.Errorf("approval %s may still be approved; then repeat the command with "+
				"--approval %s: %w", a.ID, a.ID, err)
		case decided.State == control.ApprovalDenied:
			return &exitError{exitFail, fmt.Errorf("nothing is done: %s has denied approval %s: %s",
				show.TextOf(decided.DecidedBy), a.ID, show.TextOf(decided.DecisionReason))}
		case decided.State != control.ApprovalApproved:
			return &exitError{exitFail, fmt.Errorf("nothing is done: approval %s is %s", a.ID,
				decided.State)}
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%s has approved: %s\n", show.TextOf(decided.DecidedBy),
			show.TextOf(decided.DecisionReason))
		c.approval = a.ID // further calls of the same action use it too
	}
}

// approvalNeeded adds to an ApprovalError how to go on.
type approvalNeeded struct{ *api.ApprovalError }

func (e *approvalNeeded) Error() string {
	id, next := e.Approval.ID, "repeat the command with --approval "+e.Approval.ID
	if e.Approval.State != control.ApprovalApproved {
		next = fmt.Sprintf("another person: hookgate approvals approve %s --reason WHY\n"+
			"  then %s (--wait does this for you)", id, next)
	}
	return fmt.Sprintf("nothing is done yet: %v\n  %s", e.ApprovalError, next)
}
