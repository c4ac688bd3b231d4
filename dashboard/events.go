package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

// eventsShown is the length of a page of events.
const eventsShown = 50

// event is an event on a page.
type event struct{ api.Event }

// Link is the address of the event's page.
func (e event) Link() string { return "/ui/events/" + url.PathEscape(e.ID) }

// eventsPage is the answer of GET /api/events, with events as the page shows them.
type eventsPage struct {
	eventsAnswer
	Events []event `json:"events"`
}

// eventsAnswer has another name than the field Events, so that eventsPage can embed it.
type eventsAnswer = api.Events

var eventFilters = []filterName{
	{"source", "source"}, {"type", "type"}, {"key", "key"}, {"messageId", "message id"},
	{"prefix", "message id begins with"}, {"requestId", "request"},
	{"body", "body contains"}, {"from", "received from"}, {"to", "before"}, {"tests", "test traffic"},
}

// eventsData is the data of the page of events.
type eventsData struct {
	filters
	// Query is the id that was searched for. If it is set, Found is set and Page is not.
	Query   string
	Found   *foundAnswer
	Page    eventsPage
	Sources []string
	// Older and Newer are addresses of pages; empty if there are none. Backwards is true on a page
	// that was reached by Newer.
	Older, Newer string
	Backwards    bool
	// Tail is where a live tail begins; empty on a page that has none.
	Tail string
	// Ranges are links to common ranges of time.
	Ranges []link
}

type link struct{ Text, Address string }

// events shows events, newest first, or the result of a search for an id.
func (d *Dashboard) events(r *http.Request, v *Visitor) (any, error) {
	query, ctx := r.URL.Query(), r.Context()
	data := eventsData{filters: readFilters("/ui/events", query, eventFilters), Query: query.Get("q")}
	sources, err := readSources(r, v)
	if err != nil {
		return nil, err
	}
	for _, s := range sources.Sources {
		data.Sources = append(data.Sources, s.Name)
	}
	for _, one := range []struct {
		text string
		span time.Duration
	}{{"15 min", 15 * time.Minute}, {"1 h", time.Hour}, {"24 h", 24 * time.Hour},
		{"7 days", 7 * 24 * time.Hour}} {
		from := time.Now().Add(-one.span).UTC().Truncate(time.Minute).Format(time.RFC3339)
		data.Ranges = append(data.Ranges, link{one.text, data.With("from", from, "to", "")})
	}
	if data.Query != "" {
		err := data.find(ctx, v)
		// A pasted id may come with quotation marks or spaces around it.
		if bare := strings.Trim(data.Query, " \t\r\n\"',"); err == nil && data.Found.None() &&
			bare != "" && bare != data.Query {
			data.Query = bare
			err = data.find(ctx, v)
		}
		return data, err
	}
	return data, data.read(ctx, v, query.Get("after"), query.Get("before"))
}

// find searches for the query as an id.
func (data *eventsData) find(ctx context.Context, v *Visitor) error {
	data.Found = &foundAnswer{}
	return v.Get(ctx, "/api/find?"+url.Values{"q": {data.Query}}.Encode(), data.Found)
}

// read reads the page of events after a cursor, or before one.
func (data *eventsData) read(ctx context.Context, v *Visitor, after, before string) error {
	data.Backwards = before != "" && after == ""
	path := data.call("/api/events", "order", "newest", "limit", fmt.Sprint(eventsShown), "after",
		after)
	if data.Backwards {
		path = data.call("/api/events", "order", "newest", "limit", fmt.Sprint(eventsShown), "before",
			before)
	}
	if after == "" && !data.Backwards && data.Get("to") == "" {
		// Read the tail before the page, so that an event that is stored in between is in one of them
		// at least. The tail shows an event only once.
		if err := data.readTail(ctx, v); err != nil {
			return err
		}
	}
	if err := v.Get(ctx, path, &data.Page); err != nil {
		return err
	}
	page := &data.Page
	if data.Backwards && len(page.Events) < eventsShown && !page.Partial {
		// Nothing is newer than these: the first page shows them, full.
		data.Backwards, after = false, ""
		if data.Get("to") == "" {
			if err := data.readTail(ctx, v); err != nil {
				return err
			}
		}
		*page = eventsPage{}
		if err := v.Get(ctx, data.call("/api/events", "order", "newest", "limit",
			fmt.Sprint(eventsShown)), page); err != nil {
			return err
		}
	}
	if page.Next != "" {
		data.Older = data.With("after", page.Next)
	}
	if page.Previous != "" && (data.Backwards || after != "") {
		data.Newer = data.With("before", page.Previous)
	}
	return nil
}

// readTail finds where the live tail of a page begins. Call it before the page is read.
func (data *eventsData) readTail(ctx context.Context, v *Visitor) error {
	var newest eventsPage
	if err := v.Get(ctx, "/api/events?order=stored&limit=1", &newest); err != nil {
		return err
	}
	if data.Tail = newest.Previous; data.Tail == "" {
		data.Tail = "0" // before all events
	}
	return nil
}

// Hidden returns the filters that are set and have no field in the form.
func (data eventsData) Hidden() (names []string) {
	for _, name := range []string{"messageId", "prefix", "requestId"} {
		if data.Get(name) != "" {
			names = append(names, name)
		}
	}
	return names
}

// Filtered reports whether any filter is set.
func (data eventsData) Filtered() bool { return len(data.Chips) > 0 }

// BodySearch is the address of a search for the query in bodies.
func (data eventsData) BodySearch() string {
	return "/ui/events?" + url.Values{"body": {data.Query}}.Encode()
}

// foundAnswer is the answer of GET /api/find.
type foundAnswer struct {
	api.Finding
	Events []struct {
		api.FoundEvent
		Event event `json:"event"`
	} `json:"events"`
	DeadLetters []struct {
		api.FoundDeadLetter
		DeadLetter deadLetter `json:"deadLetter"`
	} `json:"deadLetters"`
	Requests []struct {
		api.FoundRequest
		Request foundRequest `json:"request"`
	} `json:"requests"`
}

// foundRequest is a request on a page.
type foundRequest struct{ api.RequestSummary }

// Says is the outcome of the request, in words.
func (r foundRequest) Says() string { return stageNames[string(r.Outcome)].name }

// Some is how many webhooks are waiting; 0 if none is, or the number is unknown.
func (a *foundAnswer) Some() int64 {
	if a.Waiting == nil {
		return 0
	}
	return *a.Waiting
}

// None reports whether nothing was found.
func (a *foundAnswer) None() bool { return len(a.Events)+len(a.DeadLetters)+len(a.Requests) == 0 }

// Others are the requests whose event or dead letter is not shown.
func (a *foundAnswer) Others() (all []foundRequest) {
	shown := map[string]bool{}
	for _, e := range a.Events {
		shown[e.Event.RequestID] = true
	}
	for _, d := range a.DeadLetters {
		shown[d.DeadLetter.RequestID] = true
	}
	for _, r := range a.Requests {
		if !shown[r.Request.RequestID] {
			all = append(all, r.Request)
		}
	}
	return all
}

// matchedBy names the kind of id that was found.
func matchedBy(matched string) string {
	switch matched {
	case "messageId":
		return "message id"
	case "requestId":
		return "request id"
	case "prefix":
		return "beginning of the message id"
	}
	return "id here"
}

// eventData is the data of the page of an event.
type eventData struct {
	Event   event
	Body    *bodyView
	Lineage []lineage
	Others  int  // requests with the message id, of another source or type
	More    bool // requests than the page shows
	// Subscriptions are those to which the event can be delivered again.
	Subscriptions []*subscription
}

// Unsettled reports whether a subscription has not settled the event.
func (data eventData) Unsettled() bool {
	for i := range data.Lineage {
		for _, one := range data.Lineage[i].Lanes {
			if one.Unsettled {
				return true
			}
		}
	}
	return false
}

// Origin is the request that brought the event, if it carried several; otherwise nil.
func (e event) Origin() *hookgate.Origin {
	if o, ok := hookgate.OriginOf(e.Headers); ok {
		return &o
	}
	return nil
}

// Took is the time from receipt to storage.
func (data eventData) Took() time.Duration {
	return data.Event.PersistedAt.Sub(data.Event.ReceivedAt.Time)
}

// event shows one event. Its neighbours are no matter of an index, so that its script looks for
// them when the page is there.
func (d *Dashboard) event(r *http.Request, v *Visitor) (any, error) {
	ctx, path := r.Context(), "/api/events/"+url.PathEscape(r.PathValue("id"))
	var data eventData
	if err := v.Get(ctx, path, &data.Event); err != nil {
		return nil, err
	}
	e := &data.Event
	var err error
	if data.Body, err = readBody(ctx, v, path+"/body", e.Size); err != nil {
		return nil, err
	}
	if data.Lineage, data.Others, data.More, err = readLineage(ctx, v, e.Source, e.EventType,
		e.MessageID, e.RequestID); err != nil {
		return nil, err
	}
	var all struct{ Subscriptions []*subscription }
	if err := v.Get(ctx, "/api/subscriptions", &all); err != nil {
		return nil, err
	}
	for _, s := range all.Subscriptions {
		if s.State != api.SubscriptionRemoved {
			data.Subscriptions = append(data.Subscriptions, s)
		}
	}
	for i := range data.Lineage {
		if l := &data.Lineage[i]; l.Own {
			return data, l.addStates(ctx, v, e, all.Subscriptions)
		}
	}
	return data, nil
}
