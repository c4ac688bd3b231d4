package certify

import (
	"fmt"
	"html/template"
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/hookgate/hookgate/internal/svgplot"
)

// latencyHistogram shows how many answers took how long, and the percentiles.
func (f *figures) latencyHistogram() template.HTML {
	if f.latency.TotalCount() == 0 {
		return ""
	}
	low := max(0.05, float64(f.latency.Min())/1000)
	high := max(float64(f.latency.Max())/1000, low*4)
	const bars = 60
	counts := make([]float64, bars)
	x := svgplot.Axis{Low: low, High: high, Log: true}
	for _, b := range f.latency.Distribution() {
		if b.Count == 0 {
			continue
		}
		v := max(float64(b.From+b.To)/2000, low)
		i := int(float64(bars) * (math.Log(v) - math.Log(low)) / (math.Log(high) - math.Log(low)))
		counts[min(max(i, 0), bars-1)] += float64(b.Count)
	}
	most := 0.0
	for _, c := range counts {
		most = max(most, c)
	}
	p := svgplot.New("Latency histogram", x, svgplot.Axis{High: svgplot.Nice(most)}, "ms, logarithmic",
		"answers")
	width := math.Pow(high/low, 1.0/bars)
	for i, c := range counts {
		if c > 0 {
			from := low * math.Pow(width, float64(i))
			p.Bar("a", from, from*width, c)
		}
	}
	for i, q := range []float64{50, 95, 99} {
		p.Mark(ms(f.latency, q), fmt.Sprintf("P%g %s ms", q, svgplot.Number(round2(ms(f.latency, q)))), i)
	}
	return p.SVG()
}

func round2(v float64) float64 { return math.Round(v*100) / 100 }

// percentileCurves shows each latency by the share of answers that took at most that long.
func (f *figures) percentileCurves() template.HTML {
	if f.latency.TotalCount() == 0 {
		return ""
	}
	points := func(h *hdrhistogram.Histogram) (all []svgplot.Point) {
		for x := 0.0; x <= svgplot.MaxPercentile; x += 0.05 {
			all = append(all, svgplot.Point{X: x, Y: ms(h, svgplot.Percentile(x))})
		}
		return all
	}
	latency, service := points(f.latency), points(f.service)
	low, high := math.Inf(1), 1.0
	for _, p := range append(append([]svgplot.Point{}, latency...), service...) {
		if p.Y > 0 {
			low = min(low, p.Y)
		}
		high = max(high, p.Y)
	}
	high = max(high, f.limits.P95MS, f.limits.P99MS) * 1.3
	p := svgplot.NewPercentiles("Latency by percentile", min(low, high/2), high, "ms, logarithmic")
	p.Line("b", service)
	p.Line("a", latency)
	for _, l := range []struct {
		limit, x float64
		name     string
	}{{f.limits.P95MS, 1.301, "limit of P95"}, {f.limits.P99MS, 2, "limit of P99"}} {
		if l.limit > 0 {
			p.LimitAt(l.x, l.limit, l.name)
		}
	}
	return p.SVG()
}

// latencyOverTime shows percentiles for each span of time.
func (f *figures) latencyOverTime() template.HTML {
	var p50, p95, most []svgplot.Point
	high := 1.0
	for i := range f.overTime.spans {
		s := &f.overTime.spans[i]
		if s.answers == 0 {
			continue
		}
		x := (float64(i) + 0.5) * f.overTime.width.Seconds()
		p50, p95 = append(p50, svgplot.Point{X: x, Y: s.quantile(0.5)}),
			append(p95, svgplot.Point{X: x, Y: s.quantile(0.95)})
		most = append(most, svgplot.Point{X: x, Y: s.quantile(1)})
		high = max(high, s.quantile(1))
	}
	if len(p50) == 0 {
		return ""
	}
	low := high
	for _, q := range p50 {
		low = min(low, max(q.Y, 0.05))
	}
	p := svgplot.New("Latency over time",
		svgplot.Axis{High: max(f.overTime.width.Seconds()*float64(len(f.overTime.spans)), 1)},
		svgplot.Axis{Low: min(low, high/2) * 0.8, High: max(high, f.limits.P95MS) * 1.3, Log: true}, "s",
		"ms, logarithmic")
	p.Line("c", most)
	p.Line("b", p95)
	p.Line("a", p50)
	p.Limit(f.limits.P95MS, "limit of P95")
	return p.SVG()
}

// depthOverTime shows the depth of the target's queue, and the answers per second.
func (f *figures) depthOverTime() template.HTML {
	if len(f.depth) == 0 {
		return ""
	}
	var points []svgplot.Point
	most, last := 1.0, 1.0
	for _, d := range f.depth {
		x := d.at.Sub(f.overTime.start).Seconds()
		points = append(points, svgplot.Point{X: max(x, 0), Y: float64(d.depth)})
		most, last = max(most, float64(d.depth)), max(last, x)
	}
	p := svgplot.New("Depth of the queue", svgplot.Axis{High: last},
		svgplot.Axis{High: svgplot.Nice(most)}, "s", "records queued")
	p.Line("a", points)
	return p.SVG()
}

// batchSizes shows how many records one transaction stored.
func (f *figures) batchSizes() template.HTML {
	return bars(f.batches, "Batch sizes", "transactions")
}

// serverLatency is the target's own histogram.
func (f *figures) serverLatency() template.HTML {
	return bars(f.server, "The target's own histogram", "answers")
}

func bars(h *histogram, title, name string) template.HTML {
	if h == nil || h.Count <= 0 || len(h.Counts) == 0 {
		return ""
	}
	var counts []float64
	first, last := -1, 0
	before := 0.0
	for i := 0; i <= len(h.Counts); i++ {
		n := h.Count - before
		if i < len(h.Counts) {
			n, before = h.Counts[i]-before, h.Counts[i]
		}
		counts = append(counts, n)
		if n > 0 {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	first, last = max(first-1, 0), min(last+1, len(counts)-1)
	most := 0.0
	for _, n := range counts {
		most = max(most, n)
	}
	p := svgplot.New(title, svgplot.Axis{High: float64(last - first + 1), Named: true},
		svgplot.Axis{High: svgplot.Nice(most)}, "", name)
	for i := first; i <= last; i++ {
		at := float64(i - first)
		p.Bar("a", at, at+1, counts[i])
		bound := "more"
		if i < len(h.Bounds) {
			bound = "≤ " + svgplot.Number(h.Bounds[i])
		}
		p.Tick(at+0.5, "middle", bound)
		if counts[i] > 0 {
			p.Label(at+0.5, counts[i], svgplot.Number(counts[i]))
		}
	}
	return p.SVG()
}
