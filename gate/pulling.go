package gate

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/adminapi"
	"github.com/hookgate/hookgate/deliver"
	"github.com/hookgate/hookgate/deliver/pull"
	"github.com/hookgate/hookgate/history"
	"github.com/hookgate/hookgate/internal/metrics"
)

// pullRecheck is how often a pull that waits looks for what other processes have done.
const pullRecheck = time.Second

// newPuller returns what answers clients that fetch events. Any process of a gate answers them, for
// the subscriptions that are stored.
func newPuller(o Options, b *backends, paused func() bool, m *metrics.Metrics,
	log *slog.Logger) *pull.Server {
	c := pull.Config{Policy: pullPolicy, Paused: paused, Observer: pullObserver{m, o.Subscriptions},
		Logger: log.With("part", "pull")}
	if o.Database.URL != "" {
		c.Recheck = pullRecheck
	}
	return pull.New(c, b.log, b.subscriptions)
}

// pullObserver counts temporary subscriptions together, because clients choose their names.
type pullObserver struct {
	*metrics.Metrics
	configured map[string]SubscriptionOptions
}

// Attempted implements deliver.Observer.
func (o pullObserver) Attempted(subscription, class string, took time.Duration) {
	o.Metrics.Attempted(o.counted(subscription), class, took)
}

// Settled implements deliver.Observer.
func (o pullObserver) Settled(subscription, outcome string, latency time.Duration) {
	o.Metrics.Settled(o.counted(subscription), outcome, latency)
}

func (o pullObserver) counted(subscription string) string {
	if _, ok := o.configured[subscription]; ok {
		return subscription
	}
	return history.Temporary
}

// pullPolicy reads the stored definition of a pull subscription.
func pullPolicy(text string) (p pull.Policy, err error) {
	var d definition
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return p, fmt.Errorf("read the definition: %w", err)
	}
	if d.Pull == nil {
		return p, pull.ErrNotPull
	}
	var errs []error
	span := func(text string) time.Duration {
		v, err := time.ParseDuration(text)
		errs = append(errs, err)
		return v
	}
	p.Retry = deliver.Retry{First: span(d.Retry.First), Max: span(d.Retry.Max),
		For: span(d.Retry.For)}
	p.DeadLetter = d.Then == ThenDeadLetter
	return p, errors.Join(errs...)
}

// The retries of a temporary subscription. It makes dead letters, because nobody is there to free a
// key that is parked, and because it has no state that is worth keeping.
const temporaryMax, temporaryFor = 30 * time.Second, time.Hour

// temporary returns what creates temporary subscriptions.
func (o Options) temporary(b *backends) adminapi.Temporary {
	return adminapi.Temporary{
		Create: b.subscriptions.CreateTemporary,
		Define: func(name string, f hookgate.Filter) (hookgate.SubscriptionDefinition, error) {
			if _, configured := o.Subscriptions[name]; configured {
				return hookgate.SubscriptionDefinition{}, errors.New("member name is that of a subscription" +
					" of the configuration")
			}
			s := defaultSubscription()
			s.Sources, s.Types, s.Pull = f.Sources, f.Types, &PullOptions{}
			s.Retry.Max, s.Retry.For, s.Then = temporaryMax, temporaryFor, ThenDeadLetter
			var errs []error
			newSubscriptionCheck("subscriptions", name, &errs).check(s, o)
			if err := errors.Join(errs...); err != nil {
				return hookgate.SubscriptionDefinition{}, err
			}
			return s.definition(name)
		},
	}
}
