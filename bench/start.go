package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/load"
)

// startTimes measures the time from a start with a backlog to ready, and from SIGKILL under load to
// the next 202.
func startTimes(ctx context.Context, d *document, s settings, gate string) error {
	const experiment = "start"
	pairings, err := gates(s, gate, "embedded", "postgres", "everysec", "always")
	if err != nil {
		return err
	}
	for round := range s.Rounds {
		for _, c := range pairings {
			progress("round %d of %d: %s, start with a backlog", round+1, s.Rounds, c.name)
			if err := c.startWithBacklog(ctx, d, experiment, s, round); err != nil {
				return fmt.Errorf("%s: start with a backlog: %w", c.name, err)
			}
			progress("round %d of %d: %s, killed under load", round+1, s.Rounds, c.name)
			if err := c.killUnderLoad(ctx, d, experiment, s, round); err != nil {
				return fmt.Errorf("%s: killed under load: %w", c.name, err)
			}
		}
	}
	fmt.Printf("\nFrom the start of the process to ready with a backlog of %d,"+
		" and from SIGKILL under load to the next 202; %d rounds\n\n", backlogEvents, s.Rounds)
	d.figures.writeTable(os.Stdout, experiment)
	first := len(d.Verdicts)
	for _, c := range pairings {
		d.atMost(c.name+": start to ready with a backlog of 100,000, s", d.figures.find(experiment,
			c.name, startToReady).Median/1000, targetReady)
		d.atMost(c.name+": SIGKILL to the next 202, s", d.figures.find(experiment, c.name,
			killToAnswer).Median/1000, targetBack)
		for _, name := range []string{pileMemory, drainMemory} {
			d.atMost(c.name+": "+name, d.figures.find(experiment, c.name, name).Max, targetMemoryMiB)
		}
	}
	d.writeVerdicts(os.Stdout, first)
	return nil
}

// Names of the figures of this experiment.
const (
	startToReady = "start to ready, ms"
	startToDrain = "backlog drained, ms"
	killToAnswer = "SIGKILL to 202, ms"
	pileMemory   = "peak memory while 100,000 pile up, MiB"
	drainMemory  = "peak memory while they are drained, MiB"
)

// startWithBacklog makes a backlog, in Redis or in the spool, with a gate in the mode buffer. Then
// it restarts the gate and lets it store.
func (c *candidate) startWithBacklog(ctx context.Context, d *document, experiment string,
	s settings, round int) error {
	piling := *c
	piling.settings = []string{highWater, spoolHighWater}
	st, err := piling.start(ctx)
	if err != nil {
		return err
	}
	defer st.stop()
	st.piles = true
	if err := st.servers[0].setMode(ctx, control.ModeBuffer); err != nil {
		return err
	}
	if _, err := st.replay(ctx, load.Generator{Count: backlogEvents, Size: s.Size, Seed: 500 +
		uint64(round)}, 0, s.Connections); err != nil {
		return err
	}
	piled, err := st.servers[0].memory("VmHWM")
	if err != nil {
		return err
	}
	d.figures.add(experiment, c.name, pileMemory, "MiB", piled)
	st.rest()
	begin := time.Now()
	if err := piling.serve(ctx, st); err != nil {
		return err
	}
	gate := st.servers[0]
	if err := waitUntil(ctx, func() (bool, error) { return gate.ready(ctx) }); err != nil {
		return err
	}
	d.figures.add(experiment, c.name, startToReady, "ms", milliseconds(time.Since(begin)))
	depth, err := gate.depth(ctx)
	if err != nil {
		return err
	}
	if depth < backlogEvents/2 {
		return fmt.Errorf("only %d events are queued at the start", depth)
	}
	begin = time.Now()
	if err := gate.setMode(ctx, control.ModeNormal); err != nil {
		return err
	}
	if err := gate.drained(ctx); err != nil {
		return err
	}
	d.figures.add(experiment, c.name, startToDrain, "ms", milliseconds(time.Since(begin)))
	peak, err := gate.memory("VmHWM")
	d.figures.add(experiment, c.name, drainMemory, "MiB", peak)
	return err
}

// killUnderLoad kills a gate under full load and restarts it at once, as a supervisor would.
func (c *candidate) killUnderLoad(ctx context.Context, d *document, experiment string, s settings,
	round int) error {
	quiet := *c
	// the end of the load interrupts requests in flight, which the log would report
	quiet.settings = append(slices.Clone(c.settings), "HOOKGATE_LOG_LEVEL=error")
	st, err := quiet.start(ctx)
	if err != nil {
		return err
	}
	defer st.stop()
	gate := st.servers[0]
	target, err := url.Parse(gate.url)
	if err != nil {
		return err
	}
	st.listen = target.Host

	loading, stop := context.WithCancel(ctx)
	defer stop()
	under := make(chan struct{}, 1)
	ended := make(chan error, 1)
	messages := load.Generator{Count: 2_000_000, Size: s.Size, Seed: 600 + uint64(round)}
	input, output := io.Pipe()
	defer input.Close()
	go func() { output.CloseWithError(messages.Generate(loading, output)) }()
	go func() {
		_, err := load.Replay(loading, load.Config{
			Input: input, Target: gate.url, Concurrency: s.Connections, Credentials: st.credentials,
			Retry: load.DefaultRetry,
			Progress: func(sum load.Summary) {
				if sum.Accepted > 5000 {
					select {
					case under <- struct{}{}:
					default:
					}
				}
			},
		})
		ended <- err
	}()
	select {
	case <-under:
	case err := <-ended:
		return fmt.Errorf("the load ended before the gate was killed: %w", err)
	}
	begin := time.Now()
	gate.kill()
	st.servers = nil
	if err := quiet.serve(ctx, st); err != nil {
		return err
	}
	again := st.servers[0]
	n := 0
	err = waitUntil(ctx, func() (bool, error) {
		n++
		body := fmt.Appendf(nil,
			`{"messageId":"after-%d-%d","eventType":"order.paid","orderingKey":"after"}`, round, n)
		status, _, err := again.post(ctx, body)
		return status == http.StatusAccepted, err
	})
	if err != nil {
		return err
	}
	d.figures.add(experiment, c.name, killToAnswer, "ms", milliseconds(time.Since(begin)))
	stop()
	if err := <-ended; err != nil && !errors.Is(err, load.ErrInterrupted) {
		return err
	}
	return again.drained(ctx)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// ready reports whether the gate is ready to take webhooks.
func (s *server) ready(ctx context.Context) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/readyz", nil)
	if err != nil {
		return false, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK, nil
}

// setMode sets the mode of the gate.
func (s *server) setMode(ctx context.Context, m control.Mode) error {
	body := fmt.Sprintf(`{"mode":%q}`, m)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/admin/maintenance",
		strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		return fmt.Errorf("set mode %s: %s %s", m, resp.Status, answer)
	}
	return nil
}

// depth returns the number of records that the gate has not stored.
func (s *server) depth(ctx context.Context) (int64, error) {
	var health struct{ Queue struct{ Depth *int64 } }
	err := s.getJSON(ctx, "/api/health", &health)
	if err == nil && health.Queue.Depth == nil {
		err = errors.New("the gate does not know how much is queued")
	}
	if err != nil {
		return 0, err
	}
	return *health.Queue.Depth, nil
}
