package certify

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hookgate/hookgate/evidence"
	"github.com/hookgate/hookgate/load"
)

// Options say what is certified, and how.
type Options struct {
	// Target is the base URL of the gate, and API that of its read and admin API if it has another.
	Target, API string
	// Token may read everything and make tokens.
	Token       string
	Credentials load.Credentials
	Profile     Profile
	// Phases are run in turn.
	Phases []string
	// Input is a file of recorded traffic to send instead of generated events, Speed how much faster than it was recorded;
	// 0 means the rate of the profile. An input is sent once in each phase.
	Input string
	Speed float64
	// Dir is the folder of the evidence: new or empty.
	Dir string
	// Key signs the evidence. Without one a key is made that is known to nobody.
	Key ed25519.PrivateKey
	// Rules are the table of roles that is tried against the target.
	Rules []Rule
	// Version is that of the client.
	Version string
	// Progress, if set, is told how it goes, from one goroutine at a time.
	Progress func(Progress)
}

// Progress says how far a certification is.
type Progress struct {
	// Phase and Doing say what is under way; Begins is true when that has changed.
	Phase, Doing string
	Begins       bool
	// Planned is the number of requests of the phase, 0 if not known, and Load how they went so far.
	Planned int
	Load    load.Summary
	// Depth is that of the target's queue, nil if it is not known.
	Depth *int64
}

// ErrNotRun is wrapped by errors that came before anything was sent.
var ErrNotRun = errors.New("nothing was certified")

// readConnections is the number of connections that read the target back.
const readConnections = 16

// sampled is the number of events of a phase whose lineage is kept in full.
const sampled = 10

// certification is one run.
type certification struct {
	Options
	target *target
	start  start
	log    *os.File

	mu    sync.Mutex // guards the two, and calls of Progress
	depth *int64
	now   Progress
}

// Run certifies a gate and leaves the evidence in a folder. When ctx ends, sending ends; what was sent is still read back and
// judged. An error means that there is no verdict.
func Run(ctx context.Context, o Options) (v Verdict, err error) {
	if err := o.check(); err != nil {
		return v, fmt.Errorf("%w: %w", ErrNotRun, err)
	}
	c := &certification{Options: o, target: newTarget(orElse(o.API, o.Target), o.Token, readConnections)}
	defer c.target.close()
	if err := c.prepare(ctx); err != nil {
		return v, fmt.Errorf("%w: %w", ErrNotRun, err)
	}
	defer func() { err = errors.Join(err, c.log.Close()) }()
	for _, name := range o.Phases {
		if ctx.Err() != nil {
			c.say("interrupted before phase %s", name)
			break
		}
		if name == Ramp {
			err = c.ramp(ctx)
		} else {
			err = c.phase(ctx, name, o.Profile.Phases[name])
		}
		if err != nil {
			return v, fmt.Errorf("phase %s: %w", name, err)
		}
	}
	return c.finish(context.WithoutCancel(ctx))
}

func (o *Options) check() error {
	if len(o.Phases) == 0 {
		return errors.New("there is no phase to run")
	}
	for _, name := range o.Phases {
		if _, ok := o.Profile.Phases[name]; !ok {
			return fmt.Errorf("phase %q is none of smoke, load, full, soak, ramp", name)
		}
	}
	return o.Profile.Check()
}

// prepare makes the folder and looks whether the target can be certified at all.
func (c *certification) prepare(ctx context.Context) error {
	h, raw, err := c.target.health(ctx)
	if err != nil {
		return err
	}
	if h.Mode != "" && h.Mode != "normal" {
		return fmt.Errorf("the target is in mode %s and takes no webhooks: hookgate maintenance normal", h.Mode)
	}
	if _, err := c.target.get(ctx, "/api/events?limit=1", jsonType); err != nil {
		return fmt.Errorf("the read API is needed (is ADMIN_TOKEN right?): %w", err)
	}
	if entries, err := os.ReadDir(c.Dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("the folder %s is not empty: evidence is never written over", c.Dir)
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	random := make([]byte, 3)
	rand.Read(random)
	c.start = start{
		RunID: fmt.Sprintf("cert-%s-%x", time.Now().UTC().Format("060102150405"), random), Target: c.Target,
		Started: time.Now().UTC(), Version: h.Version, Asked: c.Phases, Phases: []string{},
	}
	if c.Input != "" {
		if c.start.Input, err = fileDigest(c.Input); err != nil {
			return err
		}
	}
	if c.log, err = os.OpenFile(filepath.Join(c.Dir, logFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
		return err
	}
	c.say("certification %s of %s (version %s) by client %s", c.start.RunID, c.Target, h.Version, c.Version)
	if err := writeJSON(c.file(profileFile), c.Profile); err != nil {
		return err
	}
	if err := writeJSON(c.file(environmentFile), map[string]any{
		"target": map[string]any{"url": c.Target, "health": json.RawMessage(raw)},
		"client": map[string]any{"version": c.Version, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
			"cpus": runtime.NumCPU(), "gomaxprocs": runtime.GOMAXPROCS(0)},
	}); err != nil {
		return err
	}
	return writeJSON(c.file(startFile), c.start)
}

func (c *certification) file(names ...string) string {
	return filepath.Join(append([]string{c.Dir}, names...)...)
}

// say writes a line into the execution log.
func (c *certification) say(format string, args ...any) {
	// A log that cannot be written shows when it is closed.
	fmt.Fprintf(c.log, "%s %s\n", time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00"), fmt.Sprintf(format, args...))
}

// doing tells the log and whoever watches what begins.
func (c *certification) doing(phase, what string) {
	c.say("%s%s", strings.TrimPrefix(phase+": ", ": "), what)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.Phase, c.now.Doing, c.now.Begins, c.now.Depth = phase, what, true, c.depth
	if c.Progress != nil {
		c.Progress(c.now)
	}
	c.now.Begins = false
}

// phase runs one phase and reads it back.
func (c *certification) phase(ctx context.Context, name string, p Phase) (err error) {
	run := phaseRun{Phase: name, Rate: p.Rate, Started: time.Now().UTC()}
	config := load.Config{
		Target: c.Target, Path: c.Profile.Path, Credentials: c.Credentials, Rate: p.Rate, Concurrency: p.Concurrency,
		Timeout: seconds(p.TimeoutSeconds),
	}
	if c.Input != "" {
		in, err := os.Open(c.Input)
		if err != nil {
			return err
		}
		defer in.Close()
		config.Messages, config.Timed = load.ReadRecorded(in, c.Speed), c.Speed > 0
	} else {
		run.Prefix = c.start.RunID + "-" + name + "-"
		plan := plan{prefix: run.Prefix, seed: c.Profile.Seed, events: p.count(), keys: p.Keys, duplicatePercent: p.Duplicates, size: p.Size}
		config.Messages, run.Planned = plan.messages(), plan.requests()
	}
	if err := os.Mkdir(c.file(name), 0o755); err != nil {
		return err
	}
	c.start.Phases = append(c.start.Phases, name)
	if err := writeJSON(c.file(startFile), c.start); err != nil {
		return err
	}
	// It says so until the phase is whole.
	run.Stopped, run.Unread, run.Ended = killed, killed, run.Started
	if err := writeJSON(c.file(name, phaseFile), run); err != nil {
		return err
	}
	o := &observer{target: c.target, dir: c.file(name), prefix: run.Prefix, exclusive: c.Profile.Exclusive, started: run.Started, connections: readConnections}

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
	if err := o.scrape(ctx, c.Profile.Metrics, beforeFile); err != nil {
		run.UnreadMetrics = err.Error()
		c.say("%s: metrics: %v", name, err)
	}
	c.mu.Lock()
	c.now.Planned, c.now.Load = run.Planned, load.Summary{}
	c.mu.Unlock()
	c.doing(name, "sending")
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
			return errors.New("the input has no event")
		}
		if o.sent, err = sentIDs(c.file(name, ledgerFile)); err != nil {
			return err
		}
	}
	c.say("%s: %d requests, %d accepted (%d duplicates), %d not accepted, %.0f/s, P95 %.2f ms, P99 %.2f ms, own lag P99 %.2f ms", name, summary.Attempts,
		summary.Accepted, summary.Duplicates, summary.Failed, summary.Rate, summary.LatencyMS.P95, summary.LatencyMS.P99, summary.LagMS.P99)

	c.drain(background, name, o, &run, p)
	stopWatching()
	return c.readBack(background, name, o, &run)
}

// drain waits for the target's queue to be empty.
func (c *certification) drain(ctx context.Context, name string, o *observer, run *phaseRun, p Phase) {
	c.doing(name, "draining")
	var took time.Duration
	since := run.Ended
	if run.Stopped == killed {
		since = time.Now() // the end is long ago
	}
	run.Drained, took = o.drained(ctx, seconds(p.DrainSeconds), since)
	run.DrainSeconds = round(took.Seconds())
	c.say("%s: drained: %v after %.3f s", name, run.Drained, run.DrainSeconds)
}

// killed says of a phase that nobody has ended it.
const killed = "the client was killed"

// Resume reads back and judges what is in the folder of a certification whose client was killed. Only Target, API, Token, Rules, Dir,
// Key, Version, Credentials and Progress of the options are used; the rest is as it was. What was not sent stays so, and there is no PASS.
func Resume(ctx context.Context, o Options) (v Verdict, err error) {
	c := &certification{Options: o, target: newTarget(orElse(o.API, o.Target), o.Token, readConnections)}
	defer c.target.close()
	if err := errors.Join(readJSON(c.file(startFile), &c.start), readJSON(c.file(profileFile), &c.Profile)); err != nil {
		return v, fmt.Errorf("%w: %w", ErrNotRun, err)
	}
	if _, err := os.Stat(c.file(evidence.ManifestFile)); err == nil {
		return v, fmt.Errorf("%w: %s is whole: hookgate evidence verify judges it again", ErrNotRun, c.Dir)
	}
	if c.log, err = os.OpenFile(c.file(logFile), os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
		return v, fmt.Errorf("%w: %w", ErrNotRun, err)
	}
	defer func() { err = errors.Join(err, c.log.Close()) }()
	c.say("taken up again by client %s", c.Version)
	for _, name := range c.start.Phases {
		if err := c.resume(ctx, name); err != nil {
			return v, fmt.Errorf("phase %s: %w", name, err)
		}
	}
	return c.finish(ctx)
}

// resume reads one phase back if that was not done.
func (c *certification) resume(ctx context.Context, name string) error {
	limits, err := c.Profile.limitsOf(name)
	if err != nil {
		return err
	}
	var run phaseRun
	if err := readJSON(c.file(name, phaseFile), &run); err != nil {
		return err
	}
	if run.Unread == "" {
		return nil
	}
	o := &observer{target: c.target, dir: c.file(name), prefix: run.Prefix, exclusive: c.Profile.Exclusive, started: run.Started, connections: readConnections}
	last, n, err := lastEnd(c.file(name, ledgerFile))
	switch {
	case err != nil:
		return err
	case n > 0:
		run.Ended = last
	}
	if run.Prefix == "" {
		if o.sent, err = sentIDs(c.file(name, ledgerFile)); err != nil {
			return err
		}
	}
	run.Unread = ""
	c.drain(ctx, name, o, &run, limits)
	return c.readBack(ctx, name, o, &run)
}

// sawDepth notes the depth of the target's queue.
func (c *certification) sawDepth(depth *int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.depth = depth
	if c.Progress != nil && c.now.Doing == "draining" {
		c.now.Depth = depth
		c.Progress(c.now)
	}
}

// send replays and keeps the ledger.
func (c *certification) send(ctx context.Context, name string, config load.Config) (s load.Summary, err error) {
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

// readBack reads events, lineage and metrics, and writes the run. What cannot be read is noted in the run: then there is no PASS.
func (c *certification) readBack(ctx context.Context, name string, o *observer, run *phaseRun) error {
	ids, err := sampleIDs(c.file(name, ledgerFile), sampled, mathrand.IntN)
	if err != nil {
		return err
	}
	c.doing(name, "reading back the events")
	err = o.readEvents(ctx)
	if err == nil {
		c.doing(name, "reading back the lineage")
		err = o.readLineage(ctx, ids)
	}
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

// ramp runs steps of rising rates until one does not pass.
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

// finish reads everything once more, asks what is asked once, judges, and seals the evidence.
func (c *certification) finish(ctx context.Context) (v Verdict, err error) {
	for _, name := range c.start.Phases {
		if err := c.readAgain(ctx, name); err != nil {
			return v, err
		}
	}
	c.doing("", "verifying the audit chain")
	if err := c.audit(ctx); err != nil {
		return v, err
	}
	c.doing("", "trying the roles")
	if err := c.roles(ctx); err != nil {
		return v, err
	}
	if err := c.approvals(ctx); err != nil {
		return v, err
	}
	c.start.Finished = time.Now().UTC()
	if err := writeJSON(c.file(startFile), c.start); err != nil {
		return v, err
	}
	c.doing("", "judging")
	v, err = Conclude(c.Dir)
	if err != nil {
		return v, err
	}
	c.say("verdict: %s", v.Status)
	key := c.Key
	if key == nil {
		if _, key, err = ed25519.GenerateKey(nil); err != nil {
			return v, err
		}
		c.say("signed with a key that was made for this certification alone")
	}
	return v, evidence.Seal(c.Dir, key)
}

// readAgain reads the events of a phase a second time.
func (c *certification) readAgain(ctx context.Context, name string) error {
	var run phaseRun
	if err := readJSON(c.file(name, phaseFile), &run); err != nil {
		return err
	}
	if run.Unread != "" {
		return nil
	}
	c.doing(name, "reading the events again")
	// Only what was sent: what else was stored belongs to other phases.
	o := &observer{target: c.target, dir: c.file(name), prefix: run.Prefix, started: run.Started, connections: readConnections}
	wanted := 0
	for s, err := range readLines[storedEvent](c.file(name, eventsFile)) {
		if err != nil {
			return err
		}
		if o.ours(s.Event) || run.Prefix == "" {
			wanted++
		}
	}
	var err error
	if run.Prefix == "" {
		if o.sent, err = sentIDs(c.file(name, ledgerFile)); err != nil {
			return err
		}
	}
	if err := o.readAgain(ctx, wanted); err != nil {
		c.say("%s: read again: %v", name, err)
		run.Unread = err.Error()
		return writeJSON(c.file(name, phaseFile), run)
	}
	return nil
}

// asked is what the target answered to a question, or why it did not.
type asked struct {
	Answer json.RawMessage `json:"answer,omitempty"`
	Error  string          `json:"error,omitempty"`
}

func answerOf(text []byte, err error) asked {
	switch {
	case err != nil:
		return asked{Error: err.Error()}
	case !json.Valid(text):
		return asked{Error: "the answer is not JSON: " + head(string(text))}
	}
	return asked{Answer: text}
}

// audit writes audit.json.
func (c *certification) audit(ctx context.Context) error {
	text, err := c.target.verify(ctx, seconds(c.Profile.AuditTimeoutSeconds))
	return writeJSON(c.file(auditFile), answerOf(text, err))
}

// approvals writes approvals.json.
func (c *certification) approvals(ctx context.Context) error {
	text, err := c.target.get(ctx, "/admin/approvals", jsonType)
	return writeJSON(c.file(approvalsFile), answerOf(text, err))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func fileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
