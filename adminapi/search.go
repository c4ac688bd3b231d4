package adminapi

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
)

// maxBodyText is the length of the text that bodies are searched for, in bytes: what it costs to
// look for one grows with it.
const maxBodyText = 256

// searchEvents answers a page of events, newest first.
func (s *API) searchEvents(c *call, q eventQuery) {
	if strings.Contains(c.request.Header.Get("Accept"), ndjson) {
		c.fail(http.StatusBadRequest,
			badParameter{"order", "is for pages: a stream is oldest stored first"}.Error())
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
	page, err := s.reader.Search(c.request.Context(), search)
	switch {
	case errors.Is(err, hookgate.ErrNotFound):
		name := "after"
		if search.Newer {
			name = "before"
		}
		c.fail(http.StatusBadRequest,
			badParameter{name, "is not what an answer to this search has given out"}.Error())
	case err != nil:
		c.broken("searching events", err)
	default:
		c.text(http.StatusOK, append(appendPage(nil, &page), '\n'))
	}
}

// appendPage appends the JSON of a page of events.
func appendPage(b []byte, page *hookgate.EventPage) []byte {
	o := object{b: append(b, '{')}
	o.name("events")
	appendAll(&o, page.Events, appendEvent)
	if page.Older != "" {
		o.text("next", page.Older)
	}
	if page.Newer != "" {
		o.text("previous", page.Newer)
	}
	if page.Partial {
		o.name("partial")
		o.b = append(o.b, "true"...)
		if !page.SearchedTo.IsZero() {
			o.time("searchedTo", page.SearchedTo)
		}
	}
	return append(o.b, '}')
}

// appendAll appends the JSON of an array.
func appendAll[T any](o *object, all []T, one func([]byte, *T) []byte) {
	o.b = append(o.b, '[')
	for i := range all {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = one(o.b, &all[i])
	}
	o.b = append(o.b, ']')
}
