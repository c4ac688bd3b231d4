package main

import (
	"bytes"
	"strings"
	"testing"
)

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

// TestSendUnknownSource: a person in another folder than the configuration learns where it is
// looked for, and a misspelt name can be compared with those that there are.
func TestSendUnknownSource(t *testing.T) {
	file := writeConfig(t, "sources: {stripe: {kind: stripe, secrets: "+
		"[whsec_0123456789abcdef0123456789abcdef]}}")
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
