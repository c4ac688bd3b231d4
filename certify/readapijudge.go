package certify

import (
	"encoding/json"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// shownEvent is an event of events.ndjson, as the other calls must show it.
type shownEvent struct {
	listedEvent
	received time.Time // zero if ReceivedAt is no time
	shown    apiEvent
}

// readAPICriterion compares the other calls of the read API with the stream of events.
func readAPICriterion(dir, name string) (c Criterion, err error) {
	c = Criterion{ID: name + "/read_api", Relation: "=", Unit: "calls",
		Text:     "calls that show other events than the stream: pages, single events, searches, filters",
		Evidence: name + "/" + readAPIFile}
	var run phaseRun
	if err := readJSON(filepath.Join(dir, name, phaseFile), &run); err != nil {
		return c, err
	}
	var all []shownEvent
	for s, err := range readLines[storedEvent](filepath.Join(dir, name, eventsFile)) {
		if err != nil {
			return c, err
		}
		var e shownEvent
		if err := json.Unmarshal(s.Event, &e); err != nil {
			return c, err
		}
		// The criterion times reports one that is no time.
		e.received, _ = time.Parse(time.RFC3339Nano, e.ReceivedAt)
		if e.shown, err = digestOfEvent(s.Event); err != nil {
			return c, err
		}
		if all = append(all, e); len(all) == maxRead {
			break
		}
	}
	j := readAPIJudge{all: all, others: run.Prefix == "" || len(all) == maxRead, criterion: &c}
	for call, err := range readLines[apiCall](filepath.Join(dir, name, readAPIFile)) {
		if err != nil {
			return c, err
		}
		j.judge(&call)
	}
	j.finish()
	c.decide()
	switch {
	case run.Unread != "":
		c.invalidate("the target could not be read back: %s", run.Unread)
	case j.calls == 0:
		c.invalidate("nothing was read")
	case j.unread != "" && c.Status == Pass:
		c.invalidate("%s", j.unread)
	}
	return c, nil
}

// readAPIJudge judges the calls one after the other, and collects the pages of a listing.
type readAPIJudge struct {
	all []shownEvent
	// others is true if events that are not in all may be listed too.
	others    bool
	criterion *Criterion
	calls     int
	unread    string
	// pages is the listing that is not complete.
	query string
	pages []apiEvent
	cut   bool
	open  bool
}

func (j *readAPIJudge) wrong(format string, args ...any) {
	j.criterion.Value++
	j.criterion.find(format, args...)
}

func (j *readAPIJudge) judge(call *apiCall) {
	j.calls++
	if j.open && (call.Kind != callPage || call.Query != j.query) {
		j.finish()
	}
	switch {
	case call.Error != "":
		j.unread, j.open = orElse(j.unread, call.Error), false
		return
	case call.Status != 0:
		j.wrong("%s %s is answered %d", call.Kind, call.Query, call.Status)
		j.open = false
		return
	}
	switch call.Kind {
	case callPage:
		if !j.open {
			j.query, j.pages, j.open = call.Query, nil, true
		}
		j.pages, j.cut = append(j.pages, call.Events...), call.Cut
		if query, err := url.ParseQuery(call.Query); err == nil {
			if limit, _ := strconv.Atoi(query.Get("limit")); len(call.Events) > limit {
				j.wrong("a page of %s has %d events", call.Query, len(call.Events))
			}
		}
		if !call.More || call.Cut {
			j.finish()
		}
	default:
		j.contains(call)
	}
}

// contains checks that a read or a search shows the event that it is for.
func (j *readAPIJudge) contains(call *apiCall) {
	for i := range j.all {
		e := &j.all[i]
		if call.Kind == callEvent && e.ID != call.Query || call.Kind == callFind &&
			e.MessageID != call.Query && e.RequestID != call.Query {
			continue
		}
		if !slices.Contains(call.Events, e.shown) {
			j.wrong("%s %s does not show event %s as the stream does", call.Kind, call.Query, e.ID)
		}
		return
	}
	j.wrong("%s %s names no event of the stream", call.Kind, call.Query)
}

// finish compares a listing with the events of the stream that its query selects.
func (j *readAPIJudge) finish() {
	if !j.open {
		return
	}
	j.open = false
	query, err := url.ParseQuery(j.query)
	if err != nil {
		j.wrong("%q is not a query", j.query)
		return
	}
	var want []apiEvent
	known := map[string]bool{}
	for i := range j.all {
		known[j.all[i].ID] = true
		if j.all[i].selected(query) {
			want = append(want, j.all[i].shown)
		}
	}
	order := query.Get("order")
	if order != "" {
		slices.Reverse(want)
	}
	if after := query.Get("after"); after != "" {
		at := slices.IndexFunc(want, func(e apiEvent) bool { return e.ID == after })
		want = want[at+1:]
	}
	got := slices.Clone(j.pages)
	if j.others {
		got = slices.DeleteFunc(got, func(e apiEvent) bool { return !known[e.ID] })
	}
	if order == orderNewest && (query.Has("type") || query.Has("from") || query.Has("to")) {
		j.lastReceivedFirst(got)
		byID := func(a, b apiEvent) int { return strings.Compare(a.ID, b.ID) }
		slices.SortStableFunc(got, byID)
		slices.SortStableFunc(want, byID)
	}
	if j.cut && len(got) <= len(want) {
		want = want[:len(got)]
	}
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(got):
			j.wrong("pages of %s lack event %s", j.query, want[i].ID)
		case i >= len(want):
			j.wrong("pages of %s show event %s, which they should not", j.query, got[i].ID)
		case got[i] != want[i] && got[i].ID == want[i].ID:
			j.wrong("pages of %s show event %s differently", j.query, got[i].ID)
		case got[i] != want[i]:
			j.wrong("pages of %s show event %s where event %s should be", j.query, got[i].ID, want[i].ID)
		default:
			continue
		}
		return
	}
}

// lastReceivedFirst checks the order of a listing. The gate may have received several events in one
// millisecond; their order is not documented.
func (j *readAPIJudge) lastReceivedFirst(got []apiEvent) {
	received := map[string]int64{}
	for i := range j.all {
		received[j.all[i].ID] = j.all[i].received.UnixMilli()
	}
	for i := 1; i < len(got); i++ {
		if received[got[i].ID] > received[got[i-1].ID] {
			j.wrong("pages of %s show event %s behind %s, which was received earlier", j.query, got[i].ID,
				got[i-1].ID)
			return
		}
	}
}

// selected reports whether a query selects the event.
func (e *shownEvent) selected(query url.Values) bool {
	for name, values := range query {
		value := values[0]
		at, _ := time.Parse(time.RFC3339Nano, value) // of from and to
		ok := true
		switch name {
		case "prefix":
			ok = strings.HasPrefix(e.MessageID, value)
		case "messageId":
			ok = e.MessageID == value
		case "source":
			ok = e.Source == value
		case "type":
			ok = e.EventType == value
		case "key":
			ok = e.OrderingKey == value
		case "from":
			ok = !e.received.Before(at)
		case "to":
			ok = e.received.Before(at)
		}
		if !ok {
			return false
		}
	}
	return true
}
