package main

import (
	"math"
	"slices"
)

// figure is a measurement of one server, with one value for each round. A round measures all
// servers of an experiment in turn, so the values of a round were taken under similar load.
type figure struct {
	Experiment string    `json:"experiment"`
	Server     string    `json:"server"`
	Name       string    `json:"name"`
	Unit       string    `json:"unit"`
	Rounds     []float64 `json:"rounds"`
	Median     float64   `json:"median"`
	Min        float64   `json:"min"`
	Max        float64   `json:"max"`
	// MAD is the median absolute deviation of the rounds.
	MAD float64 `json:"mad"`
	// Versus is the server to compare with, if any. Ratio is the median of each round's value divided
	// by the value of that server in the same round.
	Versus string  `json:"versus,omitempty"`
	Ratio  float64 `json:"ratio,omitempty"`
}

// figures are all figures of a run, in the order of their first measurement.
type figures struct{ all []*figure }

// add appends the value of a round.
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

// find returns a figure, or nil if there is none.
func (f *figures) find(experiment, server, name string) *figure {
	for _, g := range f.all {
		if g.Experiment == experiment && g.Server == server && g.Name == name {
			return g
		}
	}
	return nil
}

// servers returns the servers of an experiment, in the order of their first measurement.
func (f *figures) servers(experiment string) (all []string) {
	for _, g := range f.all {
		if g.Experiment == experiment && !slices.Contains(all, g.Server) {
			all = append(all, g.Server)
		}
	}
	return all
}

// names returns the names of the figures of an experiment. A figure that only a later server
// has comes after the one that preceded it there.
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

// rounds returns how often a server was measured.
func (f *figures) rounds(experiment, server string) (n int) {
	for _, g := range f.all {
		if g.Experiment == experiment && g.Server == server {
			n = max(n, len(g.Rounds))
		}
	}
	return n
}

// compare adds to the figures of a server their ratio to those of another.
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

// ratio returns the median of the ratios of each round between two servers. ok is false if they do
// not have the same number of rounds.
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

// spread returns the largest deviation of a round from the median, as a share of the median.
func (f *figure) spread() float64 {
	if f.Median == 0 {
		return 0
	}
	return max(f.Max-f.Median, f.Median-f.Min) / f.Median
}

// median returns the middle of values, or the mean of the two in the middle.
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
