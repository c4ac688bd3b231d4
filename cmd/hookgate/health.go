package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/api"
)

func newHealthCommand() *cobra.Command {
	var target string
	var ready bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the gate on this machine whether it is alive, or takes webhooks",
		Long: `Ask the gate that this configuration starts whether it answers, or with --ready whether it
takes webhooks now. It needs no token, no shell and no curl: use it for the health check
of a container.

It reads the same configuration as serve to find the address of the gate. It does not
verify the gate's certificate, because it asks this machine and sends no secret.

Exit code 0: yes. 1: no, or there is no answer. 2: the gate could not be asked.`,
		Example: `  hookgate health
  hookgate health --ready --timeout 2s`,
		Args: cobra.NoArgs,
	}
	configFlag(cmd)
	cmd.Flags().StringVar(&target, "target", "",
		"base `URL` of the gate (default: the address in this configuration)")
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it takes webhooks")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "`time` to wait for the answer")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client := &api.Client{URL: target}
		transport := &http.Transport{DisableKeepAlives: true}
		client.HTTP = &http.Client{Transport: transport}
		if target == "" {
			c, err := loadConfig(cmd, map[string]string{"config": "config"})
			if err != nil {
				return err
			}
			client.URL = c.OwnURL(c.Listen)
			transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		ask := client.Live
		if ready {
			ask = client.Ready
		}
		answer, err := ask(ctx)
		var failed *api.Error
		switch {
		case errors.Is(err, api.ErrURL):
			return err
		case errors.As(err, &failed):
			return &exitError{exitFail, errors.New(failed.Message)}
		case err != nil:
			return &exitError{exitFail, fmt.Errorf("the gate does not answer: %w", err)}
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), answer.Status)
		return err
	}
	return cmd
}
