package certify

import (
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// figures has the data of the plots of a phase.
type figures struct {
	latency, service *hdrhistogram.Histogram
	server, batches  *histogram
	overTime         *series
	depth            []depthPoint
	limits           Phase
	delivery         *deliveryPlots // of the phase deliver
}

// depthPoint is the depth of the target's queue at a time.
type depthPoint struct {
	at    time.Time
	depth int64
}

func readDepth(path string) (points []depthPoint, err error) {
	for s, err := range readLines[sample](path) {
		if err != nil {
			return nil, err
		}
		if s.Depth != nil {
			points = append(points, depthPoint{s.At, *s.Depth})
		}
	}
	return points, nil
}

// maxSpans is the number of spans into which a plot divides the time.
const maxSpans = 120

// series is a run, divided into spans of time.
type series struct {
	start time.Time
	width time.Duration
	spans []span
}

type span struct {
	answers, errors int
	latencies       []int32 // microseconds
}

func newSeries(from, to time.Time) *series {
	return &series{start: from, width: max(100*time.Millisecond, to.Sub(from)/maxSpans+1)}
}

func (s *series) add(at time.Time, latency time.Duration, accepted bool) {
	i := int(at.Sub(s.start) / s.width)
	if i < 0 || i > 10*maxSpans { // an implausible clock
		return
	}
	for len(s.spans) <= i {
		s.spans = append(s.spans, span{})
	}
	p := &s.spans[i]
	p.answers++
	if !accepted {
		p.errors++
	}
	p.latencies = append(p.latencies, int32(min(latency.Microseconds(), 1<<31-1)))
}

// quantile is the quantile of one span, in milliseconds.
func (p *span) quantile(q float64) float64 {
	if len(p.latencies) == 0 {
		return 0
	}
	slices.Sort(p.latencies)
	return float64(p.latencies[min(int(q*float64(len(p.latencies))), len(p.latencies)-1)]) / 1000
}
