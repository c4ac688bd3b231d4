package show

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

// Subscriptions prints one line for each subscription.
func Subscriptions(out io.Writer, all []api.Subscription) error {
	t := NewTable(out, "NAME", "STATE", "CONSUMER", "LAG", "BACKLOG", "WAITING", "PARKED", "DEAD",
		"OWNER")
	for i := range all {
		s := &all[i]
		t.Row(s.Name, s.State, consumerOf(s), lagOf(s), backlogOf(s), s.Waiting, s.Parked, s.Dead,
			cmp.Or(s.Owner, "-"))
	}
	return t.Flush()
}

// definition is what is shown of the configuration of a subscription.
type definition struct {
	Push struct {
		URL         string
		Timeout     string
		Concurrency int
		Rate        float64
	}
	Handler *struct {
		Timeout     string
		Concurrency int
	}
	Pull  *struct{}
	Retry struct{ First, Max, For string }
	Then  string
}

func definitionOf(s *api.Subscription) (d definition) {
	json.Unmarshal(s.Definition, &d) // an unreadable definition is not shown
	return d
}

func consumerOf(s *api.Subscription) string {
	d := definitionOf(s)
	if d.Handler != nil {
		return "a Go function"
	}
	if d.Pull != nil {
		return "pull"
	}
	return cmp.Or(d.Push.URL, "-")
}

// lagOf is the age of the next event, rounded to what matters.
func lagOf(s *api.Subscription) string {
	lag := time.Duration(s.LagSeconds * float64(time.Second))
	switch {
	case lag < 10*time.Second:
		return lag.Round(10 * time.Millisecond).String()
	case lag < time.Hour:
		return lag.Round(time.Second).String()
	}
	return short(lag.Round(time.Minute).String())
}

// short is a duration without the zeros at its end: 72h instead of 72h0m0s.
func short(duration string) string {
	if rest, ok := strings.CutSuffix(duration, "m0s"); ok {
		duration = rest + "m"
	}
	if rest, ok := strings.CutSuffix(duration, "h0m"); ok {
		duration = rest + "h"
	}
	return duration
}

// backlogOf is the backlog, with a plus if it is not counted to its end.
func backlogOf(s *api.Subscription) string {
	if s.Backlog >= hookgate.MaxBacklog {
		return fmt.Sprint(s.Backlog, "+")
	}
	return fmt.Sprint(s.Backlog)
}

// Subscription prints a subscription.
func Subscription(out io.Writer, s *api.Subscription) error {
	t := NewTable(out)
	t.Row("subscription", s.Name+", "+stateOf(s))
	d := definitionOf(s)
	if d.Push.URL != "" {
		t.Row("consumer", fmt.Sprintf("%s, timeout %s, %s at a time", d.Push.URL, d.Push.Timeout,
			many(d.Push.Concurrency, "attempt", "attempts")))
	}
	if h := d.Handler; h != nil {
		t.Row("consumer", fmt.Sprintf("a Go function, timeout %s, %s at a time", h.Timeout,
			many(h.Concurrency, "call", "calls")))
	}
	if d.Pull != nil {
		t.Row("consumer", fmt.Sprintf("clients pull: %s with %s, last call %s",
			many(int(s.Leases), "lease", "leases"), many(int(s.Leased), "event", "events"),
			TimeOr(s.PulledAt, "never")))
	}
	if s.Idle > 0 {
		t.Row("temporary", "until no client has called for "+short(time.Duration(s.Idle).String()))
	}
	t.Row("events", filterOf(&s.Filter)+", order "+string(s.Order))
	if d.Retry.For != "" {
		t.Row("retries", fmt.Sprintf("after %s, then up to %s apart, for %s; then %s",
			short(d.Retry.First), short(d.Retry.Max), short(d.Retry.For),
			strings.ReplaceAll(d.Then, "_", " ")))
	}
	t.Row("cursor", fmt.Sprintf("%s of %s, lag %s, backlog %s", s.Cursor, s.End, lagOf(s),
		backlogOf(s)))
	t.Row("exceptions", fmt.Sprintf("%d waiting, %d parked, %d dead; %s", s.Waiting, s.Parked,
		s.Dead, many(int(s.Held), "key waits", "keys wait")))
	t.Row("last delivered", TimeOr(s.LastDeliveredAt, "never"))
	if d.Pull == nil {
		t.Row("owner", cmp.Or(s.Owner, "no process delivers it"))
	}
	if s.Live != nil {
		t.Row("now", fmt.Sprintf("%d in flight of at most %d, breaker %s", s.Live.InFlight, s.Live.Limit,
			strings.ReplaceAll(s.Live.Breaker, "_", " ")))
		if s.Live.Problem != "" {
			t.Row("problem", s.Live.Problem)
		}
	}
	t.Row("created", s.CreatedAt)
	return t.Flush()
}

// stateOf is the state with its cause.
func stateOf(s *api.Subscription) string {
	switch s.State {
	case api.SubscriptionPaused:
		return fmt.Sprintf("paused since %s by %s: %s", TimeOr(&s.PausedAt, ""), cmp.Or(s.PausedBy,
			"the gate"), cmp.Or(s.PauseReason, "no reason given"))
	case api.SubscriptionBroken:
		return "broken: the consumer does not work since " + TimeOr(&s.BrokenSince, "")
	case api.SubscriptionRemoved:
		return "removed from the configuration; seen missing at " + TimeOr(&s.RemovedAt, "")
	case api.SubscriptionUnowned:
		return "unowned: no process delivers it"
	}
	return s.State
}

// filterOf describes what a filter selects.
func filterOf(f *hookgate.Filter) string {
	types, sources := "all types", "all sources"
	if len(f.Types) > 0 {
		types = strings.Join(f.Types, ", ")
	}
	if len(f.Sources) > 0 {
		sources = strings.Join(f.Sources, ", ")
	}
	return types + " of " + sources
}

// many is a number with its noun.
func many(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", more)
}

// Exceptions prints exceptions.
func Exceptions(out io.Writer, rows iter.Seq2[api.Exception, error]) error {
	t := NewTable(out, "EVENT", "STATE", "SINCE", "NEXT", "ATTEMPTS", "STATUS", "SOURCE", "TYPE",
		"MESSAGE ID", "KEY", "REASON")
	for e, err := range rows {
		if err != nil {
			return err
		}
		event, next, status := e.Event, "-", "-"
		if e.Redelivery > 0 {
			event += fmt.Sprint(" again ", e.Redelivery)
		}
		if !e.Due.IsZero() {
			next = TimeOr(&e.Due, "")
		}
		if e.Status != 0 {
			status = fmt.Sprint(e.Status)
		}
		t.Row(event, e.State, e.ChangedAt, next, e.Attempts, status, e.Source, e.EventType, e.MessageID,
			cmp.Or(e.Key, "-"), beginning(e.Reason))
	}
	return t.Flush()
}

// Exception prints an exception of a subscription, and the lineage of its message id.
func Exception(out io.Writer, subscription string, e *api.Exception,
	requests []api.RequestTrail) error {
	t := NewTable(out)
	t.Row("exception", fmt.Sprintf("%s of %s, since %s", e.State, subscription,
		TimeOr(&e.ChangedAt, "")))
	t.Row("event", fmt.Sprintf("%s, %s/%s/%s", e.Event, e.Source, e.EventType, e.MessageID))
	if e.Redelivery > 0 {
		t.Row("redelivery", e.Redelivery)
	}
	t.Row("received", fmt.Sprintf("%s, request %s, %d bytes", TimeOr(&e.ReceivedAt, ""), e.RequestID,
		e.Size))
	t.Row("attempts", e.Attempts)
	t.Row("last failure", e.Reason)
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	return Trails(out, requests)
}

// beginning is the beginning of a reason, which says most: an excerpt of a response follows.
func beginning(reason string) string {
	text := []rune(reason)
	if len(text) > reasonWidth {
		return string(text[:reasonWidth-1]) + "…"
	}
	return reason
}

// RedeliveryJobs prints redelivery jobs.
func RedeliveryJobs(out io.Writer, jobs []api.RedeliveryJob) error {
	t := NewTable(out, "JOB", "STATE", "EVENTS", "DELIVERED", "FAILED", "RATE", "CREATED", "ENDED",
		"BY", "REASON")
	for i := range jobs {
		j := &jobs[i]
		rate := "-"
		if j.Rate > 0 {
			rate = fmt.Sprintf("%d/s", j.Rate)
		}
		ended := "-"
		if !j.EndedAt.IsZero() {
			ended = TimeOr(&j.EndedAt, "")
		}
		t.Row(j.ID, j.State, JobEvents(j), j.Delivered, j.Failed, rate, j.CreatedAt, ended, j.By,
			cmp.Or(j.Reason, "-"))
	}
	return t.Flush()
}

// JobEvents describes the events of a redelivery job.
func JobEvents(j *api.RedeliveryJob) string {
	if n := len(j.Events); n > 0 {
		return many(n, "event", "events")
	}
	text := fmt.Sprintf("after %s to %s", j.After, j.Until)
	if len(j.Filter.Sources)+len(j.Filter.Types) > 0 {
		text += ", " + filterOf(&j.Filter)
	}
	if j.Key != "" {
		text += ", key " + j.Key
	}
	return text
}

// Sought prints what a seek did, or would do.
func Sought(out io.Writer, name string, s *api.Sought) error {
	t := NewTable(out)
	text := fmt.Sprintf("%s, from %s to %s", name, s.From, s.To)
	if s.DryRun {
		text += " (dry run: nothing has changed)"
	}
	t.Row("cursor", text)
	n := fmt.Sprint(s.Events)
	if s.Events >= hookgate.MaxBacklog {
		n += "+"
	}
	fate := "not delivered"
	if s.Redelivery > 0 {
		fate = fmt.Sprint("delivered again as redelivery ", s.Redelivery)
	}
	t.Row("events", fmt.Sprintf("%s between the two, before the filter: %s", n, fate))
	t.Row("exceptions", fmt.Sprintf("%d skipped, %d deleted", s.Skipped, s.Deleted))
	return t.Flush()
}

// delivery is the metadata of a stage of a delivery.
type delivery struct {
	Subscription string
	Attempt      int
	Redelivery   int64
	Status       int
	DurationMS   float64 `json:"durationMs"`
	Reason, By   string
}

// deliveryText describes a stage of a delivery; ok is false for other stages.
func deliveryText(s *api.Stage) (text string, ok bool) {
	var d delivery
	if json.Unmarshal(s.Metadata, &d) != nil || d.Subscription == "" {
		return "", false
	}
	var parts []string
	if d.Redelivery > 0 {
		parts = append(parts, fmt.Sprint("redelivery ", d.Redelivery))
	}
	if d.Attempt > 0 && d.By == "" {
		parts = append(parts, fmt.Sprint("attempt ", d.Attempt))
	}
	if status := fmt.Sprint(d.Status); d.Status > 0 && !strings.HasPrefix(d.Reason, status) {
		parts = append(parts, "status "+status)
	}
	if d.DurationMS > 0 {
		parts = append(parts, fmt.Sprintf("%.0f ms", d.DurationMS))
	}
	if d.By != "" {
		parts = append(parts, "by "+d.By)
	}
	text = d.Subscription + ": " + strings.Join(parts, ", ")
	if d.Reason != "" {
		text += ": " + d.Reason
	}
	return text, true
}
