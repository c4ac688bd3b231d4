package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/certify"
	"github.com/hookgate/hookgate/evidence"
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
	cmd.Flags().StringVar(&out, "out", "evidence.key", "`file` for the private key; it must not exist")
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
compare.

Without --public-key the signature proves that nothing has changed since it was made, but
not who made it.

Exit code 0: the evidence holds, whatever its verdict is. 1: it does not; the message
names the first changed file. 2: it could not be checked.`,
		Example: "  hookgate evidence verify certified/20261124T081500Z --public-key evidence.key.pub",
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
			return printJSON(cmd.OutOrStdout(), map[string]any{"ok": true, "verdict": v.Status,
				"runId": v.RunID, "target": v.Target,
				"key": evidence.Fingerprint(by), "keyKnown": len(keys) > 0})
		}
		trust := "one of the keys given"
		if len(keys) == 0 {
			trust = "an unknown key: pass --public-key to check it"
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(),
			"OK: the evidence is what was signed, and the verdict follows from it: %s\nsigned by %s, %s\n",
			v.Status, evidence.Fingerprint(by), trust)
		return err
	}
	return cmd
}
