package show

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/gate"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/datadir"
	"github.com/hookgate/hookgate/internal/terminal"
)

// Startup prints where a gate listens, what a 202 is worth, and how to send a first webhook.
func Startup(to io.Writer, c gate.Options, started gate.Startup) {
	out := &bytes.Buffer{} // written at once: a reader that waits for the first line then has all
	defer out.WriteTo(to)
	fmt.Fprintf(out, "hookgate %s listens on %s\n", c.Version, started.Addr)
	if started.AdminAddr != started.Addr {
		fmt.Fprintf(out, "Admin and read API, metrics: only on %s.\n", started.AdminAddr)
	}
	fmt.Fprintf(out, "%s.\n", strings.Replace(started.Promise, "a", "A", 1))
	for _, path := range started.KeysMade {
		fmt.Fprintf(out, "Made %s (mode 0600).\n", path)
	}
	switch mode := started.Mode; mode {
	case control.ModeReadOnly:
		fmt.Fprintf(out, "Mode is %s: webhooks get 503 until `hookgate maintenance normal`.\n", mode)
	case control.ModeBuffer:
		fmt.Fprintf(out, "Mode is %s: webhooks are queued and nothing is stored until `hookgate "+
			"maintenance normal`.\n", mode)
	}
	if c.Canary.Upstream != "" {
		fmt.Fprintf(out, "Canary: this gate takes %d percent of the ordering keys and forwards "+
			"the rest to %s.\n", started.CanaryPercent, c.Canary.Upstream)
	}
	if c.Role == gate.RoleWorker {
		fmt.Fprintln(out, "Role is worker: other processes take the webhooks.")
		return
	}
	for _, name := range c.SourceNames() {
		if name != ingest.DefaultSource {
			fmt.Fprintf(out, "Source %s (%s): %s/webhooks/%s\n", name, c.Sources[name].Kind, started.URL,
				name)
		}
		if kind, _ := admit.Find(c.Sources[name].Kind); kind.Open {
			fmt.Fprintf(out, "Source %s authenticates nobody: anyone who reaches %s can send.\n", name,
				started.Addr)
		}
	}
	if started.OwnKeys {
		adminToken := "the token in " + datadir.Dir(c.DataDir).KeyFile(datadir.AdminToken)
		if len(c.AdminTokens) > 0 {
			adminToken = "an admin token"
		}
		fmt.Fprintf(out, `
Send a first webhook:

  curl -i %s/webhooks -H "Authorization: Bearer $(cat %s)" \
    -H 'Content-Type: application/json' -d '{"messageId":"evt-1","eventType":"order.paid","orderingKey":"customer-1","amount":42}'

Then see what became of it:

  %s trace evt-1 --target %s --data-dir %s

Or open %s/ui/ and sign in with %s.

`, started.URL, terminal.Quote(datadir.Dir(c.DataDir).KeyFile(datadir.BearerKey)), self(),
			started.AdminURL, terminal.Quote(c.DataDir), started.AdminURL, adminToken)
	}
}

// self is the command that starts this program: its name, or go run.
func self() string {
	if path, err := os.Executable(); err == nil && strings.Contains(path, string(filepath.Separator)+
		"go-build") {
		return "go run ./cmd/hookgate"
	}
	return "hookgate"
}
