package adminapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

// Temporary creates pull subscriptions that are not in the configuration.
type Temporary struct {
	// Define returns the definition of such a subscription. An error is for the caller.
	Define func(name string, f hookgate.Filter) (hookgate.SubscriptionDefinition, error)
	// Create is that of hookgate.Leases.
	Create func(ctx context.Context, def hookgate.SubscriptionDefinition, idle time.Duration,
		p hookgate.Person) error
}

const (
	// leastIdle, mostIdle and defaultIdle bound the time after which an unused subscription is
	// forgotten.
	leastIdle, mostIdle, defaultIdle = time.Minute, 24 * time.Hour, time.Hour
	// mostSince is how far back a temporary subscription can begin.
	mostSince = 10 * 365 * 24 * time.Hour
)

// createSubscription creates a temporary subscription.
func (s *API) createSubscription(c *call) {
	if s.temporary.Create == nil {
		c.fail(http.StatusConflict, "this gate keeps no subscriptions")
		return
	}
	var f hookgate.Filter
	var since time.Duration
	name, after, idle := "", "", defaultIdle
	members, err := readObject(c, "name", "sources", "types", "since", "after", "idle")
	if err == nil {
		err = errors.Join(
			readMember(members, "name", "a name", &name),
			readMember(members, "sources", "a list of sources", &f.Sources),
			readMember(members, "types", "a list of types", &f.Types),
			readSpan(members, "since", 0, mostSince, &since),
			readMember(members, "after", "the id of an event", &after))
		if _, ok := members["idle"]; ok {
			err = errors.Join(err, readSpan(members, "idle", leastIdle, mostIdle, &idle))
		}
	}
	if _, named := members["name"]; !named {
		name = "temporary-" + strings.ToLower(rand.Text()[:10])
	}
	if err == nil && !subscriptionName.MatchString(name) {
		err = errors.New("member name must have 1 to 64 characters of a-z, 0-9, - and _")
	}
	start, ok := hookgate.Start{At: hookgate.StartNow}, true
	if since > 0 {
		start = hookgate.Start{At: hookgate.StartTime, Time: time.Now().Add(-since)}
	} else if after != "" {
		start, ok = parsePlaceInLog(after)
	}
	if err == nil && (!ok || after != "" && (since > 0 || start.At != hookgate.StartAfter)) {
		err = errors.New("member after must be the id of an event, without member since")
	}
	var def hookgate.SubscriptionDefinition
	if err == nil {
		def, err = s.temporary.Define(name, f)
	}
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	def.Start = start
	if !c.begin(name + " from " + placeText(start)) {
		return
	}
	ctx, cancel := c.changing()
	defer cancel()
	err = s.temporary.Create(ctx, def, idle, c.person())
	if s.changedSubscription(c, "creating the subscription", "", err) {
		c.jsonStatus(http.StatusCreated, api.TemporarySubscription{Name: name})
	}
}

// mayForget reports whether the caller may forget a subscription: an operator only a temporary one.
// If not, the call is answered.
func (c *call) mayForget(info *hookgate.SubscriptionInfo) bool {
	if info.Idle > 0 || c.actor.role.Covers(control.RoleAdmin) {
		return true
	}
	c.reject(http.StatusForbidden, fmt.Sprintf("token %s has the role %s; only the role %s may forget a"+
		" subscription that is not temporary", c.actor.name, c.actor.role, control.RoleAdmin))
	return false
}

// maxRevokes bounds how often a seek takes the leases of clients away, which lease again meanwhile.
const maxRevokes = 5

// seek moves the cursor of a subscription. It ends the leases of a pull subscription first.
func (s *API) seek(ctx context.Context, name string, to hookgate.Start, p hookgate.Person) (
	result hookgate.SeekResult, err error) {
	for range maxRevokes {
		result, err = s.control.Seek(ctx, name, to, false, p)
		if !errors.Is(err, hookgate.ErrLeasesOut) || s.puller == nil {
			return result, err
		}
		if err := s.puller.Revoke(ctx, name); err != nil {
			return result, err
		}
	}
	return result, err
}
