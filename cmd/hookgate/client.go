package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/internal/secret"
)

// client speaks to the admin and read API of a running gate.
type client struct {
	target, dataDir string
	// reason is why something is changed, for the admin trail.
	reason string
	// approval is the one that a change uses, if there is one. With wait a change that needs one waits
	// for it, and told is where it says so.
	approval string
	wait     bool
	told     func() io.Writer
}

// register adds the flags that say which gate is meant.
func (c *client) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.target, "target", "http://127.0.0.1:8080", "base `URL` of the gate")
	cmd.Flags().StringVar(&c.dataDir, "data-dir", defaultDataDir(),
		"data `folder` of a gate on this machine, for its admin token (elsewhere set HOOKGATE_TOKEN or ADMIN_TOKEN)")
}

// registerReason adds the flag of every command that changes something.
func (c *client) registerReason(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.reason, "reason", "", "`why`, for the admin trail")
}

func defaultDataDir() string {
	if dir := os.Getenv("HOOKGATE_DATA_DIR"); dir != "" {
		return dir
	}
	return string(defaultConfig().DataDir)
}

// errTarget does not repeat the URL, which may hold a password.
var errTarget = errors.New("--target is not a URL like http://127.0.0.1:8080")

// tokenVariable is the environment variable with the token of whoever runs a command.
const tokenVariable = envPrefix + "TOKEN"

// token is HOOKGATE_TOKEN, else ADMIN_TOKEN, else that of a gate on this machine; it is not offered
// to any other.
func (c *client) token() (string, error) {
	if token := strings.TrimSpace(os.Getenv(tokenVariable)); token != "" {
		return token, nil
	}
	if token, err := secret.Variable(os.Getenv, "ADMIN_TOKEN"); token != "" || err != nil {
		return token, err
	}
	u, err := url.Parse(c.target)
	if err != nil {
		return "", errTarget
	}
	if host := u.Hostname(); host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return "", fmt.Errorf("set HOOKGATE_TOKEN to a token of %s", u.Host)
	}
	token, err := dataDir(c.dataDir).readKey(adminTokenName)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("no token: set HOOKGATE_TOKEN, or --data-dir to the gate's data directory (%w)", err)
	}
	return token, err
}

// refusal is an answer of the gate that is none of 200, 201 and 202.
type refusal struct {
	status string
	code   int
	told   string // the member error of the body, or all of it
	body   []byte
	// retryAfter is how long the gate wants to be left alone; 0 if it does not say.
	retryAfter time.Duration
}

func (e *refusal) Error() string { return fmt.Sprintf("the gate answers %s: %s", e.status, e.told) }

// do makes an authorised request and returns the answer's body, which the caller closes. Any status
// but 200, 201 and 202 is a refusal.
func (c *client) do(ctx context.Context, method, path string, query url.Values, accept string,
	body io.Reader) (io.ReadCloser, error) {
	token, err := c.token()
	if err != nil {
		return nil, err
	}
	return c.send(ctx, method, path, query, accept, token, body)
}

func (c *client) send(ctx context.Context, method, path string, query url.Values, accept,
	token string, body io.Reader) (io.ReadCloser, error) {
	target := strings.TrimSuffix(c.target, "/") + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, errTarget
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Accept", accept)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.reason != "" {
		req.Header.Set("X-Reason", c.reason)
	}
	if c.approval != "" {
		req.Header.Set("X-Approval", c.approval)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the gate (is it running, and is --target right?): %w", err)
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted:
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var problem struct{ Error string }
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if json.Unmarshal(text, &problem) != nil || problem.Error == "" {
		problem.Error = strings.TrimSpace(string(text))
	}
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	return nil, &refusal{resp.Status, resp.StatusCode, problem.Error, text,
		time.Duration(seconds) * time.Second}
}

// get decodes the JSON answer to a GET into v.
func (c *client) get(ctx context.Context, path string, query url.Values, v any) error {
	body, err := c.do(ctx, http.MethodGet, path, query, "application/json", nil)
	if err != nil {
		return err
	}
	return decodeAnswer(body, v)
}

// change makes a call that changes something, and decodes its JSON answer into v. An empty body is
// none. If the call needs an approval, change waits for that or says what to do.
func (c *client) change(ctx context.Context, method, path, body string, v any) error {
	for {
		var text io.Reader
		if body != "" {
			text = strings.NewReader(body)
		}
		stream, err := c.do(ctx, method, path, nil, "application/json", text)
		if err != nil {
			return err
		}
		var answer json.RawMessage
		if err := decodeAnswer(stream, &answer); err != nil {
			return err
		}
		asked, needed := approvalAsked(answer)
		if !needed {
			return decodeAnswer(io.NopCloser(bytes.NewReader(answer)), v)
		}
		if err := c.awaitApproval(ctx, asked); err != nil {
			return err
		}
	}
}

// getOpen is get for what is open to everyone.
func (c *client) getOpen(ctx context.Context, path string, v any) error {
	body, err := c.send(ctx, http.MethodGet, path, nil, "application/json", "", nil)
	if err != nil {
		return err
	}
	return decodeAnswer(body, v)
}

func decodeAnswer(body io.ReadCloser, v any) error {
	defer body.Close()
	if err := json.NewDecoder(body).Decode(v); err != nil {
		return fmt.Errorf("read the gate's answer: %w", err)
	}
	return nil
}

// shellQuote quotes s for a POSIX shell if it needs that.
func shellQuote(s string) string {
	safe := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
			strings.ContainsRune("/._-+,:=@", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !safe(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// list asks for all rows that match, as NDJSON, and has them printed as they come.
func (c *client) list(cmd *cobra.Command, path string, query url.Values,
	print func(io.Writer, io.Reader) error) error {
	body, err := c.do(cmd.Context(), http.MethodGet, path, query, "application/x-ndjson", nil)
	if err != nil {
		return err
	}
	defer body.Close()
	return print(cmd.OutOrStdout(), body)
}

// copyRows prints rows as the gate sends them. what names them in an error.
func copyRows(what string) func(io.Writer, io.Reader) error {
	return func(out io.Writer, rows io.Reader) error {
		if _, err := io.Copy(out, rows); err != nil {
			return fmt.Errorf("read %s: %w", what, err)
		}
		return nil
	}
}
