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
)

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
		Example: "  EVIDENCE_TOKEN=… hookgate evidence submit certified/20261124T081500Z --url https://evidence.example/api/intake",
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
