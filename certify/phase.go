package certify

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/load"
)

// phase runs one phase and reads it back.
func (c *certification) phase(ctx context.Context, name string, p Phase) (err error) {
	run := phaseRun{Phase: name, Rate: p.Rate, Started: time.Now().UTC()}
	config := load.Config{
		Target: c.Target, Path: c.Profile.Path, Credentials: c.Credentials, Rate: p.Rate,
		Concurrency: p.Concurrency,
		Timeout:     seconds(p.TimeoutSeconds), Answers: true,
	}
	if c.Input != "" {
		in, err := os.Open(c.Input)
		if err != nil {
			return err
		}
		defer in.Close()
		config.Messages, config.Timed = load.ReadRecorded(in, c.Speed), c.Speed > 0
	} else {
		run.Prefix = prefixOf(c.start.RunID, name)
		plan := c.Profile.planOf(run.Prefix, p)
		config.Messages, run.Planned = plan.messages(), plan.requests()
	}
	if err := os.Mkdir(c.file(name), 0o755); err != nil {
		return err
	}
	c.start.Phases = append(c.start.Phases, name)
	if err := writeJSON(c.file(startFile), c.start); err != nil {
		return err
	}
	// This stays until the phase is complete.
	run.Stopped, run.Unread, run.Ended = killed, killed, run.Started
	if err := writeJSON(c.file(name, phaseFile), run); err != nil {
		return err
	}
	o := &observer{target: c.target, dir: c.file(name), prefix: run.Prefix,
		exclusive: c.Profile.Exclusive, tests: c.Profile.Source == hookgate.TestSource,
		started: run.Started, connections: readConnections}

	background := context.WithoutCancel(ctx)
	watching, stopWatching := context.WithCancel(background)
	var watcher sync.WaitGroup
	var watchErr error
	watcher.Go(func() { watchErr = o.watch(watching, c.sawDepth) })
	defer func() {
		stopWatching()
		watcher.Wait()
		err = errors.Join(err, watchErr)
	}()
	var d *delivery
	if name == Deliver {
		if d, err = c.deliver(ctx, run.Prefix, p); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.close()) }()
	}
	if err := o.scrape(ctx, c.Profile.Metrics, beforeFile); err != nil {
		run.UnreadMetrics = err.Error()
		c.say("%s: metrics: %v", name, err)
	}
	c.mu.Lock()
	c.now.Planned, c.now.Load = run.Planned, load.Summary{}
	c.mu.Unlock()
	c.doing(name, Sending)
	summary, err := c.send(ctx, name, config)
	if err != nil && summary.Attempts == 0 {
		return err
	}
	run.Ended, run.Stopped, run.Unread = time.Now().UTC(), "", ""
	if err != nil {
		run.Stopped = err.Error()
	}
	if c.Input != "" {
		if run.Planned = summary.Lines; summary.Lines == 0 {
			return errors.New("the input has no events")
		}
		if o.sent, err = sentIDs(c.file(name, ledgerFile)); err != nil {
			return err
		}
	}
	c.say("%s: %d requests, %d accepted (%d duplicates), %d not accepted, %.0f/s, P95 %.2f ms, "+
		"P99 %.2f ms, own lag P99 %.2f ms", name, summary.Attempts,
		summary.Accepted, summary.Duplicates, summary.Failed, summary.Rate, summary.LatencyMS.P95,
		summary.LatencyMS.P99, summary.LagMS.P99)

	c.drain(background, name, o, &run, p)
	stopWatching()
	if d != nil {
		c.doing(name, "waiting for the deliveries")
		if err := d.sendingEnded(background); err != nil {
			return err
		}
	}
	return c.readBack(background, name, o, &run)
}

// drain waits until the target's queue is empty.
func (c *certification) drain(ctx context.Context, name string, o *observer, run *phaseRun,
	p Phase) {
	c.doing(name, draining)
	var took time.Duration
	since := run.Ended
	if run.Stopped == killed {
		since = time.Now() // a resumed phase ended long ago
	}
	run.Drained, took = o.drained(ctx, seconds(p.DrainSeconds), since)
	run.DrainSeconds = round(took.Seconds())
	c.say("%s: drained: %v after %.3f s", name, run.Drained, run.DrainSeconds)
}

// sawDepth reports the depth of the target's queue.
func (c *certification) sawDepth(depth *int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.depth = depth
	if c.Progress != nil && c.now.Doing == draining {
		c.now.Depth = depth
		c.Progress(c.now)
	}
}

// send sends the requests and keeps the ledger.
func (c *certification) send(ctx context.Context, name string, config load.Config) (s load.Summary,
	err error) {
	ledger, err := os.OpenFile(c.file(name, ledgerFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, ledger.Close()) }()
	config.Ledger = ledger
	config.Progress = func(s load.Summary) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.now.Load, c.now.Depth = s, c.depth
		if c.Progress != nil {
			c.Progress(c.now)
		}
	}
	s, err = load.Replay(ctx, config)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.Load = s
	return s, err
}

// readBack reads events, lineage and metrics, and writes the run. If something cannot be read, the
// run records that, and there is no PASS.
func (c *certification) readBack(ctx context.Context, name string, o *observer,
	run *phaseRun) error {
	ids, err := sampleIDs(c.file(name, ledgerFile), sampled, rand.IntN)
	if err != nil {
		return err
	}
	c.doing(name, "reading back the events")
	err = o.readEvents(ctx)
	if err == nil {
		c.doing(name, "reading back the lineage")
		err = o.readLineage(ctx, ids)
	}
	run.Read = time.Now().UTC()
	if err != nil {
		run.Unread = err.Error()
		c.say("%s: read back: %v", name, err)
	}
	if run.UnreadMetrics == "" {
		if err := o.scrape(ctx, c.Profile.Metrics, afterFile); err != nil {
			run.UnreadMetrics = err.Error()
			c.say("%s: metrics: %v", name, err)
		}
	}
	return writeJSON(c.file(name, phaseFile), run)
}

// ramp runs steps with rising rates until one does not pass.
func (c *certification) ramp(ctx context.Context) error {
	for _, rate := range c.Profile.Phases[Ramp].Steps {
		name, limits := stepName(rate), c.Profile.step(rate)
		if err := c.phase(ctx, name, limits); err != nil {
			return err
		}
		r, err := judgePhase(c.file(name), name, c.Profile, limits)
		if err != nil {
			return err
		}
		status := statusOf(capacity(r.criteria))
		c.say("%s: %s", name, status)
		if status != Pass || ctx.Err() != nil {
			return nil
		}
	}
	return nil
}

func stepName(rate float64) string { return Ramp + "-" + strconv.FormatFloat(rate, 'f', -1, 64) }

// step is the phase of one rate of a ramp.
func (p Profile) step(rate float64) Phase {
	step := p.Phases[Ramp]
	step.Rate, step.Steps = rate, nil
	return step
}
