package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// snippet is a command of the README with the output that the README shows.
type snippet struct{ command, output string }

// consoleSnippets returns the ```console blocks of a Markdown text.
func consoleSnippets(text string) (all []snippet) {
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(text,
		-1) {
		for line := range strings.Lines(block[1]) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				all = append(all, snippet{command: strings.TrimSpace(command)})
			} else {
				all[len(all)-1].output += line
			}
		}
	}
	return all
}

// varying matches text that differs from run to run.
var varying = []struct {
	what *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`hookgate \S+ listens on`), "hookgate VERSION listens on"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:.]+Z`), "TIME"},
	{regexp.MustCompile(`[0-9a-f]{64}`), "HASH"},
	{regexp.MustCompile(`hgt_[A-Za-z0-9_-]{43}`), "TOKEN"},
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`"worker":"[^"]*"`), `"worker":"NAME"`},
	{regexp.MustCompile(`"event":"\d+"`), `"event":"ID"`},
	{regexp.MustCompile(`"batch":\d+`), `"batch":ID`},
	{regexp.MustCompile(`\d{16}-0"`), `ID-0"`},
	{regexp.MustCompile(`(?m)^\d{16} `), "ID "},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "ADDRESS"},
	{regexp.MustCompile(`\d+ records in \S+`), "N records in TIME"},
	{regexp.MustCompile(`\d+ links`), "N links"}, // batches depend on timing
	{regexp.MustCompile(`(?m)^(rate|latency ms|own lag ms) .*`), "$1 N"},
	{regexp.MustCompile(`"latency_ms":[\d.]+`), `"latency_ms":N`},
	{regexp.MustCompile(`\+[\d.]+ ms`), "+N ms"},
	{regexp.MustCompile(`[ \t]+`), " "},
	{regexp.MustCompile(` \n`), "\n"}, // an empty last column
}

func withoutVarying(s string) string {
	for _, v := range varying {
		s = v.what.ReplaceAllString(s, v.name)
	}
	return strings.TrimSpace(s)
}

// TestReadme runs the commands of the README in their order and compares the output, except times,
// ids and figures.
func TestReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	g := startGate(t, startOptions{dir: filepath.Join(dir, "data")})
	snippets := consoleSnippets(string(text))
	if len(snippets) < 9 || snippets[0].command != "hookgate serve" {
		t.Fatalf("the README has %d snippets, want the tour with the start first", len(snippets))
	}
	g.await("the start prints all it has to say", func() bool {
		return strings.Contains(g.out.String(),
			" trace evt-1")
	})
	compare := func(s snippet, got string) {
		got = strings.ReplaceAll(got, g.dir, "data")
		if got, want := withoutVarying(got), withoutVarying(s.output); got != want {
			t.Errorf("%s prints\n%s\nand the README says\n%s", s.command, got, want)
		}
	}
	compare(snippets[0], g.out.String())
	for _, s := range snippets[1:] {
		command := strings.ReplaceAll(s.command, "http://127.0.0.1:8080", g.url)
		for _, client := range []string{"hookgate replay", "hookgate trace", "hookgate events",
			"hookgate maintenance", "hookgate drain",
			"hookgate token create", "hookgate audit actions"} {
			command = strings.ReplaceAll(command, client, client+" --target "+g.url)
		}
		cmd := exec.Command("bash", "-o", "pipefail", "-c", command)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v", command, err)
		}
		compare(s, string(out))
		if strings.Contains(command, "replay") || strings.Contains(command, "/webhooks") {
			g.awaitDrained()
		}
	}
}
