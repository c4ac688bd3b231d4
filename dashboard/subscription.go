package dashboard

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

// deliveriesShown is the length of a page of attempts or exceptions.
const deliveriesShown = 25

// The tabs of a subscription's page, beside the states of exceptions.
const (
	tabAttempts = "attempts"
	tabHeld     = "held"
)

var attemptFilters = []filterName{{"state", "state"}, {"outcome", "outcome"}, {"status", "status"},
	{"key", "key"}, {"from", "ended from"}, {"to", "before"}}

var exceptionFilters = []filterName{{"state", "state"}, {"key", "key"}}

// subscriptionData is the data of the page of a subscription.
type subscriptionData struct {
	*subscription
	filters
	// State is the tab that is shown.
	State      string
	Attempts   []attempt
	Exceptions []exception
	// Partial reports that the time for the search was over before the page was full.
	Partial bool
	// Older and First are addresses of pages; empty if there are none.
	Older, First string
	Jobs         []job
	// Total is how many the tab has, if nothing filters it; else 0.
	Total int64
	// Selection is what the tab shows, as the body of a call on many; empty if there is no such call.
	Selection string
}

// attempt is an attempt on a page.
type attempt struct{ api.Attempt }

// Took is how long the attempt took.
func (a attempt) Took() time.Duration {
	return time.Duration(a.DurationMs * float64(time.Millisecond))
}

// Begun is when the attempt began.
func (a attempt) Begun() time.Time { return a.At.Add(-a.Took()) }

// Level is the colour of the outcome.
func (a attempt) Level() string { return outcomeLevel(a.Outcome) }

func outcomeLevel(o hookgate.AttemptOutcome) string {
	switch o {
	case hookgate.AttemptDelivered:
		return "good"
	case hookgate.AttemptFailed, hookgate.AttemptSkipped:
		return levelWarn
	}
	return levelBad
}

// exception is an exception on a page.
type exception struct{ api.Exception }

// Level is the colour of the state.
func (e exception) Level() string {
	if e.State == hookgate.ExceptionWaiting {
		return levelWarn
	}
	return levelBad
}

// job is a redelivery job on a page.
type job struct{ api.RedeliveryJob }

// Running reports whether the job goes on.
func (j job) Running() bool { return j.State == api.JobRunning }

// Percent is how far the job is.
func (j job) Percent() int {
	if j.State == api.JobDone {
		return 100
	}
	if n := int64(len(j.Events)); n > 0 {
		return int(min(100, 100*(j.Delivered+j.Failed)/n))
	}
	after, until, at := number(j.After), number(j.Until), number(j.Position)
	if until <= after {
		return 0
	}
	return int(min(100, max(0, 100*(at-after)/(until-after))))
}

// Covers says which events the job delivers.
func (j job) Covers() string {
	if n := len(j.Events); n == 1 {
		return "event " + j.Events[0]
	} else if n > 1 {
		return fmt.Sprintf("%d events", n)
	}
	parts := []string{"events up to " + j.Until}
	if j.Key != "" {
		parts = append(parts, "key "+j.Key)
	}
	if len(j.Filter.Types) > 0 {
		parts = append(parts, "types "+strings.Join(j.Filter.Types, ", "))
	}
	if len(j.Filter.Sources) > 0 {
		parts = append(parts, "sources "+strings.Join(j.Filter.Sources, ", "))
	}
	return strings.Join(parts, ", ")
}

func number(id string) (n int64) {
	fmt.Sscan(id, &n) // 0 if it is no number
	return n
}

// subscription shows one subscription with its attempts or exceptions.
func (d *Dashboard) subscription(r *http.Request, v *Visitor) (any, error) {
	ctx, query := r.Context(), r.URL.Query()
	data := &subscriptionData{subscription: &subscription{}}
	call := "/api/subscriptions/" + url.PathEscape(r.PathValue("name"))
	if err := v.Get(ctx, call, &data.Subscription); err != nil {
		return nil, err
	}
	if err := data.readDefinition(); err != nil {
		return nil, err
	}
	if err := addHistory(ctx, v, []*subscription{data.subscription}, url.Values{"step": {"15m"},
		"name": {data.Name}}, 24*time.Hour); err != nil {
		return nil, err
	}
	if data.State = query.Get("state"); data.State == "" {
		data.State = tabAttempts
	}
	after := query.Get("after")
	var err error
	if data.State == tabAttempts {
		err = data.readAttempts(r, v, call, after)
	} else {
		err = data.readExceptions(r, v, call, after)
	}
	if err != nil {
		return nil, err
	}
	if after != "" {
		data.First = data.With()
	}
	var jobs struct{ Jobs []job }
	if err := v.Get(ctx, call+"/jobs?limit=5", &jobs); err != nil {
		return nil, err
	}
	data.Jobs = jobs.Jobs
	return data, nil
}

func (data *subscriptionData) readAttempts(r *http.Request, v *Visitor, call, after string) error {
	data.filters = readFilters(data.Link(), r.URL.Query(), attemptFilters)
	data.values.Del("state")
	var page struct {
		Attempts []attempt
		Next     string
		Partial  bool
	}
	path := data.call(call+"/attempts", "limit", fmt.Sprint(deliveriesShown), "after", after)
	if err := v.Get(r.Context(), path, &page); err != nil {
		return err
	}
	data.Attempts, data.Partial = page.Attempts, page.Partial
	if page.Next != "" {
		data.Older = data.With("after", page.Next)
	}
	return nil
}

func (data *subscriptionData) readExceptions(r *http.Request, v *Visitor, call,
	after string) error {
	data.filters = readFilters(data.Link(), r.URL.Query(), exceptionFilters)
	chosen := []string{"limit", fmt.Sprint(deliveriesShown), "after", after}
	if data.State == tabHeld {
		chosen = append(chosen, "state", "", "held", "true")
	} else {
		selection := map[string]string{"state": data.State}
		if key := data.Get("key"); key != "" {
			selection["key"] = key
		}
		data.Selection = mustJSON(selection)
	}
	var page struct {
		Exceptions []exception
		Next       string
	}
	if err := v.Get(r.Context(), data.call(call+"/exceptions", chosen...), &page); err != nil {
		return err
	}
	data.Exceptions = page.Exceptions
	for _, t := range data.Tabs() {
		if t.Name == data.State && t.Count != nil && !data.Filtered() {
			data.Total = *t.Count
		}
	}
	if page.Next != "" {
		data.Older = data.With("after", page.Next)
	}
	return nil
}

// Filtered reports whether a filter beside the tab is set.
func (data *subscriptionData) Filtered() bool { return len(data.Shown()) > 0 }

// Shown are the chips of all filters but the tab.
func (data *subscriptionData) Shown() (chips []chip) {
	for _, c := range data.Chips {
		if c.Label != "state" {
			chips = append(chips, c)
		}
	}
	return chips
}

// tab is a tab of the page.
type tab struct {
	Name, Title, Link string
	// Count is how many there are; nil if nobody counts them.
	Count *int64
	Level string
}

// Tabs are the tabs with the number of what they show.
func (data *subscriptionData) Tabs() []tab {
	s := data.subscription
	all := []tab{{Name: tabAttempts, Title: "Attempts", Link: s.Link()}}
	for _, t := range []struct {
		name, title, level string
		count              *int64
	}{{"waiting", "Waiting", levelWarn, &s.Waiting}, {tabHeld, "Held keys", levelWarn, &s.Held},
		{"parked", "Parked", levelBad, &s.Parked}, {"dead", "Dead letters", levelBad, &s.Dead}} {
		one := tab{Name: t.name, Title: t.title, Link: s.Tab(t.name), Count: t.count}
		if *t.count > 0 {
			one.Level = t.level
		}
		all = append(all, one)
	}
	return all
}

// Outcomes are the outcomes to choose from.
func (*subscriptionData) Outcomes() []string {
	return []string{"delivered", "undelivered", "failed", "parked", "dead_lettered", "skipped"}
}
