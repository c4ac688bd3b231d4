package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
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
		"data `folder` of a gate on this machine, to read its admin token (for another gate set HOOKGATE_TOKEN)")
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
	text, err := os.ReadFile(c.ca)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--ca: %s contains no certificate in PEM", c.ca)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: trusted}
	client.HTTP = &http.Client{Transport: transport}
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
		return "", fmt.Errorf("no token: set HOOKGATE_TOKEN, or set --data-dir to the data directory of the gate (%w)", err)
	}
	return token, err
}

// change makes a call that changes something. If it needs an approval, change waits for that, or
// returns an error that says how to get it.
func change[T any](cmd *cobra.Command, c *connection,
	call func(*api.Client, ...api.Option) (T, error)) (T, error) {
	var none T
	client, err := c.client()
	if err != nil {
		return none, err
	}
	for {
		answer, err := call(client, api.WithReason(c.reason), api.WithApproval(c.approval))
		var needed *api.ApprovalError
		switch {
		case !errors.As(err, &needed):
			return answer, err
		case !c.wait:
			return none, &approvalNeeded{needed}
		}
		if err := awaitApproval(cmd, client, needed.Approval); err != nil {
			return none, err
		}
		c.approval = needed.Approval.ID // further calls of the same action use it too
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

func (e *approvalNeeded) Unwrap() error { return e.ApprovalError }

// approvalPoll is the time between two looks at an approval.
const approvalPoll = 2 * time.Second

// awaitApproval waits until an approval is decided. It returns nil if it is approved.
func awaitApproval(cmd *cobra.Command, client *api.Client, a api.Approval) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "%s of %s waits for approval %s until %s. Another person: "+
		"hookgate approvals approve %s --reason WHY\n", a.Action, a.Target, a.ID,
		a.ExpiresAt.Local().Format(time.RFC3339), a.ID)
	for {
		switch a.State {
		case control.ApprovalPending:
		case control.ApprovalApproved:
			fmt.Fprintf(cmd.ErrOrStderr(), "%s has approved: %s\n", *a.DecidedBy, *a.DecisionReason)
			return nil
		case control.ApprovalDenied:
			return &exitError{exitFail, fmt.Errorf("nothing is done: %s has denied approval %s: %s",
				*a.DecidedBy, a.ID, *a.DecisionReason)}
		default:
			return &exitError{exitFail, fmt.Errorf("nothing is done: approval %s is %s", a.ID, a.State)}
		}
		if err := sleep(cmd.Context(), approvalPoll); err != nil {
			return fmt.Errorf("approval %s is still pending; when it is approved, repeat the command with --approval %s: %w", a.ID, a.ID, err)
		}
		now, err := client.Approval(cmd.Context(), a.ID)
		var failed *api.Error
		switch {
		case errors.As(err, &failed) && failed.Status >= 500: // the gate cannot tell now
		case err != nil:
			return fmt.Errorf("approval %s may still be approved; then repeat the command with --approval %s: %w", a.ID, a.ID, err)
		default:
			a = now
		}
	}
}

// sleep waits, and returns an error if ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// maxUnavailable is how many answers 503 in a row, with nothing done in between, end a command that
// repeats a call.
const maxUnavailable = 10

// unavailable reports whether err is the answer 503, and how long the gate wants to be left alone.
func unavailable(err error) (wait time.Duration, ok bool) {
	var failed *api.Error
	if !errors.As(err, &failed) || failed.Status != http.StatusServiceUnavailable {
		return 0, false
	}
	return max(failed.RetryAfter, 100*time.Millisecond), true
}

func hasStatus(err error, status int) bool {
	var failed *api.Error
	return errors.As(err, &failed) && failed.Status == status
}
