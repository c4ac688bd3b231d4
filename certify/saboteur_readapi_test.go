package certify

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// readFaults are those of the read API, apart from the stream of events and the lineage.
type readFaults struct {
	// page changes the events of a page; more is true if another one follows.
	page func(events []gateEvent, more bool) []gateEvent
	// ignored is a parameter of a listing that has no effect.
	ignored string
	// order changes the order of a listing.
	order func(order string) string
	// event changes the number of a single event that is read; 0 is none.
	event func(id int) int
	// shown changes a single event.
	shown func(e *gateEvent)
	// found changes what a search finds.
	found func([]gateEvent) []gateEvent
}

// selects reports whether the parameters of a listing select an event.
func (g *gate) selects(q url.Values, e *gateEvent) bool {
	received := e.received
	if f := g.faults.clock; f != nil {
		received = f(e.n, "receivedAt", received)
	}
	given := func(name string) (string, bool) {
		value := q.Get(name)
		return value, value != "" && g.faults.read.ignored != name
	}
	same := func(name, value string) bool {
		wanted, ok := given(name)
		return !ok || wanted == value
	}
	if from, ok := given("from"); ok {
		if at, err := time.Parse(time.RFC3339Nano, from); err != nil || received.Before(at) {
			return false
		}
	}
	if to, ok := given("to"); ok {
		if at, err := time.Parse(time.RFC3339Nano, to); err != nil || !received.Before(at) {
			return false
		}
	}
	prefix, ok := given("prefix")
	after, _ := strconv.Atoi(q.Get("after"))
	if q.Get("order") != "" {
		after = 0
	}
	return same("source", "hookgate-certify") && same("type", e.eventType) &&
		same("key", g.listed(e).key) && same("messageId", e.messageID) && e.id > after &&
		(!ok || strings.HasPrefix(e.messageID, prefix))
}

// listed is an event as the first listing shows it.
func (g *gate) listed(e *gateEvent) gateEvent {
	shown := *e
	if f := g.faults.list; f != nil {
		f(g, 1, &shown)
	}
	return shown
}

// page answers a page of events as JSON.
func (g *gate) page(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil {
		limit = 100
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var events []gateEvent
	more := false
	for _, e := range g.ordered(q) {
		if more = len(events) == limit; more {
			break
		}
		events = append(events, g.listed(e))
	}
	answer := struct {
		Events []json.RawMessage `json:"events"`
		Next   string            `json:"next,omitempty"`
	}{Events: []json.RawMessage{}}
	if more {
		answer.Next = strconv.Itoa(events[limit-1].id)
	}
	if f := g.faults.read.page; f != nil {
		events = f(events, more)
	}
	for i := range events {
		answer.Events = append(answer.Events, g.line(&events[i]))
	}
	json.NewEncoder(w).Encode(answer)
}

// ordered returns the events that a query selects, in its order, and those after its cursor.
func (g *gate) ordered(q url.Values) (selected []*gateEvent) {
	for _, e := range g.stored {
		if g.selects(q, e) {
			selected = append(selected, e)
		}
	}
	order := q.Get("order")
	if f := g.faults.read.order; f != nil && order != "" {
		order = f(order)
	}
	if order != "" {
		slices.Reverse(selected)
	}
	if order == orderNewest && (q.Has("type") || q.Has("from") || q.Has("to")) {
		received := func(e *gateEvent) time.Time { return g.told(e.n, "receivedAt", e.received) }
		slices.SortStableFunc(selected, func(a, b *gateEvent) int {
			return received(b).Compare(received(a))
		})
	}
	if after, _ := strconv.Atoi(q.Get("after")); q.Get("order") != "" && after > 0 {
		i := slices.IndexFunc(selected, func(e *gateEvent) bool { return e.id == after })
		selected = selected[i+1:]
	}
	return selected
}

// event answers one event.
func (g *gate) event(w http.ResponseWriter, text string) {
	id, err := strconv.Atoi(text)
	if f := g.faults.read.event; f != nil {
		id = f(id)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil || id < 1 || id > len(g.stored) {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	e := g.listed(g.stored[id-1])
	if f := g.faults.read.shown; f != nil {
		f(&e)
	}
	w.Write(g.line(&e))
}

// find answers the events with an id.
func (g *gate) find(w http.ResponseWriter, r *http.Request) {
	type found struct {
		Event json.RawMessage `json:"event"`
	}
	answer := struct {
		Events []found `json:"events"`
	}{Events: []found{}}
	wanted := r.URL.Query().Get("q")
	g.mu.Lock()
	defer g.mu.Unlock()
	var events []gateEvent
	for _, e := range g.stored {
		if e.messageID == wanted || e.requestID == wanted {
			events = append(events, g.listed(e))
		}
	}
	if f := g.faults.read.found; f != nil {
		events = f(events)
	}
	for i := range events {
		answer.Events = append(answer.Events, found{g.line(&events[i])})
	}
	json.NewEncoder(w).Encode(answer)
}

// Goal: a gate whose calls show other events than its stream fails for that alone. Method: a
// saboteur for each call, and for each way to get a page or a filter wrong.
func TestSaboteursOfTheReadAPI(t *testing.T) {
	all := map[string]readFaults{
		"drops the last event of each page": {page: func(e []gateEvent, _ bool) []gateEvent {
			return e[:max(0, len(e)-1)]
		}},
		"drops the last event of the last page": {page: func(e []gateEvent, more bool) []gateEvent {
			if !more {
				e = e[:max(0, len(e)-1)]
			}
			return e
		}},
		"drops the first event of a small page": {page: func(e []gateEvent, more bool) []gateEvent {
			if more && len(e) < 100 {
				e = e[1:]
			}
			return e
		}},
		"shows an event twice": {page: func(e []gateEvent, more bool) []gateEvent {
			if more {
				e[len(e)-1] = e[0]
			}
			return e
		}},
		"shows a page in another order": {page: func(e []gateEvent, _ bool) []gateEvent {
			if len(e) > 100 {
				e[100], e[101] = e[101], e[100]
			}
			return e
		}},
		"shows another sequence in a page": {page: func(e []gateEvent, _ bool) []gateEvent {
			if len(e) > 100 {
				e[100].sequence++
			}
			return e
		}},
		"ignores the limit": {page: func(e []gateEvent, more bool) []gateEvent {
			if len(e) == 1 && more {
				e = append(e, e[0])
			}
			return e
		}},
		"ignores the source":     {ignored: "source"},
		"ignores the type":       {ignored: "type"},
		"ignores the key":        {ignored: "key"},
		"ignores the message id": {ignored: "messageId"},
		"ignores the prefix":     {ignored: "prefix"},
		"ignores the beginning":  {ignored: "from"},
		"ignores the end":        {ignored: "to"},
		"shows the oldest first instead of the newest": {order: func(order string) string {
			return strings.TrimPrefix(order, orderNewest)
		}},
		"shows the oldest first instead of the last stored": {order: func(order string) string {
			return strings.TrimPrefix(order, orderStored)
		}},
		"does not show single":       {event: func(int) int { return 0 }},
		"shows another single event": {event: func(id int) int { return id%events + 1 }},
		"shows a single event differently": {shown: func(e *gateEvent) {
			e.received = e.received.Add(time.Microsecond)
		}},
		"finds nothing": {found: func([]gateEvent) []gateEvent { return nil }},
		"finds an event and shows it differently": {found: func(e []gateEvent) []gateEvent {
			for i := range e {
				e[i].key += "x"
			}
			return e
		}},
	}
	tried := few{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f := all[name]
		t.Run(name, func(t *testing.T) {
			tried.skip(t, f.page != nil, f.ignored != "", f.order != nil, f.event != nil, f.shown != nil,
				f.found != nil)
			t.Parallel()
			v, _ := certifyGate(t, newGate(t, faults{read: f}), testProfile())
			if ids, text := faulty(v); v.Status != Fail || !slices.Equal(ids, []string{"read_api"}) {
				t.Errorf("%s by %q\n%s", v.Status, ids, text)
			}
		})
	}
}

// Goal: a read API that cannot be read is INVALID, and a bundle without its file as well.
func TestReadAPIUnread(t *testing.T) {
	v, dir := smallBundle(t, faults{missing: "/api/find"})
	if ids, text := faulty(v); v.Status != Invalid || !slices.Equal(ids, []string{"read_api"}) {
		t.Errorf("%s by %q\n%s", v.Status, ids, text)
	}
	edit(t, filepath.Join(dir, Smoke, readAPIFile), func([]byte) []byte { return nil })
	if v = concludedAgain(t, dir); v.Status != Invalid {
		t.Errorf("without its file it is %s", v.Status)
	}
}
