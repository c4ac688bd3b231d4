package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/hookgate/hookgate/load"
)

// workload is the load for a candidate.
type workload struct {
	flatOut, paced              int // number of events; 0: no such run
	rate                        float64
	size, keys                  int
	connections, pacedConns     int
	warmUp                      int
	processorTime, curves, peak bool // also measure these
}

// measured is the result of a replay.
type measured struct {
	accepted  float64 // events/s
	persisted float64 // events/s until the last is stored, if the candidate stores
	latency   *hdrhistogram.Histogram
	cpu       map[string]float64 // µs per event, by party
	begun     time.Time
}

// milliseconds returns a quantile of the latencies, from 0 to 100.
func (m measured) milliseconds(q float64) float64 { return quantile(m.latency, q) }

// newHistogram returns a histogram of latencies in microseconds, in the form that load needs.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, time.Hour.Microseconds(), 3)
}

// replay sends generated events at a rate (0: flat out), and waits until they are stored, if the
// candidate stores. Several processes each get an equal part.
func (st *stand) replay(ctx context.Context, g load.Generator, rate float64,
	connections int) (m measured, err error) {
	n := len(st.servers)
	inputs := make([]bytes.Buffer, n)
	counts := make([]int, n)
	for i := range inputs {
		part := g
		part.Seed, counts[i] = g.Seed+uint64(i)*1_000_003, g.Count/n
		part.Count = counts[i]
		if err := part.Generate(ctx, &inputs[i]); err != nil {
			return m, err
		}
	}
	before, err := usageOf(st)
	if err != nil {
		return m, err
	}
	m.latency = newHistogram()
	begin := time.Now()
	m.begun = begin
	var senders sync.WaitGroup
	summaries, latencies, errs := make([]load.Summary, n), make([]*hdrhistogram.Histogram, n),
		make([]error, n)
	for i, s := range st.servers {
		latencies[i] = newHistogram()
		senders.Go(func() {
			summaries[i], errs[i] = load.Replay(ctx, load.Config{
				Input: &inputs[i], Target: s.url, Rate: rate / float64(n), Concurrency: max(connections/n, 1),
				Credentials: st.credentials, Retry: load.DefaultRetry, Latencies: latencies[i],
			})
			if errs[i] == nil && summaries[i].Accepted != counts[i] {
				errs[i] = fmt.Errorf("%d of %d events were accepted: %s", summaries[i].Accepted, counts[i],
					summaries[i].LastError)
			}
		})
	}
	senders.Wait()
	if err := errors.Join(errs...); err != nil {
		return m, err
	}
	events := 0
	for i := range summaries {
		events += counts[i]
		m.accepted += summaries[i].Rate
		m.latency.Merge(latencies[i])
	}
	m.persisted = m.accepted
	if st.servers[0].stores && !st.piles {
		if err := st.servers[0].drained(ctx); err != nil {
			return m, err
		}
		m.persisted = float64(events) / time.Since(begin).Seconds()
	}
	after, err := usageOf(st)
	m.cpu = after.since(before, events)
	return m, err
}

// round measures a candidate once and adds the figures to an experiment.
func (c *candidate) round(ctx context.Context, d *document, experiment string, st *stand,
	round int) error {
	w := c.load
	g := load.Generator{Count: w.warmUp, Size: w.size, Keys: w.keys, Seed: 1}
	if w.warmUp > 0 { // the first events warm up both sides and do not count
		if _, err := st.replay(ctx, g, 0, w.connections); err != nil {
			return err
		}
	}
	add := func(name, unit string, value float64) {
		d.figures.add(experiment, c.name, name, unit,
			value)
	}
	for _, phase := range []struct {
		name               string
		count, connections int
		rate               float64
		seed               uint64
	}{
		{"flat out", w.flatOut, w.connections, 0, 100},
		{fmt.Sprintf("at %g/s", w.rate), w.paced, w.pacedConns, w.rate, 200},
	} {
		if phase.count == 0 {
			continue
		}
		end := func() error { return nil }
		if phase.rate == 0 {
			var err error
			if end, err = st.servers[0].profile(ctx); err != nil {
				return err
			}
		}
		g.Count, g.Seed = phase.count, phase.seed+uint64(round)
		m, err := st.replay(ctx, g, phase.rate, phase.connections)
		if err := errors.Join(err, end()); err != nil {
			return fmt.Errorf("%s: %w", phase.name, err)
		}
		if phase.rate == 0 {
			add("flat out, accepted/s", "events/s", m.accepted)
			add("flat out, persisted/s", "events/s", m.persisted)
		}
		for _, q := range []float64{50, 95, 99} {
			add(fmt.Sprintf("%s, P%g ms", phase.name, q), "ms", m.milliseconds(q))
		}
		if w.processorTime {
			sum := 0.0
			for _, party := range parties {
				if used, ok := m.cpu[party]; ok {
					add(phase.name+", µs/event, "+party, "µs/event", used)
					sum += used
				}
			}
			add(phase.name+", µs/event, sum", "µs/event", sum)
		}
		if w.curves {
			d.addCurve(experiment, c.name, phase.name, m.latency)
		}
	}
	if w.peak {
		peak, err := st.servers[0].memory("VmHWM")
		if err != nil {
			return err
		}
		add("peak memory, MiB", "MiB", peak)
	}
	return nil
}

// run starts the candidate with new data and measures it once.
func (c *candidate) run(ctx context.Context, d *document, experiment string, round int) error {
	st, err := c.start(ctx)
	if err != nil {
		return err
	}
	defer st.stop()
	return c.round(ctx, d, experiment, st, round)
}
