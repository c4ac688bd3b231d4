package hookgate_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/hookgate/hookgate"

// allowedImports says which packages of this module each may import, tests aside, and why the list
// is as short as it is. What is missing here may import nothing of the module.
var allowedImports = map[string]struct {
	imports []string
	why     string
}{
	"":      {nil, "the vocabulary and the ports depend on nothing"},
	"admit": {[]string{""}, "admission does no I/O"},
	"docs":  {nil, "documents are text"},
	"evidence": {nil,
		"the form of evidence is nobody's: a client makes it, a gate may collect it"},
	"certify": {[]string{"", "evidence", "internal/svgplot", "load"},
		"a judge must not lean on what the server believes; of the gate it knows the vocabulary"},
	"attention": {[]string{"metrics"}, "a list of what others find"},
	"dashboard": {[]string{"", "attention", "guard", "metrics", "release"},
		"pages are a client of the JSON interface; only the numbers that move they read themselves"},
	"guard": {[]string{""},
		"it watches and decides, and knows nothing of who asks it"},
	"release": {[]string{"", "guard"},
		"it judges what the guard observes, and changes mode and canary through small interfaces"},
	"release/canary": {[]string{""},
		"it shares out and passes on, and knows nothing of sources or of what the gate does with its share"},
	"ingest": {[]string{"", "admit", "control", "guard", "internal/arrivals", "internal/httpserver",
		"internal/jsontext", "internal/metrics", "release/canary"},
		"the webhook handler knows ports, not backends, and nothing of administration"},
	"adminapi": {[]string{"", "admit", "api", "control", "dashboard", "docs", "evidence", "guard",
		"ingest",
		"internal/attention", "internal/httpserver", "internal/metrics", "release",
		"release/canary"}, "the API knows ports, not backends"},
	"internal/arrivals": {nil, "it compares arrivals, whatever arrives"},
	"internal/httpserver": {[]string{"", "api", "guard", "internal/arrivals",
		"internal/metrics"}, "it serves any handlers"},
	"metrics": {[]string{"", "guard", "release", "release/canary"},
		"metrics are told; the few things they ask for are a port's or the guard's state"},
	"internal/certtest": {nil, "certificates are the same for every server"},
	"internal/pgtest": {[]string{"internal/certtest"},
		"it starts servers and knows nothing of who uses them"},
	"internal/modeltest": {nil, "it sets a number"},
	"internal/prose":     {nil, "it reads texts, whatever they are about"},
	"internal/secret":    {nil, "it reads secrets, whatever they open"},
	"internal/tally": {[]string{""},
		"what becomes of events is counted alike, whoever hands them to the store"},
	"internal/svgplot":  {nil, "it draws numbers, whatever they are of"},
	"internal/sqlitedb": {[]string{""}, "it knows SQLite and not what is kept in it"},
	"queue/spool":       {[]string{"", "control"}, "it spools for any queue to any file"},
	"queue/spool/spoolfile": {[]string{"", "control", "internal/sqlitedb", "queue/wire"},
		"the file does not depend on the queue that uses it"},
	"settings":              {[]string{""}, "it keeps settings in any table"},
	"settings/settingstest": {[]string{""}, "a conformance suite knows the port and no backend"},
	"queue/wire":            {[]string{""}, "the form of a record is the same in every queue"},
	"queue/direct":          {[]string{"", "internal/tally"}, "it hands requests to any store"},
	"queue/queuetest":       {[]string{""}, "a conformance suite knows the port and no backend"},
	"store/migrations":      {nil, "schemas are text"},
	"store/prune":           {[]string{""}, "what retention may remove is the same for every store"},
	"store/audit": {[]string{"", "store/batch", "store/prune"},
		"an audit is the same for every store"},
	"store/paging": {[]string{"", "store/batch"}, "pages are the same for every store"},
	"store/batch":  {[]string{""}, "a batch is prepared in the same way for every store"},
	"store/sqlite": {[]string{"", "internal/sqlitedb", "store/audit", "store/batch",
		"store/migrations", "store/paging", "store/prune"},
		"the store knows nothing of HTTP or of the queue"},
	"store/postgres": {[]string{"", "store/audit", "store/batch", "store/migrations", "store/paging",
		"store/prune"},
		"the store knows nothing of HTTP or of the queue, nor of the other store"},
	"store/storetest": {[]string{"", "store/batch", "store/paging"},
		"a conformance suite knows the port and no backend, and what all backends search with"},
	"tracing": {[]string{""}, "it decorates ports and knows no backend"},
	"worker":  {[]string{"", "internal/tally"}, "workers know ports, not backends"},
	"release/rollback": {[]string{""},
		"an outside client: it walks while the server goes down and comes back as another release"},
	"retention": {[]string{""}, "it prunes any store that can"},
	"load": {[]string{"", "internal/secret"},
		"an outside client must not lean on what the server believes; how people write secrets is the same for both"},
	"bench": {[]string{"", "load", "internal/pgtest", "internal/svgplot", "store/postgres",
		"store/sqlite"},
		"it measures from outside, and fills stores by their own Apply"},
	"internal/redistest": {[]string{"internal/certtest"},
		"it runs servers and knows nothing of what is kept in them"},
	"queue/redis": {[]string{"", "queue/wire"}, "the queue knows nothing of the store"},
	"doctor": {[]string{"queue/redis", "store/postgres"},
		"it asks the backends what they see, and nothing on the way of an event knows it"},
	"cmd/hookgate": {[]string{"", "admit", "attention", "release/canary", "certify", "dashboard",
		"doctor",
		"evidence", "guard", "adminapi", "ingest", "internal/httpserver", "internal/secret", "release",
		"load", "metrics",
		"queue/direct", "queue/redis", "queue/spool", "queue/spool/spoolfile",
		"retention", "release/rollback", "settings", "store/audit", "store/postgres", "store/sqlite",
		"tracing",
		"worker"},
		"the only place that names backends"},
}

// confined are modules that only the named packages may import, tests aside: a Go program that
// embeds the gate gets none of them.
var confined = map[string][]string{
	"github.com/spf13/cobra":         {"cmd/hookgate"},
	"github.com/knadh/koanf":         {"cmd/hookgate", "config"},
	"github.com/schollz/progressbar": {"internal/progress"},
	"github.com/chromedp":            nil, // e2e, which is a module of its own
	"github.com/pb33f/libopenapi":    nil,
	"github.com/HdrHistogram":        {"bench", "certify", "load"},
	"honnef.co/go/tools":             nil,
}

// TestImports reads the imports of every package and compares them with the lists. The root package
// may import the standard library alone.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Standard", module+"/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for packages := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := packages.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		rule, known := allowedImports[name]
		if !known {
			t.Errorf("package %q is not in allowedImports: say there what it may import, and why", name)
		}
		for _, path := range p.Imports {
			if imported, ours := strings.CutPrefix(path, module); ours {
				if !slices.Contains(rule.imports, strings.TrimPrefix(imported, "/")) {
					t.Errorf("%s imports %s: %s", name, path, rule.why)
				}
			} else if name == "" && strings.Contains(path, ".") {
				t.Errorf("the root package imports %s: %s", path, rule.why)
			}
			for prefix, packages := range confined {
				if strings.HasPrefix(path, prefix) && !slices.Contains(packages, name) {
					t.Errorf("%s imports %s: only %q may", name, path, packages)
				}
			}
		}
	}
}
