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
	"github.com/hookgate/hookgate/internal/jsontext"
)

const (
	// defaultPage and maxPage are the number of rows in an answer that is not a stream.
	defaultPage, maxPage = 100, 1000
	// flushEvery is the number of rows after which a stream is flushed and gets new time to write.
	flushEvery = 500

	ndjson = "application/x-ndjson"
)

// badParameter says what is wrong with a parameter of a listing.
type badParameter struct{ name, reason string }

func (e badParameter) Error() string { return fmt.Sprintf("parameter %s %s", e.name, e.reason) }

// readParameters hands the parameters of a query string to set, each of which occurs once and is
// not empty. An error is a badParameter if that of set is.
func readParameters(query string, set func(name, value string) error) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return badParameter{"string", "is not properly encoded"}
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
		return badParameter{name, "is not a time like 2026-11-23T12:00:00Z"}
	}
	return nil
}

func parseLimit(to *int, name, value string) (err error) {
	if *to, err = strconv.Atoi(value); err != nil || *to < 1 {
		return badParameter{name, "is not a positive number"}
	}
	return nil
}

// listing is what a call lists.
type listing[T any] struct {
	// name is that of the rows and of their member in the answer, one that of one of them.
	name, one string
	// limit is what the caller asked for; 0 if nothing.
	limit int
	// read yields the rows, at most so many; 0 means all. An After that none can have yields
	// ErrNotFound, and a ctx that ends may yield a *PartialError.
	read func(ctx context.Context, limit int) iter.Seq2[T, error]
	// patience bounds the time to read a page; 0 means no bound. A page that is not full by then is
	// answered as partial if read yields a *PartialError.
	patience time.Duration
	// append appends the JSON of a row, and id names it.
	append func([]byte, *T) []byte
	id     func(*T) string
}

// answerList answers a listing, as one page or as a stream.
func answerList[T any](c *call, l listing[T]) {
	if strings.Contains(c.request.Header.Get("Accept"), ndjson) {
		answerStream(c, l)
		return
	}
	limit, ok := c.pageLimit(l.limit)
	if !ok {
		return
	}
	ctx := c.request.Context()
	if l.patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.patience)
		defer cancel()
		http.NewResponseController(c).SetWriteDeadline(time.Now().Add(l.patience +
			c.server.config.WriteTimeout))
	}
	answer := append([]byte(`{"`+l.name), `":[`...)
	next, n := "", 0
	for row, err := range l.read(ctx, limit+1) { // one more tells whether there is a next page
		var partial *hookgate.PartialError
		switch {
		case errors.As(err, &partial) && c.request.Context().Err() == nil:
			answer = append(answer, `],"next":`...)
			answer = jsontext.AppendString(answer, partial.After)
			c.text(http.StatusOK, append(answer, ",\"partial\":true}\n"...))
			return
		case err != nil:
			l.fail(c, err)
			return
		}
		if n++; n > limit {
			answer = append(answer, `],"next":`...)
			answer = jsontext.AppendString(answer, next)
			c.text(http.StatusOK, append(answer, "}\n"...))
			return
		}
		if n > 1 {
			answer = append(answer, ',')
		}
		answer = l.append(answer, &row)
		next = l.id(&row)
	}
	c.text(http.StatusOK, append(answer, "]}\n"...))
}

// pageLimit returns the length of a page of which limit was asked for, 0 if nothing was. If ok is
// false the call is answered.
func (c *call) pageLimit(limit int) (_ int, ok bool) {
	switch {
	case limit == 0:
		return defaultPage, true
	case limit > maxPage:
		c.fail(http.StatusBadRequest,
			badParameter{"limit", fmt.Sprintf("is greater than %d; follow next from page to page",
				maxPage)}.Error())
		return 0, false
	}
	return limit, true
}

// fail answers for an error of read.
func (l *listing[T]) fail(c *call, err error) {
	if errors.Is(err, hookgate.ErrNotFound) {
		c.fail(http.StatusBadRequest, badParameter{"after", "is not the id of " + l.one}.Error())
		return
	}
	c.broken("reading "+l.name, err)
}

// answerStream answers everything that matches, a line each. If it fails in the middle it breaks
// the connection, so that the client does not take a part for the whole.
func answerStream[T any](c *call, l listing[T]) {
	control := http.NewResponseController(c)
	moreTime := func() { control.SetWriteDeadline(time.Now().Add(c.server.config.WriteTimeout)) }
	moreTime()
	begun, n := false, 0
	var line []byte
	for row, err := range l.read(c.request.Context(), l.limit) {
		switch {
		case err == nil:
		case begun:
			c.server.log.Error("stream of "+l.name+" broke off", "request_id", c.requestID, "after", n,
				"error", err)
			panic(http.ErrAbortHandler)
		default:
			l.fail(c, err)
			return
		}
		if !begun {
			begun = true
			c.beginStream()
		}
		line = append(l.append(line[:0], &row), '\n')
		if _, err := c.Write(line); err != nil {
			return // the client is gone
		}
		if n++; n%flushEvery == 0 {
			control.Flush()
			moreTime()
		}
	}
	if !begun {
		c.beginStream()
	}
}

func (c *call) beginStream() {
	h := c.Header()
	h.Set("Content-Type", ndjson)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	c.WriteHeader(http.StatusOK)
}

// bytes answers a body that someone has sent.
func (c *call) bytes(body []byte) {
	// Never of a type that a browser would act on: it is whatever someone sent.
	h := c.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", "attachment")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.WriteHeader(http.StatusOK)
	c.Write(body) // the client may be gone
}
