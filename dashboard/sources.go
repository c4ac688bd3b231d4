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
	Day  Day
	Bars []bar
	// Peak is the height of the chart in answers of a bar.
	Peak uint32
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
	view := sourcesView{Since: all.Since}
	now := time.Now()
	for i := range all.Sources {
		s := sourceView{Source: all.Sources[i], Send: d.sendingTo(r, &all.Sources[i]),
			Day: d.config.Live.Day(all.Sources[i].Name, now)}
		s.Bars, s.Peak = bars(&s.Day)
		view.Sources = append(view.Sources, s)
	}
	return view, nil
}

const (
	// slotsInBar are put together in a bar of the chart: a quarter of an hour.
	slotsInBar = 3
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

// bars draws a day. A count above 0 is at least one pixel high.
func bars(day *Day) (all []bar, peak uint32) {
	sums := make([]Slot, 0, daySlots/slotsInBar)
	for i := 0; i+slotsInBar <= len(day.Slots); i += slotsInBar {
		var sum Slot
		for _, s := range day.Slots[i : i+slotsInBar] {
			sum.Taken += s.Taken
			sum.Unauthenticated += s.Unauthenticated
			sum.Refused += s.Refused
			sum.Unavailable += s.Unavailable
		}
		sums = append(sums, sum)
		peak = max(peak, sum.Taken+sum.Unauthenticated+sum.Refused+sum.Unavailable)
	}
	for i, s := range sums {
		b := bar{X: i}
		y := float64(barHeight)
		for _, p := range []struct {
			class string
			n     uint32
		}{{"s1", s.Taken}, {"s2", s.Unauthenticated + s.Refused}, {"s3", s.Unavailable}} {
			if p.n == 0 {
				continue
			}
			height := max(1, (barHeight-4)*float64(p.n)/float64(peak))
			y -= height
			b.Pieces = append(b.Pieces, piece{p.class, y, height})
		}
		if len(b.Pieces) > 0 {
			at := day.Begin.Add(time.Duration(i*slotsInBar) * slotTime)
			b.Title = fmt.Sprintf("%s UTC: %d accepted, %d refused, %d unavailable",
				at.Format("2006-01-02 15:04"), s.Taken, s.Unauthenticated+s.Refused, s.Unavailable)
			all = append(all, b)
		}
	}
	return all, peak
}
