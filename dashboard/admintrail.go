package dashboard

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

// actionsShown is how many rows of the admin trail a page reads.
const actionsShown = 100

var actionFilters = []filterName{{"actor", "by"}, {"action", "action"}, {"from", "from"},
	{"to", "before"}}

// action is a row of the admin trail on a page.
type action struct{ actionRow }

// actionRow has another name than the field Action, so that action can embed it.
type actionRow = api.Action

// Level is the colour of the result.
func (a action) Level() string {
	switch {
	case a.begun():
		return levelWarn
	case strings.HasPrefix(a.Result, control.ResultFailed):
		return levelBad
	}
	return "good"
}

func (a action) begun() bool { return a.Result == control.ResultBegun }

// Outcome is the result without its details, and Details what follows.
func (a action) Outcome() string {
	outcome, _, _ := strings.Cut(a.Result, ":")
	return outcome
}

// Details are what follows the outcome in the result; may be empty.
func (a action) Details() string {
	_, details, _ := strings.Cut(a.Result, ":")
	return strings.TrimSpace(details)
}

// trailData is the data of the page of the admin trail.
type trailData struct {
	filters
	Actions []action
	// Older and First are addresses of pages; empty if there are none.
	Older, First string
}

// Names are the actions to choose from: those on the page.
func (data trailData) Names() (names []string) {
	for _, a := range data.Actions {
		if !slices.Contains(names, a.Action) {
			names = append(names, a.Action)
		}
	}
	slices.Sort(names)
	return names
}

// Filtered reports whether any filter is set.
func (data trailData) Filtered() bool { return len(data.Chips) > 0 }

// adminTrail shows what people did, the last first. An action is two rows of the trail: it begins
// and ends. The page shows the end, and the beginning only if there is no end.
func (d *Dashboard) adminTrail(r *http.Request, v *Visitor) (any, error) {
	query := r.URL.Query()
	data := trailData{filters: readFilters("/ui/admin-trail", query, actionFilters)}
	after := query.Get("after")
	var page struct {
		Actions []action
		Next    string
	}
	path := data.call("/admin/actions", "order", "newest", "limit", fmt.Sprint(actionsShown), "after",
		after)
	if err := v.Get(r.Context(), path, &page); err != nil {
		return nil, err
	}
	ended := map[string]bool{}
	if after != "" {
		// The ends of actions that began on this page are in the rows that follow it in time.
		var newer api.Actions
		newerPath := "/admin/actions?" + url.Values{"after": {fmt.Sprint(number(after) - 1)},
			"limit": {"100"}}.Encode()
		if err := v.Get(r.Context(), newerPath, &newer); err != nil {
			return nil, err
		}
		for _, a := range newer.Actions {
			ended[a.RequestID] = true
		}
		data.First = data.With()
	}
	for _, a := range page.Actions {
		if !a.begun() || !ended[a.RequestID] {
			data.Actions = append(data.Actions, a)
		}
		ended[a.RequestID] = ended[a.RequestID] || !a.begun()
	}
	if page.Next != "" {
		data.Older = data.With("after", page.Next)
	}
	return data, nil
}
