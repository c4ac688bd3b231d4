package gate

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hookgate/hookgate/ingest"
)

// TestSecrets: secrets come from the file, the environment and files, each of them whole; several
// are possible.
func TestSecrets(t *testing.T) {
	t.Setenv("PARTNER_SECRET", `correct horse, "battery", staple`)
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("from-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := resolveSecrets([]string{"from-the-setting", "env:PARTNER_SECRET", "file:" + path})
	if want := []string{"from-the-setting", `correct horse, "battery", staple`,
		"from-a-file"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"env:NOT_SET_ANYWHERE", "file:/no/such/file", "file:" + path, "short",
		""} {
		if _, err := resolveSecrets([]string{bad}); err == nil {
			t.Errorf("%q is taken for a secret", bad)
		}
	}
}

// TestShortTokens: a configured token that opens the gate itself could be guessed if it were short.
func TestShortTokens(t *testing.T) {
	for _, c := range []Options{{AdminTokens: Secrets{"fifteen-letters"}},
		{EvidenceTokens: Secrets{"fifteen-letters"}}} {
		c.DataDir = t.TempDir()
		if _, err := findCredentials(c); err == nil || !strings.Contains(err.Error(), "16 characters") {
			t.Errorf("error %v for a token of 15 characters", err)
		}
	}
}

// TestShorterTokens: the error about a token names the length that a token needs, however short the
// token is.
func TestShorterTokens(t *testing.T) {
	for _, token := range []string{"short", "fifteen-letters"} {
		if _, err := resolveTokens([]string{token}); err == nil ||
			!strings.Contains(err.Error(), "fewer than 16 characters") {
			t.Errorf("%s: got %v", token, err)
		}
	}
	if _, err := resolveSecrets([]string{"short"}); err == nil ||
		!strings.Contains(err.Error(), "shorter than 8 bytes") {
		t.Errorf("a short secret got %v", err)
	}
}

// TestNoPasswordShows: neither an error of the start nor the list of sources repeats a password.
func TestNoPasswordShows(t *testing.T) {
	const password = "hunter2"
	c := DefaultOptions()
	c.Tracing.Endpoint = "me:" + password + "@10.0.0.1"
	if _, err := startTracing(c, nil); err == nil || strings.Contains(err.Error(), password) {
		t.Errorf("tracing: error %v", err)
	}
	c.PublicURL = "https://me:" + password + "@example.com"
	if text := redacted(c.publicURL(ingest.DefaultSource)); strings.Contains(text, password) ||
		!strings.Contains(text, "example.com/webhooks") {
		t.Errorf("the source is shown with the URL %s", text)
	}
}
