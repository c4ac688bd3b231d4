package dashboard

import (
	"net/http"
	"slices"
	"time"

	"github.com/hookgate/hookgate/api"
)

// overviewData is the data of the overview before its script takes over.
type overviewData struct {
	State
	wire wire
	// Empty is true if nothing was ever stored. The page then shows how to send a first webhook.
	Empty bool
	// Release has the release triggers.
	Release releaseAnswer
	Canary  canaryAnswer
	// Waiting is how many approvals are pending; 0 for viewers, who cannot decide.
	Waiting int
	First   *sending // how; nil if this process takes none
	// Range is the time range of the charts, and Ranges are all to choose from.
	Range  timeRange
	Ranges []timeRange
	// Totals are those of the last 24 hours; nil if the store does not answer.
	Totals     *totals
	SourceRows []sourceRow
	// Delivering sums up the subscriptions; nil if there are none.
	Delivering *deliveringSum
}

// timeRange is a choice of the charts. Its name is in the address.
type timeRange struct {
	Name, Text, Said string
	Now              bool
}

var timeRanges = []timeRange{
	{Name: "", Text: "15 min", Said: "over the last fifteen minutes"},
	{Name: "1h", Text: "1 h", Said: "over the last hour"},
	{Name: "6h", Text: "6 h", Said: "over the last six hours"},
	{Name: "24h", Text: "24 h", Said: "over the last day"},
}

// Live reports whether the charts show the live numbers.
func (t timeRange) Live() bool { return t.Name == "" }

// Link is the address of the page with this range.
func (t timeRange) Link() string {
	if t.Live() {
		return "/ui/"
	}
	return "/ui/?range=" + t.Name
}

// totals are numbers of the last 24 hours.
type totals struct {
	Accepted, Duplicates, Refused, Unavailable, Delivered, Failed int64
	P95                                                           float64 // in milliseconds
}

func (t *totals) add(c *api.HistoryCounts) {
	t.Accepted += c.Accepted
	t.Duplicates += c.Duplicates
	t.Refused += c.Unauthenticated + c.Refused
	t.Unavailable += c.Unavailable
	t.Delivered += c.Delivered
	t.Failed += c.Failed
}

// sourceRow is a source of this process with its last 24 hours.
type sourceRow struct {
	wireSource
	Day totals
}

// deliveringSum sums up the subscriptions.
type deliveringSum struct {
	Subscriptions, Behind int
	Parked, Dead          int64
	Lag                   string // the longest; empty if there is none
}

// behindAfter is the lag from which a subscription counts as behind on the overview.
const behindAfter = 60.0

// overview shows the gate as it is now.
func (d *Dashboard) overview(r *http.Request, v *Visitor) (any, error) {
	s := d.config.Live.State(r.Context())
	data := overviewData{State: s, wire: s.wire(), Ranges: slices.Clone(timeRanges)}
	for i := range data.Ranges {
		if data.Ranges[i].Now = data.Ranges[i].Name == r.URL.Query().Get("range"); data.Ranges[i].Now {
			data.Range = data.Ranges[i]
		}
	}
	if data.Range.Said == "" {
		data.Ranges[0].Now = true
		data.Range = data.Ranges[0]
	}
	if data.Empty = s.Store.Err == nil && s.Store.Counts.Events == 0 && s.Depth <= 0; data.Empty {
		all, err := readSources(r, v)
		if err != nil {
			return nil, err
		}
		if len(all.Sources) > 0 {
			first := d.sendingTo(r, &all.Sources[0])
			data.First = &first
		}
	}
	if err := v.Get(r.Context(), "/admin/release", &data.Release); err != nil {
		return nil, err
	}
	if err := v.Get(r.Context(), "/admin/canary", &data.Canary); err != nil {
		return nil, err
	}
	for _, source := range data.wire.Sources {
		data.SourceRows = append(data.SourceRows, sourceRow{wireSource: source})
	}
	if s.Store.Err != nil { // it is not waited for
		return data, nil
	}
	if v.Operator() {
		var page struct{ Approvals []approval }
		if err := v.Get(r.Context(), "/admin/approvals?state=pending", &page); !isTold(err) {
			return nil, err
		}
		data.Waiting = len(page.Approvals)
	}
	if err := data.readDay(r, v); !isTold(err) {
		return nil, err
	}
	return data, data.readDeliveries(r, v)
}

// readDay reads the last 24 hours.
func (o *overviewData) readDay(r *http.Request, v *Visitor) error {
	var h api.History
	if err := v.Get(r.Context(), "/api/history?step=1h", &h); err != nil {
		return err
	}
	o.Totals = &totals{}
	for i := range h.Series {
		series := &h.Series[i]
		o.Totals.add(&series.Total)
		if series.Kind == "gate" && series.Total.Latency != nil {
			o.Totals.P95 = series.Total.Latency.P95
		}
		for j := range o.SourceRows {
			if series.Kind == "source" && o.SourceRows[j].Name == series.Name {
				o.SourceRows[j].Day.add(&series.Total)
			}
		}
	}
	return nil
}

// readDeliveries sums up the subscriptions.
func (o *overviewData) readDeliveries(r *http.Request, v *Visitor) error {
	var all api.Subscriptions
	if err := v.Get(r.Context(), "/api/subscriptions", &all); err != nil {
		if isTold(err) {
			return nil // there can be none in this gate, or the store is away
		}
		return err
	}
	sum := deliveringSum{}
	longest := 0.0
	for i := range all.Subscriptions {
		s := &all.Subscriptions[i]
		if s.State == api.SubscriptionRemoved {
			continue
		}
		sum.Subscriptions++
		sum.Parked += s.Parked
		sum.Dead += s.Dead
		if longest = max(longest, s.LagSeconds); s.LagSeconds > behindAfter {
			sum.Behind++
		}
	}
	sum.Lag = span(longest)
	if longest > 0 && longest < 1 {
		sum.Lag = took(time.Duration(longest * float64(time.Second)))
	}
	if sum.Subscriptions > 0 {
		o.Delivering = &sum
	}
	return nil
}

// Wire is the state in the form that the script gets.
func (o overviewData) Wire() wire { return o.wire }

// Verdict sums up the state of the gate.
func (o overviewData) Verdict() string {
	switch {
	case len(o.wire.Problems) == 0:
		return "All well"
	case o.Level() == levelBad:
		return "Something is wrong"
	}
	return "Worth a look"
}

// Level is the colour of the verdict.
func (o overviewData) Level() string {
	level := ""
	for _, p := range o.wire.Problems {
		if level = p.Level; level == levelBad {
			break
		}
	}
	return level
}
