package certify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/certify/consumer"
)

// receiver is a consumer that can go away and come back.
type receiver interface {
	Leave()
	Return() error
}

// delivery plays the consumer during the phase deliver.
type delivery struct {
	c      *certification
	dir    string
	prefix string
	limits Phase
	client *api.Client

	core, witness    *consumer.Consumer
	main             receiver
	other            *consumer.Pull
	temporary        []string
	run              deliveryRun
	mu               sync.Mutex // guards run.FailingKey and run.Refused
	timeline         sync.WaitGroup
	watching         sync.WaitGroup
	stop, stopWatch  context.CancelFunc
	watchErr, runErr error
	sent             chan struct{}     // closed when the fields below are set
	accepted         []string          // message ids
	keyOf            map[string]string // hookgate-key by message id
	end              int64             // the last id of the log
}

// consumerSettings is the part of a subscription's definition that the consumer must know.
type consumerSettings struct {
	Order hookgate.Order
	Push  *struct {
		URL     string
		Signed  bool
		Timeout string
	}
	Retry struct{ Final []int }
	Then  string
}

const (
	// stateEvery is the time between two questions about the subscription.
	stateEvery = 500 * time.Millisecond
	// apiTimeout bounds a call about subscriptions.
	apiTimeout = 30 * time.Second
	// restartPause is how long the consumer is away at a restart.
	restartPause = 200 * time.Millisecond
	// lastWord bounds the calls that clean up.
	lastWord = 10 * time.Second
	reason   = "hookgate certify"
)

func (c *certification) apiClient() *api.Client {
	return &api.Client{URL: c.target.base, Token: c.target.token, HTTP: c.target.client}
}

// subscription returns the subscription to judge, and refuses one that is not made for it.
func (c *certification) subscription(ctx context.Context) (s consumerSettings, err error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	found, err := c.apiClient().Subscription(ctx, c.Subscription)
	if err != nil {
		return s, fmt.Errorf("subscription %s: %w", c.Subscription, err)
	}
	if err := json.Unmarshal(found.Definition, &s); err != nil || s.Push == nil {
		return s, fmt.Errorf("subscription %s has no push: without --subscription, certify pulls "+
			"from a subscription of its own", c.Subscription)
	}
	f := &found.Filter
	foreign := func(pattern string) bool { return !strings.HasPrefix(pattern, typePrefix) }
	switch {
	case !slices.Equal(f.Sources, []string{c.Profile.Source}) ||
		c.Profile.Source != hookgate.TestSource &&
			(len(f.Types) == 0 || slices.ContainsFunc(f.Types, foreign)):
		return s, fmt.Errorf("subscription %s may select business events, which certify would fail on "+
			"purpose: give it sources: [%s] and nothing else", c.Subscription, c.Profile.Source)
	case slices.ContainsFunc(eventTypes, func(t string) bool {
		return !f.Match(c.Profile.Source, t)
	}):
		return s, fmt.Errorf("subscription %s does not select all events of source %s: remove its types",
			c.Subscription, c.Profile.Source)
	case found.State != api.SubscriptionDelivering && found.State != api.SubscriptionBroken:
		return s, fmt.Errorf("subscription %s is %s", c.Subscription, found.State)
	case s.Order == hookgate.OrderNone:
		return s, fmt.Errorf("subscription %s has order none: certify judges the order of each key",
			c.Subscription)
	case s.Push.Signed && c.SubscriptionSecret == "":
		return s, fmt.Errorf("subscription %s is signed: set SUBSCRIPTION_SECRET to its secret",
			c.Subscription)
	}
	return s, nil
}

// typePrefix begins the types of generated events.
const typePrefix = "certify."

// checkDelivery returns an error if the phase deliver cannot run.
func (c *certification) checkDelivery(ctx context.Context) error {
	switch asked := slices.Contains(c.Phases, Deliver); {
	case !asked && c.Subscription != "":
		return errors.New("--subscription needs the phase deliver")
	case !asked:
		return nil
	case c.Input != "":
		return errors.New("the phase deliver generates its events: use another phase for " +
			"recorded traffic")
	case c.Subscription == "" && c.Listen != "":
		return errors.New("--listen needs --subscription, the name of a push subscription")
	case c.Subscription == "":
		_, err := c.apiClient().Subscriptions(ctx)
		return err
	}
	_, err := c.subscription(ctx)
	return err
}

// listenAt returns the address at which the consumer listens: the one of the URL of the
// subscription, on loopback if the URL is, else on all addresses of this machine.
func listenAt(given string, u *url.URL) (string, error) {
	if given != "" {
		return given, nil
	}
	if u.Scheme == "https" {
		return "", fmt.Errorf("the subscription's URL %s needs TLS: name with --listen the address to "+
			"which a proxy passes its requests", u)
	}
	port := orElse(u.Port(), "80")
	if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsLoopback() || u.Hostname() == "localhost" {
		return net.JoinHostPort(u.Hostname(), port), nil
	}
	return ":" + port, nil
}

// deliver begins to play the consumer. The caller calls sendingEnded once, and then close.
func (c *certification) deliver(ctx context.Context, prefix string, p Phase) (d *delivery,
	err error) {
	d = &delivery{c: c, dir: c.file(Deliver), prefix: prefix, limits: p, client: c.apiClient(),
		sent: make(chan struct{}), stop: func() {}, stopWatch: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	ours := func(messageID string) bool { return strings.HasPrefix(messageID, prefix) }
	if d.core, err = consumer.New(c.file(Deliver, attemptsFile), c.Profile.Seed, ours); err != nil {
		return nil, err
	}
	if d.witness, err = consumer.New(c.file(Deliver, witnessFile), c.Profile.Seed, ours); err != nil {
		return nil, err
	}
	if d.run.Witness, err = d.create(ctx); err != nil {
		return nil, err
	}
	var final int
	if c.Subscription == "" {
		err = d.pull(ctx)
	} else {
		final, err = d.push(ctx)
	}
	if err != nil {
		return nil, err
	}
	d.other = &consumer.Pull{Consumer: d.witness, Client: d.client, Subscription: d.run.Witness,
		Lease: seconds(p.Consumer.LeaseSeconds)}
	if err := d.other.Return(); err != nil {
		return nil, err
	}
	d.run.Stopped = killed
	if err := writeJSON(c.file(Deliver, deliveryFile), d.run); err != nil {
		return nil, err
	}
	d.run.Stopped = ""
	watching, stopWatch := context.WithCancel(context.WithoutCancel(ctx))
	d.stopWatch = stopWatch
	d.watching.Go(func() { d.watchErr = d.watch(watching) })
	timeline, stop := context.WithCancel(ctx)
	d.stop = stop
	d.timeline.Go(func() { d.runErr = d.play(timeline, final) })
	return d, nil
}

// create creates a temporary subscription to the events of certify.
func (d *delivery) create(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	made, err := d.client.CreateSubscription(ctx, api.TemporaryRequest{
		Sources: []string{d.c.Profile.Source}, Types: []string{typePrefix + "*"},
	}, api.WithReason(reason))
	if err != nil {
		return "", fmt.Errorf("create a temporary subscription: %w", err)
	}
	d.temporary = append(d.temporary, made.Name)
	return made.Name, nil
}

func (d *delivery) pull(ctx context.Context) (err error) {
	if d.run.Subscription, err = d.create(ctx); err != nil {
		return err
	}
	d.run.Then, d.run.TimeoutSeconds = "dead_letter", d.limits.Consumer.LeaseSeconds
	d.run.SenderSigned = d.c.Credentials.HMACSecret != ""
	p := &consumer.Pull{Consumer: d.core, Client: d.client, Subscription: d.run.Subscription,
		Lease: seconds(d.limits.Consumer.LeaseSeconds), SenderSecret: d.c.Credentials.HMACSecret}
	d.main = p
	return p.Return()
}

// push listens for the requests of the subscription. It returns a status that the subscription does
// not retry; 0 if there is none.
func (d *delivery) push(ctx context.Context) (final int, err error) {
	s, err := d.c.subscription(ctx)
	if err != nil {
		return 0, err
	}
	timeout, err := time.ParseDuration(s.Push.Timeout)
	if err != nil {
		return 0, fmt.Errorf("subscription %s: its time-out: %w", d.c.Subscription, err)
	}
	endpoint, err := url.Parse(s.Push.URL)
	if err != nil {
		return 0, fmt.Errorf("subscription %s: its URL cannot be read", d.c.Subscription)
	}
	// The rest of the URL may be secret.
	endpoint = &url.URL{Scheme: endpoint.Scheme, Host: endpoint.Host}
	address, err := listenAt(d.c.Listen, endpoint)
	if err != nil {
		return 0, err
	}
	p := &consumer.Push{Consumer: d.core, SenderSecret: d.c.Credentials.HMACSecret}
	if s.Push.Signed {
		p.Secret = d.c.SubscriptionSecret
	}
	d.run.Subscription, d.run.Push, d.run.Then = d.c.Subscription, true, s.Then
	d.run.URL = endpoint.String()
	d.run.TimeoutSeconds = timeout.Seconds()
	d.run.Signed, d.run.SenderSigned = p.Secret != "", p.SenderSecret != ""
	listening, err := p.Listen(address)
	if err != nil {
		return 0, fmt.Errorf("listen for subscription %s: %w", d.c.Subscription, err)
	}
	d.main = p
	d.c.say("%s: listening on %s for %s", Deliver, listening, endpoint)
	for _, status := range s.Retry.Final {
		if status >= 400 && status != http.StatusGone {
			return status, nil
		}
	}
	return 0, nil
}

// sendingEnded says that everything is sent and the queue is drained. It waits for the end of the
// phase, and writes what is known of it.
func (d *delivery) sendingEnded(ctx context.Context) error {
	d.keyOf = map[string]string{}
	for a, err := range readLedger(d.c.file(Deliver, ledgerFile)) {
		if err != nil {
			return err
		}
		if _, seen := d.keyOf[a.MessageID]; a.Accepted() && !seen {
			d.keyOf[a.MessageID] = "k:" + a.OrderingKey
			d.accepted = append(d.accepted, a.MessageID)
		}
	}
	if s, err := d.state(ctx, d.run.Subscription); err == nil {
		d.end = number(s.End)
	}
	close(d.sent)
	d.timeline.Wait()
	return d.runErr
}

// close ends the consumer, deletes the temporary subscriptions and writes delivery.json.
func (d *delivery) close() error {
	d.stop()
	d.timeline.Wait()
	d.stopWatch()
	d.watching.Wait()
	if d.main != nil {
		d.main.Leave()
	}
	if d.other != nil {
		d.other.Leave()
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastWord)
	defer cancel()
	for _, name := range d.temporary {
		if _, err := d.client.ForgetSubscription(ctx, name, api.WithReason(reason)); err != nil {
			d.c.say("%s: delete %s: %v", Deliver, name, err) // the gate forgets it after an hour
		}
	}
	errs := []error{d.watchErr}
	for _, ledger := range []*consumer.Consumer{d.core, d.witness} {
		if ledger != nil {
			errs = append(errs, ledger.Close())
		}
	}
	if _, err := os.Stat(d.c.file(Deliver, deliveryFile)); err == nil {
		errs = append(errs, writeJSON(d.c.file(Deliver, deliveryFile), d.run))
	}
	return errors.Join(errs...)
}
