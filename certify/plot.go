package certify

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A plot is an SVG that takes its colours from the page, so that it fits light and dark.
const (
	plotWidth, plotHeight                    = 640.0, 230.0
	plotLeft, plotRight, plotTop, plotBottom = 52.0, 14.0, 12.0, 34.0
)

// axis maps values to pixels.
type axis struct {
	low, high float64
	log       bool
	named     bool    // the ticks have names of their own
	from, to  float64 // pixels
}

func (a axis) at(v float64) float64 {
	low, high := a.low, a.high
	if a.log {
		v, low, high = math.Log(max(v, a.low)), math.Log(low), math.Log(high)
	}
	if high == low {
		return a.from
	}
	return a.from + (a.to-a.from)*(min(max(v, low), high)-low)/(high-low)
}

// ticks returns a handful of round values.
func (a axis) ticks() (all []float64) {
	if a.log {
		for v := math.Pow(10, math.Floor(math.Log10(a.low))); v <= a.high*1.0001; v *= 10 {
			for _, m := range []float64{1, 2, 5} {
				if t := v * m; t >= a.low*0.999 && t <= a.high*1.001 && (m == 1 || a.high/a.low < 1000) {
					all = append(all, t)
				}
			}
		}
		return all
	}
	step := math.Pow(10, math.Floor(math.Log10((a.high-a.low)/4)))
	for _, m := range []float64{1, 2, 5, 10} {
		if (a.high-a.low)/(step*m) <= 5 {
			step *= m
			break
		}
	}
	for i := math.Ceil(a.low / step); i*step <= a.high*1.0001; i++ {
		all = append(all, i*step)
	}
	return all
}

func number(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 3, 64) + "M"
	case v >= 10_000:
		return strconv.FormatFloat(v/1e3, 'g', 3, 64) + "k"
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// plot draws into an SVG. Nothing that comes from outside is written but numbers.
type plot struct {
	b    strings.Builder
	x, y axis
}

func newPlot(title string, x, y axis, xName, yName string) *plot {
	p := &plot{x: x, y: y}
	p.x.from, p.x.to = plotLeft, plotWidth-plotRight
	p.y.from, p.y.to = plotHeight-plotBottom, plotTop
	fmt.Fprintf(&p.b, `<svg viewBox="0 0 %g %g" role="img" aria-label="%s">`, plotWidth, plotHeight, template.HTMLEscapeString(title))
	for _, v := range p.y.ticks() {
		at := p.y.at(v)
		fmt.Fprintf(&p.b, `<line class="grid" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/><text class="tick" x="%.1f" y="%.1f" text-anchor="end">%s</text>`,
			p.x.from, at, p.x.to, at, p.x.from-6, at+4, number(v))
	}
	if !x.named {
		for _, v := range p.x.ticks() {
			p.tick(v, "middle", number(v))
		}
	}
	fmt.Fprintf(&p.b, `<line class="axis" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, p.x.from, p.y.from, p.x.to, p.y.from)
	fmt.Fprintf(&p.b, `<text class="name" x="%.1f" y="%.1f" text-anchor="end">%s</text>`, p.x.to, plotHeight-4, xName)
	fmt.Fprintf(&p.b, `<text class="name" x="%.1f" y="%.1f">%s</text>`, p.x.from+4, plotTop+2, yName)
	return p
}

// tick names a value of the x axis.
func (p *plot) tick(v float64, anchor, name string) {
	fmt.Fprintf(&p.b, `<text class="tick" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, p.x.at(v), p.y.from+15, anchor, name)
}

type point struct{ x, y float64 }

func (p *plot) line(class string, points []point) {
	if len(points) == 0 {
		return
	}
	p.b.WriteString(`<polyline class="line ` + class + `" points="`)
	for _, q := range points {
		fmt.Fprintf(&p.b, "%.1f,%.1f ", p.x.at(q.x), p.y.at(q.y))
	}
	p.b.WriteString(`"/>`)
}

// bar draws from the x axis up to y.
func (p *plot) bar(class string, from, to, y float64) {
	left, right, top := p.x.at(from), p.x.at(to), p.y.at(y)
	fmt.Fprintf(&p.b, `<rect class="bar %s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, class, left+0.5, top, max(right-left-1, 1), max(p.y.from-top, 0))
}

// limit draws a line that should not be crossed, at a value of the y axis.
func (p *plot) limit(v float64, name string) {
	if v <= p.y.low || v > p.y.high {
		return
	}
	at := p.y.at(v)
	fmt.Fprintf(&p.b, `<line class="limit" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/><text class="limitname" x="%.1f" y="%.1f" text-anchor="end">%s</text>`,
		p.x.from, at, p.x.to, at, p.x.to-2, at-4, name)
}

// mark draws a vertical line with a name.
func (p *plot) mark(v float64, name string, row int) {
	at := p.x.at(v)
	anchor, shift := "start", 4.0
	if at > plotWidth*0.8 {
		anchor, shift = "end", -4
	}
	fmt.Fprintf(&p.b, `<line class="mark" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/><text class="markname" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`,
		at, p.y.from, at, p.y.to, at+shift, plotTop+14+float64(row)*14, anchor, name)
}

func (p *plot) svg() template.HTML { return template.HTML(p.b.String() + "</svg>") }

// nice rounds a maximum up, so that a plot has some room above.
func nice(v float64) float64 {
	if v <= 0 {
		return 1
	}
	scale := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 1.5, 2, 3, 4, 5, 6, 8, 10} {
		if v <= m*scale {
			return m * scale
		}
	}
	return 10 * scale
}

// latencyHistogram shows how many answers took how long, and where the percentiles are.
func (f *figures) latencyHistogram() template.HTML {
	if f.latency.TotalCount() == 0 {
		return ""
	}
	low := max(0.05, float64(f.latency.Min())/1000)
	high := max(float64(f.latency.Max())/1000, low*4)
	const bars = 60
	counts := make([]float64, bars)
	x := axis{low: low, high: high, log: true}
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
	p := newPlot("Latency histogram", x, axis{high: nice(most)}, "ms, logarithmic", "answers")
	width := math.Pow(high/low, 1.0/bars)
	for i, c := range counts {
		if c > 0 {
			from := low * math.Pow(width, float64(i))
			p.bar("a", from, from*width, c)
		}
	}
	for i, q := range []float64{50, 95, 99} {
		p.mark(ms(f.latency, q), fmt.Sprintf("P%g %s ms", q, number(round2(ms(f.latency, q)))), i)
	}
	return p.svg()
}

func round2(v float64) float64 { return math.Round(v*100) / 100 }

// percentileCurves shows each latency by the share of answers that took no longer.
func (f *figures) percentileCurves() template.HTML {
	if f.latency.TotalCount() == 0 {
		return ""
	}
	// x is -log10 of the share beyond: 0 for the least, 3 for P99.9.
	const last = 4.0
	points := func(h *hdrhistogram.Histogram) (all []point) {
		for x := 0.0; x <= last; x += 0.05 {
			all = append(all, point{x, ms(h, 100*(1-math.Pow(10, -x)))})
		}
		return all
	}
	latency, service := points(f.latency), points(f.service)
	low, high := math.Inf(1), 1.0
	for _, p := range append(append([]point{}, latency...), service...) {
		if p.y > 0 {
			low = min(low, p.y)
		}
		high = max(high, p.y)
	}
	high = max(high, f.limits.P95MS, f.limits.P99MS) * 1.3
	p := newPlot("Latency by percentile", axis{high: last, named: true}, axis{low: min(low, high/2), high: high, log: true}, "", "ms, logarithmic")
	for _, t := range []struct {
		x    float64
		name string
	}{{0, "P0"}, {0.301, "P50"}, {1, "P90"}, {1.301, "P95"}, {2, "P99"}, {3, "P99.9"}, {4, "P99.99"}} {
		anchor := "middle"
		if t.x == last {
			anchor = "end"
		}
		p.tick(t.x, anchor, t.name)
	}
	p.line("b", service)
	p.line("a", latency)
	for _, l := range []struct {
		limit, x float64
		name     string
	}{{f.limits.P95MS, 1.301, "limit of P95"}, {f.limits.P99MS, 2, "limit of P99"}} {
		if l.limit > 0 {
			x, y := p.x.at(l.x), p.y.at(l.limit)
			fmt.Fprintf(&p.b, `<line class="limit" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/><text class="limitname" x="%.1f" y="%.1f" text-anchor="end">%s</text>`,
				x-34, y, x+34, y, x-38, y+4, l.name)
		}
	}
	return p.svg()
}

// latencyOverTime shows percentiles of spans of time.
func (f *figures) latencyOverTime() template.HTML {
	var p50, p95, most []point
	high := 1.0
	for i := range f.overTime.spans {
		s := &f.overTime.spans[i]
		if s.answers == 0 {
			continue
		}
		x := (float64(i) + 0.5) * f.overTime.width.Seconds()
		p50, p95 = append(p50, point{x, s.quantile(0.5)}), append(p95, point{x, s.quantile(0.95)})
		most = append(most, point{x, s.quantile(1)})
		high = max(high, s.quantile(1))
	}
	if len(p50) == 0 {
		return ""
	}
	low := high
	for _, q := range p50 {
		low = min(low, max(q.y, 0.05))
	}
	p := newPlot("Latency over time", axis{high: max(f.overTime.width.Seconds()*float64(len(f.overTime.spans)), 1)},
		axis{low: min(low, high/2) * 0.8, high: max(high, f.limits.P95MS) * 1.3, log: true}, "s", "ms, logarithmic")
	p.line("c", most)
	p.line("b", p95)
	p.line("a", p50)
	p.limit(f.limits.P95MS, "limit of P95")
	return p.svg()
}

// depthOverTime shows the depth of the target's queue, and the answers a second.
func (f *figures) depthOverTime() template.HTML {
	if len(f.depth) == 0 {
		return ""
	}
	var points []point
	most, last := 1.0, 1.0
	for _, d := range f.depth {
		x := d.at.Sub(f.overTime.start).Seconds()
		points = append(points, point{max(x, 0), float64(d.depth)})
		most, last = max(most, float64(d.depth)), max(last, x)
	}
	p := newPlot("Depth of the queue", axis{high: last}, axis{high: nice(most)}, "s", "records queued")
	p.line("a", points)
	return p.svg()
}

// batchSizes shows how many records were stored in one transaction.
func (f *figures) batchSizes() template.HTML { return bars(f.batches, "Batch sizes", "transactions") }

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
	p := newPlot(title, axis{high: float64(last - first + 1), named: true}, axis{high: nice(most)}, "", name)
	for i := first; i <= last; i++ {
		at := float64(i - first)
		p.bar("a", at, at+1, counts[i])
		bound := "more"
		if i < len(h.Bounds) {
			bound = "≤ " + number(h.Bounds[i])
		}
		p.tick(at+0.5, "middle", bound)
		if counts[i] > 0 {
			fmt.Fprintf(&p.b, `<text class="tick" x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, p.x.at(at+0.5), p.y.at(counts[i])-4, number(counts[i]))
		}
	}
	return p.svg()
}
