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

// CanaryOptions is used if Upstream is set.
type CanaryOptions struct {
	Upstream        string        `setting:"upstream"`
	Percent         int           `setting:"percent"`
	Plan            CanaryPlan    `setting:"plan"`
	Timeout         time.Duration `setting:"timeout"`
	MaxConnections  int           `setting:"max_connections"`
	RequireEvidence bool          `setting:"require_evidence"`
}

type CanaryPlan []CanaryStep

// UnmarshalText reads a plan as the environment has it: 10:30m,50:1h,100.
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

// CanaryStep is a step of the plan.
type CanaryStep struct {
	Percent int           `setting:"percent"`
	For     time.Duration `setting:"for"`
}

var defaultCanary = CanaryOptions{Timeout: 20 * time.Second, MaxConnections: 1000}

// UnmarshalText reads a step written as text: 10:30m, or 100.
func (s *CanaryStep) UnmarshalText(text []byte) (err error) {
	percent, duration, timed := strings.Cut(strings.TrimSpace(string(text)), ":")
	if s.Percent, err = strconv.Atoi(percent); err == nil && timed {
		s.For, err = time.ParseDuration(duration)
	}
	if err != nil {
		return fmt.Errorf("%q is not a step: write it like 10:30m", text)
	}
	return nil
}

func (c CanaryOptions) plan() (plan []canary.Step) {
	for _, step := range c.Plan {
		plan = append(plan, canary.Step(step))
	}
	return plan
}

// check finds settings that cannot work. The answer of the upstream must fit into the time for a
// whole answer, and evidence that anyone could have made is no condition.
func (c CanaryOptions) check(writeTimeout time.Duration, evidenceKeys int) error {
	if c.Upstream == "" {
		if c.Percent != 0 || len(c.Plan) > 0 || c.RequireEvidence {
			return errors.New("a setting of canary is set, but canary.upstream is not: set it to the URL of the previous service")
		}
		return nil
	}
	u, err := url.Parse(c.Upstream)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" {
		return errors.New("canary.upstream must be a base URL like http://10.0.0.5:3000, without user, password and query")
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
		return fmt.Errorf("canary.timeout (%v) must be below http.write_timeout (%v); otherwise senders are cut off before they get a response", c.Timeout, writeTimeout)
	case c.RequireEvidence && c.Percent > 0:
		return errors.New("canary.require_evidence and canary.percent contradict each other: with canary.percent the start needs no evidence")
	case c.RequireEvidence && evidenceKeys == 0:
		return errors.New("canary.require_evidence needs evidence.public_keys: without them anybody can sign evidence")
	}
	return nil
}

// newCanary returns the canary that the configuration describes, whose steps need the verdict; nil if
// there is none.
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
		Follower:        o.Role == RoleWorker,
		Upstream: canary.Upstream{URL: upstream, Timeout: o.Canary.Timeout,
			MaxConnections: o.Canary.MaxConnections, Logger: log},
		Logger: log,
	}
	// What keeps the canary may be away, even store.db while somebody has locked it.
	if config.Remembered, err = o.dir().Canary(); err != nil {
		return nil, err
	}
	config.Remember = o.dir().KeepCanary
	return canary.New(config), nil
}
