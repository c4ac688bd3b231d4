package release

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"

	"github.com/hookgate/hookgate"
)

// The kinds of alarms.
const (
	AlarmRaised  = "raised"  // a trigger has fired
	AlarmCleared = "cleared" // it is well again
	AlarmActed   = "acted"   // what its action came to
)

// Alarm is something about the release triggers that a person should know of.
type Alarm struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	Kind    string    `json:"kind"`
	Trigger string    `json:"trigger"`
	// Value is that of the trigger at the moment that it fired or cleared.
	Value float64 `json:"value"`
	Limit float64 `json:"limit"`
	Unit  string  `json:"unit"`
	// Action is what is done, and Result, for AlarmActed, what came of it: it begins with "done" or
	// "failed".
	Action Action `json:"action"`
	Result string `json:"result,omitempty"`
}

// Webhook is where alarms are sent to. The zero value sends none.
type Webhook struct {
	URL string
	// Sign adds to a request what proves that it comes from here. id stays the same when an alarm is
	// sent again, the time does not.
	Sign func(r *http.Request, id string, at time.Time, body []byte) error
	// Timeout bounds an attempt; RetryFor is how long after the first there are others.
	Timeout, RetryFor time.Duration
	// Transport makes the requests; nil for one of its own.
	Transport http.RoundTripper
}

const (
	// alarmsKept is how many alarms are shown, alarmsWaiting how many may wait to be sent.
	alarmsKept, alarmsWaiting = 20, 64
	// sendRetryMin and sendRetryMax bound the pause between two attempts to send an alarm.
	sendRetryMin, sendRetryMax = time.Second, time.Minute
)

// alarms keeps the last alarms and sends them, in order, to a webhook.
type alarms struct {
	to      Webhook
	process string
	version string
	log     *slog.Logger
	waiting chan Alarm

	delivered, failed, dropped atomic.Int64

	mu   sync.Mutex // guards kept
	kept []Alarm    // newest first
}

// raise takes up an alarm. It never waits: one that finds too many before it is not sent, which the
// log and a counter tell.
func (a *alarms) raise(alarm Alarm) {
	now := time.Now()
	alarm.ID, alarm.At = "alarm_"+hookgate.NewRequestID(now).String(),
		now.UTC().Truncate(time.Millisecond)
	a.mu.Lock()
	a.kept = append([]Alarm{alarm}, a.kept[:min(len(a.kept), alarmsKept-1)]...)
	a.mu.Unlock()
	if a.to.URL == "" {
		return
	}
	select {
	case a.waiting <- alarm:
	default:
		a.dropped.Add(1)
		a.log.Error("alarm is not sent: too many wait before it", "alarm", alarm.ID, "trigger",
			alarm.Trigger)
	}
}

func (a *alarms) last() []Alarm {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Alarm{}, slices.Clone(a.kept)...)
}

func (a *alarms) status() *WebhookStatus {
	if a.to.URL == "" {
		return nil
	}
	return &WebhookStatus{Delivered: a.delivered.Load(), Failed: a.failed.Load(),
		Dropped: a.dropped.Load()}
}

// run sends alarms until ctx ends. What is then not yet sent is in the log alone.
func (a *alarms) run(ctx context.Context) {
	client := &http.Client{Transport: a.to.Transport, Timeout: a.to.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // a redirect is for whoever configured the URL to follow
		}}
	if client.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.DisableKeepAlives = true // alarms are rare
		client.Transport = t
	}
	for {
		select {
		case alarm := <-a.waiting:
			a.deliver(ctx, client, alarm)
		case <-ctx.Done():
			return
		}
	}
}

// deliver sends an alarm until it is taken or the time for it is over.
func (a *alarms) deliver(ctx context.Context, client *http.Client, alarm Alarm) {
	begun := time.Now()
	policy := retrypolicy.NewBuilder[any]().
		WithMaxRetries(-1).
		WithBackoff(sendRetryMin, sendRetryMax).
		WithJitterFactor(0.5).
		AbortIf(func(any, error) bool { return ctx.Err() != nil || time.Since(begun) >= a.to.RetryFor }).
		ReturnLastFailure().
		Build()
	err := failsafe.With(policy).WithContext(ctx).
		RunWithExecution(func(e failsafe.Execution[any]) error {
			err := a.send(ctx, client, alarm)
			if err != nil && e.IsFirstAttempt() && ctx.Err() == nil {
				a.log.Warn("alarm is not delivered yet; it is tried again", "alarm", alarm.ID, "for",
					a.to.RetryFor.String(), "error", err)
			}
			return err
		})
	switch {
	case err == nil:
		a.delivered.Add(1)
	case ctx.Err() == nil:
		a.failed.Add(1)
		a.log.Error("alarm is not delivered", "alarm", alarm.ID, "trigger", alarm.Trigger, "kind",
			alarm.Kind, "error", err)
	}
}

// message is an alarm as it is sent, in the form that Standard Webhooks recommends.
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

func (a *alarms) send(ctx context.Context, client *http.Client, alarm Alarm) error {
	body, err := json.Marshal(message{"guard.trigger." + alarm.Kind, alarm.At,
		alarmData{alarm, a.process, a.version}})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.to.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "hookgate")
	if a.to.Sign != nil {
		if err := a.to.Sign(req, alarm.ID, time.Now(), body); err != nil {
			return fmt.Errorf("sign: %w", err)
		}
	}
	resp, err := client.Do(req)
	var failed *url.Error
	if errors.As(err, &failed) { // the path of such a URL is often what lets one send to it
		return fmt.Errorf("send to %s: %w", req.URL.Host, failed.Err)
	} else if err != nil {
		return err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("it answers %s", resp.Status)
	}
	return nil
}
