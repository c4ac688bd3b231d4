package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// examplesDir has the payloads of @octokit/webhooks-examples. make test installs it.
const examplesDir = "../.cache/npm/node_modules/@octokit/webhooks-examples"

const githubSecret = "It's a Secret to Everybody"

type example struct {
	event string
	body  []byte
}

// githubExamples reads every payload in every folder of the package.
func githubExamples(t *testing.T) []example {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(examplesDir, "*", "index.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no payloads in %s (run `make test`, which installs them): %v", examplesDir, err)
	}
	var all []example
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var events []struct {
			Name     string
			Examples []json.RawMessage
		}
		if err := json.Unmarshal(text, &events); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, e := range events {
			for _, body := range e.Examples {
				all = append(all, example{e.Name, body})
			}
		}
	}
	return all
}

// TestGitHubExamples sends all payloads with the signature and headers of GitHub, and reads them
// back with the same bytes, event type and ordering key. A wrong signature is rejected.
func TestGitHubExamples(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{
		env: []string{"GITHUB_SECRET=" + githubSecret},
		args: []string{"--config", writeConfig(t, `
sources:
  github:
    kind: github
    secrets: [env:GITHUB_SECRET]
    ordering_key: repository.full_name
    keep_headers: [X-GitHub-Hook-ID]
`)}})
	examples := githubExamples(t)
	for i, e := range examples {
		mac := hmac.New(sha256.New, []byte(githubSecret))
		mac.Write(e.body)
		signature := "sha256=" + hex.EncodeToString(mac.Sum(nil))
		post := func(signature string) (int, string) {
			return g.request(http.MethodPost, "/webhooks/github", string(e.body), "Content-Type",
				"application/json",
				"X-GitHub-Event", e.event, "X-GitHub-Delivery", fmt.Sprintf("delivery-%d", i),
				"X-GitHub-Hook-ID", "42",
				"X-Hub-Signature-256", signature)
		}
		if i == 0 {
			forged := strings.Map(func(r rune) rune {
				if r == 'a' {
					return 'b'
				}
				return r
			}, signature)
			if status, _ := post(forged); status != http.StatusUnauthorized {
				t.Fatalf("a forged signature is answered %d", status)
			}
		}
		if status, answer := post(signature); status != http.StatusAccepted {
			t.Fatalf("payload %d (%s) is answered %d %s", i, e.event, status, answer)
		}
	}
	g.awaitDrained()
	for i, e := range examples {
		checkExample(t, g, e, fmt.Sprintf("delivery-%d", i))
	}
	t.Logf("%d payloads came back byte for byte", len(examples))
	g.stop()
}

func checkExample(t *testing.T, g *gate, e example, messageID string) {
	t.Helper()
	var answer struct {
		Events []struct{ ID, EventType, OrderingKey, Source, SHA256 string }
	}
	status, body := g.request(http.MethodGet, "/api/events?messageId="+messageID, "")
	if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Events) != 1 {
		t.Fatalf("%s is answered %d %s", messageID, status, body)
	}
	stored := answer.Events[0]
	if _, body = g.request(http.MethodGet, "/api/events/"+stored.ID+"/body",
		""); !bytes.Equal([]byte(body), e.body) {
		t.Errorf("%s came back as other bytes", messageID)
	}
	var payload struct {
		Repository struct {
			FullName string `json:"full_name"`
		}
	}
	if err := json.Unmarshal(e.body, &payload); err != nil {
		t.Fatal(err)
	}
	key := payload.Repository.FullName
	if key == "" {
		key = e.event
	}
	if stored.EventType != e.event || stored.OrderingKey != key || stored.Source != "github" {
		t.Errorf("%s is stored as %+v, want type %s and key %s", messageID, stored, e.event, key)
	}
}
