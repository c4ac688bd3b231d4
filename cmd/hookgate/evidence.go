package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/certify"
	"github.com/hookgate/hookgate/evidence"
	"github.com/hookgate/hookgate/internal/datadir"
)

func newEvidenceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "evidence",
		Short: "Make keys for evidence, verify it, hand it in",
	}
	cmd.AddCommand(newEvidenceKeygenCommand(), newEvidenceVerifyCommand(), newEvidenceSubmitCommand())
	return cmd
}

func newEvidenceKeygenCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make a key that signs evidence",
		Long: `Make an Ed25519 key: the private one in a file of mode 0600, the public one beside it
with .pub behind its name, both in PEM. Give the public key to those who verify.`,
		Example: "  hookgate evidence keygen --out evidence.key",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVar(&out, "out", "evidence.key", "`file` for the private key; it must not exist")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		public, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			return err
		}
		privateText, err := evidence.EncodePrivateKey(private)
		if err != nil {
			return err
		}
		publicText, err := evidence.EncodePublicKey(public)
		if err != nil {
			return err
		}
		for _, path := range []string{out, out + ".pub"} {
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s exists: a key is never written over", path)
			}
		}
		if err := datadir.WriteDurably(out, privateText); err != nil {
			return fmt.Errorf("write key: %w", err)
		}
		if err := os.WriteFile(out+".pub", publicText, 0o644); err != nil {
			return fmt.Errorf("write key: %w", err)
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
		Long: `Check signature, manifest and every file of an evidence folder, then compute the verdict
and all reports anew from the ledger and from what was read back, and compare.

Without --public-key the signature proves that nothing was changed since it was made,
but not by whom it was made.

Exit code 0: all of it holds, whatever the verdict is. 1: it does not; the first file
that was changed is named. 2: it could not be checked.`,
		Example: "  hookgate evidence verify certified/20261124T081500Z --public-key evidence.key.pub",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringArrayVar(&keys, "public-key", nil,
		"`file` of a key that the evidence must be signed with; several: one of them")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		by, v, err := verifyBundle(args[0], keys)
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), map[string]any{"ok": true, "verdict": v.Status,
				"runId": v.RunID, "target": v.Target,
				"key": evidence.Fingerprint(by), "keyKnown": len(keys) > 0})
		}
		trust := "which is one of those given"
		if len(keys) == 0 {
			trust = "which nobody vouched for: give --public-key"
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(),
			"OK: the evidence is what was signed, and the verdict follows from it: %s\nsigned by %s, %s\n",
			v.Status, evidence.Fingerprint(by), trust)
		return err
	}
	return cmd
}

// verifyBundle checks the evidence in a folder against the keys in files, and judges it again. If it
// does not hold, the exit code is 1.
func verifyBundle(dir string, keyFiles []string) (by ed25519.PublicKey, v certify.Verdict,
	err error) {
	keys, err := evidence.ReadPublicKeys(keyFiles)
	if err != nil {
		return nil, v, err
	}
	by, v, err = certify.VerifyBundle(dir, keys)
	if errors.As(err, new(*certify.BundleError)) {
		err = &exitError{exitFail, err}
	}
	return by, v, err
}
