package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/internal/redistest"
	"github.com/hookgate/hookgate/release"
)

// release returns the state of the release triggers.
func (g *gate) release() (r release.Status) {
	g.t.Helper()
	status, body := g.request(http.MethodGet, "/admin/release", "")
	if err := json.Unmarshal([]byte(body), &r); status != http.StatusOK || err != nil {
		g.t.Fatalf("/admin/release answers %d %s: %v", status, body, err)
	}
	return r
}

func (g *gate) trigger(name string) release.TriggerStatus {
	g.t.Helper()
	for _, t := range g.release().Triggers {
		if t.Name == name {
			return t
		}
	}
	g.t.Fatalf("there is no trigger %s", name)
	return release.TriggerStatus{}
}

// awaitCleared waits until no release trigger has fired.
func (g *gate) awaitCleared() {
	g.t.Helper()
	var last release.Status
	defer func() {
		if len(last.Fired) > 0 {
			g.t.Logf("the release triggers are %+v", last)
		}
	}()
	g.await("the alarms clear", func() bool {
		last = g.release()
		return len(last.Fired) == 0
	})
}

// fill sends n webhooks.
func (g *gate) fill(n int) {
	g.t.Helper()
	for i := range n {
		if status, body := g.send(fmt.Sprintf(`{"messageId":"m%d","eventType":"t"}`,
			i)); status != http.StatusAccepted {
			g.t.Fatalf("%d %s", status, body)
		}
	}
}

// TestTriggerStopsIntake slows the workers down until the trigger queue_depth fires. The gate goes
// into read_only by itself. Log, admin trail, metrics and a signed webhook report it. When the
// queue has drained, the alarm is over.
func TestTriggerStopsIntake(t *testing.T) {
	t.Parallel()
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	scheme, err := admit.New("standard_webhooks", admit.Options{Secrets: []string{secret}})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var got []string
	refuse := true // the first one
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if refuse {
			refuse = false
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		request := admit.Request{Method: r.Method, Header: r.Header, Body: body, Time: time.Now()}
		if err := scheme.Authenticate(&request); err != nil {
			t.Errorf("an alarm is not authentic: %v", err)
		}
		got = append(got, string(body))
	}))
	defer receiver.Close()
	g := startGate(t, startOptions{env: []string{
		"REDIS_URL=" + redistest.Start(t, redistest.Options{}).URL(), "HOOKGATE_WORKER_MAX_RATE=20",
		"HOOKGATE_RELEASE_TRIGGERS_QUEUE_DEPTH_LIMIT=5", "HOOKGATE_RELEASE_TRIGGERS_SUSTAIN=1s",
		"HOOKGATE_RELEASE_TRIGGERS_QUEUE_DEPTH_ACTION=read_only",
		"HOOKGATE_RELEASE_ALARM_URL=" + receiver.URL, "HOOKGATE_RELEASE_ALARM_SECRET=" + secret,
	}})
	g.fill(80)
	g.await("the trigger fires and the intake stops",
		func() bool { return g.health().Mode == "read_only" })
	if status, _ := g.send(`{"messageId":"late","eventType":"t"}`); status != http.StatusServiceUnavailable {
		t.Errorf("in read_only a webhook is answered %d", status)
	}
	g.await("the alarm clears", func() bool {
		return g.trigger(
			release.TriggerQueueDepth).State == release.TriggerQuiet
	})
	g.awaitDrained()
	g.await("all alarms are delivered", func() bool { return g.release().Webhook.Delivered == 3 })
	mu.Lock()
	defer mu.Unlock()
	all := strings.Join(got, "\n")
	for _, want := range []string{`"type":"release.trigger.raised"`, `"type":"release.trigger.acted"`,
		`"type":"release.trigger.cleared"`,
		`"trigger":"queue_depth"`, `"action":"read_only"`, `"result":"done"`, `"version":"`,
		`"process":"`} {
		if !strings.Contains(all, want) {
			t.Errorf("the alarms do not have %s:\n%s", want, all)
		}
	}
	trail := g.trail()
	if len(trail) != 2 || trail[0].By != "guard" || trail[0].Action != "maintenance" ||
		trail[0].Target != "read_only" || trail[0].Result != "begun" ||
		trail[1].Result != "done" || !strings.HasPrefix(trail[1].Reason,
		"release trigger queue_depth: ") {
		t.Errorf("the admin trail is %+v", trail)
	}
	_, metrics := g.request(http.MethodGet, "/metrics", "")
	for _, want := range []string{`hookgate_release_trigger_firings_total{trigger="queue_depth"} 1`,
		`hookgate_release_trigger_state{state="quiet",trigger="queue_depth"} 1`,
		`hookgate_release_trigger_state{state="quiet",trigger="redis"} 1`,
		`hookgate_release_alarms_total{outcome="delivered"} 3`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics do not have %s", want)
		}
	}
	for _, want := range []string{"release trigger fired", "release trigger cleared", `"by":"guard"`} {
		if !strings.Contains(g.logs.String(), want) {
			t.Errorf("the log does not have %s", want)
		}
	}
	if e := g.trigger(release.TriggerErrorRate); e.Value != 0 || e.TimesFired != 0 {
		t.Errorf("refusals in read_only are taken for errors: %+v", e)
	}
}

// TestTriggerRollsBack checks that the roll-back command survives a SIGKILL of the gate, with its
// output in the data directory. The restarted gate has the same problem and does not roll back
// again.
func TestTriggerRollsBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	script := `echo "$HOOKGATE_ROLLBACK_ID: $HOOKGATE_ROLLBACK_REASON"; echo >>` + at("begun") +
		`; while [ ! -e ` + at("go") + ` ]; do sleep 0.02; done; echo over; mv ` + at("begun") + " " +
		at("over")
	config := writeConfig(t, `
worker: {max_rate: 1}
release:
  triggers: {sustain: 0s, queue_depth: {limit: 5, action: rollback}}
  rollback_command: [/bin/sh, -c, '`+script+`']
`)
	redis := redistest.Start(t, redistest.Options{})
	o := startOptions{dir: filepath.Join(dir, "data"), env: []string{"HOOKGATE_CONFIG=" + config,
		"REDIS_URL=" + redis.URL()}}
	exists := func(name string) func() bool {
		return func() bool { _, err := os.Stat(at(name)); return err == nil }
	}
	g := startGate(t, o)
	g.fill(30)
	g.await("the command runs", exists("begun"))
	g.kill()
	if err := os.WriteFile(at("go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	g.await("the command goes on without the gate", exists("over"))
	if text, err := os.ReadFile(dataDir(o.dir).rollbackLog()); err != nil ||
		!strings.Contains(string(text), ": release trigger queue_depth: ") ||
		!strings.HasSuffix(string(text), "\nover\n") {
		t.Errorf("it printed %q, %v", text, err)
	}

	g = startGate(t, o)
	var last release.Alarm
	g.await("the guard acts again", func() bool {
		for _, a := range g.release().Alarms {
			if a.Kind == release.AlarmActed {
				last = a
				return true
			}
		}
		return false
	})
	if !strings.HasPrefix(last.Result, "failed: ") ||
		!strings.Contains(last.Result, "at the earliest") || exists("begun")() {
		t.Errorf("after a restart the guard did %+v", last)
	}
}
