package certify

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// sep separates the parts of a key; no label value can contain it.
const sep = "\x00"

// scrape has the metrics of all processes of a target, added up.
type scrape struct {
	counters   map[string]float64    // name and labels
	histograms map[string]*histogram // name and labels
	// direct is true if the store of the target takes the requests, without a queue.
	direct bool
}

// histogram is a histogram of Prometheus: cumulative counts below upper bounds.
type histogram struct {
	Count  float64   `json:"count"`
	Sum    float64   `json:"sum"`
	Bounds []float64 `json:"bounds"`
	Counts []float64 `json:"counts"` // cumulative, one for each bound; +Inf is Count
}

// parseScrape parses metrics in text form, of any number of processes, with a line "# EOF" between
// them.
func parseScrape(text []byte) (*scrape, error) {
	s := &scrape{counters: map[string]float64{}, histograms: map[string]*histogram{}}
	for _, one := range bytes.Split(text, []byte("\n# EOF\n")) {
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(bytes.NewReader(append(bytes.Clone(one), '\n')))
		if err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
		for name, family := range families {
			for _, m := range family.GetMetric() {
				s.add(name, m)
			}
		}
	}
	return s, nil
}

func (s *scrape) add(name string, m *dto.Metric) {
	key := name
	labels := m.GetLabel()
	slices.SortFunc(labels, func(a, b *dto.LabelPair) int {
		return strings.Compare(a.GetName(),
			b.GetName())
	})
	for _, l := range labels {
		key += sep + l.GetName() + "=" + l.GetValue()
	}
	switch {
	case m.Counter != nil:
		s.counters[key] += m.GetCounter().GetValue()
	case m.Gauge != nil:
		s.direct = s.direct || key == "webhook_queue_info"+sep+"kind=direct"
	case m.Untyped != nil:
		s.counters[key] += m.GetUntyped().GetValue()
	case m.Histogram != nil:
		h := &histogram{Count: float64(m.GetHistogram().GetSampleCount()),
			Sum: m.GetHistogram().GetSampleSum()}
		for _, b := range m.GetHistogram().GetBucket() {
			if !math.IsInf(b.GetUpperBound(), 1) {
				h.Bounds = append(h.Bounds, b.GetUpperBound())
				h.Counts = append(h.Counts, float64(b.GetCumulativeCount()))
			}
		}
		s.histograms[key] = h.plus(s.histograms[key], 1)
	}
}

// plus returns h + factor*other. If their buckets differ, the sum has none.
func (h *histogram) plus(other *histogram, factor float64) *histogram {
	if other == nil {
		return h
	}
	sum := &histogram{Count: h.Count + factor*other.Count, Sum: h.Sum + factor*other.Sum}
	if slices.Equal(h.Bounds, other.Bounds) {
		sum.Bounds = h.Bounds
		for i := range h.Counts {
			sum.Counts = append(sum.Counts, h.Counts[i]+factor*other.Counts[i])
		}
	}
	return sum
}

// quantile returns the bounds of the bucket that contains the quantile.
func (h *histogram) quantile(q float64) (low, high float64) {
	rank := q * h.Count
	for i, c := range h.Counts {
		if c >= rank {
			return low, h.Bounds[i]
		}
		low = h.Bounds[i]
	}
	return low, math.Inf(1)
}

// counted returns the growth of all counters with the name and the labels.
func counted(before, after *scrape, name string, labels ...string) float64 {
	total := 0.0
	for key, v := range after.counters {
		if has(key, name, labels) {
			total += v - before.counters[key]
		}
	}
	return total
}

// has reports whether a key has the name and the labels.
func has(key, name string, labels []string) bool {
	parts := strings.Split(key, sep)
	return parts[0] == name && !slices.ContainsFunc(labels,
		func(l string) bool { return !slices.Contains(parts, l) })
}

// labels returns the values of a label of all counters with the name and another label.
func (s *scrape) labels(name, with, label string) (values []string) {
	for key := range s.counters {
		if !has(key, name, []string{with}) {
			continue
		}
		for _, part := range strings.Split(key, sep) {
			if value, ok := strings.CutPrefix(part, label+"="); ok {
				values = append(values, value)
			}
		}
	}
	return values
}

// grown returns the growth of all histograms with the name and the labels, added up; nil if there
// are none.
func grown(before, after *scrape, name string, labels ...string) (total *histogram) {
	var keys []string
	for key := range after.histograms {
		if has(key, name, labels) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		total = after.histograms[key].plus(before.histograms[key], -1).plus(total, 1)
	}
	return total
}
