package gate

import (
	"os/exec"
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
