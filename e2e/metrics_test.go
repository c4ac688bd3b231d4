package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// family is a metric in a scrape: the values of each label.
type family struct {
	kind   string
	labels map[string]map[string]bool
}

// TestMetrics scrapes a gate after a little of everything has happened. It compares the metrics
// with docs/reference/metrics.md and with the metrics and labels that the files in deploy use.
func TestMetrics(t *testing.T) {
	t.Parallel()
	exported := scrapeEverything(t)
	t.Run("docs", func(t *testing.T) { compareWithDocs(t, exported) })
	t.Run("rules", func(t *testing.T) {
		text, err := os.ReadFile("../deploy/prometheus/hookgate.rules.yaml")
		if err != nil {
			t.Fatal(err)
		}
		// The text of a rule from one alert to the next has the expression and the labels that it uses.
		for _, rule := range strings.Split(string(text), "- alert: ")[1:] {
			checkUse(t, exported, rule)
		}
	})
	t.Run("dashboard", func(t *testing.T) {
		text, err := os.ReadFile("../deploy/grafana/hookgate.json")
		if err != nil {
			t.Fatal(err)
		}
		uses := queries(t, text)
		if len(uses) < 50 {
			t.Fatalf("the dashboard has %d queries", len(uses))
		}
		for _, use := range uses {
			checkUse(t, exported, use)
		}
	})
}

// scrapeEverything returns the metrics of a gate with Redis and PostgreSQL by name.
func scrapeEverything(t *testing.T) map[string]family {
	t.Helper()
	consumer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}))
	defer consumer.Close()
	g := startGate(t, startOptions{env: newShared(t).env(),
		args: []string{"--role", roleAll, "--push", consumer.URL}})
	for n, sequence := range []int{1, 3, 2} { // a gap and an inversion
		if status, body := g.send(fmt.Sprintf(`{"messageId":"m%d","eventType":"t","sequence":%d}`, n,
			sequence)); status != http.StatusAccepted {
			t.Fatalf("%d %s", status, body)
		}
	}
	if status, _ := g.send(`{`); status != http.StatusBadRequest {
		t.Fatalf("a malformed webhook is answered %d", status)
	}
	g.awaitDrained()
	exported := map[string]family{}
	g.await("all is counted", func() bool {
		_, text := g.request(http.MethodGet, "/metrics", "")
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for name, f := range families {
			exported[name] = describe(f)
		}
		return strings.Contains(text, `webhook_sequence_inversions_total{source="default"} 1`) &&
			strings.Contains(text,
				`webhook_deliveries_total{outcome="delivered",subscription="default"} 3`) &&
			strings.Contains(text, `webhook_subscription_backlog{subscription="default"} 0`) &&
			strings.Contains(text, `webhook_sequence_gaps_total{source="default"} 1`) &&
			strings.Contains(text, "webhook_partitions_owned 16") &&
			strings.Contains(text, "webhook_guard_nearness_ratio")
	})
	return exported
}

func describe(f *dto.MetricFamily) family {
	d := family{strings.ToLower(f.GetType().String()), map[string]map[string]bool{}}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if d.labels[l.GetName()] == nil {
				d.labels[l.GetName()] = map[string]bool{}
			}
			d.labels[l.GetName()][l.GetValue()] = true
		}
	}
	return d
}

// ofLibraries matches the metrics that the client library exports about process and runtime.
var ofLibraries = regexp.MustCompile(`^(go|process|promhttp)_`)

var documentedMetric = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (\\w+) \\|(.*?)\\|")

// compareWithDocs checks that the page has each metric with its type and its labels, and no other.
func compareWithDocs(t *testing.T, exported map[string]family) {
	text, err := os.ReadFile("../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, row := range documentedMetric.FindAllStringSubmatch(string(text), -1) {
		name := row[1]
		documented[name] = true
		f, ok := exported[name]
		if !ok {
			t.Errorf("%s is documented and not exported", name)
			continue
		}
		labels := strings.Join(slices.Sorted(maps.Keys(f.labels)), ", ")
		if want := strings.TrimSpace(strings.ReplaceAll(row[3], "`", "")); f.kind != row[2] ||
			labels != want {
			t.Errorf("%s is documented as a %s with the labels %q and is a %s with %q", name, row[2], want,
				f.kind, labels)
		}
	}
	for reason := range exported["webhook_refusals_total"].labels["reason"] {
		if !strings.Contains(string(text), "`"+reason+"`") {
			t.Errorf("the reason %s is not documented", reason)
		}
	}
	for name := range exported {
		if !documented[name] && !ofLibraries.MatchString(name) {
			t.Errorf("%s is exported and not documented", name)
		}
	}
}

// queries returns every text of a dashboard that may name metrics and labels: the queries of each
// panel with their legends.
func queries(t *testing.T, dashboard []byte) (all []string) {
	t.Helper()
	var d any
	if err := json.Unmarshal(dashboard, &d); err != nil {
		t.Fatal(err)
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				walk(item)
			}
		case map[string]any:
			use := ""
			for _, name := range []string{"expr", "legendFormat", "definition", "textFormat"} {
				if text, ok := v[name].(string); ok {
					use += text + "\n"
				}
			}
			if use != "" {
				all = append(all, use)
			}
			for _, item := range v {
				walk(item)
			}
		}
	}
	walk(d)
	return all
}

var (
	selector  = regexp.MustCompile(`\b((?:webhook|hookgate|process|go)_[a-z_]+)\b(?:\{([^}]*)\})?`)
	matcher   = regexp.MustCompile(`(\w+)(=~|!~|!=|=)"([^"]*)"`)
	grouping  = regexp.MustCompile(`\b(?:by|on|ignoring|without)\s*\(([^)]*)\)`)
	reference = regexp.MustCompile(`\{\{\s*(?:\$labels\.)?(\w+)[\s}]`)
	// scraped are the labels that Prometheus adds, and le.
	scraped = []string{"job", "instance", "le"}
)

// checkUse checks that the scrape has the metrics and labels in the text of a query.
func checkUse(t *testing.T, exported map[string]family, use string) {
	t.Helper()
	labels := slices.Clone(scraped)
	for _, s := range selector.FindAllStringSubmatch(use, -1) {
		name := s[1]
		f, ok := exported[name]
		if !ok {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if base, is := strings.CutSuffix(name, suffix); is && exported[base].kind == "histogram" {
					f, ok = exported[base], true
				}
			}
		}
		if !ok {
			t.Errorf("%s is not exported; used in\n%s", name, use)
			continue
		}
		labels = append(labels, slices.Collect(maps.Keys(f.labels))...)
		for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
			label, operator, value := m[1], m[2], m[3]
			switch {
			case slices.Contains(scraped, label):
			case f.labels[label] == nil:
				t.Errorf("%s has no label %s; used in\n%s", name, label, use)
			case operator == "=" || operator == "=~":
				for one := range strings.SplitSeq(value, "|") {
					if !f.labels[label][one] {
						t.Errorf("%s never has %s=%q; used in\n%s", name, label, one, use)
					}
				}
			}
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(use, -1) {
		for label := range strings.SplitSeq(g[1], ",") {
			if label = strings.TrimSpace(label); label != "" && !slices.Contains(labels, label) {
				t.Errorf("no metric has the label %s; used in\n%s", label, use)
			}
		}
	}
	for _, r := range reference.FindAllStringSubmatch(use, -1) {
		if !slices.Contains(labels, r[1]) && r[1] != "value" {
			t.Errorf("no metric has the label %s; used in\n%s", r[1], use)
		}
	}
}

// TestCheckUse checks that checkUse finds each problem.
func TestCheckUse(t *testing.T) {
	exported := map[string]family{
		"webhook_a":       {"gauge", map[string]map[string]bool{"state": {"open": true}}},
		"webhook_time_ms": {"histogram", map[string]map[string]bool{}},
	}
	for use, sound := range map[string]bool{
		`sum by (state) (webhook_a{state="open",job="x"})`:      true,
		`rate(webhook_time_ms_bucket[5m]) by (le) {{instance}}`: true,
		`webhook_b`:                         false,
		`webhook_a_bucket`:                  false,
		`webhook_a{state=~"open|shut"}`:     false,
		`webhook_a{state="shut"}`:           false,
		`webhook_a{colour=~"red|green"}`:    false,
		`sum by (colour) (webhook_a)`:       false,
		`webhook_a {{ $labels.colour }}`:    false,
		`webhook_a {{colour}}`:              false,
		`webhook_time_ms_sum{state="open"}`: false,
	} {
		var inner testing.T
		checkUse(&inner, exported, use)
		if inner.Failed() == sound {
			t.Errorf("%s: found sound: %v", use, !inner.Failed())
		}
	}
}

// TestAlertRules runs the rules and their tests through promtool, which make tools puts into
// .cache.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	promtool, err := filepath.Abs("../.cache/promtool/promtool")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"check", "rules", "hookgate.rules.yaml"},
		{"test", "rules", "hookgate.rules.test.yaml", "hookgate.rules.days.test.yaml"}} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = "../deploy/prometheus"
		cmd.Env = append(os.Environ(), "GOGC=400") // saves a quarter of its time
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
	// Each alert needs a test in which it fires, and a heading in the runbook.
	rules, err := os.ReadFile("../deploy/prometheus/hookgate.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var tests []byte
	for _, name := range []string{"hookgate.rules.test.yaml", "hookgate.rules.days.test.yaml"} {
		text, err := os.ReadFile("../deploy/prometheus/" + name)
		if err != nil {
			t.Fatal(err)
		}
		tests = append(tests, text...)
	}
	runbook, err := os.ReadFile("../docs/runbook/README.md")
	if err != nil {
		t.Fatal(err)
	}
	alerts := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(rules), -1)
	for _, a := range alerts {
		if !strings.Contains(string(runbook), "\n## "+a[1]+"\n") {
			t.Errorf("%s is not in the runbook", a[1])
		}
		if !strings.Contains(string(tests), `alertname="`+a[1]+`"`) {
			t.Errorf("%s has no test", a[1])
		}
	}
	if len(alerts) == 0 {
		t.Error("there are no alerts")
	}
}
