package adminapi

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

// maxBodyText bounds the text that bodies are searched for, in bytes, because the cost of a search
// grows with it.
const maxBodyText = 256

// searchEvents answers a page of events, newest first.
func (s *API) searchEvents(c *call, q eventQuery) {
	if strings.Contains(c.request.Header.Get("Accept"), ndjson) {
		c.fail(http.StatusBadRequest,
			badParameter{"order", "is only for pages; a stream is oldest stored first"}.Error())
		return
	}
	search := hookgate.EventSearch{EventFilter: q.EventFilter, Stored: q.order == newestStored,
		Cursor: q.After, MaxTime: s.config.SearchTime}
	if q.before != "" {
		search.Cursor, search.Newer = q.before, true
	}
	var ok bool
	if search.Limit, ok = c.pageLimit(q.Limit); !ok {
		return
	}
	http.NewResponseController(c).SetWriteDeadline(time.Now().Add(s.config.SearchTime +
		s.config.WriteTimeout))
	page, err := s.stored.Search(c.request.Context(), search)
	switch {
	case errors.Is(err, hookgate.ErrNotFound):
		name := "after"
		if search.Newer {
			name = "before"
		}
		c.fail(http.StatusBadRequest,
			badParameter{name, "must be the next or previous of an answer to the same search"}.Error())
	case err != nil:
		c.unavailable("searching events", err)
	default:
		answer := api.Events{Events: make([]api.Event, len(page.Events)), Next: page.Older,
			Previous: page.Newer, Partial: page.Partial}
		for i := range page.Events {
			answer.Events[i] = eventOf(&page.Events[i])
		}
		if page.Partial && !page.SearchedTo.IsZero() {
			answer.SearchedTo = api.At(page.SearchedTo)
		}
		c.json(answer)
	}
}
