package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/certify"
	"github.com/hookgate/hookgate/evidence"
	"github.com/hookgate/hookgate/internal/secret"
	"github.com/hookgate/hookgate/internal/show"
)

func newEvidenceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "evidence",
		Short: "Make keys for evidence, verify and submit it",
	}
	cmd.AddCommand(newEvidenceKeygenCommand(), newEvidenceVerifyCommand(), newEvidenceSubmitCommand())
	return cmd
}

func newEvidenceKeygenCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make a key to sign evidence with",
		Long: `Make an Ed25519 key pair in PEM: the private key in a file of mode 0600, the public key in
a second file with the suffix .pub. Give the public key to the people who verify.`,
		Example: "  hookgate evidence keygen --out evidence.key",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVar(&out, "out", "evidence.key", "new `file` for the private key")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		public, err := evidence.MakeKeys(out)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s (mode 0600) and %s\n%s\n", out, out+".pub",
			evidence.Fingerprint(public))
		return err
	}
	return cmd
}

func newEvidenceVerifyCommand() *cobra.Command {
	var keys []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Check that evidence is what was signed, and judge it again",
		Long: `Check the signature, the manifest and every file of an evidence folder. Then compute the
verdict and all reports again from the ledger and the events that were read back, and
compare. The command also computes the plan of the requests from the profile; the ledger
must match it.

Without --public-key nothing proves who made the evidence: anyone can make up a whole
folder and sign it with a new key.

Exit code 0: the evidence holds, with any verdict. 1: it does not; the message
names the first changed file. 2: it could not be checked.`,
		Example: "  hookgate evidence verify certified/20261124T081500Z --public-key key.pub",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringArrayVar(&keys, "public-key", nil,
		"`file` with a key that the evidence must be signed with; if repeated, one of them")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		known, err := evidence.ReadPublicKeys(keys)
		if err != nil {
			return err
		}
		by, v, err := certify.VerifyBundle(args[0], known)
		if err != nil {
			return evidenceError(err)
		}
		if asJSON {
			return show.JSON(cmd.OutOrStdout(), map[string]any{"ok": true, "verdict": v.Status,
				"runId": v.RunID, "target": v.Target,
				"key": evidence.Fingerprint(by), "keyKnown": len(keys) > 0})
		}
		signer := fmt.Sprintf("signed by %s, one of the keys given", evidence.Fingerprint(by))
		if len(keys) == 0 {
			signer = "not proven: signer unknown. Anyone could have made this evidence and signed it " +
				"with a new key.\nPass --public-key to check who did (" + evidence.Fingerprint(by) + ")"
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(),
			"OK: the evidence is as signed, and the verdict follows from it: %s\n%s\n", v.Status, signer)
		return err
	}
	return cmd
}

func newEvidenceSubmitCommand() *cobra.Command {
	var u evidence.Upload
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "submit DIR",
		Short: "Upload evidence to the service that collects it",
		Long: `Verify an evidence folder, then upload it as multipart/form-data with the fields
application, gate, timestamp, manifest, and evidence: the folder as tar.gz. Another gate
receives it at /api/intake.

Exit code 0: accepted. 1: rejected, or the evidence is not what was signed. 2: the upload
failed.`,
		Example: "  hookgate evidence submit certified/load --url https://evidence.example/api/intake",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&u.URL, "url", "", "`URL` to upload to")
	cmd.Flags().StringVar(&u.Token, "token", "",
		"`token` that may upload; the environment variable EVIDENCE_TOKEN is safer")
	cmd.Flags().StringVar(&u.Application, "application", "",
		"`name` of the certified application (default: that of the verdict)")
	cmd.Flags().StringVar(&u.Gate, "gate", "",
		"`name` of the gate in the release process (default: the target of the verdict)")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "`time` that the upload may take")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		token, err := secret.Variable(os.Getenv, "EVIDENCE_TOKEN")
		if err != nil && u.Token == "" {
			return err
		}
		u.Token = strings.TrimSpace(cmp.Or(u.Token, token))
		if u.URL == "" || u.Token == "" {
			return errors.New("set --url and EVIDENCE_TOKEN")
		}
		if _, err := evidence.Verify(args[0]); err != nil {
			return &exitError{exitFail, fmt.Errorf("evidence in %s: %w", args[0], err)}
		}
		var v certify.Verdict
		text, err := os.ReadFile(filepath.Join(args[0], "verdict.json"))
		if err == nil {
			err = json.Unmarshal(text, &v)
		}
		if err != nil {
			return fmt.Errorf("read verdict: %w", err)
		}
		u.Application, u.Gate = cmp.Or(u.Application, v.Application), cmp.Or(u.Gate, v.Target)
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		receipt, err := evidence.Submit(ctx, args[0], u)
		if err != nil {
			return evidenceError(err)
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), receipt)
		return err
	}
	return cmd
}

// evidenceError gives an error about evidence the exit code 1 if the evidence does not hold, or was
// rejected.
func evidenceError(err error) error {
	if errors.As(err, new(*evidence.RejectedError)) || errors.As(err, new(*certify.BundleError)) {
		return &exitError{exitFail, err}
	}
	return err
}
