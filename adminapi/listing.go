package adminapi

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
)

const (
	// defaultPage and maxPage are the default and the greatest number of rows of a page.
	defaultPage, maxPage = 100, 1000
	// flushEvery is the number of rows after which a stream is flushed and its write deadline
	// extended.
	flushEvery = 500

	ndjson = "application/x-ndjson"
)

// badParameter describes what is wrong with a parameter.
type badParameter struct{ name, reason string }

func (e badParameter) Error() string { return fmt.Sprintf("parameter %s %s", e.name, e.reason) }

// readParameters passes each parameter of a query string to set. Each must occur once and not be
// empty. An error of readParameters is a badParameter if those of set are.
func readParameters(query string, set func(name, value string) error) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return badParameter{"string", "must be URL-encoded"}
	}
	for name, all := range values {
		if len(all) != 1 {
			return badParameter{name, "occurs more than once"}
		}
		if err := set(name, all[0]); err != nil {
			return err
		}
		if all[0] == "" {
			return badParameter{name, "is empty"}
		}
	}
	return nil
}

func unknownParameter(name string) error {
	return badParameter{strconv.Quote(printable(name)), "is unknown"}
}

func parseTime(to *time.Time, name, value string) (err error) {
	if *to, err = time.Parse(time.RFC3339, value); err != nil {
		return badParameter{name, "must be a time such as 2026-11-23T12:00:00Z"}
	}
	return nil
}

func parseLimit(to *int, name, value string) (err error) {
	if *to, err = strconv.Atoi(value); err != nil || *to < 1 {
		return badParameter{name, "must be a positive number"}
	}
	return nil
}

// listing lists rows of the type T as the type A of package api.
type listing[T, A any] struct {
	// name is for error texts, as one is for a single row.
	name, one string
	// limit is what the caller asked for; 0 if nothing.
	limit int
	// read yields the rows, at most limit; 0 means all. An After that no row can have yields
	// ErrNotFound, and a ctx that ends may yield a *PartialError.
	read func(ctx context.Context, limit int) iter.Seq2[T, error]
	// pageTime bounds the time to read a page; 0 means no bound. If read yields a *PartialError then,
	// the page is answered as partial.
	pageTime time.Duration
	// row converts a row, and id names it.
	row func(*T) A
	id  func(*T) string
	// page makes the answer of a page. next is empty on the last page.
	page func(rows []A, next string, partial bool) any
}

// answerList answers a listing, as one page or as a stream.
func answerList[T, A any](c *call, l listing[T, A]) {
	if strings.Contains(c.request.Header.Get("Accept"), ndjson) {
		answerStream(c, l)
		return
	}
	limit, ok := c.pageLimit(l.limit)
	if !ok {
		return
	}
	ctx := c.request.Context()
	if l.pageTime > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.pageTime)
		defer cancel()
		http.NewResponseController(c).SetWriteDeadline(time.Now().Add(l.pageTime +
			c.server.config.WriteTimeout))
	}
	rows, last := []A{}, ""
	for row, err := range l.read(ctx, limit+1) { // one more tells whether there is a next page
		var partial *hookgate.PartialError
		switch {
		case errors.As(err, &partial) && c.request.Context().Err() == nil:
			c.json(l.page(rows, partial.After, true))
			return
		case err != nil:
			l.fail(c, err)
			return
		case len(rows) == limit:
			c.json(l.page(rows, last, false))
			return
		}
		rows = append(rows, l.row(&row))
		last = l.id(&row)
	}
	c.json(l.page(rows, "", false))
}

// pageLimit returns the length of a page; limit is what the caller asked for, 0 if nothing. If ok
// is false, the call is answered.
func (c *call) pageLimit(limit int) (_ int, ok bool) {
	switch {
	case limit == 0:
		return defaultPage, true
	case limit > maxPage:
		c.fail(http.StatusBadRequest,
			badParameter{"limit", fmt.Sprintf("must be at most %d; follow next from page to page",
				maxPage)}.Error())
		return 0, false
	}
	return limit, true
}

// fail answers an error of read.
func (l *listing[T, A]) fail(c *call, err error) {
	if errors.Is(err, hookgate.ErrNotFound) {
		c.fail(http.StatusBadRequest, badParameter{"after", "must be the id of " + l.one}.Error())
		return
	}
	c.unavailable("reading "+l.name, err)
}

// answerStream answers everything that matches, one line each. If it fails after the first line, it
// breaks the connection, so that the client does not take a part for the whole.
func answerStream[T, A any](c *call, l listing[T, A]) {
	control := http.NewResponseController(c)
	moreTime := func() { control.SetWriteDeadline(time.Now().Add(c.server.config.WriteTimeout)) }
	moreTime()
	begun, n := false, 0
	lines := newEncoder(c)
	for row, err := range l.read(c.request.Context(), l.limit) {
		switch {
		case err == nil:
		case begun:
			c.server.log.Error("stream of "+l.name+" failed", "request_id", c.requestID, "after", n,
				"error", err)
			panic(http.ErrAbortHandler)
		default:
			l.fail(c, err)
			return
		}
		if !begun {
			begun = true
			c.head(http.StatusOK, ndjson)
		}
		if err := lines.Encode(l.row(&row)); err != nil {
			return // the client is gone
		}
		if n++; n%flushEvery == 0 {
			control.Flush()
			moreTime()
		}
	}
	if !begun {
		c.head(http.StatusOK, ndjson)
	}
}

// bytes answers a body that somebody sent.
func (c *call) bytes(body []byte) {
	// A browser must not interpret the body, which anyone may have sent.
	h := c.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", "attachment")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.WriteHeader(http.StatusOK)
	c.Write(body) // the client may be gone
}
