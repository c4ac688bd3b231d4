package dashboard

import (
	"fmt"
	"net/http"
	"time"

	"github.com/hookgate/hookgate/api"
)

// sourceView is a source on a page.
type sourceView struct {
	api.Source
	Send sending
	// Day are the totals of the last 24 hours, of all processes; nil if they are not known.
	Day  *totals
	Bars []bar
	// Peak is the height of the chart in answers of a bar.
	Peak int64
}

type sourcesView struct {
	Since   api.Time
	Sources []sourceView
}

// sources shows the sources with the traffic of a day.
func (d *Dashboard) sources(r *http.Request, v *Visitor) (any, error) {
	all, err := readSources(r, v)
	if err != nil {
		return nil, err
	}
	var day api.History
	err = v.Get(r.Context(), fmt.Sprintf("/api/history?kind=source&step=%s", barTime), &day)
	if !isTold(err) {
		return nil, err
	}
	view := sourcesView{Since: all.Since}
	for i := range all.Sources {
		s := sourceView{Source: all.Sources[i], Send: d.sendingTo(r, &all.Sources[i])}
		if err == nil {
			s.Day = &totals{}
		}
		for j := range day.Series {
			if series := &day.Series[j]; series.Name == s.Name {
				s.Day.add(&series.Total)
				s.Bars, s.Peak = bars(day.From.Time, series.Points)
			}
		}
		view.Sources = append(view.Sources, s)
	}
	return view, nil
}

const (
	// barTime is the time of a bar of the chart.
	barTime = 15 * time.Minute
	// barHeight is that of the chart, in the units of its drawing.
	barHeight = 56
)

// bar is a bar of the chart of a day: pieces on top of each other.
type bar struct {
	X      int
	Pieces []piece
	Title  string
}

type piece struct {
	Class     string
	Y, Height float64
}

// bars draws a day that begins at a time. A count above 0 is at least one pixel high.
func bars(begin time.Time, points []api.HistoryPoint) (all []bar, peak int64) {
	sums := make([]totals, len(points))
	for i := range points {
		sums[i].add(&points[i].HistoryCounts)
		peak = max(peak, sums[i].Accepted+sums[i].Refused+sums[i].Unavailable)
	}
	for i, s := range sums {
		b := bar{X: int(points[i].At.Sub(begin) / barTime)}
		y := float64(barHeight)
		for _, p := range []struct {
			class string
			n     int64
		}{{"s1", s.Accepted}, {"s2", s.Refused}, {"s3", s.Unavailable}} {
			if p.n == 0 {
				continue
			}
			height := max(1, (barHeight-4)*float64(p.n)/float64(peak))
			y -= height
			b.Pieces = append(b.Pieces, piece{p.class, y, height})
		}
		if len(b.Pieces) > 0 {
			b.Title = fmt.Sprintf("%s UTC: %d accepted, %d refused, %d unavailable",
				points[i].At.UTC().Format("2006-01-02 15:04"), s.Accepted, s.Refused, s.Unavailable)
			all = append(all, b)
		}
	}
	return all, peak
}
