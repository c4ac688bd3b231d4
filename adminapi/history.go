package adminapi

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/history"
)

// maxPoints is the greatest number of steps of a series: 6 hours by minutes, 24 hours by 4 minutes.
const maxPoints = 360

// historySteps are the steps to choose from.
var historySteps = []time.Duration{time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute,
	30 * time.Minute, time.Hour}

// parseHistory reads the parameters of /api/history. An error is a badParameter.
func parseHistory(query string, now time.Time) (q history.Query, err error) {
	err = readParameters(query, func(name, value string) (err error) {
		switch name {
		case "from":
			return parseTime(&q.From, name, value)
		case "to":
			return parseTime(&q.To, name, value)
		case "step":
			q.Step, err = time.ParseDuration(value)
			if err != nil || q.Step < time.Minute || q.Step%time.Minute != 0 {
				return badParameter{name, "must be whole minutes, such as 5m"}
			}
		case "kind":
			q.Only.Kind = history.Kind(value)
			if !slices.Contains([]history.Kind{history.Gate, history.Source, history.Subscription},
				q.Only.Kind) {
				return badParameter{name, "must be gate, source or subscription"}
			}
		case "name":
			q.Only.Name = value
		default:
			return unknownParameter(name)
		}
		return nil
	})
	if err != nil {
		return q, err
	}
	if q.To.IsZero() || q.To.After(now) {
		q.To = now
	}
	if oldest := now.Add(-history.Span); q.From.Before(oldest) {
		q.From = oldest
		if q.To.Before(oldest) {
			q.To = oldest
		}
	}
	span := q.To.Sub(q.From)
	switch {
	case q.Only.Name != "" && q.Only.Kind == "":
		return q, badParameter{"name", "needs a kind"}
	case span < 0:
		return q, badParameter{"to", "must be after from"}
	case q.Step == 0:
		for _, q.Step = range historySteps {
			if span/q.Step <= maxPoints/2 {
				break
			}
		}
	case span/q.Step > maxPoints:
		return q, badParameter{"step", "is too short: a series has at most 360 points"}
	}
	return q, nil
}

// showHistory answers rates and latencies of the last 24 hours.
func (s *API) showHistory(c *call) {
	q, err := parseHistory(c.request.URL.RawQuery, time.Now())
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	all, err := history.Read(c.request.Context(), s.history, q)
	if err != nil {
		c.unavailable("reading the history", err)
		return
	}
	answer := api.History{From: api.At(q.From.Truncate(q.Step)), To: api.At(q.End()),
		StepSeconds: int(q.Step.Seconds()), Series: []api.HistorySeries{}}
	for subject, series := range all {
		shown := api.HistorySeries{Kind: string(subject.Kind), Name: subject.Name,
			Total: historyCountsOf(&series.Total)}
		for _, p := range series.Points {
			shown.Points = append(shown.Points, api.HistoryPoint{At: api.At(p.At),
				HistoryCounts: historyCountsOf(&p.Counts)})
		}
		answer.Series = append(answer.Series, shown)
	}
	slices.SortFunc(answer.Series, func(a, b api.HistorySeries) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	c.json(answer)
}

func historyCountsOf(c *history.Counts) api.HistoryCounts {
	return api.HistoryCounts{
		Accepted: c.Accepted, Duplicates: c.Duplicates, Unauthenticated: c.Unauthenticated,
		Refused: c.Refused, Unavailable: c.Unavailable, Delivered: c.Delivered,
		DeadLettered: c.DeadLettered, Parked: c.Parked, Attempts: c.Attempts, Failed: c.Failed,
		Stored: c.Stored, Latency: historyLatencyOf(&c.Latency), Duration: historyLatencyOf(&c.Duration),
	}
}

func historyLatencyOf(h *history.Histogram) *api.HistoryLatency {
	n := h.Count()
	if n == 0 {
		return nil
	}
	at := func(share float64) float64 {
		return float64(h.Quantile(share).Microseconds()) / 1000
	}
	return &api.HistoryLatency{Count: n, P50: at(0.5), P95: at(0.95), P99: at(0.99)}
}
