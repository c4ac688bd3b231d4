package gate

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os/exec"
	"time"

	"github.com/hookgate/hookgate/deliver/push"
	"github.com/hookgate/hookgate/release"
	"github.com/hookgate/hookgate/release/canary"
)

// ReleaseOptions are the release triggers, with their alarms and actions.
type ReleaseOptions struct {
	Triggers TriggersOptions `setting:"triggers"`
	Alarm    AlarmOptions    `setting:"alarm"`
	// RollbackCommand is the program, with its arguments, of the action rollback.
	RollbackCommand []string `setting:"rollback_command"`
}

// TriggersOptions are the release triggers: values that show, if they stay above their limits, that
// the running release should be rolled back. Limits of ErrorRate, StorePool and Redis are in
// percent.
type TriggersOptions struct {
	P95        TriggerOptions[time.Duration] `setting:"p95"`
	ErrorRate  TriggerOptions[float64]       `setting:"error_rate"`
	QueueDepth TriggerOptions[int64]         `setting:"queue_depth"`
	StorePool  TriggerOptions[int]           `setting:"store_pool"`
	Redis      TriggerOptions[int]           `setting:"redis"`
	// Sustain is how long a value must stay above its limit for its trigger to fire, and at or below
	// it for the trigger to clear.
	Sustain time.Duration `setting:"sustain"`
}

// TriggerOptions describe one release trigger.
type TriggerOptions[T int | int64 | float64 | time.Duration] struct {
	// Limit is the value above which the trigger is raised; 0 turns it off.
	Limit T `setting:"limit"`
	// Action is a release.Action: what the gate does when the trigger fires.
	Action string `setting:"action"`
}

func newTrigger[T int | int64 | float64 | time.Duration](limit T) TriggerOptions[T] {
	return TriggerOptions[T]{Limit: limit, Action: string(release.ActionNone)}
}

// in returns the trigger for package release, with the limit in a unit.
func (c TriggerOptions[T]) in(unit T, sustain time.Duration) release.Trigger {
	return release.Trigger{Limit: float64(c.Limit) / float64(unit), Sustain: sustain,
		Action: release.Action(c.Action)}
}

var defaultRelease = ReleaseOptions{Triggers: TriggersOptions{
	P95:        newTrigger(120 * time.Millisecond),
	ErrorRate:  newTrigger(0.1),
	QueueDepth: newTrigger(int64(10_000)),
	StorePool:  newTrigger(95),
	Redis:      newTrigger(50),
	Sustain:    5 * time.Minute,
}}

// AlarmOptions say where alarms are sent, if URL is set.
type AlarmOptions struct {
	URL string `setting:"url"`
	// Secret signs the alarms: a Standard Webhooks secret, or a reference like those of Secrets.
	Secret string `setting:"secret"`
}

// triggers returns the release triggers in the form of package release.
func (c TriggersOptions) triggers() release.Triggers {
	return release.Triggers{
		P95: c.P95.in(time.Millisecond, c.Sustain), ErrorRate: c.ErrorRate.in(1, c.Sustain),
		QueueDepth: c.QueueDepth.in(1, c.Sustain), StorePool: c.StorePool.in(1, c.Sustain),
		Redis: c.Redis.in(1, c.Sustain), ClearFor: c.Sustain, Fewest: fewestWebhooks,
	}
}

// named returns the triggers by the path of their settings.
func (c TriggersOptions) named() map[string]release.Trigger {
	t := c.triggers()
	return map[string]release.Trigger{
		"release.triggers.p95": t.P95, "release.triggers.error_rate": t.ErrorRate,
		"release.triggers.queue_depth": t.QueueDepth,
		"release.triggers.store_pool":  t.StorePool, "release.triggers.redis": t.Redis,
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

// check returns an error for an invalid setting.
func (c ReleaseOptions) check(canary bool) error {
	for name, t := range c.Triggers.named() {
		action, err := release.ParseAction(string(t.Action))
		switch {
		case err != nil:
			return fmt.Errorf("%s.action: %w", name, err)
		case !(t.Limit >= 0):
			return fmt.Errorf("%s.limit must not be negative; 0 turns the trigger off", name)
		case action == release.ActionRollBack && len(c.RollbackCommand) == 0:
			return fmt.Errorf("%s.action is %s: set release.rollback_command too", name, action)
		case action == release.ActionCanaryBack && !canary:
			return fmt.Errorf("%s.action is %s, but this gate has no canary: set canary.upstream, or "+
				"choose another action", name, action)
		}
	}
	for name, t := range map[string]float64{"error_rate": c.Triggers.ErrorRate.Limit,
		"store_pool": float64(c.Triggers.StorePool.Limit), "redis": float64(c.Triggers.Redis.Limit)} {
		if t >= 100 {
			return fmt.Errorf("release.triggers.%s.limit is %v percent; it must be below 100", name, t)
		}
	}
	switch a := c.Alarm; {
	case c.Triggers.Sustain < 0:
		return errors.New("release.triggers.sustain must not be negative")
	case a.URL == "" && a.Secret != "":
		return errors.New("release.alarm.secret is set, but release.alarm.url is not: set both or" +
			" neither")
	case a.URL == "":
		return nil
	case a.Secret == "":
		return errors.New("release.alarm.secret is missing: the receiver needs it to verify the alarms")
	}
	if u, err := url.Parse(c.Alarm.URL); err != nil || u.Host == "" || u.Scheme != "https" &&
		u.Scheme != "http" {
		return errors.New("release.alarm.url must be a URL with http or https")
	}
	return nil
}

// releaseConfigOf returns the configuration of the monitor of the release triggers.
func releaseConfigOf(o Options, b *backends, log *slog.Logger) (release.Config, error) {
	r := release.Config{
		Triggers:   o.Release.Triggers.triggers(),
		NoWebhooks: !o.receives(), NoRedis: o.QueueKind() != QueueRedis,
		Process: processName(), Version: o.Version, Logger: log,
	}
	if pool := b.pool; pool != nil {
		r.Pool = func() (inUse, most int) { p := pool(); return p.Acquired, p.Max }
	}
	if o.Release.Triggers.uses(release.ActionRollBack) {
		if _, err := exec.LookPath(o.Release.RollbackCommand[0]); err != nil {
			return r, fmt.Errorf("release.rollback_command: %w", err)
		}
	}
	if limit := o.Release.Triggers.QueueDepth.Limit; limit >= o.Queue.HighWater && !o.Spool.Off {
		log.Warn("release.triggers.queue_depth.limit is not below queue.high_water: the trigger can"+
			" never fire",
			"limit", limit, "high_water", o.Queue.HighWater)
	}
	var err error
	r.Webhook, err = newAlarmWebhook(o.Release.Alarm)
	return r, err
}

// releaseControls returns what the actions of the release triggers change.
func releaseControls(o Options, b *backends, c *canary.Canary) release.Controls {
	start := &launcher{command: o.Release.RollbackCommand, cooldown: rollbackCooldown,
		dir: o.dir()}
	controls := release.Controls{Mode: b.settings, RollBack: start.start, Trail: b.access}
	if c != nil {
		controls.Canary = c
	}
	return controls
}

// newAlarmWebhook returns the receiver of alarms. They are signed as Standard Webhooks.
func newAlarmWebhook(c AlarmOptions) (release.Webhook, error) {
	if c.URL == "" {
		return release.Webhook{}, nil
	}
	secrets, err := resolveSecrets([]string{c.Secret})
	if err != nil {
		return release.Webhook{}, fmt.Errorf("release.alarm.secret: %w", err)
	}
	sender, err := push.New(push.Config{URL: c.URL, Signing: secrets[:1], Timeout: alarmTimeout})
	if err != nil {
		return release.Webhook{}, fmt.Errorf("release.alarm: %w", err)
	}
	return release.Webhook{Sender: sender, RetryFor: alarmRetryFor}, nil
}
