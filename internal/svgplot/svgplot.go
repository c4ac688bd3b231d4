// Package svgplot draws simple plots for reports, as SVG.
package svgplot

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// The size of a plot in pixels. It takes its colors from the page, so it fits light and dark.
const (
	plotWidth, plotHeight                    = 640.0, 230.0
	plotLeft, plotRight, plotTop, plotBottom = 52.0, 14.0, 12.0, 34.0
)

// Axis maps values to pixels.
type Axis struct {
	// Low and High are the values at its ends. Low is above 0 if Log is set.
	Low, High float64
	Log       bool
	// Named says that Tick draws the ticks, with names.
	Named    bool
	from, to float64 // pixels
}

func (a Axis) at(v float64) float64 {
	low, high := a.Low, a.High
	if a.Log {
		v, low, high = math.Log(max(v, a.Low)), math.Log(low), math.Log(high)
	}
	if high == low {
		return a.from
	}
	return a.from + (a.to-a.from)*(min(max(v, low), high)-low)/(high-low)
}

// ticks returns a few round values.
func (a Axis) ticks() (all []float64) {
	if a.Log {
		for v := math.Pow(10, math.Floor(math.Log10(a.Low))); v <= a.High*1.0001; v *= 10 {
			for _, m := range []float64{1, 2, 5} {
				if t := v * m; t >= a.Low*0.999 && t <= a.High*1.001 && (m == 1 || a.High/a.Low < 1000) {
					all = append(all, t)
				}
			}
		}
		return all
	}
	step := math.Pow(10, math.Floor(math.Log10((a.High-a.Low)/4)))
	for _, m := range []float64{1, 2, 5, 10} {
		if (a.High-a.Low)/(step*m) <= 5 {
			step *= m
			break
		}
	}
	for i := math.Ceil(a.Low / step); i*step <= a.High*1.0001; i++ {
		all = append(all, i*step)
	}
	return all
}

// Number formats a value with few characters.
func Number(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 3, 64) + "M"
	case v >= 10_000:
		return strconv.FormatFloat(v/1e3, 'g', 3, 64) + "k"
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// Plot draws an SVG. Apart from numbers, pass it only texts of the program: not all are escaped.
type Plot struct {
	b    strings.Builder
	x, y Axis
}

// New returns a plot with its axes, and with ticks unless the axis is Named.
func New(title string, x, y Axis, xName, yName string) *Plot {
	p := &Plot{x: x, y: y}
	p.x.from, p.x.to = plotLeft, plotWidth-plotRight
	p.y.from, p.y.to = plotHeight-plotBottom, plotTop
	fmt.Fprintf(&p.b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" role="img" `+
		`aria-label="%s">`, plotWidth, plotHeight, template.HTMLEscapeString(title))
	for _, v := range p.y.ticks() {
		at := p.y.at(v)
		fmt.Fprintf(&p.b, `<line class="grid" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+
			`<text class="tick" x="%.1f" y="%.1f" text-anchor="end">%s</text>`,
			p.x.from, at, p.x.to, at, p.x.from-6, at+4, Number(v))
	}
	if !x.Named {
		for _, v := range p.x.ticks() {
			p.Tick(v, "middle", Number(v))
		}
	}
	fmt.Fprintf(&p.b, `<line class="axis" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, p.x.from,
		p.y.from, p.x.to, p.y.from)
	fmt.Fprintf(&p.b, `<text class="name" x="%.1f" y="%.1f" text-anchor="end">%s</text>`, p.x.to,
		plotHeight-4, xName)
	fmt.Fprintf(&p.b, `<text class="name" x="%.1f" y="%.1f">%s</text>`, p.x.from+4, plotTop+2, yName)
	return p
}

// Tick draws a named tick on the x axis.
func (p *Plot) Tick(v float64, anchor, name string) {
	fmt.Fprintf(&p.b, `<text class="tick" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, p.x.at(v),
		p.y.from+15, anchor, name)
}

// Point is a pair of values.
type Point struct{ X, Y float64 }

// Line draws a line through points. The page gives .line.CLASS its color.
func (p *Plot) Line(class string, points []Point) {
	if len(points) == 0 {
		return
	}
	p.b.WriteString(`<polyline class="line ` + class + `" points="`)
	for _, q := range points {
		fmt.Fprintf(&p.b, "%.1f,%.1f ", p.x.at(q.X), p.y.at(q.Y))
	}
	p.b.WriteString(`"/>`)
}

// Bar draws a bar from the x axis up to y.
func (p *Plot) Bar(class string, from, to, y float64) {
	left, right, top := p.x.at(from), p.x.at(to), p.y.at(y)
	fmt.Fprintf(&p.b, `<rect class="bar %s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, class,
		left+0.5, top, max(right-left-1, 1), max(p.y.from-top, 0))
}

// Limit draws a horizontal line at a value of the y axis.
func (p *Plot) Limit(v float64, name string) {
	if v <= p.y.Low || v > p.y.High {
		return
	}
	at := p.y.at(v)
	fmt.Fprintf(&p.b, `<line class="limit" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+
		`<text class="limitname" x="%.1f" y="%.1f" text-anchor="end">%s</text>`,
		p.x.from, at, p.x.to, at, p.x.to-2, at-4, name)
}

// LimitAt draws a limit for one value of the x axis.
func (p *Plot) LimitAt(at, v float64, name string) {
	x, y := p.x.at(at), p.y.at(v)
	fmt.Fprintf(&p.b, `<line class="limit" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+
		`<text class="limitname" x="%.1f" y="%.1f" text-anchor="end">%s</text>`,
		x-34, y, x+34, y, x-38, y+4, name)
}

// Label writes a text above a point.
func (p *Plot) Label(x, y float64, text string) {
	fmt.Fprintf(&p.b, `<text class="tick" x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, p.x.at(x),
		p.y.at(y)-4, text)
}

// Key writes the name of a line class, in row of the names beside the y axis.
func (p *Plot) Key(row int, class, name string) {
	fmt.Fprintf(&p.b, `<text class="%s" x="%.1f" y="%.1f">%s</text>`, class, p.x.from+10, plotTop+18+
		float64(row)*14, template.HTMLEscapeString(name))
}

// Mark draws a vertical line with a name.
func (p *Plot) Mark(v float64, name string, row int) {
	at := p.x.at(v)
	anchor, shift := "start", 4.0
	if at > plotWidth*0.8 {
		anchor, shift = "end", -4
	}
	fmt.Fprintf(&p.b, `<line class="mark" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+
		`<text class="markname" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`,
		at, p.y.from, at, p.y.to, at+shift, plotTop+14+float64(row)*14, anchor, name)
}

// SVG ends the plot and returns it.
func (p *Plot) SVG() template.HTML { return template.HTML(p.b.String() + "</svg>") }

// Nice rounds a maximum up, so that a plot has some room above it.
func Nice(v float64) float64 {
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

// percentiles are the ticks of an axis on which each further nine takes the same room.
var percentiles = []struct {
	x    float64
	name string
}{{0, "P0"}, {0.301, "P50"}, {1, "P90"}, {1.301, "P95"}, {2, "P99"}, {3, "P99.9"}, {4, "P99.99"}}

// MaxPercentile is the end of the axis of NewPercentiles: P99.99.
const MaxPercentile = 4.0

// Percentile returns the percentile at x of the axis of NewPercentiles. x is from 0 to
// MaxPercentile.
func Percentile(x float64) float64 { return 100 * (1 - math.Pow(10, -x)) }

// NewPercentiles returns a plot whose x axis is a percentile and whose y axis, logarithmic, is the
// value.
func NewPercentiles(title string, low, high float64, yName string) *Plot {
	p := New(title, Axis{High: MaxPercentile, Named: true}, Axis{Low: low, High: high, Log: true}, "",
		yName)
	for _, t := range percentiles {
		anchor := "middle"
		if t.x == MaxPercentile {
			anchor = "end"
		}
		p.Tick(t.x, anchor, t.name)
	}
	return p
}
