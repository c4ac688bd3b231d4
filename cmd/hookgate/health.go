package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hookgate/hookgate/config"
	"github.com/spf13/cobra"
)

func newHealthCommand() *cobra.Command {
	var target, configFile string
	var ready bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the gate on this machine whether it lives, or takes webhooks",
		Long: `Ask the gate that this configuration starts whether it answers, or with --ready whether it
takes webhooks now. It needs no token, no shell and no curl: for the health check of a
container.

Configuration and environment are those of serve, and say where the gate listens. A
certificate is not verified, since what is asked is this machine and no secret is sent.

Exit code 0: yes. 1: no, or there is no answer. 2: it could not be asked.`,
		Example: `  hookgate health
  hookgate health --ready --timeout 2s`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&target, "target", "",
		"base `URL` of the gate, if it is not the one of this configuration")
	cmd.Flags().StringVar(&configFile, "config", "",
		"configuration `file` (default hookgate.yaml, if there is one)")
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it takes webhooks")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "`time` that the answer may take")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		path := "/livez"
		if ready {
			path = "/readyz"
		}
		own := target == ""
		if own {
			var err error
			if target, err = configuredURL(configFile); err != nil {
				return err
			}
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		told, err := askHealth(ctx, strings.TrimSuffix(target, "/")+path, own)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), told)
		return err
	}
	return cmd
}

// configuredURL is where the gate of the configuration takes webhooks, seen from this machine.
func configuredURL(configFile string) (string, error) {
	flags := map[string]any{}
	if configFile != "" {
		flags["config"] = configFile
	}
	c, err := config.Load(os.Environ(), flags)
	if err != nil {
		return "", err
	}
	return ownURL(c, c.Listen), nil
}

// askHealth returns what the gate says of itself. unverified takes any certificate.
func askHealth(ctx context.Context, address string, unverified bool) (told string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", fmt.Errorf("target: %w", err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	if unverified {
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return "", &exitError{exitFail, fmt.Errorf("the gate does not answer: %w", err)}
	}
	defer resp.Body.Close()
	var answer struct{ Status, Error string }
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	switch {
	case err != nil:
		return "", &exitError{exitFail, fmt.Errorf("%s does not answer as a gate does: %s", address,
			resp.Status)}
	case resp.StatusCode != http.StatusOK:
		return "", &exitError{exitFail, errors.New(answer.Error)}
	}
	return answer.Status, nil
}
