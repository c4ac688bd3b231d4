package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/config"
	"github.com/hookgate/hookgate/gate"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/show"
)

func newSourcesCommand() *cobra.Command {
	var c connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "sources",
		Short: "List sources with their traffic, check them, send a test webhook",
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
			return show.Line(cmd.OutOrStdout(), answer)
		}
		return show.Sources(cmd.OutOrStdout(), answer)
	})
	cmd.AddCommand(newSourcesCheckCommand(), newSourcesKindsCommand(), newSourcesSendCommand())
	return cmd
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
		t := show.NewTable(cmd.OutOrStdout(), "NAME", "KIND", "URL", "SECRETS", "AUTHENTICATED BY")
		for _, s := range sources {
			t.Row(s.Name, s.Kind, cmp.Or(s.URL, "/webhooks/"+s.Name), s.Secrets+s.BearerKeys, s.Proof)
		}
		if err := t.Flush(); err != nil {
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
	return fmt.Sprintf("%s sends bodies of up to %v, and sources.%s takes %v; to take all, set "+
		"sources.%s.max_body",
		kind.Sender, gate.Bytes(kind.LargestBody), s.Name, limit, s.Name)
}

func newSourcesKindsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "kinds", Short: "List the kinds of sources: their senders and authentication",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := show.NewTable(cmd.OutOrStdout(), "KIND", "SENDER", "AUTHENTICATED BY")
			for _, name := range admit.Names() {
				k, _ := admit.Find(name)
				t.Row(name, k.Sender, k.Proof)
			}
			return t.Flush()
		},
	}
}

func newSourcesSendCommand() *cobra.Command {
	var source, file, target, contentType, key string
	var headers []string
	cmd := &cobra.Command{
		Use:   "send --source NAME [--file BODY]",
		Short: "Sign a webhook as the sender of a source does, and send it",
		Long: `Sign a body as the sender of a source does, with the first of the source's configured
secrets, and send it to the gate. Without --file the body is a sample that has an id, a
type and an ordering key where the source expects them. Headers that identify an event
are made up unless --header gives them. A time in the signed body is set to now.

Senders that sign with a private key (Discord, SendGrid, Standard Webhooks v1a) need
--key: PKCS #8 in PEM, or the seed of an Ed25519 key in hexadecimal. Its public key must
be the source's.

The command prints the gate's answer. Exit code 0: a 2xx. 1: any other status.`,
		Example: `  hookgate sources send --source stripe
  hookgate sources send --source stripe --file event.json
  echo '{"update_id":1}' | hookgate sources send --source telegram --file -
  hookgate sources send --source github --file push.json --header 'X-GitHub-Event: push'`,
		Args: cobra.NoArgs,
	}
	configFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&source, "source", ingest.DefaultSource, "`name` of the source")
	f.StringVar(&file, "file", "", "`file` with the body; - is standard input (default: a sample)")
	f.StringVar(&target, "target", defaultTarget, "base `URL` of the gate")
	f.StringVar(&contentType, "content-type", "",
		"`type` of the body (default: that of the sample, or application/json)")
	f.StringVar(&key, "key", "", "`file` with the private key, for senders that have one")
	f.StringArrayVar(&headers, "header", nil, "more `header`s, as 'Name: value'; can be repeated")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		w := gate.TestWebhook{Header: http.Header{}}
		switch file {
		case "":
		case "-":
			w.Body, err = io.ReadAll(cmd.InOrStdin())
		default:
			w.Body, err = os.ReadFile(file)
		}
		if err != nil {
			return fmt.Errorf("read the body: %w", err)
		}
		if contentType != "" {
			w.Header.Set("Content-Type", contentType)
		}
		for _, h := range headers {
			name, value, ok := strings.Cut(h, ":")
			if !ok {
				return fmt.Errorf("header %q is not of the form 'Name: value'", h)
			}
			w.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		}
		if key != "" {
			text, err := os.ReadFile(key)
			if err != nil {
				return fmt.Errorf("read the private key: %w", err)
			}
			if w.Key, err = admit.ParsePrivateKey(string(text)); err != nil {
				return err
			}
		}
		c, err := loadConfig(cmd, map[string]string{"config": "config"})
		if err != nil {
			return err
		}
		r, err := c.SignTestWebhook(source, w)
		if err != nil {
			return err
		}
		return sendSigned(cmd, r, strings.TrimSuffix(target, "/")+"/webhooks/"+source)
	}
	return cmd
}

// sendSigned sends a signed request and prints the answer.
func sendSigned(cmd *cobra.Command, r *admit.Request, address string) error {
	if r.Query != "" {
		address += "?" + r.Query
	}
	req, err := http.NewRequestWithContext(cmd.Context(), http.MethodPost, address,
		bytes.NewReader(r.Body))
	if err != nil {
		return fmt.Errorf("--target: %w", err)
	}
	req.Header = r.Header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("send the webhook (is the gate running, and is --target right?): %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("read the gate's answer: %w", err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s", resp.Status, answer)
	if len(answer) > 0 && !bytes.HasSuffix(answer, []byte("\n")) {
		fmt.Fprintln(cmd.OutOrStdout())
	}
	if resp.StatusCode/100 != 2 {
		return &exitError{exitFail, fmt.Errorf("the gate rejects the webhook with %s", resp.Status)}
	}
	return nil
}
