package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"testing"

	"github.com/hookgate/hookgate/api"
)

// TestSearchEvents checks that a search asks for page after page, newest first, and ends at its
// limit or with the last page.
func TestSearchEvents(t *testing.T) {
	const stored = 1200
	for _, test := range []struct{ limit, events, pages int }{
		{0, stored, 3}, {1, 1, 1}, {500, 500, 1}, {501, 501, 2}, {5000, stored, 3},
	} {
		pages := 0
		c := answering(t, func(w http.ResponseWriter, r *http.Request) {
			pages++
			q := r.URL.Query()
			if q.Get("order") != api.OrderNewest || q.Get("type") != "t" {
				t.Errorf("asked for %s", r.URL.RawQuery)
			}
			after, _ := strconv.Atoi(q.Get("after"))
			limit, _ := strconv.Atoi(q.Get("limit"))
			page := api.Events{Events: []api.Event{}}
			for id := after + 1; id <= min(stored, after+limit); id++ {
				page.Events = append(page.Events, api.Event{ID: fmt.Sprint(id)})
			}
			if after+limit < stored {
				page.Next = fmt.Sprint(after + limit)
			}
			json.NewEncoder(w).Encode(page)
		})
		n := 0
		query := api.EventQuery{EventType: "t", Limit: test.limit}
		for e, err := range c.SearchEvents(t.Context(), query) {
			if n++; err != nil || e.ID != fmt.Sprint(n) {
				t.Fatalf("limit %d: event %d is %s (error %v)", test.limit, n, e.ID, err)
			}
		}
		if n != test.events || pages != test.pages {
			t.Errorf("limit %d: %d events in %d pages, want %d in %d", test.limit, n, pages, test.events,
				test.pages)
		}
	}
}

// TestPurgeAll checks that each call continues where the last answer says, that a call answered 503
// is repeated, and that another error ends it.
func TestPurgeAll(t *testing.T) {
	answers := []struct {
		status int
		body   string
	}{
		{200, `{"purged":["a","b"],"next":"2"}`}, {503, `{"status":"error","error":"busy"}`},
		{200, `{"purged":["c"],"next":"3"}`}, {500, `{"status":"error","error":"broken"}`},
	}
	var after []string
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		var s api.DeadLetterSelection
		if err := json.NewDecoder(r.Body).Decode(&s); err != nil || !s.LoseEvents {
			t.Errorf("selection %+v (error %v)", s, err)
		}
		a := answers[len(after)]
		after = append(after, s.After)
		w.WriteHeader(a.status)
		fmt.Fprint(w, a.body)
	})
	var purged []string
	err := c.PurgeAll(t.Context(), api.DeadLetterSelection{All: true, LoseEvents: true},
		func(p api.Purged) { purged = append(purged, p.Purged...) })
	if !api.HasStatus(err, http.StatusInternalServerError) ||
		!slices.Equal(purged, []string{"a", "b", "c"}) ||
		!slices.Equal(after, []string{"", "2", "2", "3"}) {
		t.Errorf("purged %v in calls after %q, then %v", purged, after, err)
	}
}
