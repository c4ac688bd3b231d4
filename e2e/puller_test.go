package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

// puller is a process that pulls the events of subscriptions. It is this test binary, started
// again. It gives each event to a consumer, in a request that looks like one of a push
// subscription, and acknowledges what the consumer has answered with 2xx. So deliveryAudit applies
// to it: the puller stands in place of the process that pushes.
type puller struct {
	t      *testing.T
	config pullerConfig
	cmd    *exec.Cmd
}

// pullerVariable is the environment variable that makes the test binary a puller. It has its
// pullerConfig in JSON.
const pullerVariable = "E2E_PULLER"

// pullerLease is how long the events of a puller that was killed are missing.
const pullerLease = time.Second

// pullerBatch bounds a lease of a puller.
const pullerBatch = 20

type pullerConfig struct {
	// Name is that of the process for the consumer.
	Name string
	// Gates are the URLs of all processes: each call goes to one of them at random.
	Gates []string
	Token string
	// Consumer is the URL of the consumer without a path.
	Consumer string
	// Subscriptions are names with the number of events for which a pull asks.
	Subscriptions map[string]int
}

// startPullers starts processes that pull the events of all subscriptions of a fleet. They have a
// token that allows nothing else.
func (f *fleet) startPullers(n int) (all []*puller) {
	f.t.Helper()
	c := pullerConfig{Consumer: "http://" + f.consumer.address, Subscriptions: map[string]int{}}
	for _, m := range f.members {
		c.Gates = append(c.Gates, m.url)
	}
	for _, s := range f.subscriptions {
		c.Subscriptions[s.name] = pullerBatch
		if s.order == hookgate.OrderAll {
			c.Subscriptions[s.name] = 1
		}
	}
	c.Token = f.members[0].newConsumerToken("pullers", slices.Collect(maps.Keys(c.Subscriptions))...)
	for i := range n {
		c.Name = fmt.Sprint("puller-", i)
		p := &puller{t: f.t, config: c}
		f.t.Cleanup(p.kill)
		p.start()
		all = append(all, p)
	}
	return all
}

// newConsumerToken makes a token that allows to pull the events of these subscriptions.
func (g *gate) newConsumerToken(name string, subscriptions ...string) string {
	g.t.Helper()
	list, err := json.Marshal(subscriptions)
	if err != nil {
		g.t.Fatal(err)
	}
	var answer tokenAnswer
	text := g.mustRequest(201, http.MethodPost, "/admin/tokens",
		fmt.Sprintf(`{"name":%q,"role":"consumer","subscriptions":%s}`, name, list))
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		g.t.Fatal(err)
	}
	return answer.Token
}

func (p *puller) start() {
	p.t.Helper()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	config, err := json.Marshal(p.config)
	if err != nil {
		p.t.Fatal(err)
	}
	p.cmd = exec.Command(self)
	p.cmd.Env = append(os.Environ(), pullerVariable+"="+string(config))
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err = p.cmd.StdinPipe(); err == nil { // the process ends with this one, which closes it
		err = p.cmd.Start()
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *puller) signal(s syscall.Signal) { p.cmd.Process.Signal(s) }

// kill ends the process with SIGKILL.
func (p *puller) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// The rest of this file runs in the process of the puller.

// anyGate sends each request to one of several gates.
type anyGate []*url.URL

// RoundTrip implements http.RoundTripper.
func (gates anyGate) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Host = gates[rand.IntN(len(gates))].Host
	return http.DefaultTransport.RoundTrip(r)
}

// runPuller is the main function of a puller. It returns the exit code.
func runPuller(config string) int {
	var c pullerConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		fmt.Fprintln(os.Stderr, "puller:", err)
		return 1
	}
	var gates anyGate
	for _, gate := range c.Gates {
		u, err := url.Parse(gate)
		if err != nil {
			fmt.Fprintln(os.Stderr, "puller:", err)
			return 1
		}
		gates = append(gates, u)
	}
	client := &api.Client{URL: c.Gates[0], Token: c.Token,
		HTTP: &http.Client{Transport: gates, Timeout: waitFor}}
	var wg sync.WaitGroup
	for subscription, most := range c.Subscriptions {
		wg.Go(func() {
			consumer := api.Consumer{Client: client, Subscription: subscription, Max: most,
				Lease: pullerLease, Process: func(ctx context.Context, e *api.PulledEvent) error {
					return c.pass(ctx, subscription, e)
				}}
			err := consumer.Run(context.Background())
			fmt.Fprintln(os.Stderr, "puller:", err)
			os.Exit(1)
		})
	}
	io.Copy(io.Discard, os.Stdin)
	return 0
}

// pass gives an event to the consumer.
func (c *pullerConfig) pass(ctx context.Context, subscription string, e *api.PulledEvent) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Consumer+"/"+subscription,
		bytes.NewReader(e.Body))
	if err != nil {
		return err
	}
	for name, value := range map[string]string{"hookgate-subscription": subscription,
		"webhook-id": e.WebhookID, "hookgate-event-id": e.ID, "hookgate-type": e.EventType,
		"hookgate-message-id": e.MessageID, "hookgate-key": e.Key,
		"hookgate-attempt":    fmt.Sprint(e.Attempt),
		"hookgate-redelivery": fmt.Sprint(e.Redelivery), "X-Process": c.Name} {
		r.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("the consumer answers %s", answer.Status)
	}
	return nil
}
