package main

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hookgate/hookgate/admit"
)

// TestSourceSettings: what cannot work stops the start with the setting's name.
func TestSourceSettings(t *testing.T) {
	t.Parallel()
	for text, names := range map[string]string{
		"listen: 0.0.0.0:1\nsources: {x: {kind: none, message_id: [request:id]}}": "allow_unauthenticated",
		"listen: :1\nsources: {x: {kind: none, message_id: [request:id]}}":        "allow_unauthenticated",
		"sources: {x: {kind: nonesuch}}":                                          "nonesuch",
		"sources: {x: {kind: stripe, success_status: 500}}":                       "sources.x.success_status",
		"sources: {x: {kind: stripe, success_body: ok}}":                          "sources.x.success_body",
		"sources: {x: {kind: stripe, rate_limit: -1}}":                            "sources.x.rate_limit",
		"sources: {x: {kind: stripe, rate_burst: 5}}":                             "sources.x.rate_burst",
		"sources: {x: {kind: stripe, allow_ips: [10.0.0.0/33]}}":                  "sources.x.allow_ips",
		"sources: {x: {kind: stripe, max_body: 1GiB}}":                            "sources.x.max_body",
		"sources: {x: {kind: square, public_url: hooks.example.com}}":             "sources.x.public_url",
		"sources: {x: {kind: square, public_url: 'https://e.com/?a=b'}}":          "sources.x.public_url",
		"sources: {x: {kind: stripe, tolerance: -5m}}":                            "sources.x.tolerance",
		"http: {trusted_proxies: [x]}":                                            "http.trusted_proxies",
		"http: {max_unpacked: 1GiB}":                                              "http.max_unpacked",
		"public_url: x":                                                           "public_url",
		"tls: {cert_file: a.pem}":                                                 "tls.key_file",
	} {
		if _, err := loadConfig([]string{"HOOKGATE_CONFIG=" + writeConfig(t, text)}, nil); err == nil ||
			!strings.Contains(err.Error(), names) {
			t.Errorf("%s: error %v does not name %s", text, err, names)
		}
	}
	for _, text := range []string{
		"sources: {x: {kind: none, message_id: [request:id]}}",
		"listen: 'localhost:1'\nsources: {x: {kind: none}}",
		"listen: '[::1]:1'\nsources: {x: {kind: none}}",
		"listen: 0.0.0.0:1\nallow_unauthenticated: true\nsources: {x: {kind: none}}",
		"sources: {x: {kind: stripe, allow_ips: [192.0.2.1, '2001:db8::/32'], rate_limit: 0.5, success_status: 204, tolerance: 1h}}",
	} {
		if _, err := loadConfig([]string{"HOOKGATE_CONFIG=" + writeConfig(t, text)}, nil); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestAnswersAreDocumented: docs/reference/senders.md says for each preset what it answers.
func TestAnswersAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/reference/senders.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## Answers\n")
	table, _, _ = strings.Cut(table, "\n## ")
	own := []string{"envelope", "hmac", "bearer", "basic", "api_key", "none"}
	rows := strings.Count(table, "\n| `")
	for _, name := range admit.Names() {
		if slices.Contains(own, name) {
			continue
		}
		kind, _ := admit.Find(name)
		want := "202"
		if kind.Success.Status != 0 {
			want = strconv.Itoa(kind.Success.Status)
		}
		if kind.Success.Body != "" {
			want += " `" + kind.Success.Body + "`"
		}
		rows--
		if !strings.Contains(table, "\n| `"+name+"` | "+want+" | ") {
			t.Errorf("docs/reference/senders.md does not say that %s is answered %s", name, want)
		}
	}
	if rows != 0 {
		t.Errorf("the table has %d rows more than there are presets", rows)
	}
}

// TestSignaturePrefixes: a prefix is one text, commas and all, or a list of texts.
func TestSignaturePrefixes(t *testing.T) {
	for text, want := range map[string]admit.Prefixes{
		`"v1,"`: {"v1,"}, `["v1=", "v2="]`: {"v1=", "v2="}, `["v1,", "v2,"]`: {"v1,", "v2,"},
	} {
		c, err := loadConfig([]string{"HOOKGATE_CONFIG=" +
			writeConfig(t, "sources: {x: {kind: hmac, signature: {prefix: "+text+"}}}")}, nil)
		if got := c.Sources["x"].Signature.Prefix; err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
}

// TestEverySenderIsDocumented: docs/reference/senders.md has a row for each kind, and the example of a sender
// without a preset is a configuration.
func TestEverySenderIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/reference/senders.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range admit.Names() {
		if !strings.Contains(string(text), "\n| `"+name+"` |") {
			t.Errorf("docs/reference/senders.md has no row for %s", name)
		}
	}
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").
		FindAllStringSubmatch(string(text), -1) {
		t.Setenv("STRIPE_WEBHOOK_SECRET", "whsec_a-secret-of-stripe")
		t.Setenv("MUX_SECRET", "a-secret-of-mux")
		c, err := loadConfig([]string{"HOOKGATE_CONFIG=" + writeConfig(t, block[1])}, nil)
		if err != nil {
			t.Errorf("%v:\n%s", err, block[1])
			continue
		}
		if _, err := c.checkSources(); err != nil {
			t.Errorf("%v:\n%s", err, block[1])
		}
	}
}
