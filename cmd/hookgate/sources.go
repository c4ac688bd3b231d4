package main

import (
	"cmp"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/config"
	"github.com/hookgate/hookgate/gate"
	"github.com/hookgate/hookgate/ingest"
)

func newSourcesCommand() *cobra.Command {
	var c connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "sources",
		Short: "List the sources with their traffic, check their configuration, send a test webhook",
		Long: `List the sources of a running gate: where each sender sends, how it authenticates, and its
traffic since the gate was started. Below are the reasons why requests were rejected. For
sources with several secrets the list shows when each secret was last used, by its
position in the configuration: when the old one is no longer used, a rotation is finished.`,
		Args: cobra.NoArgs,
	}
	c.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, _ []string) error {
		answer, err := client.Sources(cmd.Context())
		switch {
		case err != nil:
			return err
		case asJSON:
			return printLine(cmd.OutOrStdout(), answer)
		}
		return printSources(cmd.OutOrStdout(), answer)
	})
	cmd.AddCommand(newSourcesCheckCommand(), newSourcesKindsCommand(), newSourcesSendCommand())
	return cmd
}

func printSources(out io.Writer, answer api.Sources) error {
	t := newTable(out, "NAME", "KIND", "URL", "ACCEPTED", "DUPLICATES", "REJECTED", "LAST",
		"AUTHENTICATED BY")
	for _, s := range answer.Sources {
		t.row(s.Name, s.Kind, cmp.Or(s.URL, s.Path), s.Accepted, s.Duplicates, s.Refused,
			timeOr(s.LastAt, "-"), s.Proof)
	}
	printRefusals(t, answer.Sources)
	printCredentials(t, answer.Sources)
	if err := t.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nCounted since %s.\n", timeOr(&answer.Since, ""))
	return err
}

// printRefusals prints why requests were rejected, if any were.
func printRefusals(t *table, sources []api.Source) {
	titled := false
	for _, s := range sources {
		for _, r := range s.Refusals {
			if !titled {
				t.title("REJECTED", "STATUS", "REQUESTS", "REASON")
				titled = true
			}
			t.row(s.Name, r.Status, r.Count, r.Reason)
		}
	}
}

// printCredentials prints when each secret was last used, for sources that have several.
func printCredentials(t *table, sources []api.Source) {
	titled := false
	for _, s := range sources {
		if len(s.Credentials) < 2 {
			continue
		}
		for _, c := range s.Credentials {
			if !titled {
				t.title("SECRETS", "SETTING", "POSITION", "LAST USED")
				titled = true
			}
			t.row(s.Name, c.Setting, c.Position, timeOr(c.LastAt, "not since the start"))
		}
	}
}

func newSourcesCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration of the sources, with their secrets, without a gate",
		Long: `Read the configuration as serve does, resolve every secret, and create every source.

Exit code 0: the configuration is right. 1: it is wrong; the message names the setting.`,
		Example: "  hookgate sources check --config /etc/hookgate/hookgate.yaml",
		Args:    cobra.NoArgs,
	}
	configFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadConfig(cmd, map[string]string{"config": "config"})
		if err != nil {
			return &exitError{exitFail, err}
		}
		sources, errs := c.CheckSources()
		t := newTable(cmd.OutOrStdout(), "NAME", "KIND", "URL", "SECRETS", "AUTHENTICATED BY")
		for _, s := range sources {
			t.row(s.Name, s.Kind, cmp.Or(s.URL, "/webhooks/"+s.Name), s.Secrets+s.BearerKeys, s.Proof)
		}
		if err := t.flush(); err != nil {
			return err
		}
		for _, s := range sources {
			if note := bodyNote(c, s); note != "" {
				fmt.Fprintf(cmd.OutOrStdout(), "NOTE: %s\n", note)
			}
		}
		if errs != nil {
			return &exitError{exitFail, errs}
		}
		fmt.Fprintf(cmd.OutOrStdout(), "OK: %d sources\n", len(sources))
		return nil
	}
	return cmd
}

// bodyNote is a warning if a source rejects bodies that its sender is known to send.
func bodyNote(c config.Config, s ingest.Source) string {
	kind, _ := admit.Find(s.Kind)
	limit := cmp.Or(gate.Bytes(s.MaxBodyBytes), c.HTTP.MaxBody)
	if kind.LargestBody == 0 || int64(limit) >= kind.LargestBody {
		return ""
	}
	return fmt.Sprintf("%s sends bodies of up to %v, and sources.%s takes %v; to take all, set sources.%s.max_body",
		kind.Sender, gate.Bytes(kind.LargestBody), s.Name, limit, s.Name)
}

func newSourcesKindsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "kinds", Short: "List the kinds of sources: the senders they are for, and how they authenticate", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := newTable(cmd.OutOrStdout(), "KIND", "SENDER", "AUTHENTICATED BY")
			for _, name := range admit.Names() {
				k, _ := admit.Find(name)
				t.row(name, k.Sender, k.Proof)
			}
			return t.flush()
		},
	}
}
