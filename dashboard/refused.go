package dashboard

import (
	"fmt"
	"net/http"
	"net/url"
	"unicode/utf8"

	"github.com/hookgate/hookgate/api"
)

// refusedView is the data of the page of refused requests.
type refusedView struct {
	filters
	Sources  []string
	Statuses []statusChoice
	Requests []refusedRow
	Next     string // the address of the next page; empty on the last one
	First    string // that of the first one; empty if it is this one
	// Advice is for the status that is selected.
	Advice []string
}

// statusChoice is an option of the filter.
type statusChoice struct {
	Status string
	Text   string
}

var refusedStatuses = []statusChoice{
	{"401", "401 not authenticated"}, {"400", "400 malformed"}, {"403", "403 address not allowed"},
	{"404", "404 no such source"}, {"405", "405 wrong method"}, {"408", "408 body too slow"},
	{"413", "413 too large"}, {"415", "415 media type"}, {"429", "429 over the rate limit"},
	{"503", "503 unavailable"},
}

// refusedRow is a refused request on the page.
type refusedRow struct {
	api.RefusedRequest
	Advice []string
	// Text is the body as text, or in words if it is binary.
	Text string
	// Times is how many requests of the page the row stands for: this one and older ones of the same
	// source, path, status and reason. Oldest is when the oldest of them came, and All the address of
	// a page with each.
	Times  int64
	Oldest api.Time
	All    string
}

var refusedFilters = []filterName{{"source", "source"}, {"status", "status"}, {"reason", "reason"}}

// refusedPage is the number of requests on a page.
const refusedPage = "100"

// refused shows the last requests that the gate has refused.
func (d *Dashboard) refused(r *http.Request, v *Visitor) (any, error) {
	query := r.URL.Query()
	view := refusedView{filters: readFilters("/ui/refused", query, refusedFilters),
		Statuses: refusedStatuses}
	after := query.Get("after")
	var page api.Refused
	if err := v.Get(r.Context(), view.call("/api/refused", "limit", refusedPage, "after", after),
		&page); err != nil {
		return nil, err
	}
	sources, err := readSources(r, v)
	if err != nil {
		return nil, err
	}
	for i := range sources.Sources {
		view.Sources = append(view.Sources, sources.Sources[i].Name)
	}
	// Equal refusals are one row, unless somebody has asked for a reason.
	type like struct {
		source, path, reason string
		status               int
	}
	first := map[like]int{}
	for _, one := range page.Refused {
		kind := like{one.Source, one.Path, one.Reason, one.Status}
		if i, found := first[kind]; found && view.Get("reason") == "" {
			row := &view.Requests[i]
			row.Times++
			row.Oldest = one.At
			row.Skipped += one.Skipped
			continue
		}
		first[kind] = len(view.Requests)
		row := refusedRow{RefusedRequest: one, Advice: adviceOn(one.Status), Times: 1, Oldest: one.At,
			All: view.each(&one)}
		if len(one.Body) > 0 {
			if row.Text = string(one.Body); one.Size == nil || *one.Size > int64(len(one.Body)) {
				row.Text = wholeRunes(row.Text)
			}
			if !utf8.ValidString(row.Text) {
				row.Text = fmt.Sprintf("%d bytes that are no text", len(one.Body))
			}
		}
		view.Requests = append(view.Requests, row)
	}
	if page.Next != "" {
		view.Next = view.With("after", page.Next)
	}
	if after != "" {
		view.First = view.With()
	}
	for _, status := range refusedStatuses {
		if status.Status == view.Get("status") {
			view.Advice = adviceOn(statusOf(status.Status))
		}
	}
	return view, nil
}

// each is the address of the refused requests like one, each on its own.
func (view *refusedView) each(one *api.RefusedRequest) string {
	values := url.Values{"status": {fmt.Sprint(one.Status)}, "reason": {one.Reason}}
	if one.Source != "" {
		values.Set("source", one.Source)
	}
	return "/ui/refused?" + values.Encode()
}

// wholeRunes returns a text that was cut at a byte, without a last rune that is cut.
func wholeRunes(text string) string {
	for end := len(text); end > max(0, len(text)-utf8.UTFMax); end-- {
		if utf8.ValidString(text[:end]) {
			return text[:end]
		}
	}
	return text
}

func statusOf(text string) (status int) {
	fmt.Sscan(text, &status) // one of refusedStatuses
	return status
}

// Tag is the colour of a status.
func (r refusedRow) Tag() string {
	if r.Status >= 500 || r.Status == http.StatusUnauthorized {
		return levelBad
	}
	return levelWarn
}

// adviceOn says what to check after a status.
func adviceOn(status int) []string {
	switch status {
	case http.StatusUnauthorized:
		return []string{
			"Compare the secret in the sender's settings with the one of this source. Copy it again: a" +
				" space or a line break at its end is enough to fail.",
			"Check the path. Each source has a path, a secret and a scheme of its own.",
			"Let no proxy change the body or drop the signature header.",
			"If the reason names a time, set the clocks of both machines.",
			"Try it yourself: hookgate sources send signs a webhook as the sender does.",
		}
	case http.StatusBadRequest:
		return []string{"The reason says what is wrong with the body or a field. Compare the sender's" +
			" format with the kind of the source, and its places for message id and event type."}
	case http.StatusForbidden:
		return []string{"Add the sender's address to allow_ips of the source. Behind a proxy also set" +
			" http.trusted_proxies, otherwise the gate sees the proxy's address."}
	case http.StatusNotFound:
		return []string{"Correct the URL in the sender's settings. The page Sources has the URL of each" +
			" source."}
	case http.StatusMethodNotAllowed:
		return []string{"Let the sender use POST."}
	case http.StatusRequestTimeout:
		return []string{"The body did not arrive in time. Look at the network between sender and gate."}
	case http.StatusRequestEntityTooLarge:
		return []string{"Raise max_body of the source, or let the sender send less."}
	case http.StatusUnsupportedMediaType:
		return []string{"Compare the sender's Content-Type and Content-Encoding with the kind of the" +
			" source."}
	case http.StatusTooManyRequests:
		return []string{"The sender will retry. If its rate is right, raise rate_limit of the source."}
	}
	if status >= 500 {
		return []string{"The sender should retry. The overview says why the gate takes no webhooks."}
	}
	return nil
}
