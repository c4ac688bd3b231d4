package adminapi

import (
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/evidence"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/attention"
	"github.com/hookgate/hookgate/release"
)

// This file turns what the parts of the gate return into the types of package api.

func eventOf(e *hookgate.StoredEvent) api.Event {
	return api.Event{
		ID: e.ID, Source: e.Source, MessageID: e.MessageID, EventType: e.EventType,
		OrderingKey: e.OrderingKey, Sequence: sequenceOf(e.Sequence), RequestID: e.RequestID.String(),
		RemoteAddr: e.RemoteAddr, ReceivedAt: api.At(e.ReceivedAt), PersistedAt: api.At(e.PersistedAt),
		Partition: e.Partition, Position: e.Position, Size: e.Size,
		SHA256: hex.EncodeToString(e.SHA256[:]), Headers: e.Headers,
	}
}

// sequenceOf returns nil if the sender numbers nothing.
func sequenceOf(n int64) *int64 {
	if n == hookgate.NoSequence {
		return nil
	}
	return &n
}

func deadLetterOf(d *hookgate.StoredDeadLetter) api.DeadLetter {
	return api.DeadLetter{
		ID: d.ID, State: d.State, Source: d.Source, MessageID: d.MessageID, EventType: d.EventType,
		OrderingKey: d.OrderingKey, Sequence: sequenceOf(d.Sequence), RequestID: d.RequestID.String(),
		RemoteAddr: d.RemoteAddr, ReceivedAt: api.At(d.ReceivedAt),
		DeadLetteredAt: api.At(d.DeadLetteredAt), Reason: d.Reason, Partition: d.Partition,
		Position: d.Position, Size: d.Size, SHA256: hex.EncodeToString(d.SHA256[:]),
		RetryNote: retryNoteOf(d), PurgeNote: purgeNoteOf(d), Headers: d.Headers,
	}
}

func failedAttemptOf(d *hookgate.StoredDeadLetter) api.FailedAttempt {
	return api.FailedAttempt{
		ID: d.ID, State: d.State, RequestID: d.RequestID.String(), RetryNote: retryNoteOf(d),
		DeadLetteredAt: api.At(d.DeadLetteredAt), Reason: d.Reason, Attempts: d.Attempts,
		LastError: d.LastError, PurgeNote: purgeNoteOf(d),
	}
}

func retryNoteOf(d *hookgate.StoredDeadLetter) (n api.RetryNote) {
	if !d.RetryOf.IsZero() {
		n = api.RetryNote{RetryOf: d.RetryOf.String(), RetriedAt: api.At(d.RetriedAt)}
	}
	return n
}

func purgeNoteOf(d *hookgate.StoredDeadLetter) (n api.PurgeNote) {
	if d.State == hookgate.DeadLetterPurged {
		n = api.PurgeNote{PurgedAt: api.At(d.PurgedAt), PurgedBy: d.PurgedBy,
			PurgeReason: d.PurgeReason}
	}
	return n
}

func trailsOf(trails []hookgate.RequestTrail) []api.RequestTrail {
	all := make([]api.RequestTrail, len(trails))
	for i, t := range trails {
		all[i] = api.RequestTrail{RequestID: t.RequestID.String(), Source: t.Source,
			EventType: t.EventType, Stages: make([]api.Stage, len(t.Entries))}
		for j, e := range t.Entries {
			all[i].Stages[j] = api.Stage{Stage: e.Stage, Timestamp: api.At(e.Timestamp),
				Metadata: json.RawMessage(e.Metadata)}
		}
	}
	return all
}

// summaryOf returns what a request carried, and its last stage before its event was delivered.
func summaryOf(t *hookgate.RequestTrail) api.RequestSummary {
	s := api.RequestSummary{RequestID: t.RequestID.String(), Source: t.Source,
		MessageID: t.MessageID, EventType: t.EventType}
	n := len(t.Entries)
	if n == 0 {
		return s
	}
	last := &t.Entries[n-1]
	for i := range t.Entries {
		if e := &t.Entries[i]; e.Stage == hookgate.StagePersisted || e.Stage == hookgate.StageRemoved {
			last = e // deliveries may follow
		}
	}
	s.ReceivedAt, s.Outcome, s.At = api.At(t.Entries[0].Timestamp), last.Stage, api.At(last.Timestamp)
	var m struct {
		FirstRequestID string `json:"firstRequestId"`
	}
	if json.Unmarshal(last.Metadata, &m) == nil {
		s.FirstRequestID = m.FirstRequestID
	}
	return s
}

func sourceOf(s *ingest.SourceStatus) api.Source {
	a := api.Source{
		Name: s.Name, Kind: s.Kind, Proof: s.Proof, Path: s.Path, URL: s.URL, Accepted: s.Accepted,
		Duplicates: s.Duplicates, Refused: s.Rejected, Handshakes: s.Handshakes,
		LastAt: api.AtOrNull(s.LastAt), Sample: sampleOf(s.Sample), Refusals: []api.Refusal{},
		Unauthenticated: []api.Failure{}, Credentials: []api.Credential{},
	}
	for _, r := range s.Rejections {
		a.Refusals = append(a.Refusals, api.Refusal(r))
		if r.Status == 401 {
			a.Unauthenticated = append(a.Unauthenticated, api.Failure{Reason: r.Reason, Count: r.Count})
		}
	}
	for _, c := range s.Credentials {
		a.Credentials = append(a.Credentials, api.Credential{Setting: c.Setting, Position: c.Position,
			LastAt: api.AtOrNull(c.LastAt)})
	}
	return a
}

func sampleOf(s admit.Sample) *api.Sample {
	if len(s.Body) == 0 {
		return nil
	}
	a := &api.Sample{Header: map[string]string{}, Body: string(s.Body)}
	for name := range s.Header {
		a.Header[name] = s.Header.Get(name)
	}
	return a
}

func guardOf(s guard.Status) api.Guard {
	a := api.Guard{
		Breaker: string(s.Breaker), Reason: s.Reason, Since: s.Since, AdmittedPercent: s.AdmittedPercent,
		Opened: s.Opened, InFlight: s.InFlight, InFlightLimit: s.InFlightLimit,
		InFlightRejected: s.InFlightRejected, BodyMemory: s.BodyMemory,
		BodyMemoryLimit: s.BodyMemoryLimit, Signals: make([]api.Signal, len(s.Signals)),
	}
	for i, signal := range s.Signals {
		a.Signals[i] = api.Signal(signal)
	}
	return a
}

func attentionOf(items []attention.Item) []api.Attention {
	all := make([]api.Attention, len(items))
	for i, item := range items {
		all[i] = api.Attention{Name: item.Name, What: item.What, Count: item.Count, Text: item.Text,
			Link: item.Link}
		if item.Since != nil {
			all[i].Since = api.AtOrNull(*item.Since)
		}
	}
	return all
}

func releaseOf(s release.Status) api.Release {
	a := api.Release{Process: s.Process, Fired: append([]string{}, s.Fired...),
		Triggers: make([]api.Trigger, len(s.Triggers)), Alarms: make([]api.Alarm, len(s.Alarms))}
	for i, t := range s.Triggers {
		a.Triggers[i] = api.Trigger{
			Name: t.Name, State: string(t.State), Why: t.Why, Since: t.Since, Unit: t.Unit,
			Value: t.Value, Known: t.Known, Limit: t.Limit, Nearness: t.Nearness,
			AboveSeconds: t.AboveSeconds, SustainSeconds: t.SustainSeconds, Action: string(t.Action),
			TimesFired: t.TimesFired,
		}
	}
	for i, alarm := range s.Alarms {
		a.Alarms[i] = api.Alarm{ID: alarm.ID, At: alarm.At, Kind: alarm.Kind, Trigger: alarm.Trigger,
			Value: alarm.Value, Limit: alarm.Limit, Unit: alarm.Unit, Action: string(alarm.Action),
			Result: alarm.Result}
	}
	if s.Webhook != nil {
		webhook := api.AlarmWebhook(*s.Webhook)
		a.Webhook = &webhook
	}
	return a
}

func receiptOf(r evidence.Receipt) api.Receipt {
	return api.Receipt{ID: r.ID, Application: r.Application, Gate: r.Gate, Timestamp: r.Timestamp,
		ReceivedAt: r.ReceivedAt, Key: r.Key, KeyKnown: r.Known, Verdict: r.Verdict, Files: r.Files}
}

func tokenOf(t control.Token) api.Token {
	return api.Token{Name: t.Name, Role: t.Role, Subscriptions: t.Subscriptions, CreatedAt: api.At(t.CreatedAt),
		CreatedBy: t.CreatedBy, ExpiresAt: api.AtOrNull(t.ExpiresAt),
		RevokedAt: api.AtOrNull(t.RevokedAt)}
}

func actionOf(a control.AdminAction) api.Action {
	return api.Action{
		Sequence: a.Sequence, At: api.At(a.At), RequestID: a.RequestID.String(), By: a.Actor,
		Role: a.Role, RemoteAddr: a.RemoteAddr, Action: a.Action, Target: a.Target, Reason: a.Reason,
		Result: a.Result, Hash: hex.EncodeToString(a.Hash[:]),
	}
}

func approvalOf(a *control.Approval, now time.Time) api.Approval {
	answer := api.Approval{
		ID: strconv.FormatInt(a.ID, 10), Action: a.Action, Target: a.Target, State: a.StateAt(now),
		Needs: a.Needs, RequestedBy: a.RequestedBy, Role: a.Role, RequestID: a.RequestID.String(),
		RequestedAt: api.At(a.RequestedAt), Reason: a.Reason, ExpiresAt: api.At(a.ExpiresAt),
	}
	if a.DecidedBy != "" {
		at := api.At(a.DecidedAt)
		answer.DecidedBy, answer.DecidedAt, answer.DecisionReason = &a.DecidedBy, &at, &a.DecisionReason
	}
	if !a.UsedBy.IsZero() {
		by, at := a.UsedBy.String(), api.At(a.UsedAt)
		answer.UsedBy, answer.UsedAt = &by, &at
	}
	return answer
}
