package certify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
)

// The kinds of calls in read-api.ndjson.
const (
	callPage  = "page"  // of /api/events, as JSON
	callEvent = "event" // /api/events/{id}
	callFind  = "find"  // /api/find
)

// apiCall is a line of read-api.ndjson: a call of the read API, and the events that it showed.
type apiCall struct {
	Kind string `json:"kind"`
	// Query is that of the first page, the id of an event, or what was searched for. The pages of
	// one listing follow one another under one query.
	Query string `json:"query"`
	// Status is that of an answer other than 200, Error why there was none that could be read.
	Status int        `json:"status,omitempty"`
	Error  string     `json:"error,omitempty"`
	Events []apiEvent `json:"events"`
	// More is true if another page follows. Cut is true if it was not read.
	More bool `json:"more,omitempty"`
	Cut  bool `json:"cut,omitempty"`
}

// apiEvent is an event as a call showed it: its id, and a digest of all its members.
type apiEvent struct {
	ID     string `json:"id"`
	Digest string `json:"digest"`
}

// digestOfEvent returns the digest of an event. It does not depend on white space or on the order
// of members.
func digestOfEvent(raw []byte) (e apiEvent, err error) {
	in := json.NewDecoder(strings.NewReader(string(raw)))
	in.UseNumber()
	var members map[string]any
	if err := in.Decode(&members); err != nil {
		return e, err
	}
	e.ID, _ = members["id"].(string)
	text, err := json.Marshal(members)
	sum := sha256.Sum256(text)
	e.Digest = hex.EncodeToString(sum[:16])
	return e, err
}

const (
	// largePage is the greatest limit, oddPage one that divides nothing.
	largePage, oddPage = 1000, 97
	// maxRead bounds the events of a phase that are read so: the first ones. maxPages bounds the
	// pages of one listing.
	maxRead, maxPages = 100_000, 400
	// fewPages is the number of pages read with the smallest limits.
	fewPages = 5
	// readSamples is the number of events that are read and searched for one by one.
	readSamples = 10
)

// apiReader reads one phase through calls other than the stream of events.
type apiReader struct {
	*target
	out *lineWriter
	// failed are the kinds of calls that could not be read. They are not tried again.
	failed map[string]bool
}

// readAPI writes read-api.ndjson: the events of a phase in pages of several sizes, a few one by
// one, searched for, and through filters.
func (c *certification) readAPI(ctx context.Context, name string) (err error) {
	var run phaseRun
	if err := readJSON(c.file(name, phaseFile), &run); err != nil || run.Unread != "" {
		return err
	}
	c.doing(name, "reading the events in pages, one by one, and through filters")
	var ids []string
	var lines []json.RawMessage // of samples
	for s, err := range readLines[storedEvent](c.file(name, eventsFile)) {
		if err != nil {
			return err
		}
		var e listedEvent
		if len(ids) == maxRead {
			break
		}
		if json.Unmarshal(s.Event, &e) != nil || !strings.HasPrefix(e.MessageID, run.Prefix) {
			continue
		}
		ids = append(ids, e.ID)
		switch n := len(ids); { // the first, and others with the same probability
		case len(lines) < readSamples:
			lines = append(lines, s.Event)
		default:
			if i := rand.IntN(n); i > 0 && i < readSamples {
				lines[i] = s.Event
			}
		}
	}
	out, err := createLines(c.file(name, readAPIFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	r := &apiReader{c.target, out, map[string]bool{}}
	all := url.Values{"prefix": {run.Prefix}}
	if run.Prefix == "" {
		// as the stream was read
		all = url.Values{"from": {run.Started.Add(-time.Minute).UTC().Format(time.RFC3339)}}
	}
	if c.Profile.Source == hookgate.TestSource {
		all.Set("tests", "true")
	}
	listings := []listing{{all, largePage, maxRead / largePage}, {all, oddPage, maxPages},
		{all, 1, fewPages}}
	if n := len(ids); n > fewPages && n < maxRead {
		listings = append(listings, listing{plus(all, "after", ids[n-fewPages]), 2, maxPages})
	}
	listings = append(listings, orders(all, ids)...)
	for i, line := range lines {
		listings = append(listings, filters(all, line, i)...)
	}
	for _, l := range listings {
		if err := r.pages(ctx, l); err != nil {
			return err
		}
	}
	for _, line := range lines {
		var e listedEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		if err := errors.Join(r.event(ctx, e.ID), r.find(ctx, e.MessageID),
			r.find(ctx, e.RequestID)); err != nil {
			return err
		}
	}
	return nil
}

// listing is a listing to read in pages.
type listing struct {
	query    url.Values
	limit    int
	maxPages int
}

// plus returns a query with more parameters.
func plus(query url.Values, more ...string) url.Values {
	all := url.Values{}
	for name, values := range query {
		all[name] = values
	}
	for i := 0; i < len(more); i += 2 {
		all.Set(more[i], more[i+1])
	}
	return all
}

// The orders of a listing. Without one the oldest stored comes first.
const (
	orderNewest = "newest" // last stored first, or last received first with a type or a time
	orderStored = "stored" // last stored first
)

// window is the time around an event of which a listing in the order newest is read.
const window = 2 * time.Second

// orders returns listings of all events in other orders. Beyond maxRead events only stored can
// begin at the last one that is read.
func orders(all url.Values, ids []string) []listing {
	most := len(ids)/largePage + 2 // then it would go on to older events, which are not of the phase
	stored := plus(all, "order", orderStored)
	switch {
	case len(ids) == 0:
		return nil
	case len(ids) == maxRead:
		return []listing{{plus(stored, "after", ids[maxRead-1]), largePage, most}}
	}
	return []listing{{stored, largePage, most}, {stored, oddPage, fewPages},
		{plus(all, "order", orderNewest), largePage, most}}
}

// filters returns listings that an event is in. Those of many events are for the first sample
// alone.
func filters(all url.Values, line json.RawMessage, sample int) (listings []listing) {
	var e struct {
		listedEvent
		ReceivedAt time.Time
	}
	if json.Unmarshal(line, &e) != nil {
		return nil // another criterion reports it
	}
	add := func(query url.Values) {
		listings = append(listings, listing{query, largePage, maxPages})
	}
	add(url.Values{"messageId": {e.MessageID}})
	add(plus(all, "key", e.OrderingKey, "type", e.EventType))
	at := func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
	add(plus(all, "from", at(e.ReceivedAt), "to", at(e.ReceivedAt.Add(time.Microsecond))))
	add(plus(all, "to", at(e.ReceivedAt), "key", e.OrderingKey))
	if sample == 0 {
		near := plus(all, "order", orderNewest, "from", at(e.ReceivedAt.Add(-window)), "to",
			at(e.ReceivedAt.Add(window)))
		add(near)
		add(plus(near, "type", e.EventType))
		add(plus(all, "order", orderStored, "key", e.OrderingKey))
		add(plus(all, "type", e.EventType))
		add(plus(all, "source", e.Source, "key", e.OrderingKey))
		add(plus(all, "source", "certify-no-such-source"))
		add(plus(all, "type", "certify.no-such-type"))
		add(plus(all, "key", "certify-no-such-key"))
		add(url.Values{"messageId": {e.MessageID + "-none"}})
		add(url.Values{"prefix": {e.MessageID + "-none"}})
	}
	return listings
}

// answerTo reads an answer, and notes in call why it cannot be used.
func (r *apiReader) answerTo(ctx context.Context, call *apiCall, path string, to any) (ok bool) {
	if r.failed[call.Kind] {
		call.Error = "not tried, as an earlier one could not be read"
		return false
	}
	text, err := r.get(ctx, path, jsonType)
	var status *statusError
	switch {
	case errors.As(err, &status) && status.ofGate():
		call.Status = status.status
		return false
	case err == nil:
		if err = json.Unmarshal(text, to); err == nil {
			return true
		}
		err = fmt.Errorf("%s does not answer JSON: %w", path, err)
	}
	call.Error, r.failed[call.Kind] = err.Error(), true
	return false
}

// ofGate reports whether a status is the gate's own, and not that of a proxy or of an overload.
func (e *statusError) ofGate() bool {
	page := strings.HasPrefix(strings.TrimSpace(e.text), "<") // HTML
	return e.status < 500 && e.status != http.StatusTooManyRequests && !page
}

// add adds an event to what a call showed.
func (c *apiCall) add(raw json.RawMessage) {
	e, err := digestOfEvent(raw)
	if err != nil {
		c.Error = fmt.Sprintf("%s is not an event: %v", head(string(raw)), err)
	}
	c.Events = append(c.Events, e)
}

// pages reads a listing in pages.
func (r *apiReader) pages(ctx context.Context, l listing) error {
	query := plus(l.query, "limit", strconv.Itoa(l.limit))
	first := query.Encode()
	for n := 1; ; n++ {
		call := apiCall{Kind: callPage, Query: first, Events: []apiEvent{}}
		var page struct {
			Events []json.RawMessage
			Next   string
		}
		if r.answerTo(ctx, &call, "/api/events?"+query.Encode(), &page) {
			for _, raw := range page.Events {
				call.add(raw)
			}
			call.More = page.Next != ""
			call.Cut = call.More && n == l.maxPages
		}
		if err := r.out.write(&call); err != nil {
			return err
		}
		if !call.More || call.Cut {
			return nil
		}
		query.Set("after", page.Next)
	}
}

// event reads one event.
func (r *apiReader) event(ctx context.Context, id string) error {
	call := apiCall{Kind: callEvent, Query: id, Events: []apiEvent{}}
	var raw json.RawMessage
	if r.answerTo(ctx, &call, "/api/events/"+url.PathEscape(id), &raw) {
		call.add(raw)
	}
	return r.out.write(&call)
}

// find searches for an id.
func (r *apiReader) find(ctx context.Context, wanted string) error {
	call := apiCall{Kind: callFind, Query: wanted, Events: []apiEvent{}}
	var found struct {
		Events []struct{ Event json.RawMessage }
	}
	if r.answerTo(ctx, &call, "/api/find?q="+url.QueryEscape(wanted), &found) {
		for _, f := range found.Events {
			call.add(f.Event)
		}
	}
	return r.out.write(&call)
}
