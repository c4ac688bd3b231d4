package adminapi

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
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
	all, err := s.series.read(c.request.Context(), s.history, q)
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

const (
	// seriesShare bounds the work for the same series: after a read it is answered from memory for
	// that many times as long as the read took, and at most for seriesLife. A page asks for it every
	// few seconds, in each browser that shows it.
	seriesShare = 20
	seriesLife  = time.Minute
	// maxSeries bounds the answers in memory.
	maxSeries = 16
)

// seriesCache keeps answers of history.Read that were slow. The zero value is empty.
type seriesCache struct {
	mu   sync.Mutex // guards kept; not held during a read
	kept map[seriesKey]*seriesRead
}

type seriesKey struct {
	from, to int64 // Unix time in seconds
	step     time.Duration
	only     history.Subject
}

// seriesRead is a read; done is closed when the fields after it are set.
type seriesRead struct {
	done  chan struct{}
	until time.Time // when to read again; zero if the read failed
	all   map[history.Subject]*history.Series
}

// read is history.Read. Simultaneous calls for the same series share a read. The caller must not
// change the result.
func (s *seriesCache) read(ctx context.Context, r history.Reader, q history.Query) (
	map[history.Subject]*history.Series, error) {
	key := seriesKey{q.From.Truncate(q.Step).Unix(), q.End().Unix(), q.Step, q.Only}
	s.mu.Lock()
	for known, one := range s.kept {
		select {
		case <-one.done:
			if !time.Now().Before(one.until) {
				delete(s.kept, known)
			}
		default:
		}
	}
	one, full := s.kept[key], len(s.kept) >= maxSeries
	if one == nil && !full {
		if s.kept == nil {
			s.kept = map[seriesKey]*seriesRead{}
		}
		own := &seriesRead{done: make(chan struct{})}
		s.kept[key] = own
		s.mu.Unlock()
		defer close(own.done)
		began := time.Now()
		all, err := history.Read(ctx, r, q)
		if now := time.Now(); err == nil {
			own.all, own.until = all, now.Add(min(seriesShare*now.Sub(began), seriesLife))
		}
		return all, err
	}
	s.mu.Unlock()
	if one != nil {
		select {
		case <-one.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if one.all != nil {
			return one.all, nil
		}
	}
	return history.Read(ctx, r, q)
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
