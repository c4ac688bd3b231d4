package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

const root = ".."

// pages returns the Markdown pages of the repository for readers, by path from its root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	read := func(path string) {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		texts[path] = string(text)
	}
	tops, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range tops {
		read(filepath.Base(path))
	}
	for _, dir := range []string{"docs", "deploy", "examples"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry,
			err error) error {
			if err == nil && !d.IsDir() && filepath.Ext(path) == ".md" {
				path, err = filepath.Rel(root, path)
				read(path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return texts
}

var (
	fence  = regexp.MustCompile("(?ms)^```.*?^```$")
	code   = regexp.MustCompile("`[^`\n]*`")
	link   = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"`)
	header = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	inLink = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// anchors returns the anchors that GitHub gives to the headings of a page.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, h := range header.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		slug := strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, inLink.ReplaceAllString(h[1], "$1"))
		found[slug] = true
	}
	return found
}

// links returns the targets of the links of a page, without those in code.
func links(text string) []string {
	text = code.ReplaceAllString(fence.ReplaceAllString(text, ""), "")
	var targets []string
	for _, m := range link.FindAllStringSubmatch(text, -1) {
		targets = append(targets, m[1]+m[2])
	}
	return targets
}

// TestLinks follows every relative link of every page. A link must lead to a file of the
// repository, an anchor to a heading. Every page must be reachable from README.md or
// docs/README.md.
func TestLinks(t *testing.T) {
	texts := pages(t)
	to := map[string][]string{}
	for page, text := range texts {
		for _, target := range links(text) {
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			path, anchor, _ := strings.Cut(target, "#")
			file := page
			if path != "" {
				file = filepath.Join(filepath.Dir(page), path)
			}
			info, err := os.Stat(filepath.Join(root, file))
			if err != nil {
				t.Errorf("%s: the link to %s leads nowhere", page, target)
				continue
			}
			if info.IsDir() {
				file = filepath.Join(file, "README.md")
			}
			to[page] = append(to[page], file)
			if anchor != "" && !anchors(texts[file])[anchor] {
				t.Errorf("%s: the link to %s leads to no heading", page, target)
			}
		}
	}
	reached := map[string]bool{}
	next := []string{"README.md", "docs/README.md"}
	for len(next) > 0 {
		page := next[0]
		next = next[1:]
		if !reached[page] {
			reached[page] = true
			next = append(next, to[page]...)
		}
	}
	for page := range texts {
		if !reached[page] {
			t.Errorf("%s: no link leads here", page)
		}
	}
}

const runbookURL = "https://github.com/hookgate/hookgate/blob/main/docs/runbook/README.md#"

// TestRunbook checks that every alert links to its entry in the runbook, and that the runbook has
// no entry for an alert that does not exist.
func TestRunbook(t *testing.T) {
	rules, err := os.ReadFile("../deploy/prometheus/hookgate.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	runbook, err := os.ReadFile("runbook/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var alerts []string
	for _, rule := range strings.Split(string(rules), "- alert: ")[1:] {
		name, rest, _ := strings.Cut(rule, "\n")
		alerts = append(alerts, name)
		if !strings.Contains(rest, "runbook_url: "+runbookURL+strings.ToLower(name)+"\n") {
			t.Errorf("%s: runbook_url does not lead to its entry", name)
		}
	}
	var entries []string
	for _, h := range header.FindAllStringSubmatch(string(runbook), -1) {
		if strings.HasPrefix(h[1], "Hookgate") {
			entries = append(entries, h[1])
		}
	}
	slices.Sort(alerts)
	slices.Sort(entries)
	if !slices.Equal(alerts, entries) {
		t.Errorf("the alerts are\n%q, the entries of the runbook\n%q", alerts, entries)
	}
	for _, entry := range strings.Split(string(runbook), "\n## Hookgate")[1:] {
		name, text, _ := strings.Cut(entry, "\n")
		if !strings.Contains(text, "**Meaning.**") ||
			!strings.Contains(text, "**Look") || !strings.Contains(text, "**Do.**") &&
			!strings.Contains(text, "**Look and do.**") {
			t.Errorf("Hookgate%s: the entry lacks Meaning, Look or Do", name)
		}
	}
}

// TestQuickstart checks that the program in the quickstart is the one in examples/consumer, which
// the build compiles.
func TestQuickstart(t *testing.T) {
	page, err := os.ReadFile("quickstart.md")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("../examples/consumer/main.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "```go\n"+string(program)+"```\n") {
		t.Error("the program in quickstart.md is not that of examples/consumer/main.go")
	}
}

var settingRow = regexp.MustCompile("(?m)^\\| `([a-z][a-z0-9_.]*)` \\|")

// TestSettingsExist checks that every setting that a page or a comment in deploy names is in the
// configuration reference. Decisions and the changelog may name what was removed.
func TestSettingsExist(t *testing.T) {
	reference, err := os.ReadFile("reference/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	groups := map[string]bool{}
	for _, m := range settingRow.FindAllStringSubmatch(string(reference), -1) {
		path := m[1]
		for path != "" {
			known[path] = true
			path = path[:max(0, strings.LastIndexByte(path, '.'))]
		}
		if group, _, dotted := strings.Cut(m[1], "."); dotted {
			groups[group] = true
		}
	}
	if len(known) < 50 {
		t.Fatalf("configuration.md has %d settings", len(known))
	}
	named := regexp.MustCompile("`([a-z]+)\\.([a-z][a-z_.0-9]*)(?:[:`])")
	for page, text := range pages(t) {
		if strings.HasPrefix(page, "docs/decisions/") || page == "CHANGELOG.md" {
			continue
		}
		for _, m := range named.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			path := m[1] + "." + m[2]
			if groups[m[1]] && !known[path] && !notSettings[path] && filepath.Ext(path) != ".go" {
				t.Errorf("%s names the setting %s, which is not in configuration.md", page, path)
			}
		}
	}
}

// notSettings have the form of a setting and are fields of answers, stages or files.
var notSettings = map[string]bool{
	"queue.db": true, "queue.degraded": true, "queue.error": true,
	"queue.kind":     true,
	"approvals.json": true, "evidence.key": true, "release.trigger.raised": true,
	"release.trigger.cleared": true, "release.trigger.acted": true,
}

// TestNamesExist checks that each test, benchmark and Go file that a page names exists, and each
// log line that the runbook quotes. A path is given from the root, or from the folder that the same
// line names.
func TestNamesExist(t *testing.T) {
	functions := map[string]bool{}
	files := map[string]bool{}
	var source strings.Builder
	function := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark)\w+)\(`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != root {
				return fs.SkipDir // caches
			}
			return err
		}
		files[filepath.Base(path)] = true
		text, err := os.ReadFile(path)
		for _, m := range function.FindAllStringSubmatch(string(text), -1) {
			functions[m[1]] = true
		}
		source.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Benchmark)[A-Z]\\w*)[`/]|`([a-z][\\w/]*\\.go)`")
	for page, text := range pages(t) {
		if page == "CHANGELOG.md" {
			continue
		}
		for _, m := range named.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			if m[1] != "" && !functions[m[1]] || m[2] != "" && !files[filepath.Base(m[2])] {
				t.Errorf("%s names %s%s, which does not exist", page, m[1], m[2])
			}
		}
	}
	quoted := regexp.MustCompile("`((?:[a-z]+[,;]? ){3,}[a-z]+)`")
	for _, m := range quoted.FindAllStringSubmatch(pages(t)["docs/runbook/README.md"], -1) {
		if !strings.HasPrefix(m[1], "hookgate ") && !strings.Contains(source.String(), m[1]) {
			t.Errorf("the runbook quotes %q, which the program does not log", m[1])
		}
	}
}
