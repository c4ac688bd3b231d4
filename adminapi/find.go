package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/hookgate/hookgate"
)

const (
	// maxFound bounds how much of each kind a call to find shows, and maxWanted how long what it looks
	// for may be, in bytes.
	maxFound, maxWanted = 20, 1024
)

// How something was found.
const (
	asMessageID = "messageId"
	asRequestID = "requestId"
	asID        = "id" // of the event, or of the dead letter
	asPrefix    = "prefix"
)

// found is something that was found, and how.
type found[T any] struct {
	matched string
	it      T
}

// finding is what there is of a text that may be an id of any kind. All of it is looked up by
// indexes.
type finding struct {
	events   []found[hookgate.Event]
	letters  []found[hookgate.StoredDeadLetter]
	requests []found[hookgate.RequestTrail]
	more     bool // than what is shown
}

// findID answers what is known of an id, whichever kind of id it is, or of the beginning of a
// message id.
func (s *API) findID(c *call) {
	var wanted string
	err := readParameters(c.request.URL.RawQuery, func(name, value string) error {
		if name != "q" {
			return unknownParameter(name)
		}
		if wanted = value; len(value) > maxWanted {
			return badParameter{name, "is too long for an id"}
		}
		return nil
	})
	if err == nil && wanted == "" {
		err = badParameter{"q", "is missing: an id, or the beginning of a message id"}
	}
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	// What has been acknowledged and is not stored yet cannot be found, but it can be told that there
	// is such. The queue is asked first: what leaves it meanwhile is found.
	waiting := s.queueHealth(c.request.Context()).Depth
	var f finding
	for _, look := range []func(context.Context, string, *finding) error{s.findRequest, s.findMessage,
		s.findIDs, s.findPrefix} {
		if err := look(c.request.Context(), wanted, &f); err != nil &&
			!errors.Is(err, hookgate.ErrNotFound) {
			c.broken("finding", err)
			return
		}
	}
	o := object{b: []byte{'{'}}
	o.text("query", wanted)
	o.name("events")
	appendAll(&o, f.events, appendFound("event", appendEvent))
	o.name("deadLetters")
	appendAll(&o, f.letters, appendFound("deadLetter", appendDeadLetter))
	o.name("requests")
	appendAll(&o, f.requests, appendFound("request", appendRequest))
	if f.more {
		o.name("more")
		o.b = append(o.b, "true"...)
	}
	if waiting != nil {
		o.number("waiting", *waiting)
	}
	c.text(http.StatusOK, append(o.b, "}\n"...))
}

// add adds what is not there yet, as long as there is room.
func addFound[T any](f *finding, all *[]found[T], matched string, it T, same func(T) bool) {
	switch {
	case slices.ContainsFunc(*all, func(other found[T]) bool { return same(other.it) }):
	case len(*all) == maxFound:
		f.more = true
	default:
		*all = append(*all, found[T]{matched, it})
	}
}

func (f *finding) event(matched string, e hookgate.Event) {
	addFound(f, &f.events, matched, e, func(other hookgate.Event) bool { return other.ID == e.ID })
}

func (f *finding) letter(matched string, d hookgate.StoredDeadLetter) {
	addFound(f, &f.letters, matched, d,
		func(other hookgate.StoredDeadLetter) bool { return other.ID == d.ID })
}

func (f *finding) request(matched string, t hookgate.RequestTrail) {
	addFound(f, &f.requests, matched, t,
		func(other hookgate.RequestTrail) bool { return other.RequestID == t.RequestID })
}

// findRequest looks for a request id.
func (s *API) findRequest(ctx context.Context, wanted string, f *finding) error {
	id, err := hookgate.ParseRequestID(wanted)
	if err != nil {
		return nil
	}
	if _, _, ok := id.Parts(); ok {
		parts, err := s.reader.Parts(ctx, id, maxFound+1)
		if err != nil {
			return err
		}
		for _, trail := range parts {
			f.request(asRequestID, trail)
		}
	}
	trail, err := s.reader.Request(ctx, id)
	if err == nil {
		f.request(asRequestID, trail)
	} else if !errors.Is(err, hookgate.ErrNotFound) || len(f.requests) == 0 {
		return err
	}
	if err := s.findEvents(ctx, asRequestID, hookgate.EventFilter{RequestID: id}, f); err != nil {
		return err
	}
	d, err := s.reader.DeadLetter(ctx, wanted)
	if err == nil {
		f.letter(asRequestID, d)
	}
	return err
}

// findMessage looks for a message id: its events, its dead letters, and every request that carried
// it.
func (s *API) findMessage(ctx context.Context, wanted string, f *finding) error {
	if err := s.findEvents(ctx, asMessageID, hookgate.EventFilter{MessageID: wanted}, f); err != nil {
		return err
	}
	if err := s.findLetters(ctx, asMessageID, hookgate.DeadLetterFilter{MessageID: wanted},
		f); err != nil {
		return err
	}
	trails, err := s.reader.Trace(ctx, wanted, hookgate.RequestID{}, maxFound+1)
	for _, trail := range trails {
		f.request(asMessageID, trail)
	}
	return err
}

// findIDs looks for what has the id in the store.
func (s *API) findIDs(ctx context.Context, wanted string, f *finding) error {
	e, err := s.reader.Event(ctx, wanted)
	if err == nil {
		f.event(asID, e)
	} else if !errors.Is(err, hookgate.ErrNotFound) {
		return err
	}
	d, err := s.reader.DeadLetter(ctx, wanted)
	if err == nil {
		f.letter(asID, d)
	}
	return err
}

// findPrefix looks for message ids that begin so.
func (s *API) findPrefix(ctx context.Context, wanted string, f *finding) error {
	page, err := s.reader.Search(ctx, hookgate.EventSearch{
		EventFilter: hookgate.EventFilter{MessageIDPrefix: wanted, Limit: maxFound},
		MaxTime:     s.config.SearchTime,
	})
	if err != nil {
		return err
	}
	for _, e := range page.Events {
		f.event(asPrefix, e)
	}
	f.more = f.more || page.Older != ""
	return s.findLetters(ctx, asPrefix, hookgate.DeadLetterFilter{MessageIDPrefix: wanted}, f)
}

func (s *API) findEvents(ctx context.Context, matched string, filter hookgate.EventFilter,
	f *finding) error {
	filter.Limit = maxFound + 1
	for e, err := range s.reader.Events(ctx, filter) {
		if err != nil {
			return err
		}
		f.event(matched, e)
	}
	return nil
}

func (s *API) findLetters(ctx context.Context, matched string, filter hookgate.DeadLetterFilter,
	f *finding) error {
	filter.Limit = maxFound + 1
	for d, err := range s.reader.DeadLetters(ctx, filter) {
		if err != nil {
			return err
		}
		f.letter(matched, d)
	}
	return nil
}

// appendFound returns what appends the JSON of something that was found.
func appendFound[T any](name string, one func([]byte, *T) []byte) func([]byte, *found[T]) []byte {
	return func(b []byte, f *found[T]) []byte {
		o := object{b: append(b, '{')}
		o.text("matched", f.matched)
		o.name(name)
		o.b = one(o.b, &f.it)
		return append(o.b, '}')
	}
}

// appendRequest appends the JSON of a request: what it carried, and what became of it.
func appendRequest(b []byte, t *hookgate.RequestTrail) []byte {
	o := object{b: append(b, '{')}
	o.text("requestId", t.RequestID.String())
	o.text("source", t.Source)
	o.text("messageId", t.MessageID)
	o.text("eventType", t.EventType)
	if n := len(t.Entries); n > 0 {
		last := &t.Entries[n-1]
		o.time("receivedAt", t.Entries[0].Timestamp)
		o.text("outcome", string(last.Stage))
		o.time("at", last.Timestamp)
		var m struct {
			FirstRequestID string `json:"firstRequestId"`
		}
		if json.Unmarshal(last.Metadata, &m) == nil && m.FirstRequestID != "" {
			o.text("firstRequestId", m.FirstRequestID)
		}
	}
	return append(o.b, '}')
}
