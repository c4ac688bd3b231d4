package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// shop is a program that uses every package for Go programs.
const shop = `package shop

import (
	"context"
	"database/sql"
	"net/http"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/gate"
	"github.com/hookgate/hookgate/gatetest"
	"github.com/hookgate/hookgate/inbox"
	"github.com/hookgate/hookgate/verify"
)

func Open(ctx context.Context, pool *pgxpool.Pool, db *sql.DB, mux *http.ServeMux) error {
	g, err := gate.Open(ctx, gate.Options{DataDir: "data",
		Sources: gate.Sources{"stripe": gate.Stripe("a-secret")}})
	if err != nil {
		return err
	}
	g.HandleTx("ledger", pool, gate.Filter{}, func(context.Context, pgx.Tx, *hookgate.Event) error {
		return nil
	})
	g.HandleSQL("search", db, inbox.SQLite, gate.Filter{}, func(context.Context, *sql.Tx,
		*hookgate.Event) error {
		return gate.Dead(nil)
	})
	mux.Handle("/webhooks/", g.Handler())
	return g.Run(ctx)
}

func Verifier() (*verify.Verifier, error) { return verify.New(verify.Stripe("a-secret")) }

func Send(t *testing.T, g *gate.Gate) { gatetest.Send(t, g, "stripe", "{}") }
`

// TestModule: a program in a module of its own builds with the packages for Go programs. Neither
// the program nor its go.mod has the libraries of the command and of the tests. Method: a module
// that requires this one alone. The go command completes its go.mod, without a network. The build
// itself is in a workspace with this module. It compiles the same files, but there they are those
// of the other tests, which are compiled already.
func TestModule(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"shop.go": shop, "go.sum": string(sums),
		"go.mod": "module example.com/shop\n\ngo 1.26.0\n\n" +
			"require github.com/hookgate/hookgate v0.0.0\n\n" +
			"replace github.com/hookgate/hookgate => " + root + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	workspace := filepath.Join(t.TempDir(), "go.work")
	must(t, os.WriteFile(workspace, []byte("go 1.26.0\n\nuse "+dir+"\n\nuse "+root+"\n"), 0o600))
	run := func(env []string, args ...string) string {
		t.Helper()
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOPROXY=off"), env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	packages := run([]string{"GOFLAGS=-mod=mod", "GOWORK=off"}, "list", "-deps", "./...")
	run([]string{"GOFLAGS=-trimpath", "GOWORK=" + workspace}, "build", "./...")
	required, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(packages, "github.com/jackc/pgx/v5\n") ||
		!strings.Contains(string(required), "github.com/jackc/pgx/v5 ") {
		t.Fatalf("pgx is missing in the packages or in\n%s", required)
	}
	for _, library := range []string{"spf13/cobra", "spf13/pflag", "knadh/koanf",
		"schollz/progressbar", "go-viper/mapstructure", "chromedp/chromedp", "santhosh-tekuri",
		"HdrHistogram", "honnef.co/go/tools", "go.uber.org/goleak", "pgregory.net/rapid"} {
		for where, text := range map[string]string{"packages": packages, "go.mod": string(required)} {
			if strings.Contains(text, library) {
				t.Errorf("the %s of the program have %s", where, library)
			}
		}
	}
}
