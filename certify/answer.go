package certify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// answer is the answer to a call that is tried: its status, and whether a gate can have given it.
type answer struct {
	// Status is 0 if there was no answer; Error then has the reason.
	Status int    `json:"status"`
	Error  string `json:"error,omitempty"`
	// HTML is true for a page.
	HTML bool `json:"html,omitempty"`
}

// streams are the calls whose answer does not end by itself. A proxy that buffers them holds back
// even the header.
var streams = []string{"/api/events/stream", "/ui/live"}

func isStream(path string) bool {
	for _, s := range streams {
		if strings.HasPrefix(path, s) {
			return true
		}
	}
	return false
}

// foreign returns the reason why an answer says nothing about the gate; empty if it does. It may be
// that of a proxy in between.
func (a answer) foreign(path string, want int) string {
	page := path == "/" || path == "/{$}" || strings.HasPrefix(path, "/ui/")
	switch {
	case a.Status == want:
		return ""
	case a.Status == 0 && isStream(path):
		return "no answer came through (" + a.Error + "): is there a proxy that buffers server-sent " +
			"events? Certify behind it, or switch the buffering off for this path"
	case a.Status == 0:
		return "no answer came through: " + a.Error
	case a.Status == http.StatusBadGateway, a.Status == http.StatusServiceUnavailable,
		a.Status == http.StatusGatewayTimeout, a.Status == http.StatusTooManyRequests:
		return fmt.Sprintf("the answer is %d, as a proxy in between or an overloaded gate gives it",
			a.Status)
	case a.HTML && !page:
		return fmt.Sprintf("the answer is a page of HTML with status %d, so it comes from a proxy in "+
			"between", a.Status)
	}
	return ""
}

// tryTimes bounds how often a call is tried whose answer says nothing about the gate.
const tryTimes = 3

// try makes a call. If the answer does not come from the gate, it tries again, except on a stream,
// where each try takes the whole time-out.
func (t *target) try(ctx context.Context, method, address, path, body string, want int,
	header http.Header) (a answer) {
	for n := 1; ; n++ {
		a = t.tryOnce(ctx, method, address, path, body, header)
		blocked := a.Status == http.StatusTooManyRequests && want == http.StatusUnauthorized
		if a.foreign(path, want) == "" || n == tryTimes || isStream(path) || blocked {
			return a
		}
		select {
		case <-ctx.Done():
			return a
		case <-time.After(tryAgain):
		}
	}
}

func (t *target) tryOnce(ctx context.Context, method, address, path, body string,
	header http.Header) (a answer) {
	limit := readTimeout
	if isStream(path) {
		limit = t.streamTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resp, err := t.call(ctx, method, address, body, header)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return answer{Error: fmt.Sprintf("not within %v", limit)}
	case err != nil:
		return answer{Error: head(err.Error())}
	}
	resp.Body.Close()
	return answer{Status: resp.StatusCode,
		HTML: strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html")}
}

func (t *target) call(ctx context.Context, method, address, body string,
	header http.Header) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	var text io.Reader
	if body != "" {
		text = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, text)
	if err != nil {
		cancel()
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", jsonType)
	resp, err := t.client.Do(req)
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = cancelling{resp.Body, cancel}
	return resp, nil
}

// cancelling ends the context of a call when its body is closed.
type cancelling struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (c cancelling) Close() error {
	defer c.cancel()
	return c.ReadCloser.Close()
}

// bearer is the header with a token; none for an empty one.
func bearer(token string) http.Header {
	if token == "" {
		return nil
	}
	return http.Header{"Authorization": {"Bearer " + token}}
}
