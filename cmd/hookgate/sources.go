package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/ingest"
)

// sourceStatus is a source as the gate's API shows it.
type sourceStatus struct {
	Name, Kind, Proof, Path, URL              string
	Accepted, Duplicates, Refused, Handshakes int64
	LastAt                                    *time.Time
	Refusals                                  []struct {
		Status int
		Reason string
		Count  int64
	}
	Credentials []struct {
		Setting  string
		Position int
		LastAt   *time.Time
	}
}

func newSourcesCommand() *cobra.Command {
	var c client
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "sources",
		Short: "List the configured sources with what they have sent",
		Long: `List the sources of a running gate: where each sends, how it proves who it is, and
what came from it since the gate was started. Below stand the reasons for which
requests were refused, and for sources with several secrets when each was used
last, by its position in the configuration: a rotation is finished when the old
one is used no more.

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
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", s.Name, s.Kind, cell(cmp.Or(s.URL, s.Path)),
			s.Accepted, s.Duplicates, s.Refused, lastTime(s.LastAt, "-"), cell(s.Proof))
	}
	printRefusals(w, sources)
	printCredentials(w, sources)
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nCounted since %s.\n", since.UTC().Format(time.RFC3339))
	return err
}

// printRefusals prints why requests were refused, if any were.
func printRefusals(w *tabwriter.Writer, sources []sourceStatus) {
	title := "\nREFUSED\tSTATUS\tREQUESTS\tREASON\n"
	for _, s := range sources {
		for _, r := range s.Refusals {
			fmt.Fprintf(w, "%s%s\t%d\t%d\t%s\n", title, s.Name, r.Status, r.Count, cell(r.Reason))
			title = ""
		}
	}
}

// printCredentials prints when each secret was used last, of sources that have several.
func printCredentials(w *tabwriter.Writer, sources []sourceStatus) {
	title := "\nSECRETS\tSETTING\tPOSITION\tLAST USED\n"
	for _, s := range sources {
		if len(s.Credentials) < 2 {
			continue
		}
		for _, c := range s.Credentials {
			fmt.Fprintf(w, "%s%s\t%s\t%d\t%s\n", title, s.Name, c.Setting, c.Position,
				lastTime(c.LastAt, "not since the start"))
			title = ""
		}
	}
}

func lastTime(at *time.Time, never string) string {
	if at == nil {
		return never
	}
	return at.UTC().Format(time.RFC3339)
}

// cell is a text for one cell of a table: what could break the table is shown as Go would write it.
func cell(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return text
	}
	quoted := strconv.Quote(text)
	return quoted[1 : len(quoted)-1]
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
	cmd.Flags().StringVar(&file, "config", "",
		"configuration `file` (default hookgate.yaml, if there is one)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadSourceConfig(file)
		if err != nil {
			return &exitError{exitFail, err}
		}
		sources, errs := c.checkSources()
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "NAME\tKIND\tURL\tSECRETS\tAUTHENTICATED BY")
		for _, s := range sources {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", s.Name, s.Kind, cell(cmp.Or(s.URL, "/webhooks/"+s.Name)),
				s.Secrets+s.BearerKeys, cell(s.Proof))
		}
		if err := w.Flush(); err != nil {
			return err
		}
		for _, s := range sources {
			if note := c.bodyNote(s); note != "" {
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

// loadSourceConfig reads the configuration as serve does; file may be empty.
func loadSourceConfig(file string) (config, error) {
	flags := map[string]any{}
	if file != "" {
		flags["config"] = file
	}
	return loadConfig(os.Environ(), flags)
}

// bodyNote says that a source refuses what its sender may send, as far as that is known.
func (c config) bodyNote(s ingest.Source) string {
	kind, _ := admit.Find(s.Kind)
	limit := cmp.Or(byteSize(s.MaxBodyBytes), c.HTTP.MaxBody)
	if kind.LargestBody == 0 || int64(limit) >= kind.LargestBody {
		return ""
	}
	return fmt.Sprintf("%s sends bodies of up to %v, and sources.%s takes %v; to take all, set sources.%s.max_body",
		kind.Sender, byteSize(kind.LargestBody), s.Name, limit, s.Name)
}

// checkSources makes every source, and returns those that could be made and what is wrong with the
// others. Keys that the first start would make are not made.
func (c config) checkSources() (sources []ingest.Source, errs error) {
	for _, name := range c.sourceNames() {
		k, err := c.configuredKeys(name)
		if err == nil {
			var s ingest.Source
			if s, err = c.newSource(name, k); err == nil {
				sources = append(sources, s)
			}
		}
		errs = errors.Join(errs, err)
	}
	return sources, errs
}

// configuredKeys resolves the keys of the default source for a look at it without a gate: those
// that serve would make, or has made, are read if they are there, and else stand-ins.
func (c config) configuredKeys(name string) (k credentials, err error) {
	if name != ingest.DefaultSource {
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
	for name, to := range map[string]*[]string{bearerKeyName: &k.bearerKeys,
		hmacSecretName: &k.hmacSecrets} {
		key, err := c.DataDir.readKey(name)
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
