package audit

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
)

func orphan(e *Row, what string) error {
	return &Break{Partition: e.Partition, Batch: e.Batch,
		What: fmt.Sprintf("%s %d (message id %q) belongs to no link", what, e.ID, e.MessageID)}
}

func orphanPurge(p *Purge) error {
	return &Break{Batch: p.Batch, What: fmt.Sprintf("purge %d (of request %s) belongs to no link",
		p.ID, p.RequestID)}
}

type (
	breaker = func(format string, args ...any) error
	checker = func(e *Row, persistedAt time.Time, broken breaker) error
)

// checkEntry checks what no hash covers, and parses the request ids.
func (w *walker) checkEntry(e *Row, persistedAt time.Time, broken breaker,
	check checker) (err error) {
	if e.Entry.RequestID, err = hookgate.ParseRequestID(e.RequestID); err != nil {
		return broken("row %d (message id %q): %v", e.ID, e.MessageID, err)
	}
	if e.Entry.RetryOf, err = ParseRequestIDText(e.RetryOf); err != nil {
		return broken("row %d (message id %q), the dead letter it replays: %v", e.ID, e.MessageID, err)
	}
	if err := check(e, persistedAt, broken); err != nil {
		return err
	}
	if key := IdentityKey(e.Identity); e.Key != nil && string(e.Key) != string(key[:]) {
		return broken("row %d (message id %q): the column identity does not fit", e.ID, e.MessageID)
	}
	return w.checkOrigin(e, broken)
}

func (w *walker) checkEvent(e *Row, persistedAt time.Time, broken breaker) error {
	e.Outcome = hookgate.StagePersisted
	switch {
	// The hash covers the source. So nobody can pass off a removed event of another source as test
	// traffic.
	case e.Removed && e.ID > w.removals.LastEvent && e.Source == hookgate.TestSource:
		w.audit.Tests++
	case e.Removed != (e.ID <= w.removals.LastEvent):
		return broken("event %d (message id %q): retention has removed the bodies up to event %d,"+
			" and this one is %s",
			e.ID, e.MessageID, w.removals.LastEvent, map[bool]string{true: "missing",
				false: "there"}[e.Removed])
	case e.Removed:
		w.audit.Bodies++
		w.audit.BodiesUntil = later(w.audit.BodiesUntil, persistedAt)
	case sha256.Sum256(e.Body) != e.BodySHA256:
		return broken("the body of event %d (message id %q) is not the one that was stored", e.ID,
			e.MessageID)
	}
	w.audit.Events++
	return nil
}

// checkOrigin checks the body of the request that an event was part of. The chain covers that body
// by a digest in the event's headers. Retention may remove it together with the bodies of the
// request's events; a retry can outlive them.
func (w *walker) checkOrigin(e *Row, broken breaker) error {
	gone := e.Removed || e.RetryOf != "" || e.Outcome == hookgate.StageDeadLettered && e.Letter == nil
	if gone || e.Outcome == hookgate.StageDuplicate || !strings.Contains(e.HeadersJSON,
		hookgate.OriginHeader) {
		return nil
	}
	headers, err := ParseHeaders(e.HeadersJSON)
	if err != nil {
		return broken("the headers of request %s do not parse: %v", e.RequestID, err)
	}
	origin, ok := hookgate.OriginOf(headers)
	last := w.origins[e.Partition]
	if !ok || last.RequestID == origin.RequestID && last.SHA256 == origin.SHA256 {
		return nil
	}
	switch body, found, err := w.RequestBody(origin.RequestID.String()); {
	case err != nil:
		return err
	case !found:
		return broken("the body of request %s, which brought %s, is missing", origin.RequestID,
			e.RequestID)
	case sha256.Sum256(body) != origin.SHA256:
		return broken("the body of request %s is not the one that was stored", origin.RequestID)
	}
	w.origins[e.Partition] = origin
	return nil
}

func (w *walker) checkRequest(e *Row, persistedAt time.Time, broken breaker) (err error) {
	if e.Entry.FirstRequestID, err = ParseRequestIDText(e.FirstRequestID); err != nil {
		return broken("request %s: %v", e.RequestID, err)
	}
	if e.Outcome != hookgate.StageDeadLettered {
		w.audit.Duplicates++
		return nil
	}
	w.audit.DeadLetters++
	d := e.Letter
	switch {
	case e.Purged && d != nil:
		return broken("the dead letter of request %s was purged, and is there", e.RequestID)
	case e.Purged:
		w.audit.Purged++
	case d == nil:
		return broken("the dead letter of request %s is missing", e.RequestID)
	case sha256.Sum256(d.Body) != e.BodySHA256 || d.RequestID != e.RequestID || d.Reason != e.Reason,
		d.DeadLetteredAt != persistedAt.UnixMicro():
		return broken("the dead letter of request %s is not the one that was stored", e.RequestID)
	}
	return nil
}
