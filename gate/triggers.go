package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os/exec"
	"time"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/release"
	"github.com/hookgate/hookgate/release/canary"
)

// TriggersOptions are the release triggers.
type TriggersOptions struct {
	P95        TriggerOptions[time.Duration] `setting:"p95"`
	ErrorRate  TriggerOptions[float64]       `setting:"error_rate"`
	QueueDepth TriggerOptions[int64]         `setting:"queue_depth"`
	StorePool  TriggerOptions[int]           `setting:"store_pool"`
	Redis      TriggerOptions[int]           `setting:"redis"`
	ClearFor   time.Duration                 `setting:"clear_for"`
	Fewest     int                           `setting:"fewest"`
}

// TriggerOptions is a release.Trigger with its limit in the unit that people write.
type TriggerOptions[T int | int64 | float64 | time.Duration] struct {
	Limit   T             `setting:"limit"`
	Sustain time.Duration `setting:"sustain"`
	Action  string        `setting:"action"`
}

func newTrigger[T int | int64 | float64 | time.Duration](limit T) TriggerOptions[T] {
	return TriggerOptions[T]{Limit: limit, Sustain: 5 * time.Minute,
		Action: string(release.ActionNone)}
}

// in returns the trigger with its limit in a unit.
func (c TriggerOptions[T]) in(unit T) release.Trigger {
	return release.Trigger{Limit: float64(c.Limit) / float64(unit), Sustain: c.Sustain,
		Action: release.Action(c.Action)}
}

var defaultTriggers = TriggersOptions{
	P95:        newTrigger(120 * time.Millisecond),
	ErrorRate:  newTrigger(0.1),
	QueueDepth: newTrigger(int64(10_000)),
	StorePool:  newTrigger(95),
	Redis:      newTrigger(50),
	ClearFor:   5 * time.Minute,
	Fewest:     20,
}

// AlarmOptions is where alarms are sent to, if URL is set.
type AlarmOptions struct {
	URL      string        `setting:"url"`
	Secret   string        `setting:"secret"`
	Timeout  time.Duration `setting:"timeout"`
	RetryFor time.Duration `setting:"retry_for"`
}

// triggers returns the release triggers as the guard has them.
func (c TriggersOptions) triggers() release.Triggers {
	return release.Triggers{
		P95: c.P95.in(time.Millisecond), ErrorRate: c.ErrorRate.in(1), QueueDepth: c.QueueDepth.in(1),
		StorePool: c.StorePool.in(1), Redis: c.Redis.in(1),
		ClearFor: c.ClearFor, Fewest: c.Fewest,
	}
}

// named returns the triggers by what their settings begin with.
func (c TriggersOptions) named() map[string]release.Trigger {
	t := c.triggers()
	return map[string]release.Trigger{
		"guard.triggers.p95": t.P95, "guard.triggers.error_rate": t.ErrorRate,
		"guard.triggers.queue_depth": t.QueueDepth,
		"guard.triggers.store_pool":  t.StorePool, "guard.triggers.redis": t.Redis,
	}
}

// uses reports whether a trigger that is on has the action.
func (c TriggersOptions) uses(a release.Action) bool {
	for _, t := range c.named() {
		if t.Limit > 0 && t.Action == a {
			return true
		}
	}
	return false
}

// checkTriggers finds settings of the release triggers that cannot work.
func (c GuardOptions) checkTriggers(canary bool) error {
	for name, t := range c.Triggers.named() {
		action, err := release.ParseAction(string(t.Action))
		switch {
		case err != nil:
			return fmt.Errorf("%s.action: %w", name, err)
		case !(t.Limit >= 0) || t.Sustain < 0:
			return fmt.Errorf("%s: limit and sustain must not be negative; a limit of 0 turns it off", name)
		case action == release.ActionRollBack && len(c.RollbackCommand) == 0:
			return fmt.Errorf("%s.action is %s, which needs guard.rollback_command", name, action)
		case action == release.ActionCanaryBack && !canary:
			return fmt.Errorf("%s.action is %s, and this gate has no canary", name, action)
		}
	}
	for name, t := range map[string]float64{"error_rate": c.Triggers.ErrorRate.Limit,
		"store_pool": float64(c.Triggers.StorePool.Limit), "redis": float64(c.Triggers.Redis.Limit)} {
		if t >= 100 {
			return fmt.Errorf("guard.triggers.%s.limit is %v percent, above which no value lies", name, t)
		}
	}
	switch a := c.Alarm; {
	case c.Triggers.ClearFor < 0 || c.Triggers.Fewest < 1:
		return errors.New("guard.triggers: clear_for must not be negative, and fewest at least 1")
	case c.RollbackCooldown <= 0:
		return errors.New("guard.rollback_cooldown must be greater than zero: it keeps a gate from rolling back again and again")
	case a.Timeout <= 0 || a.RetryFor <= 0:
		return errors.New("guard.alarm: timeout and retry_for must be greater than zero")
	case a.URL == "" && a.Secret != "":
		return errors.New("guard.alarm.secret is set, and guard.alarm.url is not")
	case a.URL == "":
		return nil
	case a.Secret == "":
		return errors.New("guard.alarm.secret is not set: whoever gets the alarms must be able to tell whose they are")
	}
	if u, err := url.Parse(c.Alarm.URL); err != nil || u.Host == "" || u.Scheme != "https" &&
		u.Scheme != "http" {
		return errors.New("guard.alarm.url is no URL of http or https")
	}
	return nil
}

// releaseConfigOf returns the configuration of what watches the release triggers.
func releaseConfigOf(o Options, b *backends, log *slog.Logger) (release.Config, error) {
	r := release.Config{
		Triggers:   o.Guard.Triggers.triggers(),
		NoWebhooks: o.Role == RoleWorker, NoRedis: o.Queue.Kind != QueueRedis,
		Process: processName(), Version: o.Version, Logger: log,
	}
	if pool := b.pool; pool != nil {
		r.Pool = func() (inUse, most int) { p := pool(); return p.Acquired, p.Max }
	}
	if o.Guard.Triggers.uses(release.ActionRollBack) {
		if _, err := exec.LookPath(o.Guard.RollbackCommand[0]); err != nil {
			return r, fmt.Errorf("guard.rollback_command: %w", err)
		}
	}
	setting, highWater := "queue.high_water", o.Queue.HighWater
	if o.Queue.Kind == QueueDirect {
		setting, highWater = "spool.high_water", o.Spool.HighWater
	}
	if limit := o.Guard.Triggers.QueueDepth.Limit; limit >= highWater && !o.Spool.Off {
		log.Warn("guard.triggers.queue_depth.limit is not below "+setting+": this trigger can never fire",
			"limit", limit, "high_water", highWater)
	}
	var err error
	r.Webhook, err = newAlarmWebhook(o.Guard.Alarm)
	return r, err
}

// releaseControls returns what the actions of the release triggers change.
func releaseControls(o Options, b *backends, shared *canary.Canary) release.Controls {
	start := &launcher{command: o.Guard.RollbackCommand, cooldown: o.Guard.RollbackCooldown,
		dir: o.dir()}
	controls := release.Controls{Mode: b.settings, RollBack: start.start, Trail: b.access}
	if shared != nil {
		controls.Canary = shared
	}
	return controls
}

// newAlarmWebhook returns what sends alarms, signed as Standard Webhooks are.
func newAlarmWebhook(c AlarmOptions) (release.Webhook, error) {
	if c.URL == "" {
		return release.Webhook{}, nil
	}
	secrets, err := resolveSecrets([]string{c.Secret})
	if err != nil {
		return release.Webhook{}, fmt.Errorf("guard.alarm.secret: %w", err)
	}
	sign := func(r *http.Request, id string, at time.Time, body []byte) error {
		r.Header.Set("Webhook-Id", id)
		return admit.Sign("standard_webhooks", admit.Options{Secrets: secrets[:1]}, nil,
			&admit.Request{Method: r.Method, Header: r.Header, Body: body, Time: at})
	}
	trial, err := http.NewRequestWithContext(context.Background(), http.MethodPost, c.URL, nil)
	if err == nil {
		err = sign(trial, "trial", time.Now(), nil)
	}
	if err != nil {
		return release.Webhook{}, fmt.Errorf("guard.alarm.secret must be that of a Standard Webhook, whsec_ and base64: %w", err)
	}
	return release.Webhook{URL: c.URL, Sign: sign, Timeout: c.Timeout, RetryFor: c.RetryFor}, nil
}
