package admit

import (
	"net/url"
	"strings"
)

// calledURL returns a URL with a query.
func calledURL(url, query string) string {
	if query == "" {
		return url
	}
	return url + "?" + query
}

// calledURLs returns the URLs that the sender may have called. That is the configured URL. If only
// one of it and the received path ends with a slash, it is also the URL that ends like the path. A
// proxy may have changed the path.
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

// shownURL returns a configured URL for the log, without a password.
func shownURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "that is configured"
	}
	return u.Redacted()
}
