package dashboard

import (
	"fmt"
	"time"

	"github.com/hookgate/hookgate/api"
)

// column is one step of a chart of deliveries: pieces on top of each other.
type column struct {
	X      int
	Title  string
	Pieces []piece
}

// columns is a chart of deliveries.
type columns struct {
	Columns []column
	// Width is the number of steps, and Peak the greatest sum of one.
	Width int
	Peak  int64
}

// columnsHeight is the height of a chart in the units of its drawing.
const columnsHeight = 56

// deliveryColumns draws the last part of a history, which is at most span long.
func deliveryColumns(h *api.History, s *api.HistorySeries, span time.Duration) (c columns) {
	step := time.Duration(h.StepSeconds) * time.Second
	if step <= 0 || s == nil {
		return c
	}
	begin := h.From.Time
	if earliest := h.To.Add(-span); begin.Before(earliest) {
		begin = earliest
	}
	c.Width = int(h.To.Sub(begin) / step)
	for i := range s.Points {
		p := &s.Points[i]
		c.Peak = max(c.Peak, p.Delivered+p.Failed)
	}
	for i := range s.Points {
		p := &s.Points[i]
		x := int(p.At.Sub(begin) / step)
		if p.At.Before(begin) || p.Delivered+p.Failed == 0 {
			continue
		}
		one := column{X: x, Title: fmt.Sprintf("%s UTC: %d delivered, %d attempts failed",
			p.At.Format("2006-01-02 15:04"), p.Delivered, p.Failed)}
		y := float64(columnsHeight)
		for _, part := range []struct {
			class string
			n     int64
		}{{"s4", p.Delivered}, {"s3", p.Failed}} {
			if part.n > 0 {
				height := max(1.5, (columnsHeight-4)*float64(part.n)/float64(c.Peak))
				y -= height
				one.Pieces = append(one.Pieces, piece{part.class, y, height})
			}
		}
		c.Columns = append(c.Columns, one)
	}
	return c
}
