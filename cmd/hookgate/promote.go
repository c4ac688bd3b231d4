package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/certify"
	"github.com/hookgate/hookgate/evidence"
)

func newPromoteCommand() *cobra.Command {
	var c client
	var keys []string
	var percent int
	var asJSON bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "promote FOLDER",
		Short: "Begin a canary on the evidence of a certification",
		Long: `Begin the canary of a running gate on an evidence folder of hookgate certify. The
evidence must be what was signed, its verdict PASS and follow from it, and of the version
that the gate has. It is then handed in to the gate, which looks at all of this itself, and
at how old it is (canary.max_evidence_age), before it takes the first step of its plan; with
--percent, before it takes that share.

With canary.require_evidence the gate leaves 0 percent in no other way.

The token needs the role operator.

Exit code 0: the canary has begun. 1: the evidence or the gate does not allow it. 2: it waits
for an approval, or something could not be found out.`,
		Example: `  hookgate promote certified/20261124T081500Z --public-key evidence.key.pub --reason "release 7"`,
		Args:    cobra.ExactArgs(1),
	}
	c.register(cmd)
	c.registerReason(cmd)
	c.registerApproval(cmd)
	cmd.Flags().StringArrayVar(&keys, "public-key", nil,
		"`file` of a key that the evidence must be signed with; several: one of them")
	cmd.Flags().IntVar(&percent, "percent", 0, "take this share, from 1 to 100, in place of the plan")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "bound on the upload")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if percent < 0 || percent > 100 {
			return errors.New("--percent is not from 1 to 100")
		}
		dir := args[0]
		verdict, err := passed(dir, keys)
		if err != nil {
			return err
		}
		var gate struct{ Version string }
		if err := c.getOpen(cmd.Context(), "/api/health", &gate); err != nil {
			return err
		}
		if gate.Version != verdict.Version {
			return &exitError{exitFail, fmt.Errorf("evidence in %s is of version %q, and the gate is %q",
				dir, verdict.Version, gate.Version)}
		}
		id, err := c.handIn(cmd, dir, verdict, timeout)
		if err != nil {
			return err
		}
		wanted := "start"
		if percent > 0 {
			wanted = fmt.Sprint(percent)
		}
		body, err := canaryBody(wanted, id)
		if err != nil {
			return err
		}
		var answer json.RawMessage
		err = c.change(cmd.Context(), http.MethodPost, canaryPath, body, &answer)
		var refused *refusal
		if errors.As(err, &refused) && refused.code == http.StatusConflict {
			return &exitError{exitFail, err}
		} else if err != nil {
			return err
		}
		return printCanary(cmd, answer, asJSON)
	}
	return cmd
}

// passed checks that the evidence in a folder is what was signed, that its verdict follows from it,
// and that it is PASS.
func passed(dir string, keys []string) (v certify.Verdict, err error) {
	known, err := readPublicKeys(keys)
	if err != nil {
		return v, err
	}
	if _, v, err = verifyEvidence(dir, known); err == nil && v.Status != certify.Pass {
		err = &exitError{exitFail, fmt.Errorf("the verdict of the evidence in %s is %s, not %s", dir,
			v.Status, certify.Pass)}
	}
	return v, err
}

// handIn gives evidence to the gate, unless it has it, and returns its id.
func (c *client) handIn(cmd *cobra.Command, dir string, v certify.Verdict,
	timeout time.Duration) (id string, err error) {
	token, err := c.token()
	if err != nil {
		return "", err
	}
	manifest, err := os.ReadFile(filepath.Join(dir, evidence.ManifestFile))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(manifest)
	_, err = submit(cmd, dir, strings.TrimSuffix(c.target, "/")+"/api/intake", token, v.Application,
		v.Target, timeout)
	var refused *evidenceRefused
	// 409: it has it
	if err != nil && !(errors.As(err, &refused) && refused.code == http.StatusConflict) {
		return "", err
	}
	return hex.EncodeToString(sum[:]), nil
}
