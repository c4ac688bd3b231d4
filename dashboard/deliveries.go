package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/hookgate/hookgate/api"
)

const (
	// lagging is the lag from which a subscription that delivers is shown as behind.
	lagging = time.Minute
	// sparkTime is the time that the small charts show, and recentTime the one of the rate.
	sparkTime  = 6 * time.Hour
	recentTime = 5 * time.Minute
)

// subscription is a subscription on a page.
type subscription struct {
	api.Subscription
	Configured subscriptionDefinition
	// Day is its traffic of 24 hours; nil if there was none, or it is unknown.
	Day   *api.HistorySeries
	Chart columns
	// Rate is the number of events that it delivered per second of late; nil if it is unknown.
	Rate *float64
}

// subscriptionDefinition is the stored configuration of a subscription, without secrets.
type subscriptionDefinition struct {
	Sources, Types []string
	Order          string
	Push           *struct {
		URL, Timeout, Egress string
		Signed               bool
		Signing              []string
		Concurrency          int
		Rate                 float64
		Headers              map[string]string
	}
	Handler *struct {
		Timeout     string
		Concurrency int
	}
	Pull  *struct{}
	Retry struct {
		First, Max, For string
		Final           []int
	}
	Then string
}

// Link is the address of the subscription's page.
func (s *subscription) Link() string { return deliveriesPath + "/" + url.PathEscape(s.Name) }

// Tab is the address of a tab of its page.
func (s *subscription) Tab(state string) string { return s.Link() + "?state=" + state }

// Consumer says in a few words who gets the events.
func (s *subscription) Consumer() string {
	switch {
	case s.Configured.Push != nil:
		return s.Configured.Push.URL
	case s.Configured.Pull != nil && s.Idle > 0:
		return "clients pull; temporary"
	case s.Configured.Pull != nil:
		return "clients pull"
	case s.Configured.Handler != nil:
		return "a Go function"
	}
	return "unknown"
}

// Lag is the age of the first event after the cursor.
func (s *subscription) Lag() time.Duration {
	return time.Duration(s.LagSeconds * float64(time.Second))
}

// Behind reports whether the lag is worth a look.
func (s *subscription) Behind() bool { return s.Lag() > lagging }

// StateName is the state in one or two words.
func (s *subscription) StateName() string {
	switch {
	case s.State == api.SubscriptionBroken:
		return "breaker open"
	case s.State == api.SubscriptionUnowned:
		return "not running"
	case s.State == api.SubscriptionDelivering && s.Behind():
		return "behind"
	case s.State == api.SubscriptionDelivering && s.Parked > 0:
		return "events parked"
	case s.State == api.SubscriptionPulled && s.Leases > 0:
		return "clients work"
	case s.State == api.SubscriptionPulled:
		return "waits for clients"
	}
	return s.State
}

// Level is the colour of the state: good, warn, bad, or empty.
func (s *subscription) Level() string {
	switch {
	case s.State == api.SubscriptionBroken || s.State == api.SubscriptionUnowned:
		return levelBad
	case s.State == api.SubscriptionRemoved:
		return ""
	case s.State == api.SubscriptionPaused || s.Behind() || s.Parked > 0:
		return levelWarn
	}
	return "good"
}

// Success is the share of attempts of the last day that the consumer answered with 2xx, in percent;
// nil without attempts.
func (s *subscription) Success() *float64 {
	if s.Day == nil || s.Day.Total.Attempts == 0 {
		return nil
	}
	t := &s.Day.Total
	share := 100 * float64(t.Attempts-t.Failed) / float64(t.Attempts)
	return &share
}

// SuccessLevel is the colour of Success.
func (s *subscription) SuccessLevel() string {
	share := s.Success()
	switch {
	case share == nil || *share >= 99:
		return ""
	case *share >= 90:
		return levelWarn
	}
	return levelBad
}

// Breaker is the state of the breaker in words; empty if the process that answers does not know it.
func (s *subscription) Breaker() string {
	switch {
	case !s.BrokenSince.IsZero():
		return "open"
	case s.Live == nil:
		return ""
	case s.Live.Breaker == "half_open":
		return "half open"
	}
	return s.Live.Breaker
}

const deliveriesPath = "/ui/deliveries"

// deliveriesData is the data of the page of deliveries.
type deliveriesData struct {
	Subscriptions []*subscription
	// Troubled counts the subscriptions that need a look.
	Troubled int
}

// troublesShown is how many subscriptions the summary names.
const troublesShown = 5

// Troubles are the first subscriptions that need a look, the worst first.
func (data *deliveriesData) Troubles() (all []*subscription) {
	for _, level := range []string{levelBad, levelWarn} {
		for _, s := range data.Subscriptions {
			if s.Level() == level && len(all) < troublesShown {
				all = append(all, s)
			}
		}
	}
	return all
}

// Level is the worst of all subscriptions.
func (data *deliveriesData) Level() string {
	if all := data.Troubles(); len(all) > 0 {
		return all[0].Level()
	}
	return ""
}

// Trouble says since when, why, or how much; may be empty.
func (s *subscription) Trouble() string {
	switch {
	case s.State == api.SubscriptionPaused && s.PauseReason != "":
		return s.PauseReason
	case !s.BrokenSince.IsZero() && s.Live != nil && s.Live.Problem != "":
		return fmt.Sprintf("%s behind, %d events: %s", took(s.Lag()), s.Backlog, s.Live.Problem)
	case !s.BrokenSince.IsZero() || s.Behind():
		return fmt.Sprintf("%s behind, %d events", took(s.Lag()), s.Backlog)
	}
	return ""
}

// deliveries shows all subscriptions.
func (d *Dashboard) deliveries(r *http.Request, v *Visitor) (any, error) {
	all, err := readSubscriptions(r.Context(), v, url.Values{"step": {"10m"}})
	if err != nil {
		return nil, err
	}
	data := &deliveriesData{Subscriptions: all}
	for _, s := range all {
		if level := s.Level(); level == levelBad || level == levelWarn {
			data.Troubled++
		}
	}
	return data, nil
}

// readSubscriptions reads all subscriptions with their traffic, the removed ones last. query
// selects the history.
func readSubscriptions(ctx context.Context, v *Visitor, query url.Values) ([]*subscription, error) {
	var answer struct{ Subscriptions []*subscription }
	if err := v.Get(ctx, "/api/subscriptions", &answer); err != nil {
		return nil, err
	}
	all := answer.Subscriptions
	for _, s := range all {
		if err := s.readDefinition(); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(all, func(a, b *subscription) int {
		return compareBool(a.State == api.SubscriptionRemoved, b.State == api.SubscriptionRemoved)
	})
	if len(all) == 0 {
		return all, nil
	}
	return all, addHistory(ctx, v, all, query, sparkTime)
}

func (s *subscription) readDefinition() error {
	if len(s.Definition) == 0 {
		return nil
	}
	if err := json.Unmarshal(s.Definition, &s.Configured); err != nil {
		return fmt.Errorf("read the definition of subscription %s: %w", s.Name, err)
	}
	return nil
}

// addHistory adds the traffic of the last day, with a chart of its last part. Without a history the
// subscriptions stay without figures.
func addHistory(ctx context.Context, v *Visitor, all []*subscription, query url.Values,
	charted time.Duration) error {
	var day, recent api.History
	query.Set("kind", "subscription")
	if err := v.Get(ctx, "/api/history?"+query.Encode(), &day); err != nil {
		return unlessTold(err)
	}
	query.Set("step", "1m")
	query.Set("from", time.Now().Add(-recentTime).UTC().Format(time.RFC3339))
	if err := v.Get(ctx, "/api/history?"+query.Encode(), &recent); err != nil {
		return unlessTold(err)
	}
	for _, s := range all {
		if s.Idle > 0 {
			continue // the history counts temporary ones together
		}
		s.Day = seriesOf(&day, s.Name)
		s.Chart = deliveryColumns(&day, s.Day, charted)
		rate := 0.0
		if last := seriesOf(&recent, s.Name); last != nil {
			rate = float64(last.Total.Delivered) / recent.To.Sub(recent.From.Time).Seconds()
		}
		s.Rate = &rate
	}
	return nil
}

// unlessTold returns nil for an error that a page can do without, and else the error.
func unlessTold(err error) error {
	if isTold(err) {
		return nil
	}
	return err
}

func seriesOf(h *api.History, name string) *api.HistorySeries {
	for i := range h.Series {
		if h.Series[i].Name == name {
			return &h.Series[i]
		}
	}
	return nil
}
