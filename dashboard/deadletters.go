package dashboard

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

// lettersShown is the length of a page of dead letters.
const lettersShown = 50

// lettersCounted is how far the page counts the dead letters that match.
const lettersCounted = 1000

// deadLetter is a dead letter on a page.
type deadLetter struct{ api.DeadLetter }

// Link is the address of the dead letter's page.
func (d deadLetter) Link() string { return "/ui/dead-letters/" + url.PathEscape(d.ID) }

// Undecoded reports whether it is a queue entry that could not be decoded.
func (d deadLetter) Undecoded() bool {
	return d.Source == "" && d.EventType == "" && d.MessageID == ""
}

// Retriable reports whether a retry can succeed.
func (d deadLetter) Retriable() bool { return d.State == hookgate.DeadLetterOpen && !d.Undecoded() }

// Purgeable reports whether there is a body to purge.
func (d deadLetter) Purgeable() bool { return d.State != hookgate.DeadLetterPurged }

// StateLevel is the colour of the state.
func (d deadLetter) StateLevel() string { return stateLevels[string(d.State)] }

var stateLevels = map[string]string{"open": "bad", "stored": "good", "superseded": "warn",
	"purged": ""}

var letterFilters = []filterName{
	{"source", "source"}, {"type", "type"}, {"key", "key"}, {"messageId", "message id"},
	{"prefix", "message id begins with"},
	{"reason", "reason contains"}, {"state", "state"}, {"from", "failed from"}, {"to", "before"},
}

// lettersData is the data of the page of dead letters.
type lettersData struct {
	filters
	Letters []deadLetter
	Older   string // the address of the next page; empty on the last
	Begin   string // the address of the first page; empty on it
	// Matching is how many dead letters match, in words.
	Matching string
	Sources  []string
	// Selection is the filter as JSON, for the calls on many dead letters.
	Selection string
}

// States returns the states to choose from.
func (lettersData) States() []string {
	return []string{"open", "stored", "superseded", "purged", "all"}
}

// State is the chosen state.
func (data lettersData) State() string {
	if state := data.Get("state"); state != "" {
		return state
	}
	return "open"
}

// Filtered reports whether any filter is set.
func (data lettersData) Filtered() bool { return len(data.Chips) > 0 }

// deadLetters shows dead letters, in the order in which they failed.
func (d *Dashboard) deadLetters(r *http.Request, v *Visitor) (any, error) {
	query := r.URL.Query()
	data := lettersData{filters: readFilters("/ui/dead-letters", query, letterFilters)}
	var page struct {
		DeadLetters []deadLetter
		Next        string
	}
	path := data.call("/admin/dlq", "limit", fmt.Sprint(lettersShown), "after", query.Get("after"))
	if err := v.Get(r.Context(), path, &page); err != nil {
		return nil, err
	}
	data.Letters = page.DeadLetters
	if page.Next != "" {
		data.Older = data.With("after", page.Next)
	}
	if query.Get("after") != "" {
		data.Begin = data.With()
	}
	data.Selection = data.selection()
	n := len(page.DeadLetters)
	if data.Older != "" || data.Begin != "" { // they are on several pages
		page.DeadLetters, page.Next = nil, ""
		if err := v.Get(r.Context(), data.call("/admin/dlq", "limit", fmt.Sprint(lettersCounted)),
			&page); err != nil {
			return nil, err
		}
		n = len(page.DeadLetters)
	}
	if data.Matching = count(n); page.Next != "" {
		data.Matching = "more than " + data.Matching
	}
	sources, err := readSources(r, v)
	for i := range sources.Sources {
		data.Sources = append(data.Sources, sources.Sources[i].Name)
	}
	return data, err
}

// selection returns the body that selects the same dead letters in a call on many.
func (data *lettersData) selection() string {
	filter := map[string]string{"state": data.State()}
	for name := range data.values {
		filter[name] = data.Get(name)
	}
	if filter["state"] == "all" {
		delete(filter, "state")
	}
	selection := map[string]any{"filter": filter}
	if len(filter) == 0 {
		selection = map[string]any{"all": true}
	}
	return mustJSON(selection)
}

// mustJSON returns the JSON of a value that has one.
func mustJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// letterData is what the page of a dead letter shows.
type letterData struct {
	api.DeadLetterDetails
	DeadLetter deadLetter `json:"deadLetter"`
	Body       *bodyView  `json:"-"` // nil if it was purged
	Lineage    []lineage  `json:"-"`
	Stored     *event     `json:"-"` // its event, if there is one
}

// deadLetter shows one dead letter.
func (d *Dashboard) deadLetter(r *http.Request, v *Visitor) (any, error) {
	ctx, path := r.Context(), "/admin/dlq/"+url.PathEscape(r.PathValue("id"))
	var data letterData
	if err := v.Get(ctx, path, &data); err != nil {
		return nil, err
	}
	l := &data.DeadLetter
	slices.Reverse(data.History) // the last first
	for i := range data.Requests {
		data.Lineage = append(data.Lineage, lineageOf(&data.Requests[i], l.RequestID))
	}
	var err error
	if data.Body, err = readBody(ctx, v, path+"/body", l.Size); err != nil {
		return nil, err
	}
	if l.State == hookgate.DeadLetterStored {
		var page eventsPage
		query := url.Values{"messageId": {l.MessageID}, "type": {l.EventType}, "source": {l.Source}}
		if err := v.Get(ctx, "/api/events?"+query.Encode(), &page); err != nil {
			return nil, err
		}
		if len(page.Events) > 0 {
			data.Stored = &page.Events[0]
		}
	}
	return data, nil
}
