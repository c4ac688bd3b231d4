package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/certify"
	"github.com/hookgate/hookgate/evidence"
	"github.com/hookgate/hookgate/internal/show"
)

// canaryCommand is a command of canary.
type canaryCommand struct {
	connection
	json bool

	evidence string // a folder, or the id of evidence that the gate has
	keys     []string
	unproven bool
	timeout  time.Duration
}

func newCanaryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "canary",
		Short: "Show or change the percentage of the webhooks that the gate handles",
		Long: `Show or change the canary of a running gate: the gate handles a percentage of the webhooks and
forwards the others to the previous service (canary.upstream).

The percentage is one of ordering keys. All webhooks of a key, including repeated ones,
go to one side, and a key that the gate has taken stays with the gate while the
percentage rises. A plan (canary.plan) goes on by itself when a step has had its time and
the release triggers say "go". It goes back to 0 percent when a release trigger fires.

Each change is written into the admin trail, with --reason. If the trail cannot be
written because the store is away, changes are rejected, except canary back.`,
	}
	cmd.AddCommand(newCanaryShowCommand(), newCanarySetCommand(), newCanaryStartCommand(),
		newCanaryBackCommand())
	return cmd
}

func newCanaryShowCommand() *cobra.Command {
	var c canaryCommand
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the canary",
		Args:  cobra.NoArgs,
	}
	c.register(cmd)
	cmd.Flags().BoolVar(&c.json, "json", false, "print JSON")
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, _ []string) error {
		state, err := client.Canary(cmd.Context())
		if err != nil {
			return err
		}
		return c.print(cmd, state)
	})
	return cmd
}

func newCanarySetCommand() *cobra.Command {
	var c canaryCommand
	cmd := &cobra.Command{
		Use:   "set PERCENT",
		Short: "Set the percentage of the ordering keys that the gate handles, and end a plan",
		Example: `  hookgate canary set 5 --reason "release 7"
  hookgate canary set 5 --evidence certified/20261124T081500Z --reason "release 7"`,
		Args: cobra.ExactArgs(1),
	}
	c.registerChange(cmd)
	c.registerEvidence(cmd)
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, args []string) error {
		percent, err := strconv.Atoi(strings.TrimSuffix(args[0], "%"))
		if err != nil || percent < 0 || percent > 100 {
			return fmt.Errorf("%q is not a percentage from 0 to 100", args[0])
		}
		return c.change(cmd, client, api.CanaryRequest{Percent: &percent})
	})
	return cmd
}

func newCanaryStartCommand() *cobra.Command {
	var c canaryCommand
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Start the plan, on the evidence of a certification if you name one",
		Long: `Start the plan (canary.plan) at its first step above the current percentage.

With --evidence the canary starts on a certification. The command checks that a key of
--public-key signed the evidence, that nothing has changed since, and that the verdict is
PASS, of the version that the gate runs. Then it submits the evidence to the gate. The gate
checks that one of evidence.public_keys signed it, that it is of this gate and at most
24 hours old, and that the phases of evidence.phases passed with the events and limits of
evidence.profile. With canary.require_evidence the gate leaves 0 percent only this way.

Without public keys nothing proves who made the evidence, so command and gate refuse it.
--accept-unproven accepts it; the admin trail records that.

Exit code 0: the plan has started. 1: the evidence or the gate does not allow it. 2: an
approval is needed, or something could not be checked.`,
		Example: `  hookgate canary start --reason "release 7"
  hookgate canary start --evidence certified/20261124T081500Z --public-key evidence.key.pub --reason "release 7"`,
		Args: cobra.NoArgs,
	}
	c.registerChange(cmd)
	c.registerEvidence(cmd)
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, _ []string) error {
		return c.change(cmd, client, api.CanaryRequest{Plan: api.PlanStart})
	})
	return cmd
}

func newCanaryBackCommand() *cobra.Command {
	var c canaryCommand
	cmd := &cobra.Command{
		Use:     "back",
		Short:   "Go back to 0 percent and end a plan; this needs no approval",
		Example: `  hookgate canary back --reason "orders are missing"`,
		Args:    cobra.NoArgs,
	}
	c.registerChange(cmd)
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, _ []string) error {
		return c.change(cmd, client, api.CanaryRequest{Plan: api.PlanBack})
	})
	return cmd
}

func (c *canaryCommand) registerChange(cmd *cobra.Command) {
	c.register(cmd)
	c.registerReason(cmd)
	cmd.Flags().BoolVar(&c.json, "json", false, "print JSON")
}

func (c *canaryCommand) registerEvidence(cmd *cobra.Command) {
	c.registerApproval(cmd)
	cmd.Flags().StringVar(&c.evidence, "evidence", "",
		"`folder` of evidence by hookgate certify, or the id of evidence that the gate has")
	cmd.Flags().StringArrayVar(&c.keys, "public-key", nil,
		"`file` with a key that the evidence must be signed with; if repeated, one of them")
	cmd.Flags().BoolVar(&c.unproven, "accept-unproven", false,
		"accept evidence although nothing proves who made it; the admin trail records this")
	cmd.Flags().DurationVar(&c.timeout, "timeout", 10*time.Minute,
		"`time` that the upload of the evidence may take")
}

// evidenceID is the id of evidence: the SHA-256 of its manifest.
var evidenceID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// errUnproven rejects evidence whose signer nobody knows.
var errUnproven = errors.New("nothing is proven about who made this evidence: anyone can make it " +
	"up and sign it with a new key; name the key with --public-key, or pass --accept-unproven")

// change changes the canary, on evidence if there is any.
func (c *canaryCommand) change(cmd *cobra.Command, client *api.Client,
	wanted api.CanaryRequest) error {
	wanted.Evidence, wanted.Unproven = c.evidence, c.unproven
	if c.evidence != "" && !evidenceID.MatchString(c.evidence) {
		keys, err := evidence.ReadPublicKeys(c.keys)
		if err != nil {
			return err
		}
		if len(keys) == 0 && !c.unproven {
			return &exitError{exitFail, errUnproven}
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), c.timeout)
		defer cancel()
		if wanted.Evidence, err = certify.SubmitPassed(ctx, client, c.evidence, keys); err != nil {
			return evidenceError(err)
		}
	}
	var state api.Canary
	err := c.approved(cmd, client, func(o ...api.Option) (err error) {
		state, err = client.SetCanary(cmd.Context(), wanted, o...)
		return err
	})
	switch {
	case api.HasStatus(err, http.StatusConflict):
		return &exitError{exitFail, err}
	case err != nil:
		return err
	}
	warnUnrecorded(cmd, state.Recorded)
	return c.print(cmd, state)
}

// print prints the state of the canary.
func (c *canaryCommand) print(cmd *cobra.Command, s api.Canary) error {
	if c.json {
		return show.JSON(cmd.OutOrStdout(), s)
	}
	return show.Canary(cmd.OutOrStdout(), &s)
}
