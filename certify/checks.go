package certify

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
)

// storeReport is store.json: the result of reading back.
type storeReport struct {
	AcknowledgedEvents int `json:"acknowledgedEvents"`
	StoredEvents       int `json:"storedEvents"`
	// Missing were acknowledged and are not stored. Twice are stored more than once. Foreign were
	// never sent, or were rejected. Different differ from what was sent. Changed differ from the
	// first reading.
	Missing   violations `json:"missing"`
	Twice     violations `json:"storedTwice"`
	Foreign   violations `json:"foreign"`
	Different violations `json:"different"`
	Changed   violations `json:"changed"`
	// Unknown counts the events with unknown outcome, and how many of them are stored.
	Unknown       int `json:"unknownOutcome"`
	UnknownStored int `json:"unknownOutcomeStored"`
	// unmade counts those of Different that are stored for a request that the ledger does not have.
	unmade int
}

// violations counts the violations of a rule, and names the first ones.
type violations struct {
	Count int      `json:"count"`
	First []string `json:"first,omitempty"`
}

// maxNamed bounds the violations that a report names.
const maxNamed = 1000

func (v *violations) add(format string, args ...any) {
	v.Count++
	if len(v.First) < maxNamed {
		v.First = append(v.First, fmt.Sprintf(format, args...))
	}
}

// checkStored compares the stored events, in their order, with the account, and records in the
// account which are stored.
func checkStored(a *account, events iter.Seq2[storedEvent, error]) (r storeReport, places []int32,
	err error) {
	n := int32(0)
	for s, err := range events {
		if err != nil {
			return r, nil, err
		}
		var l listedEvent
		if err := json.Unmarshal(s.Event, &l); err != nil {
			return r, nil, fmt.Errorf("%s: %w", eventsFile, err)
		}
		r.StoredEvents++
		i, sent := a.byEvent[a.identity(l.EventType, l.MessageID)]
		if !sent || l.Source != a.source {
			r.Foreign.add("event %s (%s, %s of source %s) was not sent", l.ID, l.MessageID, l.EventType,
				l.Source)
			continue
		}
		e := &a.events[i]
		if e.stored {
			r.Twice.add("%s is stored more than once, at last as event %s", e.messageID, l.ID)
			continue
		}
		e.stored, e.storedID, e.storedAt = true, requestID(l.RequestID), n
		n++
		places = append(places, i)
		e.place(&l)
		a.checkContent(&r, e, &l, &s)
	}
	for i := range a.events {
		e := &a.events[i]
		if e.accepted {
			r.AcknowledgedEvents++
			if !e.stored {
				r.Missing.add("%s (%s) was acknowledged and is not stored", e.messageID, e.eventType)
			}
			continue
		}
		unsure := false
		for q := range a.of(e) {
			unsure = unsure || q.unsure
		}
		if unsure {
			r.Unknown++
			if e.stored {
				r.UnknownStored++
			}
		}
	}
	return r, places, nil
}

// place records when and where an event is listed.
func (e *event) place(l *listedEvent) {
	at := func(text string) int64 {
		if t, err := time.Parse(time.RFC3339, text); err == nil {
			return t.UnixMicro()
		}
		return noTime
	}
	e.receivedAt, e.persistedAt = at(l.ReceivedAt), at(l.PersistedAt)
	if p, err := hookgate.ParsePosition(l.Position); err == nil && l.Partition != nil {
		e.partition, e.position = *l.Partition, p
	}
}

// checkContent compares one event with the request that it was stored for.
func (a *account) checkContent(r *storeReport, e *event, l *listedEvent, s *storedEvent) {
	var from *request // the request that it may be stored for
	known := false
	for q := range a.of(e) {
		if q.mayBe(e.storedID) {
			// Among several without an id, the bytes decide.
			if from == nil || hex.EncodeToString(q.sha[:]) == s.BodySHA256 {
				from = q
			}
		}
		known = known || q.accepted || q.unsure
	}
	if from == nil {
		if !known {
			r.Foreign.add("%s is stored as event %s although it was refused", e.messageID, l.ID)
		} else {
			r.unmade++
			r.Different.add("%s is stored as event %s for request %s, which no request that was "+
				"taken had",
				e.messageID, l.ID, l.RequestID)
		}
		return
	}
	var differs []string
	if sha := hex.EncodeToString(from.sha[:]); s.BodySHA256 != sha {
		what := "its body has the SHA-256 " + s.BodySHA256 + ", sent was " + sha
		if s.BodySHA256 == "" {
			what = "it has no body"
		}
		differs = append(differs, what)
	}
	if l.SHA256 != s.BodySHA256 || l.Size != int64(s.BodySize) {
		differs = append(differs, fmt.Sprintf(
			"it is listed with SHA-256 %s and %d bytes and read with %s and %d", l.SHA256, l.Size,
			s.BodySHA256, s.BodySize))
	}
	switch got := l.gzipped(); {
	case from.gzip && !got:
		differs = append(differs, "it was sent with Content-Encoding: gzip and is listed without")
	case got && !from.gzip:
		differs = append(differs, "it is listed with Content-Encoding: gzip and was sent without")
	}
	if key, ok := a.keys[l.OrderingKey]; !ok || key != e.key {
		differs = append(differs, "its ordering key is "+l.OrderingKey)
	}
	sequence := hookgate.NoSequence
	if l.Sequence != nil {
		sequence = *l.Sequence
	}
	if sequence != e.sequence {
		differs = append(differs, fmt.Sprintf("its sequence is %d, sent was %d", sequence, e.sequence))
	}
	if e.partition == noPlace {
		differs = append(differs, fmt.Sprintf("it has no partition, or no position (%q)",
			head(l.Position)))
	}
	if len(differs) > 0 {
		r.Different.add("%s, event %s: %s", e.messageID, l.ID, strings.Join(differs, "; "))
	}
}

// duplicateReport is idempotency.json.
type duplicateReport struct {
	// Repeats counts the accepted repetitions by kind.
	Repeats map[string]int `json:"repeats"`
	// Answered counts the accepted requests that were answered as duplicates.
	Answered int `json:"answeredAsDuplicate"`
	// FoundLater counts the duplicates that were answered as new while the target spooled. Its store
	// found them when the spool was moved, as documented.
	FoundLater int        `json:"foundLater,omitempty"`
	Violations violations `json:"violations"`
}

// checkDuplicates checks the answers: among the accepted requests of an event one is the first, and
// the others name it. It needs the trails, which say which requests were spooled.
func checkDuplicates(a *account) (r duplicateReport) {
	r.Repeats = map[string]int{}
	for _, kind := range repeatKinds {
		r.Repeats[kind] = 0
	}
	for i := range a.events {
		e := &a.events[i]
		var first *request
		firsts, unsure := 0, false
		for q := range a.of(e) {
			if q.accepted && !q.duplicate && q.foundLater {
				r.FoundLater++
			} else if q.accepted && !q.duplicate {
				firsts++
				first = q
			}
			unsure = unsure || q.unsure
			if q.accepted && q.kind > 0 {
				r.Repeats[repeatKinds[q.kind-1]]++
			}
			if q.duplicate {
				r.Answered++
			}
		}
		if firsts > 1 {
			r.Violations.add("%s was accepted as new %d times", e.messageID, firsts)
			continue
		}
		var named [16]byte
		for q := range a.of(e) {
			switch {
			case !q.duplicate:
			case first != nil && q.firstID != first.id:
				r.Violations.add("%s: a duplicate (line %d) names another first request than the "+
					"one that was accepted first", e.messageID, q.line)
			case first == nil && !unsure:
				r.Violations.add("%s (line %d) was answered as a duplicate, and no request "+
					"before it can have been taken", e.messageID, q.line)
			case first == nil && named != [16]byte{} && named != q.firstID:
				r.Violations.add("%s: two duplicates name different first requests", e.messageID)
			default:
				named = q.firstID
			}
		}
	}
	return r
}

// lineageReport is the result of checking the trails.
type lineageReport struct {
	// Requests counts the accepted requests of stored events, and Complete those with a complete
	// trail.
	Requests   int        `json:"requests"`
	Complete   int        `json:"complete"`
	Violations violations `json:"violations"`
	// Grouped counts the complete trails that name a transaction of the store, and Groups the
	// transactions that they name.
	Grouped int `json:"grouped"`
	Groups  int `json:"groups"`

	groups map[int64]struct{}
}

// meanGroup returns the mean number of requests per transaction; 0 if no trail names one.
func (r *lineageReport) meanGroup() float64 {
	if r.Groups == 0 {
		return 0
	}
	return round(float64(r.Grouped) / float64(r.Groups))
}

// checkLineage checks the trail of each accepted request whose event is stored. It must be complete
// and in time order, and exactly the stored request of an event is persisted.
func checkLineage(a *account, trails iter.Seq2[trail, error]) (r lineageReport, err error) {
	r.groups = map[int64]struct{}{}
	for t, err := range trails {
		if err != nil {
			return r, err
		}
		for i := range t.Requests {
			a.checkTrail(&r, t.MessageID, &t.Requests[i])
		}
	}
	for i := range a.requests {
		q := &a.requests[i]
		if e := &a.events[q.event]; q.accepted && e.stored {
			r.Requests++
			if q.traced {
				r.Complete++
			} else {
				r.Violations.add("%s: the request of line %d has no complete trail", e.messageID, q.line)
			}
		}
	}
	r.Groups = len(r.groups)
	return r, nil
}

// duplicateTrail has the stages of a duplicate.
const duplicateTrail = "received enqueued processed duplicate"

// checkTrail checks the trail of one request, and records that there is one.
func (a *account) checkTrail(r *lineageReport, messageID string, t *requestTrail) {
	id := requestID(t.RequestID)
	i, ok := a.byEvent[a.identity(t.EventType, messageID)]
	if !ok || t.Source != a.source {
		return // of another sender, or of another type under the same id
	}
	e := &a.events[i]
	var q *request
	if i, ok := a.byID[id]; ok && a.requests[i].event == e.index(a) {
		q = &a.requests[i]
	} else {
		unsure := false
		for q := range a.of(e) {
			unsure = unsure || q.unsure && !q.named
		}
		if !unsure {
			r.Violations.add("%s: there is a trail of request %s, which was not made", messageID,
				t.RequestID)
		}
		return
	}
	var names []string
	stages := withoutDeliveries(t.Stages)
	for i, s := range stages {
		if i > 0 && s.Timestamp.Before(stages[i-1].Timestamp) {
			r.Violations.add("%s: request %s is %s before it is %s", messageID, t.RequestID, s.Stage,
				stages[i-1].Stage)
			return
		}
		if s.Stage != "retried" && s.Stage != "spooled" {
			names = append(names, s.Stage)
		}
	}
	want := duplicateTrail
	if e.stored && e.storedID == id {
		want = "received enqueued processed persisted"
	}
	switch got := strings.Join(names, " "); {
	case got == want && q.traced:
		r.Violations.add("%s: request %s has two trails", messageID, t.RequestID)
	case got == want:
		q.traced, q.timed = true, true
		q.foundLater = want == duplicateTrail && slices.ContainsFunc(stages, func(s stage) bool {
			return s.Stage == "spooled"
		})
		q.received, q.ended = stages[0].Timestamp.UnixMicro(), stages[len(stages)-1].Timestamp.UnixMicro()
		if e.stored && e.storedID == id {
			a.persisted(e, q.ended, stages)
		}
		if batch := stages[len(stages)-1].Metadata.Batch; batch != 0 {
			r.Grouped++
			r.groups[batch] = struct{}{}
		}
	case e.stored && q.accepted:
		r.Violations.add("%s: the trail of request %s is %q, it should be %q", messageID, t.RequestID,
			got, want)
		q.traced = true // already reported
		r.Complete--
	}
}

// persisted records when the trail says that an event was stored, and by whose clock.
func (a *account) persisted(e *event, us int64, stages []stage) {
	worker := ""
	for _, s := range stages {
		worker = orElse(s.Metadata.Worker, worker)
		e.spooled = e.spooled || s.Stage == "spooled"
	}
	i, ok := a.workers[worker]
	if !ok {
		i = int32(len(a.workers))
		a.workers[worker] = i
	}
	e.persisted, e.worker = us, i
}

// withoutDeliveries returns the stages without the deliveries of the stored event to subscriptions,
// which a certification does not judge.
func withoutDeliveries(stages []stage) []stage {
	stored := slices.IndexFunc(stages, func(s stage) bool { return s.Stage == "persisted" })
	if stored < 0 || stored == len(stages)-1 {
		return stages
	}
	kept := slices.Clone(stages[:stored+1])
	for _, s := range stages[stored+1:] {
		switch s.Stage {
		case "delivered", "attempt_failed", "parked", "skipped", "redelivered", "dead_lettered":
		default:
			kept = append(kept, s)
		}
	}
	return kept
}

// index is the place of e among the events.
func (e *event) index(a *account) int32 { return a.requests[e.last].event }
