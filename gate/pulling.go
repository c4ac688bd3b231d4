package gate

import (
	"errors"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/adminapi"
)

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
