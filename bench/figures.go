package main

import (
	"math"
	"slices"
)

// figure is one thing that was measured of one server, once in each round. A round runs all servers
// of an experiment in turn, so that values of one round have met the same machine.
type figure struct {
	Experiment string    `json:"experiment"`
	Server     string    `json:"server"`
	Name       string    `json:"name"`
	Unit       string    `json:"unit"`
	Rounds     []float64 `json:"rounds"`
	Median     float64   `json:"median"`
	Min        float64   `json:"min"`
	Max        float64   `json:"max"`
	// MAD is the median of how far each round is from the median.
	MAD float64 `json:"mad"`
	// Versus is the server that it is compared with, if any, and Ratio the median of each round's
	// value over that server's in the same round.
	Versus string  `json:"versus,omitempty"`
	Ratio  float64 `json:"ratio,omitempty"`
}

// figures are all that a run measures, in the order in which it first measured each.
type figures struct{ all []*figure }

// add notes the value of a round.
func (f *figures) add(experiment, server, name, unit string, value float64) {
	found := f.find(experiment, server, name)
	if found == nil {
		found = &figure{Experiment: experiment, Server: server, Name: name, Unit: unit}
		f.all = append(f.all, found)
	}
	found.Rounds = append(found.Rounds, value)
	found.Median, found.Min, found.Max = median(found.Rounds), slices.Min(found.Rounds),
		slices.Max(found.Rounds)
	var distances []float64
	for _, v := range found.Rounds {
		distances = append(distances, math.Abs(v-found.Median))
	}
	found.MAD = median(distances)
}

// find returns a figure, or nil if it was not measured.
func (f *figures) find(experiment, server, name string) *figure {
	for _, g := range f.all {
		if g.Experiment == experiment && g.Server == server && g.Name == name {
			return g
		}
	}
	return nil
}

// servers are those of an experiment, in the order in which they came.
func (f *figures) servers(experiment string) (all []string) {
	for _, g := range f.all {
		if g.Experiment == experiment && !slices.Contains(all, g.Server) {
			all = append(all, g.Server)
		}
	}
	return all
}

// names are those of the figures of an experiment: each behind the one that it followed when it was
// first measured.
func (f *figures) names(experiment string) (all []string) {
	for _, server := range f.servers(experiment) {
		at := 0
		for _, g := range f.all {
			if g.Experiment != experiment || g.Server != server {
				continue
			}
			if i := slices.Index(all, g.Name); i >= 0 {
				at = i + 1
				continue
			}
			all = slices.Insert(all, at, g.Name)
			at++
		}
	}
	return all
}

// rounds is how often a server was measured.
func (f *figures) rounds(experiment, server string) (n int) {
	for _, g := range f.all {
		if g.Experiment == experiment && g.Server == server {
			n = max(n, len(g.Rounds))
		}
	}
	return n
}

// compare gives the figures of a server, in one experiment, their ratio to those of another.
func (f *figures) compare(experiment, server, versus string) {
	for _, g := range f.all {
		if g.Experiment != experiment || g.Server != server {
			continue
		}
		if ratio, ok := f.ratio(experiment, server, versus, g.Name); ok {
			g.Versus, g.Ratio = versus, ratio
		}
	}
}

// ratio is the median of the rounds' ratios of one figure between two servers; ok is false if it
// was not measured of both, in as many rounds.
func (f *figures) ratio(experiment, server, versus, name string) (_ float64, ok bool) {
	a, b := f.find(experiment, server, name), f.find(experiment, versus, name)
	if a == nil || b == nil || len(a.Rounds) != len(b.Rounds) || b.Min <= 0 {
		return 0, false
	}
	ratios := make([]float64, len(a.Rounds))
	for i := range ratios {
		ratios[i] = a.Rounds[i] / b.Rounds[i]
	}
	return median(ratios), true
}

// spread is how far the furthest round is from the median, as a share of that.
func (f *figure) spread() float64 {
	if f.Median == 0 {
		return 0
	}
	return max(f.Max-f.Median, f.Median-f.Min) / f.Median
}

// median is the middle of values, or the mean of the two in the middle.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	values = slices.Sorted(slices.Values(values))
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return (values[middle-1] + values[middle]) / 2
}
