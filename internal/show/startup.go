package show

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hookgate/hookgate"
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
	if c.Role == gate.RoleWorker || c.Role == gate.RoleDeliver {
		fmt.Fprintf(out, "Role is %s: other processes take the webhooks.\n", c.Role)
		printSubscriptions(out, c, started)
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
	printSubscriptions(out, c, started)
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
%s
`, started.URL, terminal.Quote(datadir.Dir(c.DataDir).KeyFile(datadir.BearerKey)), self(),
			started.AdminURL, terminal.Quote(c.DataDir), started.AdminURL, adminToken, firstConsumer(c))
	}
}

// firstConsumer says how to hand events to a program, to a person whose gate hands them to none.
func firstConsumer(c gate.Options) string {
	if len(c.Subscriptions) > 0 {
		return ""
	}
	return fmt.Sprintf(`
To push each event to your code, start with: %s serve --push http://localhost:3000/hooks
`, self())
}

// printSubscriptions prints a line for each subscription: where its events go, and how far it is.
func printSubscriptions(out io.Writer, c gate.Options, started gate.Startup) {
	for _, s := range started.Subscriptions {
		where := "pushes to " + s.Host
		if c.Role == gate.RoleIngest || c.Role == gate.RoleWorker {
			where = "goes to " + s.Host + " from other processes"
		}
		if s.Host == "" {
			where = "waits for clients, such as `" + self() + " pull " + s.Name + "`"
		}
		fmt.Fprintf(out, "Subscription %s %s: %s.\n", s.Name, where, progressOf(s.Info))
	}
}

// progressOf says how far a subscription is.
func progressOf(s *hookgate.SubscriptionInfo) string {
	if s == nil {
		return "the store does not answer yet"
	}
	parts := []string{"it begins with the next event"}
	switch {
	case s.Backlog >= hookgate.MaxBacklog:
		parts[0] = fmt.Sprintf("more than %d stored events are still to pass", hookgate.MaxBacklog)
	case s.Backlog > 0:
		parts[0] = many(int(s.Backlog), "stored event is", "stored events are") + " still to pass"
	case s.Cursor > 0 && !s.LastDeliveredAt.IsZero():
		parts[0] = "it has passed every stored event"
	}
	if s.Waiting > 0 {
		parts = append(parts, many(int(s.Waiting), "failed event waits", "failed events wait"))
	}
	if s.Parked > 0 {
		parts = append(parts, fmt.Sprintf("%d parked", s.Parked))
	}
	if !s.PausedAt.IsZero() {
		parts = append(parts, "it is paused until `hookgate subscriptions resume "+s.Name+"`")
	}
	return strings.Join(parts, ", ")
}

// self is the command that starts this program: its name, or go run.
func self() string {
	if path, err := os.Executable(); err == nil && strings.Contains(path, string(filepath.Separator)+
		"go-build") {
		return "go run ./cmd/hookgate"
	}
	return "hookgate"
}
