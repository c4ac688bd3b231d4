package gate

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestLibraryImports: a program that embeds the gate does not get the libraries of the command and
// of the tests. Method: `go list -deps` of this package.
func TestLibraryImports(t *testing.T) {
	banned := map[string]string{
		"github.com/spf13/":                "flags belong to cmd/hookgate",
		"github.com/knadh/koanf":           "the configuration file belongs to config",
		"github.com/go-viper/mapstructure": "the configuration file belongs to config",
		"github.com/chromedp/":             "a browser belongs to e2e",
		"github.com/pb33f/":                "the check of the OpenAPI document belongs to e2e",
		"testing":                          "test helpers belong to tests",
	}
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	if len(packages) < 100 {
		t.Fatalf("go list -deps names %d packages only", len(packages))
	}
	for _, path := range packages {
		for prefix, why := range banned {
			if path == prefix || strings.HasPrefix(path, prefix) && strings.Contains(prefix, "/") {
				t.Errorf("gate imports %s: %s", path, why)
			}
		}
	}
}

// TestNothingGlobal: a gate has nothing in common with the rest of the program: no registry,
// tracer, logger, HTTP client or mux of the process. Method: the source of the packages of this
// module that gate depends on.
func TestNothingGlobal(t *testing.T) {
	const module = "github.com/hookgate/hookgate"
	banned := map[string][]string{
		"log": {"Print", "Printf", "Println", "Fatal", "Fatalf", "Default", "SetOutput"},
		"log/slog": {"Default", "SetDefault", "Debug", "Info", "Warn", "Error", "Log", "InfoContext",
			"WarnContext", "ErrorContext", "With"},
		"net/http": {"DefaultClient", "DefaultServeMux", "Get", "Head", "Post", "PostForm", "Handle",
			"HandleFunc", "ListenAndServe"},
		"github.com/prometheus/client_golang/prometheus": {"DefaultRegisterer", "DefaultGatherer",
			"Register", "MustRegister"},
		"github.com/prometheus/client_golang/prometheus/promhttp": {"Handler"},
		"github.com/prometheus/client_golang/prometheus/promauto": {"NewCounter", "NewCounterVec",
			"NewGauge", "NewGaugeVec", "NewHistogram", "NewHistogramVec"},
		"go.opentelemetry.io/otel": {"SetTracerProvider", "GetTracerProvider", "Tracer",
			"SetErrorHandler", "SetTextMapPropagator", "GetTextMapPropagator"},
	}
	registering := map[string]bool{"expvar": true, "net/http/pprof": true}
	out, err := exec.Command("go", "list", "-deps", "-json=ImportPath,Dir,GoFiles", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for packages := json.NewDecoder(bytes.NewReader(out)); packages.More(); {
		var p struct {
			ImportPath, Dir string
			GoFiles         []string
		}
		if err := packages.Decode(&p); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(p.ImportPath, module) || p.ImportPath == module+"/api" {
			continue // package api has a client, which the gate does not use
		}
		for _, name := range p.GoFiles {
			checked++
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			imported := map[string]string{}
			for _, i := range file.Imports {
				path, _ := strconv.Unquote(i.Path.Value)
				local := path[strings.LastIndex(path, "/")+1:]
				if i.Name != nil {
					local = i.Name.Name
				}
				imported[local] = path
				if registering[path] {
					t.Errorf("%s imports %s, which registers something global", p.ImportPath, path)
				}
			}
			ast.Inspect(file, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				x, ok := s.X.(*ast.Ident)
				if !ok || x.Obj != nil { // Obj: a variable hides the package
					return true
				}
				for _, one := range banned[imported[x.Name]] {
					if s.Sel.Name == one {
						t.Errorf("%s/%s uses %s.%s", p.ImportPath, name, x.Name, one)
					}
				}
				return true
			})
		}
	}
	if checked < 100 {
		t.Errorf("%d files were checked only", checked)
	}
}
