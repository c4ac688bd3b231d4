package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/hookgate/hookgate/internal/svgplot"
)

// curve has the latencies of one server in one phase, of all rounds.
type curve struct {
	Experiment string `json:"experiment"`
	Server     string `json:"server"`
	Phase      string `json:"phase"`
	// Points are sorted by latency.
	Points []curvePoint `json:"points"`

	histogram *hdrhistogram.Histogram
}

// curvePoint is a share of the answers and the longest latency among them.
type curvePoint struct {
	Percentile   float64 `json:"percentile"`
	Milliseconds float64 `json:"ms"`
}

// addCurve adds the latencies of a round to a curve.
func (d *document) addCurve(experiment, server, phase string, latency *hdrhistogram.Histogram) {
	var c *curve
	for _, known := range d.Curves {
		if known.Experiment == experiment && known.Server == server && known.Phase == phase {
			c = known
		}
	}
	if c == nil {
		c = &curve{Experiment: experiment, Server: server, Phase: phase, histogram: newHistogram()}
		d.Curves = append(d.Curves, c)
	}
	c.histogram.Merge(latency)
	c.Points = c.Points[:0]
	// The points are at equal distances on an axis on which each further nine takes the same room, up
	// to the number of answers.
	last := math.Log10(float64(c.histogram.TotalCount()))
	for x := 0.0; x <= last; x += 0.05 {
		percentile := svgplot.Percentile(x)
		c.Points = append(c.Points, curvePoint{percentile,
			float64(c.histogram.ValueAtQuantile(percentile)) / 1000})
	}
}

// drawCurves draws the curves of an experiment into a folder, one file for each phase.
func (d *document) drawCurves(dir, experiment string) error {
	phases := map[string][]*curve{}
	for _, c := range d.Curves {
		if c.Experiment == experiment {
			phases[c.Phase] = append(phases[c.Phase], c)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for phase, curves := range phases {
		name := "latency-" + strings.NewReplacer(" ", "-", "/", "-per-").Replace(phase) + ".svg"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(drawing(phase, curves)),
			0o644); err != nil {
			return err
		}
	}
	return nil
}

// colours of the curves. They differ on white and on black.
var colours = []string{"#8b949e", "#bf8700", "#1f77d0", "#2da44e", "#d1242f", "#8250df", "#0a7ea4",
	"#b35900"}

// drawing returns a complete SVG with its style and its key.
func drawing(phase string, curves []*curve) string {
	low, high := math.Inf(1), 1.0
	for _, c := range curves {
		for _, p := range c.Points {
			if p.Milliseconds > 0 {
				low = min(low, p.Milliseconds)
			}
			if p.Percentile <= svgplot.Percentile(svgplot.MaxPercentile) {
				high = max(high, p.Milliseconds)
			}
		}
	}
	p := svgplot.NewPercentiles("Latency, "+phase, min(low, high/2), high*1.2, "ms, "+phase)
	style := `svg{background:#fff}.grid{stroke:#d8dee4}.axis{stroke:#57606a}` +
		`text{font:11px system-ui,sans-serif;fill:#57606a}.line{fill:none;stroke-width:1.6}`
	for i, c := range curves {
		class := fmt.Sprint("c", i)
		style += fmt.Sprintf(".%s{stroke:%s}text.%s{stroke:none;fill:%s}", class, colours[i%len(colours)],
			class, colours[i%len(colours)])
		var points []svgplot.Point
		for _, q := range c.Points {
			if x := -math.Log10(1 - q.Percentile/100); x <= svgplot.MaxPercentile {
				points = append(points, svgplot.Point{X: x, Y: q.Milliseconds})
			}
		}
		p.Line(class, points)
		p.Key(i, class, c.Server)
	}
	text := string(p.SVG())
	head := strings.Index(text, ">") + 1
	return text[:head] + "<style>" + style + "</style>" + text[head:] + "\n"
}
