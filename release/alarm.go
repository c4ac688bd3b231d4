package release

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/backoff"
)

// The kinds of alarms.
const (
	AlarmRaised  = "raised"  // a trigger fired
	AlarmCleared = "cleared" // a trigger cleared
	AlarmActed   = "acted"   // an action ended, with a result
)

// Alarm tells a person about a release trigger.
type Alarm struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	Kind    string    `json:"kind"`
	Trigger string    `json:"trigger"`
	// Value is the value of the trigger when it fired or cleared.
	Value float64 `json:"value"`
	Limit float64 `json:"limit"`
	Unit  string  `json:"unit"`
	// Action is the action of the trigger. Result is set for AlarmActed and starts with "done" or
	// "failed".
	Action Action `json:"action"`
	Result string `json:"result,omitempty"`
}

// Webhook is the receiver of alarms. The zero value sends none.
type Webhook struct {
	Sender Sender
	// RetryFor bounds all attempts to send an alarm.
	RetryFor time.Duration
}

// Sender sends alarms.
type Sender interface {
	// Send makes one attempt to post a message as JSON. The id is the same in each attempt. Send
	// returns when the attempt has ended, for which it has a time-out.
	Send(ctx context.Context, id string, body []byte) hookgate.Answer
	// Host is the address of the receiver, for logs.
	Host() string
	// CloseIdleConnections closes the connections that are not in use.
	CloseIdleConnections()
}

const (
	// alarmsShown is how many of the last alarms the status shows, alarmsWaiting how many may wait to
	// be sent.
	alarmsShown, alarmsWaiting = 20, 64
	// The pause between two attempts to send an alarm grows from sendRetryMin to sendRetryMax.
	sendRetryMin, sendRetryMax = time.Second, time.Minute
)

// alarms remembers the last alarms and sends them to a webhook, in order.
type alarms struct {
	to      Webhook
	process string
	version string
	log     *slog.Logger
	waiting chan Alarm

	delivered, failed, dropped atomic.Int64

	mu     sync.Mutex // guards latest
	latest []Alarm    // newest first
}

// raise remembers an alarm and hands it to run. It never blocks: if too many alarms wait, it drops
// this one, logs that and counts it.
func (a *alarms) raise(alarm Alarm) {
	now := time.Now()
	alarm.ID, alarm.At = "alarm_"+hookgate.NewRequestID(now).String(),
		now.UTC().Truncate(time.Millisecond)
	a.mu.Lock()
	a.latest = append([]Alarm{alarm}, a.latest[:min(len(a.latest), alarmsShown-1)]...)
	a.mu.Unlock()
	if a.to.Sender == nil {
		return
	}
	select {
	case a.waiting <- alarm:
	default:
		a.dropped.Add(1)
		a.log.Error("alarm dropped: too many alarms wait to be sent", "alarm", alarm.ID, "trigger",
			alarm.Trigger)
	}
}

func (a *alarms) last() []Alarm {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Alarm{}, slices.Clone(a.latest)...)
}

func (a *alarms) status() *WebhookStatus {
	if a.to.Sender == nil {
		return nil
	}
	return &WebhookStatus{Delivered: a.delivered.Load(), Failed: a.failed.Load(),
		Dropped: a.dropped.Load()}
}

// run sends alarms until ctx ends. Alarms that still wait then are in the log only.
func (a *alarms) run(ctx context.Context) {
	if a.to.Sender == nil {
		return
	}
	defer a.to.Sender.CloseIdleConnections()
	for {
		select {
		case alarm := <-a.waiting:
			a.deliver(ctx, alarm)
		case <-ctx.Done():
			return
		}
	}
}

// deliver sends an alarm, retrying until the receiver answers 2xx or RetryFor is over.
func (a *alarms) deliver(ctx context.Context, alarm Alarm) {
	first := time.Now()
	policy := backoff.Policy{
		Min: sendRetryMin, Max: sendRetryMax,
		Stop: func(error) bool { return time.Since(first) >= a.to.RetryFor },
		Failed: func(failed backoff.Attempt, _ time.Duration) {
			if failed.Number == 1 {
				a.log.Warn("alarm not delivered; retrying", "alarm", alarm.ID, "for",
					a.to.RetryFor.String(), "error", failed.Err)
			}
		},
	}
	err := policy.Retry(ctx, func(backoff.Attempt) error { return a.send(ctx, alarm) })
	switch {
	case err == nil:
		a.delivered.Add(1)
	case ctx.Err() == nil:
		a.failed.Add(1)
		a.log.Error("alarm not delivered; giving up", "alarm", alarm.ID, "trigger", alarm.Trigger, "kind",
			alarm.Kind, "error", err)
	}
}

// message is the body of an alarm, as Standard Webhooks recommends it.
type message struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      alarmData `json:"data"`
}

type alarmData struct {
	Alarm
	Process string `json:"process"`
	Version string `json:"version"`
}

func (a *alarms) send(ctx context.Context, alarm Alarm) error {
	body, err := json.Marshal(message{"release.trigger." + alarm.Kind, alarm.At,
		alarmData{alarm, a.process, a.version}})
	if err != nil {
		return err
	}
	answer := a.to.Sender.Send(ctx, alarm.ID, body)
	if answer.Verdict != hookgate.VerdictDelivered {
		return fmt.Errorf("send to %s: %s", a.to.Sender.Host(), answer.Reason)
	}
	return nil
}
