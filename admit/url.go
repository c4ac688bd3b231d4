package admit

import (
	"net/url"
	"strings"
)

// calledURL is a URL with the query that it was called with.
func calledURL(url, query string) string {
	if query == "" {
		return url
	}
	return url + "?" + query
}

// calledURLs returns what the sender of a request may have called: the URL that is configured, and
// if that and the path that arrived here do not end alike, the one that ends as the path does. Both
// count, because a proxy may have changed the path.
func calledURLs(url string, r *Request) (urls [2]string, n int) {
	urls, n = slashForms(url, r.Slash)
	for i := range n {
		urls[i] = calledURL(urls[i], r.Query)
	}
	return urls, n
}

func slashForms(url string, slash bool) (urls [2]string, n int) {
	without, has := strings.CutSuffix(url, "/")
	switch {
	case has == slash:
		return [2]string{url}, 1
	case has:
		return [2]string{url, without}, 2
	}
	return [2]string{url, url + "/"}, 2
}

// shownURL is a configured URL for a log, without a password.
func shownURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "that is configured"
	}
	return u.Redacted()
}
