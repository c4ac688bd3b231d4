package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/httpd"
)

// sourceStatus is a source as the gate's API shows it.
type sourceStatus struct {
	Name, Kind, Proof, Path, URL              string
	Accepted, Duplicates, Refused, Handshakes int64
	LastAt                                    *time.Time
}

func newSourcesCommand() *cobra.Command {
	var c client
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "sources",
		Short: "List the configured sources with what they have sent",
		Long: `List the sources of a running gate: where each sends, how it proves who it is, and
what came from it since the gate was started.

'hookgate sources check' looks at a configuration without a gate, and
'hookgate sources kinds' lists the senders that there are presets for.`,
		Args: cobra.NoArgs,
	}
	c.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the gate's answer as it is")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if asJSON {
			var answer json.RawMessage
			if err := c.get(cmd.Context(), "/api/sources", nil, &answer); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", answer)
			return err
		}
		var answer struct {
			Since   time.Time
			Sources []sourceStatus
		}
		if err := c.get(cmd.Context(), "/api/sources", nil, &answer); err != nil {
			return err
		}
		return printSources(cmd.OutOrStdout(), answer.Since, answer.Sources)
	}
	cmd.AddCommand(newSourcesCheckCommand(), newSourcesKindsCommand())
	return cmd
}

func printSources(out io.Writer, since time.Time, sources []sourceStatus) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tKIND\tURL\tACCEPTED\tDUPLICATES\tREFUSED\tLAST\tAUTHENTICATED BY")
	for _, s := range sources {
		url, last := s.URL, "-"
		if url == "" {
			url = s.Path
		}
		if s.LastAt != nil {
			last = s.LastAt.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", s.Name, s.Kind, url, s.Accepted, s.Duplicates, s.Refused, last, s.Proof)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "Counted since %s.\n", since.UTC().Format(time.RFC3339))
	return err
}

func newSourcesCheckCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration of the sources, with their secrets, without a gate",
		Long: `Read the configuration as serve would, resolve every secret, and make every source.

What is wrong is said, with the setting's name, and the exit code is 1.`,
		Example: "  hookgate sources check --config /etc/hookgate/hookgate.yaml",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration `file` (default hookgate.yaml, if there is one)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadSourceConfig(file)
		if err != nil {
			return &exitError{exitFail, err}
		}
		sources, errs := c.checkSources()
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "NAME\tKIND\tURL\tSECRETS\tAUTHENTICATED BY")
		for _, s := range sources {
			url := s.URL
			if url == "" {
				url = "/webhooks/" + s.Name
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", s.Name, s.Kind, url, s.secrets, s.Proof)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if errs != nil {
			return &exitError{exitFail, errs}
		}
		fmt.Fprintf(cmd.OutOrStdout(), "OK: %d sources\n", len(sources))
		return nil
	}
	return cmd
}

// loadSourceConfig reads the configuration as serve does; file may be empty.
func loadSourceConfig(file string) (config, error) {
	flags := map[string]any{}
	if file != "" {
		flags["config"] = file
	}
	return loadConfig(os.Environ(), flags)
}

// checkedSource is a source that could be made.
type checkedSource struct {
	httpd.Source
	secrets int
}

// checkSources makes every source, and returns those that could be made and what is wrong with the others. Keys that the first start would make
// are not made.
func (c config) checkSources() (sources []checkedSource, errs error) {
	for _, name := range c.sourceNames() {
		k, err := c.configuredKeys(name)
		if err == nil {
			var s httpd.Source
			if s, err = c.newSource(name, k); err == nil {
				o, _ := c.schemeOptions(name, k)
				sources = append(sources, checkedSource{s, len(o.Secrets) + len(o.BearerKeys)})
			}
		}
		errs = errors.Join(errs, err)
	}
	return sources, errs
}

// configuredKeys resolves the keys of the default source for a look at it without a gate: those that serve would make, or has made, are
// read if they are there, and else stand-ins.
func (c config) configuredKeys(name string) (k credentials, err error) {
	if name != httpd.DefaultSource {
		return k, nil
	}
	source := c.Sources[name]
	if k.bearerKeys, err = resolveSecrets(source.BearerKeys); err != nil {
		return k, fmt.Errorf("sources.default.bearer_keys: %w", err)
	}
	if k.hmacSecrets, err = resolveSecrets(source.Secrets); err != nil {
		return k, fmt.Errorf("sources.default.secrets: %w", err)
	}
	if len(k.bearerKeys)+len(k.hmacSecrets) > 0 || source.Kind != "envelope" {
		return k, nil
	}
	for name, to := range map[string]*[]string{bearerKeyName: &k.bearerKeys, hmacSecretName: &k.hmacSecrets} {
		key, err := readKey(c.DataDir.keyFile(name))
		if err != nil {
			key = "is made by the first start of the gate"
		}
		*to = []string{key}
	}
	return k, nil
}

func newSourcesKindsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "kinds", Short: "List the kinds of sources: whose webhooks they take, and how these are authenticated", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "KIND\tSENDER\tAUTHENTICATED BY")
			for _, name := range admit.Names() {
				k, _ := admit.Find(name)
				fmt.Fprintf(w, "%s\t%s\t%s\n", name, k.Sender, k.Proof)
			}
			return w.Flush()
		},
	}
}
