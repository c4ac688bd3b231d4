package gate

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hookgate/hookgate/release/canary"
)

// CanaryOptions make the gate forward a part of the webhooks to an existing service. They are used
// if Upstream is set.
type CanaryOptions struct {
	// Upstream is the base URL of the existing service.
	Upstream string `setting:"upstream"`
	// Percent is the percentage of the ordering keys that the gate takes until a person sets another.
	Percent int `setting:"percent"`
	// Plan is the steps of "hookgate canary start".
	Plan CanaryPlan `setting:"plan"`
	// Timeout is how long the upstream may take until its answer begins.
	Timeout time.Duration `setting:"timeout"`
	// MaxConnections bounds the webhooks that are forwarded at a time.
	MaxConnections int `setting:"max_connections"`
	// RequireEvidence makes evidence of a certification the condition for leaving 0 percent.
	RequireEvidence bool `setting:"require_evidence"`
}

// CanaryPlan is a list of steps with rising percentages.
type CanaryPlan []CanaryStep

// UnmarshalText parses a plan in the form of the environment: 10:30m,50:1h,100.
func (p *CanaryPlan) UnmarshalText(text []byte) error {
	for part := range strings.SplitSeq(string(text), ",") {
		var s CanaryStep
		if err := s.UnmarshalText([]byte(part)); err != nil {
			return err
		}
		*p = append(*p, s)
	}
	return nil
}

// CanaryStep is a step of a plan.
type CanaryStep struct {
	Percent int `setting:"percent"`
	// For is how long the verdict must permit the next step.
	For time.Duration `setting:"for"`
}

var defaultCanary = CanaryOptions{Timeout: 20 * time.Second, MaxConnections: 1000}

// UnmarshalText parses a step such as 10:30m or 100.
func (s *CanaryStep) UnmarshalText(text []byte) (err error) {
	percent, duration, timed := strings.Cut(strings.TrimSpace(string(text)), ":")
	if s.Percent, err = strconv.Atoi(percent); err == nil && timed {
		s.For, err = time.ParseDuration(duration)
	}
	if err != nil {
		return fmt.Errorf("%q is not a step of a plan: write it like 10:30m", text)
	}
	return nil
}

func (c CanaryOptions) plan() (plan []canary.Step) {
	for _, step := range c.Plan {
		plan = append(plan, canary.Step(step))
	}
	return plan
}

// check returns an error for options that cannot work.
func (c CanaryOptions) check(writeTimeout time.Duration, evidenceKeys int) error {
	if c.Upstream == "" {
		if c.Percent != 0 || len(c.Plan) > 0 || c.RequireEvidence {
			return errors.New("a setting of canary is set, but canary.upstream is not: set it to the URL" +
				" of the previous service")
		}
		return nil
	}
	u, err := url.Parse(c.Upstream)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" {
		return errors.New("canary.upstream must be a base URL like http://10.0.0.5:3000, without user," +
			" password and query")
	}
	if err := canary.CheckPlan(c.plan()); err != nil {
		return fmt.Errorf("canary.plan: %w", err)
	}
	switch {
	case c.Percent < 0 || c.Percent > 100:
		return fmt.Errorf("canary.percent is %d; it must be from 0 to 100", c.Percent)
	case c.Timeout <= 0 || c.MaxConnections <= 0:
		return errors.New("canary.timeout and canary.max_connections must be greater than zero")
	case c.Timeout >= writeTimeout:
		return fmt.Errorf("canary.timeout (%v) must be below http.write_timeout (%v); otherwise"+
			" senders are cut off before they get a response", c.Timeout, writeTimeout)
	case c.RequireEvidence && c.Percent > 0:
		return errors.New("canary.require_evidence and canary.percent contradict each other: with" +
			" canary.percent the start needs no evidence")
	case c.RequireEvidence && evidenceKeys == 0:
		return errors.New("canary.require_evidence needs evidence.public_keys: without them anybody" +
			" can sign evidence")
	}
	return nil
}

// newCanary returns the canary, or nil without an upstream. The canary asks for the verdict before
// each step.
func newCanary(o Options, b *backends, verdict func() (fired []string, unknown error),
	log *slog.Logger) (*canary.Canary, error) {
	if o.Canary.Upstream == "" {
		return nil, nil
	}
	upstream, err := url.Parse(o.Canary.Upstream)
	if err != nil {
		return nil, err
	}
	config := canary.Config{
		Settings:        b.settings,
		Trail:           b.access,
		Verdict:         verdict,
		Plan:            o.Canary.plan(),
		Percent:         o.Canary.Percent,
		RequireEvidence: o.Canary.RequireEvidence,
		Follower:        !o.receives(),
		Upstream: canary.Upstream{URL: upstream, Timeout: o.Canary.Timeout,
			MaxConnections: o.Canary.MaxConnections, Logger: log},
		Logger: log,
	}
	// The backend with the percentage may be away: even store.db, while another process locks it.
	if config.Remembered, err = o.dir().Canary(); err != nil {
		return nil, err
	}
	config.Remember = o.dir().KeepCanary
	return canary.New(config), nil
}
