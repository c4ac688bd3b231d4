package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
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
	var address, token, application, gate string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "submit DIR",
		Short: "Hand evidence in to whoever collects it",
		Long: `Verify an evidence folder, then upload it as multipart/form-data: application, gate,
timestamp, manifest, and evidence, the folder as tar.gz. Another gate receives it at
/api/intake.

Exit code 0: it was taken. 1: it was refused, or is not what was signed. 2: it could not
be handed in.`,
		Example: "  EVIDENCE_TOKEN=… hookgate evidence submit certified/20261124T081500Z --url https://evidence.example/api/intake",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&address, "url", "", "`URL` to upload to")
	cmd.Flags().StringVar(&token, "token", "", "`token` that may upload (better: EVIDENCE_TOKEN)")
	cmd.Flags().StringVar(&application, "application", "",
		"`name` of what was certified (default: the verdict's)")
	cmd.Flags().StringVar(&gate, "gate", "",
		"`name` of the gate, as the release process calls it (default: the verdict's target)")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "bound on the upload")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if token == "" {
			var err error
			if token, err = secret.Variable(os.Getenv, "EVIDENCE_TOKEN"); err != nil {
				return err
			}
		}
		if address == "" || token == "" {
			return errors.New("--url and EVIDENCE_TOKEN must be set")
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
		if application == "" {
			application = v.Application
		}
		if gate == "" {
			gate = v.Target
		}
		receipt, err := submit(cmd, args[0], address, strings.TrimSpace(token), application, gate,
			timeout)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), strings.TrimSpace(receipt))
		return err
	}
	return cmd
}

// evidenceRefused is what whoever collects evidence answers when it does not take some.
type evidenceRefused struct {
	code int
	told string
}

func (e *evidenceRefused) Error() string { return "the evidence was refused: " + e.told }

// submit uploads a bundle while it is being packed and returns the answer.
func submit(cmd *cobra.Command, dir, address, token, application, gate string,
	timeout time.Duration) (string, error) {
	manifest, err := os.ReadFile(filepath.Join(dir, evidence.ManifestFile))
	if err != nil {
		return "", err
	}
	body, pipe := io.Pipe()
	form := multipart.NewWriter(pipe)
	go func() {
		pipe.CloseWithError(func() error {
			for _, field := range [][2]string{
				{"application", application}, {"gate", gate},
				{"timestamp", time.Now().UTC().Format(time.RFC3339)},
			} {
				if err := form.WriteField(field[0], field[1]); err != nil {
					return err
				}
			}
			part, err := form.CreateFormFile("manifest", evidence.ManifestFile)
			if err != nil {
				return err
			}
			if _, err := part.Write(manifest); err != nil {
				return err
			}
			if part, err = form.CreateFormFile("evidence", filepath.Base(filepath.Clean(dir))+
				".tar.gz"); err != nil {
				return err
			}
			if err := evidence.Pack(part, dir); err != nil {
				return err
			}
			return form.Close()
		}())
	}()
	defer body.Close() // ends the packing
	req, err := http.NewRequestWithContext(cmd.Context(), http.MethodPost, address, body)
	if err != nil {
		return "", fmt.Errorf("--url: %w", err)
	}
	req.Header.Set("Expect", "100-continue") // so that a refusal comes before the upload
	req.Header.Set("Content-Type", form.FormDataContentType())
	req.Header.Set("Authorization", "Bearer "+token)
	client := http.Client{Timeout: timeout, CheckRedirect: func(*http.Request,
		[]*http.Request) error {
		return http.ErrUseLastResponse
	}}
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("hand in evidence: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return "", fmt.Errorf("hand in evidence: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return "", &exitError{exitFail, &evidenceRefused{resp.StatusCode, resp.Status + ": " +
			strings.TrimSpace(string(text))}}
	}
	return string(text), nil
}
