package e2e

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"html"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/control"
)

// TestOfferedCommands checks that the command that the page Sources shows for a source works
// unchanged, for every kind that a person can sign for. Method: run the commands of the page in a
// shell, against a gate with a source of each kind. Each gets the answer of its kind, and the event
// is stored.
func TestOfferedCommands(t *testing.T) {
	t.Parallel()
	private, public := ecdsaKeys(t)
	keyFile := map[string]string{"sendgrid": filepath.Join(t.TempDir(), "ec"),
		"discord": filepath.Join(t.TempDir(), "ed")}
	for kind, text := range map[string]string{"sendgrid": pkcs8(t, private),
		"discord": strings.Repeat("00", 32)} {
		if err := os.WriteFile(keyFile[kind], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secrets := map[string]string{"stripe": "whsec_a-secret-of-theirs", "basic": "user:a-password",
		"standard_webhooks": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		"svix":              "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		"discord":           "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29",
		"sendgrid":          public}
	const secret = "a-secret-of-the-sender"
	more := map[string]string{"envelope": "bearer_keys: [" + secret + "]",
		"meta": "verify_tokens: [a-verify-token]", "sns": `topics: ["arn:aws:sns:eu-west-1:1:t"]`,
		"hmac":   `message_id: [json:order.id], signature: {header: X-Sig}`,
		"bearer": `message_id: [header:X-Id]`, "basic": `message_id: [form:id]`,
		"api_key": `message_id: [[json:a, json:b]]`, "none": `message_id: ["sha256:body"]`}
	config := "public_url: https://hooks.example.com\nsources:\n"
	for _, kind := range admit.Names() {
		settings := []string{"kind: " + kind}
		if !slices.Contains([]string{"sns", "none", "envelope"}, kind) {
			one := secrets[kind]
			if one == "" {
				one = secret
			}
			settings = append(settings, fmt.Sprintf("secrets: [%q]", one))
		}
		if more[kind] != "" {
			settings = append(settings, more[kind])
		}
		config += "  " + kind + ": {" + strings.Join(settings, ", ") + "}\n"
	}
	file := writeConfig(t, config)
	g := startGate(t, startOptions{args: []string{"--config", file}})
	bin := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(bin, "hookgate")); err != nil {
		t.Fatal(err)
	}
	page := g.mustRequest(200, http.MethodGet, "/ui/sources", "", "Authorization", "Bearer "+
		g.newToken("wall", control.RoleViewer, ""))
	stored := 0
	for _, kind := range admit.Names() {
		found := regexp.MustCompile(`(?s)<pre id="send-` + kind + `"[^>]*>(.*?)</pre>`).
			FindStringSubmatch(page)
		if found == nil {
			t.Fatalf("the page offers nothing for %s", kind)
		}
		command := html.UnescapeString(found[1])
		if kind == "sns" {
			if !strings.Contains(command, "aws sns publish") {
				t.Errorf("the command for Amazon SNS is %s", command)
			}
			continue
		}
		// The gate of the test has another address than its public URL.
		command = strings.ReplaceAll(command, "https://hooks.example.com", g.url)
		cmd := exec.Command("bash", "-c", command)
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOOKGATE_CONFIG="+file,
			"HOOKGATE_DATA_DIR="+g.dir, "KEY_FILE="+keyFile[kind], "KEY="+secret)
		if secrets[kind] != "" {
			cmd.Env = append(cmd.Env, "KEY="+secrets[kind])
		}
		out, err := cmd.CombinedOutput()
		k, _ := admit.Find(kind)
		want := "202 Accepted"
		if k.Success.Status != 0 {
			want = strconv.Itoa(k.Success.Status) + " " + http.StatusText(k.Success.Status)
		}
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: the command ends with %v, want %s:\n%s\n%s", kind, err, want, command, out)
		}
		stored++
	}
	g.awaitDrained()
	_, events := g.request(http.MethodGet, "/api/events?limit=1000", "", "Accept",
		"application/x-ndjson")
	if n := strings.Count(events, "\n"); n != stored {
		t.Errorf("%d events are stored, want %d:\n%s", n, stored, events)
	}
}

// pkcs8 converts a key from SEC 1 to PKCS #8.
func pkcs8(t *testing.T, sec1 string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(sec1))
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
