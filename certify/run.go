package certify

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/hookgate/hookgate/load"
)

// Options describe a certification.
type Options struct {
	// Target is the base URL of the gate, API that of its read and admin API if it has another one.
	Target, API string
	// Token needs the role admin: it reads everything and makes tokens.
	Token       string
	Credentials load.Credentials
	Profile     Profile
	// Phases run one after the other.
	Phases []string
	// Input is a file of recorded traffic to send instead of generated events, once in each phase.
	// Speed is the factor by which it is sent faster than recorded; 0 means the rate of the
	// profile.
	Input string
	Speed float64
	// Subscription is the push subscription that the phase deliver judges; empty: it pulls from one
	// of its own. Listen is the address for its requests; empty: the port of its URL.
	// SubscriptionSecret is its secret.
	Subscription, Listen, SubscriptionSecret string
	// Dir is the folder for the evidence: new or empty.
	Dir string
	// Key signs the evidence. Without one, Run makes a key that nobody knows.
	Key ed25519.PrivateKey
	// Rules are the table of roles to check on the target.
	Rules []Rule
	// Version is the version of this client.
	Version string
	// Progress, if set, receives the progress, from one goroutine at a time.
	Progress func(Progress)

	// streamTimeout, if set, replaces that of target.
	streamTimeout time.Duration
}

// Progress is the progress of a certification.
type Progress struct {
	// Phase and Doing say what is in progress. Begins is true when they have changed.
	Phase, Doing string
	Begins       bool
	// Planned is the number of requests of the phase, 0 if it is not known. Load is the load so
	// far.
	Planned int
	Load    load.Summary
	// Depth is the depth of the target's queue; nil if it is not known.
	Depth *int64
}

// String says what is in progress, and how the load goes.
func (p Progress) String() string {
	switch {
	case p.Phase == "":
		return p.Doing
	case p.Begins:
		return p.Phase + ": " + p.Doing
	case p.Doing == draining && p.Depth != nil:
		return fmt.Sprintf("%s: %d queued", p.Phase, *p.Depth)
	}
	l := p.Load
	s := fmt.Sprintf("%s: %d sent, %.0f/s, P95 %.2f ms, %d not accepted", p.Phase, l.Lines, l.Rate,
		l.LatencyMS.P95, l.Failed)
	if p.Depth != nil {
		s += fmt.Sprintf(", %d queued", *p.Depth)
	}
	return s
}

// Sending is the value of Progress.Doing while requests are sent. During the others no load is
// reported.
const (
	Sending  = "sending"
	draining = "draining"
)

// ErrNotRun is wrapped by errors that occur before anything is sent.
var ErrNotRun = errors.New("nothing was certified")

// readConnections is the number of connections that read events back.
const readConnections = 16

// sampled is the number of events per phase whose lineage is kept in full.
const sampled = 10

// certification is one run.
type certification struct {
	Options
	target *target
	start  start
	log    *os.File

	mu    sync.Mutex // guards the two, and serialises calls of Progress
	depth *int64
	now   Progress
}

// Run certifies a gate and writes the evidence into a folder. If ctx ends, Run stops sending, but
// reads back and judges what was sent. After an error there is no verdict.
func Run(ctx context.Context, o Options) (v Verdict, err error) {
	if err := o.check(); err != nil {
		return v, fmt.Errorf("%w: %w", ErrNotRun, err)
	}
	c := &certification{Options: o, target: newTarget(orElse(o.API, o.Target), o.Token,
		readConnections)}
	defer c.target.close()
	if o.streamTimeout > 0 {
		c.target.streamTimeout = o.streamTimeout
	}
	if err := c.prepare(ctx); err != nil {
		return v, fmt.Errorf("%w: %w", ErrNotRun, err)
	}
	defer func() { err = errors.Join(err, c.log.Close()) }()
	if err := c.audit(ctx, auditBeforeFile); err != nil {
		return v, err
	}
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
		return errors.New("no phase to run: name one of smoke, load, full, soak, ramp, deliver")
	}
	for _, name := range o.Phases {
		if _, ok := o.Profile.Phases[name]; !ok {
			return fmt.Errorf("phase %q is none of smoke, load, full, soak, ramp, deliver", name)
		}
	}
	if o.Input != "" && o.Profile.CanaryPercent < 100 {
		return errors.New("canary_percent chooses the ordering keys of generated events, and an " +
			"input has its own keys: use only one of the two")
	}
	return o.Profile.Check()
}

// prepare makes the folder and checks that the target can be certified.
func (c *certification) prepare(ctx context.Context) error {
	h, raw, err := c.target.health(ctx)
	if err != nil {
		return err
	}
	if h.Mode != "" && h.Mode != "normal" {
		return fmt.Errorf("the target is in mode %s and rejects webhooks: run hookgate "+
			"maintenance normal",
			h.Mode)
	}
	if _, err := c.target.get(ctx, "/api/events?limit=1", jsonType); err != nil {
		return fmt.Errorf("read the events of the target (is HOOKGATE_TOKEN or ADMIN_TOKEN "+
			"right?): %w",
			err)
	}
	if err := c.checkDelivery(ctx); err != nil {
		return err
	}
	if entries, err := os.ReadDir(c.Dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("the folder %s is not empty: name another one, because evidence is "+
			"never overwritten", c.Dir)
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	random := make([]byte, 3)
	rand.Read(random)
	c.start = start{
		Format:  bundleFormat,
		RunID:   fmt.Sprintf("cert-%s-%x", time.Now().UTC().Format("060102150405"), random),
		Target:  c.Target,
		Started: time.Now().UTC(), Version: h.Version, Asked: c.Phases, Phases: []string{},
	}
	if c.Input != "" {
		if c.start.Input, err = fileDigest(c.Input); err != nil {
			return err
		}
	}
	if c.log, err = os.OpenFile(filepath.Join(c.Dir, logFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY|
		os.O_APPEND, 0o644); err != nil {
		return err
	}
	c.say("certification %s of %s (version %s) by client %s", c.start.RunID, c.Target, h.Version,
		c.Version)
	if err := writeJSON(c.file(profileFile), c.Profile); err != nil {
		return err
	}
	if err := writeJSON(c.file(environmentFile), environment{
		Target: targetFacts{URL: c.Target, Health: raw},
		Client: map[string]any{"version": c.Version, "go": runtime.Version(), "os": runtime.GOOS,
			"arch": runtime.GOARCH,
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
	// An error of the log is returned when it is closed.
	fmt.Fprintf(c.log, "%s %s\n", time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00"),
		fmt.Sprintf(format, args...))
}

// doing reports what begins, to the log and to Progress.
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
