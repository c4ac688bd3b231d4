package adminapi

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

const (
	// maxFound bounds how many of each kind are found, and maxWanted the length of the text to find,
	// in bytes.
	maxFound, maxWanted = 20, 1024
)

// findID finds everything that has an id, of whichever kind, or a message id that begins with the
// text.
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
		err = badParameter{"q", "is missing: give an id, or the beginning of a message id"}
	}
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	// Acknowledged events that are not stored yet cannot be found, so the answer has their number.
	// The queue is asked first: an event that leaves it after that is found in the store.
	waiting := s.queueHealth(c.request.Context()).Depth
	f := finder{answer: api.Finding{Query: wanted, Waiting: waiting, Events: []api.FoundEvent{},
		DeadLetters: []api.FoundDeadLetter{}, Requests: []api.FoundRequest{}}}
	for _, find := range []func(context.Context, string, *finder) error{s.findRequest, s.findMessage,
		s.findIDs, s.findPrefix} {
		if err := find(c.request.Context(), wanted, &f); err != nil &&
			!errors.Is(err, hookgate.ErrNotFound) {
			c.unavailable("finding", err)
			return
		}
	}
	c.json(f.answer)
}

// finder collects what is found, each thing once and at most maxFound of a kind.
type finder struct{ answer api.Finding }

func (f *finder) event(matched string, e *hookgate.StoredEvent) {
	f.answer.Events = addFound(f, f.answer.Events, api.FoundEvent{Matched: matched, Event: eventOf(e)},
		func(other api.FoundEvent) bool { return other.Event.ID == e.ID })
}

func (f *finder) letter(matched string, d *hookgate.StoredDeadLetter) {
	f.answer.DeadLetters = addFound(f, f.answer.DeadLetters,
		api.FoundDeadLetter{Matched: matched, DeadLetter: deadLetterOf(d)},
		func(other api.FoundDeadLetter) bool { return other.DeadLetter.ID == d.ID })
}

func (f *finder) request(matched string, t *hookgate.RequestTrail) {
	one := api.FoundRequest{Matched: matched, Request: summaryOf(t)}
	f.answer.Requests = addFound(f, f.answer.Requests, one, func(other api.FoundRequest) bool {
		return other.Request.RequestID == one.Request.RequestID
	})
}

func addFound[A any](f *finder, all []A, one A, same func(A) bool) []A {
	switch {
	case slices.ContainsFunc(all, same):
	case len(all) == maxFound:
		f.answer.More = true
	default:
		all = append(all, one)
	}
	return all
}

// findRequest finds a request id.
func (s *API) findRequest(ctx context.Context, wanted string, f *finder) error {
	id, err := hookgate.ParseRequestID(wanted)
	if err != nil {
		return nil
	}
	if _, _, ok := id.Parts(); ok {
		parts, err := s.trails.Parts(ctx, id, maxFound+1)
		if err != nil {
			return err
		}
		for _, trail := range parts {
			f.request(api.MatchedRequestID, &trail)
		}
	}
	trail, err := s.trails.Request(ctx, id)
	if err == nil {
		f.request(api.MatchedRequestID, &trail)
	} else if !errors.Is(err, hookgate.ErrNotFound) || len(f.answer.Requests) == 0 {
		return err
	}
	if err := s.findEvents(ctx, api.MatchedRequestID, hookgate.EventFilter{RequestID: id},
		f); err != nil {
		return err
	}
	d, err := s.letters.DeadLetter(ctx, wanted)
	if err == nil {
		f.letter(api.MatchedRequestID, &d)
	}
	return err
}

// findMessage finds a message id: its events, its dead letters, and every request that carried it.
func (s *API) findMessage(ctx context.Context, wanted string, f *finder) error {
	if err := s.findEvents(ctx, api.MatchedMessageID, hookgate.EventFilter{MessageID: wanted},
		f); err != nil {
		return err
	}
	if err := s.findLetters(ctx, api.MatchedMessageID, hookgate.DeadLetterFilter{MessageID: wanted},
		f); err != nil {
		return err
	}
	trails, err := s.trails.Trace(ctx, wanted, hookgate.RequestID{}, maxFound+1)
	for _, trail := range trails {
		f.request(api.MatchedMessageID, &trail)
	}
	return err
}

// findIDs finds an id of the store.
func (s *API) findIDs(ctx context.Context, wanted string, f *finder) error {
	e, err := s.stored.Event(ctx, wanted)
	if err == nil {
		f.event(api.MatchedID, &e)
	} else if !errors.Is(err, hookgate.ErrNotFound) {
		return err
	}
	d, err := s.letters.DeadLetter(ctx, wanted)
	if err == nil {
		f.letter(api.MatchedID, &d)
	}
	return err
}

// findPrefix finds message ids that begin with the text.
func (s *API) findPrefix(ctx context.Context, wanted string, f *finder) error {
	page, err := s.stored.Search(ctx, hookgate.EventSearch{
		EventFilter: hookgate.EventFilter{MessageIDPrefix: wanted, Limit: maxFound},
		MaxTime:     s.config.SearchTime,
	})
	if err != nil {
		return err
	}
	for _, e := range page.Events {
		f.event(api.MatchedPrefix, &e)
	}
	f.answer.More = f.answer.More || page.Older != ""
	return s.findLetters(ctx, api.MatchedPrefix, hookgate.DeadLetterFilter{MessageIDPrefix: wanted}, f)
}

func (s *API) findEvents(ctx context.Context, matched string, filter hookgate.EventFilter,
	f *finder) error {
	filter.Limit = maxFound + 1
	for e, err := range s.stored.Events(ctx, filter) {
		if err != nil {
			return err
		}
		f.event(matched, &e)
	}
	return nil
}

func (s *API) findLetters(ctx context.Context, matched string, filter hookgate.DeadLetterFilter,
	f *finder) error {
	filter.Limit = maxFound + 1
	for d, err := range s.letters.DeadLetters(ctx, filter) {
		if err != nil {
			return err
		}
		f.letter(matched, &d)
	}
	return nil
}
