package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate/api"
)

// TestSourcesTables: the tables of `sources` have a row for each source, reason and secret,
// whatever stands in a cell.
func TestSourcesTables(t *testing.T) {
	var sources []api.Source
	if err := json.Unmarshal([]byte(`[
		{"name":"own","kind":"hmac","url":"https://a.example/x","proof":"HMAC-SHA256 of {method}\n{url}\n{body}\u009b2J in X-Sig","accepted":1,"refused":3,
		 "refusals":[{"status":400,"count":2,"reason":"id is missing"},{"status":401,"count":1,"reason":"a\tb\u202e"}],
		 "credentials":[{"setting":"secrets","position":1,"lastAt":"2026-01-02T03:04:05.123456Z"},{"setting":"secrets","position":2,"lastAt":null}]},
		{"name":"one","kind":"github","path":"/webhooks/one","proof":"p","credentials":[{"setting":"secrets","position":1,"lastAt":null}]}]`), &sources); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := printSources(&out, api.Sources{Since: api.At(time.Unix(0, 0)), Sources: sources}); err != nil {
		t.Fatal(err)
	}
	const want = `NAME  KIND    URL                  ACCEPTED  DUPLICATES  REJECTED  LAST  AUTHENTICATED BY
own   hmac    https://a.example/x  1         0           3         -     HMAC-SHA256 of {method}\n{url}\n{body}\u009b2J in X-Sig
one   github  /webhooks/one        0         0           0         -     p

REJECTED  STATUS  REQUESTS  REASON
own       400     2         id is missing
own       401     1         a\tb\u202e

SECRETS  SETTING  POSITION  LAST USED
own      secrets  1         2026-01-02T03:04:05Z
own      secrets  2         not since the start

Counted since 1970-01-01T00:00:00Z.
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// TestSourcesCheck: what is signed may hold a newline, and the table stays a table; a source that
// refuses what its sender may send is named.
func TestSourcesCheck(t *testing.T) {
	file := writeConfig(t, `
http: {max_body: 1MiB}
sources:
  contentful: {kind: hmac, secrets: [a-secret-1], message_id: [json:id], signature: {header: X-Sig, signed: "{method}\n{url}\n{body}"}, public_url: "https://a.example/x"}
  github: {kind: github, secrets: [a-secret-2, a-secret-3]}
  large: {kind: github, secrets: [a-secret-2], max_body: 25MiB}
`)
	var out bytes.Buffer
	cmd := newSourcesCheckCommand()
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"--config", file})
	t.Setenv("HOOKGATE_DATA_DIR", t.TempDir())
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 7 || !strings.HasPrefix(lines[0], "NAME") ||
		!strings.Contains(lines[1], `{method}\n{url}\n{body}`) ||
		!strings.HasPrefix(lines[5],
			"NOTE: GitHub sends bodies of up to 25 MiB, and sources.github takes 1.0 MiB") ||
		lines[6] != "OK: 4 sources" {
		t.Errorf("got\n%s", out.String())
	}
}

// TestSendUnknownSource: whoever is in another folder than the configuration learns where it is
// looked for, and a misspelt name can be compared with those that there are.
func TestSendUnknownSource(t *testing.T) {
	file := writeConfig(t, "sources: {stripe: {kind: stripe, secrets: [whsec_0123456789abcdef0123456789abcdef]}}")
	t.Setenv("HOOKGATE_DATA_DIR", t.TempDir())
	cmd := newSourcesSendCommand()
	cmd.SetArgs([]string{"--source", "strip", "--config", file})
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.Execute()
	if err == nil || !strings.Contains(err.Error(), "only default, stripe;") ||
		!strings.Contains(err.Error(), "hookgate.yaml in this folder") {
		t.Errorf("got %v", err)
	}
}
