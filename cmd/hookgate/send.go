package main

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/ingest"
)

// sendOptions are the flags of send.
type sendOptions struct {
	source, file, config, target, contentType, key string
	headers                                        []string
}

func newSourcesSendCommand() *cobra.Command {
	var o sendOptions
	cmd := &cobra.Command{
		Use:   "send --source NAME [--file BODY]",
		Short: "Sign a webhook as the sender of a source does, and send it",
		Long: `Sign a body as the sender of a source does, with the first of the source's configured
secrets, and send it to the gate. Without --file it is a sample that has an id, a
type and an ordering key where the source looks for them. Headers that identify an
event are made up unless --header gives them; a time in the body that is signed is
set to now.

Senders that sign with a private key (Discord, SendGrid, Standard Webhooks v1a)
need --key: PKCS #8 in PEM, or the seed of an Ed25519 key in hexadecimal. Its
public key must be the source's.

The gate's answer is printed. Any status but a 2xx ends with 1.`,
		Example: `  hookgate sources send --source stripe
  hookgate sources send --source stripe --file event.json
  echo '{"update_id":1}' | hookgate sources send --source telegram --file -
  hookgate sources send --source github --file push.json --header 'X-GitHub-Event: push'`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&o.source, "source", ingest.DefaultSource, "`name` of the source")
	f.StringVar(&o.file, "file", "",
		"`file` with the body; - reads standard input (default: a sample)")
	f.StringVar(&o.config, "config", "",
		"configuration `file` with the source's secrets (default hookgate.yaml, if there is one)")
	f.StringVar(&o.target, "target", "http://127.0.0.1:8080", "base `URL` of the gate")
	f.StringVar(&o.contentType, "content-type", "",
		"`type` of the body (default application/json, or what the sample is)")
	f.StringVar(&o.key, "key", "", "`file` with the private key, for senders that have one")
	f.StringArrayVar(&o.headers, "header", nil, "further `header`, as 'Name: value'; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		req, err := o.request(cmd.InOrStdin())
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req.WithContext(cmd.Context()))
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
			return &exitError{exitFail, fmt.Errorf("the gate refuses the webhook with %s", resp.Status)}
		}
		return nil
	}
	return cmd
}

// request makes the signed request.
func (o sendOptions) request(stdin io.Reader) (*http.Request, error) {
	c, err := loadSourceConfig(o.config)
	if err != nil {
		return nil, err
	}
	source, ok := c.Sources[o.source]
	if !ok {
		return nil, fmt.Errorf("the configuration has no source %s, only %s; it is read from hookgate.yaml in this folder"+
			" if neither --config nor HOOKGATE_CONFIG names a file", o.source, strings.Join(c.SourceNames(),
			", "))
	}
	options, err := c.SchemeOptions(o.source)
	if err != nil {
		return nil, err
	}
	var key crypto.Signer
	if o.key != "" {
		text, err := os.ReadFile(o.key)
		if err != nil {
			return nil, fmt.Errorf("read the private key: %w", err)
		}
		if key, err = admit.ParsePrivateKey(string(text)); err != nil {
			return nil, err
		}
	}
	r, err := o.unsigned(source.Kind, options, stdin)
	if err != nil {
		return nil, err
	}
	if err := admit.Sign(source.Kind, options, key, r); err != nil {
		return nil, fmt.Errorf("sign for source %s (%s): %w", o.source, source.Kind, err)
	}
	target := strings.TrimSuffix(o.target, "/") + "/webhooks/" + o.source
	if r.Query != "" {
		target += "?" + r.Query
	}
	req, err := http.NewRequest(http.MethodPost, target, bytes.NewReader(r.Body))
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	req.Header = r.Header
	return req, nil
}

// unsigned makes the request but for its proof.
func (o sendOptions) unsigned(kind string, options admit.Options, stdin io.Reader) (*admit.Request,
	error) {
	r := &admit.Request{Method: http.MethodPost,
		Header: http.Header{"Content-Type": {"application/json"}}, Time: time.Now()}
	var err error
	if o.file != "" {
		if r.Body, err = readInput(o.file, stdin); err != nil {
			return nil, fmt.Errorf("read the body: %w", err)
		}
	} else {
		sample, err := admit.SampleOf(kind, options, "test-"+strings.ToLower(rand.Text()))
		if err != nil {
			return nil, err
		}
		r.Header, r.Body = sample.Header, sample.Body
	}
	if o.contentType != "" {
		r.Header.Set("Content-Type", o.contentType)
	}
	given := http.Header{}
	for _, h := range o.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, fmt.Errorf("header %q is not of the form 'Name: value'", h)
		}
		given.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	maps.Copy(r.Header, given)
	return r, nil
}

// readInput reads a file, or standard input for "-".
func readInput(file string, stdin io.Reader) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(file)
}
