package push

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hookgate/hookgate"
)

const (
	// maxResponse is how much of a response is read, and maxReason how much is kept, in bytes.
	maxResponse, maxReason = 64 << 10, 4 << 10
	// maxRetryAfter is the longest wait for which a consumer may ask.
	maxRetryAfter = time.Hour
	// drainTime bounds the time for which the body of a response is read. The status has decided
	// already; the rest only serves the excerpt and the next use of the connection.
	drainTime = 2 * time.Second
)

// post makes one attempt.
func (c *Consumer) post(ctx context.Context, h http.Header, body []byte) hookgate.Answer {
	attempt, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request := (&http.Request{
		Method: http.MethodPost, URL: c.url, Host: c.url.Host, Header: h,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: bodyOf(body), ContentLength: int64(len(body)),
		GetBody: func() (io.ReadCloser, error) { return bodyOf(body), nil },
	}).WithContext(attempt)
	// The transport follows no redirects. It must not: the next address could be anywhere.
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return c.failure(ctx, attempt, err)
	}
	defer response.Body.Close() // closes the connection unless the body was read to its end
	status := response.StatusCode
	good := status >= 200 && status <= 299
	var excerpt []byte
	if response.Body != http.NoBody && status >= 200 { // after 101 the body is the connection
		timer := time.AfterFunc(c.drainTime, cancel)
		excerpt = read(response.Body, !good)
		timer.Stop()
	}
	if good {
		return hookgate.Answer{Verdict: hookgate.VerdictDelivered, Status: status}
	}
	return hookgate.Answer{Verdict: c.verdict(status), Status: status,
		RetryAfter: parseRetryAfter(response.Header.Get("Retry-After"), c.now()),
		Reason:     reason(status, response.Header, excerpt)}
}

// bodyOf returns a body. http.NoBody says that it is empty; another one could be of unknown length.
func bodyOf(body []byte) io.ReadCloser {
	if len(body) == 0 {
		return http.NoBody
	}
	return io.NopCloser(bytes.NewReader(body))
}

// read reads at most maxResponse bytes of a response, so that a shorter one leaves its connection
// to the next request. It returns the first maxReason bytes if they are wanted.
func read(body io.Reader, wanted bool) (excerpt []byte) {
	limited := io.LimitReader(body, maxResponse)
	if wanted {
		excerpt, _ = io.ReadAll(io.LimitReader(limited, maxReason))
	}
	io.Copy(io.Discard, limited)
	return excerpt
}

// verdict returns what a status that is not 2xx means.
func (c *Consumer) verdict(status int) hookgate.Verdict {
	switch {
	case slices.Contains(c.final, status):
		return hookgate.VerdictFinal
	case status == http.StatusGone:
		return hookgate.VerdictGone
	case status == http.StatusTooManyRequests, status >= 502 && status <= 504:
		return hookgate.VerdictOutage
	}
	return hookgate.VerdictFailed
}

// parseRetryAfter returns the wait in a Retry-After header: seconds or an HTTP date. It is at most
// maxRetryAfter, and 0 if there is none or it has passed.
func parseRetryAfter(text string, now time.Time) time.Duration {
	text = strings.TrimSpace(text)
	if text == "" {
		return 0
	}
	digits := strings.TrimLeft(text, "0")
	if strings.Trim(text, "0123456789") == "" {
		seconds, err := strconv.Atoi("0" + digits)
		if err != nil || seconds > int(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(0, at.Sub(now)), maxRetryAfter)
}

// reason describes a response for people.
func reason(status int, h http.Header, excerpt []byte) string {
	var b strings.Builder
	b.WriteString(strconv.Itoa(status))
	if text := http.StatusText(status); text != "" {
		b.WriteString(" " + text)
	}
	if location := h.Get("Location"); location != "" && status/100 == 3 {
		b.WriteString("; the gate does not follow redirects")
		// Its path may be secret.
		if u, err := url.Parse(location); err == nil && u.Host != "" {
			b.WriteString(" (to " + printable(u.Host, 300) + ")")
		}
	}
	if text := printable(string(excerpt), maxReason-b.Len()-2); text != "" {
		b.WriteString(": " + text)
	}
	return b.String()
}

// printable returns a text on one line, without control characters, of at most limit bytes.
func printable(text string, limit int) string {
	var b strings.Builder
	space := false
	for _, r := range text {
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r):
			space = b.Len() > 0
			continue
		case !unicode.IsPrint(r):
			r = utf8.RuneError
		}
		if b.Len()+1+utf8.RuneLen(r) > limit {
			return b.String()
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return b.String()
}
