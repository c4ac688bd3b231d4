package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hookgate/hookgate/internal/pgtest"
)

// application takes the events of a subscription, and fails those with a body that contains bad
// until it is mended.
type application struct {
	*httptest.Server

	mu     sync.Mutex // guards the fields below
	mended bool
	took   []string // "message id" or "message id again N", in the order of arrival
}

func newApplication(t *testing.T) *application {
	a := &application{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		defer a.mu.Unlock()
		if !a.mended && strings.Contains(string(body), `"bad`) {
			http.Error(w, "no such customer", http.StatusUnprocessableEntity)
			return
		}
		text := r.Header.Get("Hookgate-Message-Id")
		if n := r.Header.Get("Hookgate-Redelivery"); n != "0" {
			text += " again " + n
		}
		a.took = append(a.took, text)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *application) mend(mended bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mended = mended
}

// taken returns what the application took since the last call.
func (a *application) taken() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := strings.Join(a.took, ", ")
	a.took = nil
	return all
}

// TestOperateDeliveries operates a subscription by the commands, against an application that fails
// some events, on both stores. It checks what the application gets, the exit codes, and the lines
// of the output that people act on.
func TestOperateDeliveries(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		operateDeliveries(t, nil)
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		postgres, database := startPostgres(t, pgtest.Options{})
		operateDeliveries(t, []string{"DB_URL=" + postgres.URL(database)})
	})
}

func operateDeliveries(t *testing.T, env []string) {
	app := newApplication(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "hookgate.yaml")
	must(t, os.WriteFile(file, []byte(`
subscriptions:
  billing:
    types: ["order.*"]
    push: {url: "`+app.URL+`/hooks"}
    retry: {for: 0s}
`), 0o600))
	g := startGate(t, startOptions{dir: filepath.Join(dir, "data"), env: env,
		args: []string{"--config", file}})
	send := func(id, key string) {
		t.Helper()
		status, answer := g.send(fmt.Sprintf(
			`{"messageId":%q,"eventType":"order.paid","orderingKey":%q}`, id, key))
		if status != 202 {
			t.Fatalf("%s got %d: %s", id, status, answer)
		}
	}
	// command runs a command, and checks its exit code and that the output has each text.
	command := func(want int, args string, texts ...string) string {
		t.Helper()
		code, out, errs := g.hookgate(strings.Fields(args)...)
		if code != want {
			t.Fatalf("hookgate %s ended with %d, want %d: %s%s", args, code, want, out, errs)
		}
		for _, text := range texts {
			if !strings.Contains(out+errs, text) {
				t.Errorf("hookgate %s printed %s%s\nwhich lacks %q", args, out, errs, text)
			}
		}
		return out
	}
	// await waits until the application has taken these, in this order.
	await := func(what string) {
		t.Helper()
		got := ""
		g.await("the application takes "+what, func() bool {
			if more := app.taken(); more != "" {
				got = strings.TrimPrefix(got+", "+more, ", ")
			}
			return got == what
		})
	}
	counts := func(want string) {
		t.Helper()
		g.await(want, func() bool {
			_, out, _ := g.hookgate("subscriptions", "show", "billing")
			return strings.Contains(out, want)
		})
	}

	send("evt-1", "a")
	send("bad-2", "b")
	send("evt-3", "b")
	await("evt-1")
	counts("0 waiting, 1 parked, 0 dead; 1 key waits")
	list := command(0, "subscriptions exceptions billing --state parked", "422", "no such customer",
		"bad-2")
	event := strings.Fields(strings.Split(list, "\n")[1])[0]
	command(0, "subscriptions list", "billing  delivering  "+app.URL+"/hooks")
	command(0, "trace bad-2", "parked", "billing: attempt 1", "422 Unprocessable")

	// Retry: the same delivery, and the key goes on.
	command(2, "subscriptions retry billing", "name the exceptions")
	command(1, "subscriptions retry billing 77", "77: not retried: it has no exception in billing")
	app.mend(true)
	command(0, "subscriptions retry billing --state parked --dry-run", "1 would be retried")
	command(0, "subscriptions retry billing "+event+" --reason fixed", "1 retried")
	await("bad-2, evt-3")
	counts("0 waiting, 0 parked, 0 dead") // the result is stored
	command(0, "trace bad-2", "delivered", "billing: attempt 2, status 200")

	// Skip: the event is not delivered, and the key goes on.
	app.mend(false)
	send("bad-4", "b")
	send("evt-5", "b")
	counts("1 parked")
	command(0, "subscriptions skip billing --key b --reason order-of-a-test", "1 skipped")
	await("evt-5")
	command(0, "trace bad-4", "skipped", "by configured: order-of-a-test")

	// Dead letter: the key goes on, and a later retry delivers the event.
	send("bad-6", "b")
	send("evt-7", "b")
	counts("1 parked")
	command(0, "subscriptions dead-letter billing --state parked", "1 dead-lettered")
	await("evt-7")
	letters := command(0, "dlq list --subscription billing", "bad-6", "422")
	event = strings.Fields(strings.Split(letters, "\n")[1])[0]
	command(0, "dlq show "+event+" --subscription billing", "dead of billing", "no such customer")
	command(2, "dlq list --subscription billing --type order.paid", "cannot be combined")
	app.mend(true)
	command(0, "dlq retry --subscription billing "+event, "1 retried")
	await("bad-6")

	// Pause and resume.
	command(0, "subscriptions pause billing --reason maintenance", "billing paused")
	send("evt-8", "c")
	command(0, "subscriptions show billing", "paused since", "by configured: maintenance")
	command(0, "subscriptions resume billing", "billing resumed")
	await("evt-8")
	counts("backlog 0")

	// Redelivery: a new number, and the job ends.
	command(0, "subscriptions redeliver billing --from beginning --key a --dry-run",
		"1 event would be delivered again")
	command(0, "subscriptions redeliver billing --from beginning --key a --reason lost",
		"job 1 is done: 1 delivered, 0 failed")
	await("evt-1 again 1")
	command(0, "subscriptions jobs billing", "done", "lost")
	command(2, "subscriptions cancel billing 1", "redelivery job 1 has ended before")
	command(0, "trace evt-1", "redelivered", "billing: redelivery 1, attempt 1, status 200")

	// Seek: everything again, the skipped event too.
	command(0, "subscriptions seek billing --to beginning --dry-run", "8 between the two",
		"delivered again as redelivery 2")
	if taken := app.taken(); taken != "" {
		t.Errorf("a dry run delivered %s", taken)
	}
	command(0, "subscriptions seek billing --to beginning --reason lost", "redelivery 2")
	got := map[string]bool{}
	g.await("all events come again", func() bool {
		for _, one := range strings.Split(app.taken(), ", ") {
			got[one] = one != ""
		}
		return got["bad-4 again 2"] && got["evt-8 again 2"] && got["evt-1 again 2"] && len(got) >= 8
	})
	command(2, "subscriptions seek billing --to 9007199254740991", "409", "log ends at id")

	// Forget: only what is paused or removed.
	command(2, "subscriptions forget billing", "subscription is in use")
	command(0, "subscriptions pause billing")
	command(0, "subscriptions forget billing --reason tests", "billing forgotten")
	command(2, "subscriptions show billing", "no subscription billing")
	if _, audit := g.request("GET", "/api/audit/verify", ""); !strings.Contains(audit, `"ok":true`) {
		t.Errorf("the audit says %s", audit)
	}
	actions := command(0, "audit actions", "subscription_retry", "subscription_skip",
		"subscription_dead_letter", "subscription_pause", "subscription_redeliver", "subscription_seek",
		"subscription_forget")
	if strings.Contains(actions, "dry") {
		t.Errorf("a dry run is in the admin trail:\n%s", actions)
	}
}
