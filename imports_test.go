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

// basics are packages that every package may import. They import each other at most, and the root
// package imports the standard library alone.
var basics = []string{"", "control", "internal/backoff", "internal/jsontext", "internal/progress",
	"internal/secret", "internal/terminal"}

// allowedImports says which other packages of this module a package may import, tests aside, and
// why not more. A package that is not here may import the basics alone.
var allowedImports = map[string]struct {
	imports []string
	why     string
}{
	// The queue and the stores: they do not depend on HTTP or on each other.
	"audit":        {nil, "a chain is verified in the same way for every store"},
	"persist":      {[]string{"internal/tally"}, "it uses ports, not backends"},
	"queue/direct": {[]string{"internal/tally"}, "it appends to any store"},
	"queue/redis":  {[]string{"queue/wire"}, "the queue does not depend on the store"},
	"queue/spool":  {nil, "it fails over from any queue to any file"},
	"queue/spool/spoolfile": {[]string{"internal/sqlitedb", "queue/wire"},
		"the file does not depend on the queue that uses it"},
	"store/entry":    {[]string{"audit"}, "an entry has the same form in every store"},
	"store/prune":    {[]string{"audit", "store/entry"}, "retention is the same for every store"},
	"history":        {nil, "stores keep it, and servers and clients read it"},
	"refused":        {nil, "senders cause it, stores keep it, and people read it"},
	"store/sqlstore": {[]string{"audit", "history", "refused", "store/entry"}, "the stores share it"},
	"store/sqlite": {[]string{"audit", "internal/sqlitedb", "store/entry", "store/migrations",
		"store/prune", "store/sqlstore"}, "a store depends on neither HTTP, queue nor other store"},
	"store/postgres": {[]string{"audit", "store/entry", "store/migrations", "store/prune",
		"store/sqlstore"}, "a store depends on neither HTTP, queue nor other store"},
	"store/storetest": {[]string{"audit", "deliver/memory", "history", "internal/modeltest", "refused",
		"store/entry", "store/sqlstore"},
		"a conformance suite does not depend on a backend"},

	// HTTP: it uses ports, not backends.
	"internal/metrics": {[]string{"guard", "history", "release", "release/canary"},
		"it counts what others report, and reads the state of a few parts"},
	"internal/attention": {[]string{"internal/metrics"}, "it lists problems that others find"},
	"internal/httpserver": {[]string{"api", "guard", "internal/arrivals", "internal/metrics"},
		"every request passes it, so it depends on no handler"},
	"ingest": {[]string{"admit", "guard", "internal/arrivals", "internal/httpserver",
		"internal/metrics", "refused", "release/canary"},
		"the webhook handler does not depend on administration"},
	"dashboard": {[]string{"api", "guard", "internal/attention", "internal/metrics", "release"},
		"pages are clients of the JSON interface; they read only live numbers themselves"},
	"adminapi": {[]string{"admit", "api", "dashboard", "deliver/pull", "docs", "evidence", "guard",
		"history", "ingest", "internal/attention", "internal/httpserver", "internal/metrics", "refused",
		"release", "release/canary"},
		"the HTTP interface uses ports, not backends"},
	"deliver":         {[]string{"deliver/internal/changes"}, "it uses ports, not backends"},
	"deliver/handler": {nil, "a function gets an event and answers"},
	"deliver/egress":  {nil, "a policy of addresses depends on nothing"},
	"deliver/push": {[]string{"deliver/egress"},
		"a consumer gets what it needs of an event with each delivery"},
	"deliver/txhandler": {[]string{"deliver/handler", "inbox"},
		"a handler in a transaction depends on the database of the program alone"},
	"deliver/pull": {[]string{"deliver", "deliver/internal/changes"},
		"a lease has the same retries and dead letters as push"},
	"release": {[]string{"guard"}, "it judges the observations of the guard"},

	// Wiring: the only packages that name backends.
	"gate": {[]string{"adminapi", "admit", "api", "audit", "control/settings", "dashboard", "deliver",
		"deliver/egress", "deliver/handler", "deliver/pull", "deliver/push",
		"deliver/txhandler", "doctor", "evidence", "guard", "history", "inbox", "ingest",
		"internal/attention",
		"internal/datadir", "internal/httpserver", "internal/metrics", "internal/tracing", "persist",
		"queue/direct", "queue/redis", "queue/spool", "queue/spool/spoolfile", "refused", "release",
		"release/canary", "release/rollback", "store/postgres", "store/retention", "store/sqlite"},
		"it puts the parts together, and depends on no command"},
	"gatetest": {[]string{"gate", "ingest"}, "a test uses the public interface"},
	"config":   {[]string{"gate", "ingest", "release/rollback"}, "it makes the options of the gate"},
	"doctor": {[]string{"internal/datadir", "queue/redis", "store/postgres"},
		"it asks the backends directly"},
	"cmd/hookgate": {[]string{"adminapi", "admit", "api", "audit", "certify", "config",
		"deliver/push", "doctor", "evidence", "gate", "ingest", "internal/collector",
		"internal/consume", "internal/datadir", "internal/show", "internal/signals", "load",
		"release/rollback", "store/postgres"},
		"a command has flags and calls"},
	"internal/show": {[]string{"admit", "api", "gate", "ingest", "internal/datadir",
		"release/rollback"}, "it prints answers, and calls nothing"},
	"examples/embed":        {[]string{"gate"}, "an example uses the public interface"},
	"examples/consumers/go": {[]string{"api"}, "an example uses the public interface"},

	// Clients: their results must not depend on the code of the server.
	"api":  {nil, "it has types and a client"},
	"load": {nil, "it must not rely on the code that it measures"},
	"certify": {[]string{"api", "certify/consumer", "evidence", "internal/svgplot", "load"},
		"a judge is independent"},
	"certify/consumer": {[]string{"api"},
		"what it records must not depend on the code of the server"},
	"release/rollback": {[]string{"api"},
		"it is a client that runs while the server goes down and comes back as another release"},
	"bench": {[]string{"api", "internal/pgtest", "internal/svgplot", "load", "store/postgres",
		"store/sqlite"}, "it measures from outside, and fills stores with their own Apply"},

	"internal/consume": {[]string{"api", "internal/signals"},
		"it is a client: what it loses must not depend on the code of the server"},

	"simulation": {nil, "it has only tests, which put all parts together over backends in memory"},

	// Servers for tests.
	"internal/pgtest":    {[]string{"internal/certtest"}, "it starts servers for any test"},
	"internal/redistest": {[]string{"internal/certtest"}, "it starts servers for any test"},
}

// independent are packages that may not import all basics.
var independent = map[string]struct {
	imports []string
	why     string
}{
	"":         {nil, "the vocabulary and the ports depend on nothing"},
	"admit":    {[]string{"", "internal/jsontext"}, "it verifies requests without I/O"},
	"control":  {[]string{""}, "it is vocabulary and ports"},
	"docs":     {nil, "documents are text"},
	"inbox":    {nil, "a program without a gate uses it, with the drivers that it has"},
	"verify":   {[]string{"admit"}, "a program that only verifies gets nothing of the gate"},
	"evidence": {nil, "a client makes evidence, and a gate may collect it"},
}

// confined are modules that only the named packages may import, tests aside. A Go program that
// embeds the gate gets none of them.
var confined = map[string][]string{
	"github.com/spf13/cobra":         {"cmd/hookgate"},
	"github.com/knadh/koanf":         {"cmd/hookgate", "config", "certify"},
	"github.com/schollz/progressbar": {"internal/progress"},
	"github.com/HdrHistogram":        {"bench", "certify", "load"},
	"github.com/chromedp":            nil, // e2e is a module of its own
	"github.com/santhosh-tekuri":     nil,
	"honnef.co/go/tools":             nil,
}

// TestImports compares the imports of every package with the lists.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Standard", module+"/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	exists := map[string]bool{}
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
		exists[name] = true
		allowed, why := append(slices.Clone(basics), allowedImports[name].imports...),
			allowedImports[name].why
		if rule, ok := independent[name]; ok {
			allowed, why = rule.imports, rule.why
		}
		if why == "" {
			why = "allowedImports lets it import the basics alone"
		}
		for _, path := range p.Imports {
			if imported, ours := strings.CutPrefix(path, module); ours {
				if !slices.Contains(allowed, strings.TrimPrefix(imported, "/")) {
					t.Errorf("%s imports %s: %s", name, path, why)
				}
			} else if name == "" && strings.Contains(path, ".") {
				t.Errorf("the root package imports %s: %s", path, why)
			}
			for prefix, packages := range confined {
				if strings.HasPrefix(path, prefix) && !slices.Contains(packages, name) {
					t.Errorf("%s imports %s: only %q may", name, path, packages)
				}
			}
		}
	}
	for name := range allowedImports {
		if !exists[name] {
			t.Errorf("allowedImports has %s, and there is no such package", name)
		}
	}
	for _, name := range basics {
		if allowedImports[name].imports != nil {
			t.Errorf("%s is one of the basics and imports other packages", name)
		}
	}
}
