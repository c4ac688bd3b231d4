package certify

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hookgate/hookgate/api"
)

const (
	// maxAnswer bounds an answer that is read as a whole, and a line of a stream.
	maxAnswer = 32 << 20
	// readTimeout bounds a call of the read API, except streams and the verification of the audit
	// chain.
	readTimeout = 30 * time.Second
	// readTries is the number of attempts of a call.
	readTries = 4
	// tryAgain is the pause between two attempts.
	tryAgain = 250 * time.Millisecond
)

// target is the read API of the gate. Its methods may be called concurrently.
type target struct {
	base   string
	token  string
	client *http.Client
	// streamTimeout bounds the wait for the beginning of a stream.
	streamTimeout time.Duration
}

func newTarget(base, token string, connections int) *target {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = connections+4, connections+4
	t.Proxy = nil               // directly, as the load is sent
	t.DisableCompression = true // a body must not be unpacked on its way
	return &target{base: strings.TrimSuffix(base, "/"), token: token, streamTimeout: readTimeout,
		client: &http.Client{
			Transport:     t,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
}

func (t *target) close() { t.client.CloseIdleConnections() }

// statusError is an answer other than 200.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the target answers %d: %s", e.status, strings.TrimSpace(e.text))
}

// open makes a call and returns the body of a 200.
func (t *target) open(ctx context.Context, address, token, accept string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Accept", accept)
	resp, err := t.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // as far as it can be read
		return nil, &statusError{resp.StatusCode, string(text)}
	}
	return resp.Body, nil
}

// get returns the answer to a call. It retries failures that may be temporary.
func (t *target) get(ctx context.Context, path, accept string) (body []byte, err error) {
	address := path
	if strings.HasPrefix(path, "/") {
		address = t.base + path
	}
	token := t.token
	if !strings.HasPrefix(address, t.base+"/") {
		token = "" // it is for the target only
	}
	for try := 1; ; try++ {
		if body, err = t.getOnce(ctx, address, token, accept); err == nil || ctx.Err() != nil {
			return body, err
		}
		var status *statusError
		if try == readTries || errors.As(err, &status) && status.status < 500 {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(tryAgain):
		}
	}
}

func (t *target) getOnce(ctx context.Context, address, token, accept string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	body, err := t.open(ctx, address, token, accept)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	if err == nil && len(text) > maxAnswer {
		err = fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	return text, err
}

const jsonType = "application/json"

func (t *target) health(ctx context.Context) (h api.Health, raw []byte, err error) {
	if raw, err = t.get(ctx, "/api/health", jsonType); err != nil {
		return h, nil, err
	}
	return t.parseHealth(raw)
}

// healthOnce is health without retries.
func (t *target) healthOnce(ctx context.Context) (h api.Health, raw []byte, err error) {
	if raw, err = t.getOnce(ctx, t.base+"/api/health", "", jsonType); err != nil {
		return h, nil, err
	}
	return t.parseHealth(raw)
}

func (t *target) parseHealth(raw []byte) (h api.Health, _ []byte, err error) {
	if err := json.Unmarshal(raw, &h); err != nil || h.Status == "" {
		return h, nil, fmt.Errorf("%s/api/health does not answer as a gate does", t.base)
	}
	return h, raw, nil
}

// firstOf returns the line of the first stored event whose message id begins with prefix; nil if
// there is none.
func (t *target) firstOf(ctx context.Context, prefix string) ([]byte, error) {
	answer, err := t.get(ctx, "/api/events?limit=1&prefix="+url.QueryEscape(prefix),
		"application/x-ndjson")
	return bytes.TrimSpace(answer), err
}

// events calls f with each line of a listing. If the stream breaks, events continues after the last
// event.
func (t *target) events(ctx context.Context, query url.Values, f func(line []byte) error) error {
	for tries := 1; ; tries++ {
		n, last, own, err := t.eventsOnce(ctx, query, f)
		if err == nil || own || ctx.Err() != nil {
			return err
		}
		if n > 0 {
			tries = 0
			query.Set("after", last)
		}
		var status *statusError
		if tries == readTries || errors.As(err, &status) && status.status < 500 {
			return fmt.Errorf("list events: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(tryAgain):
		}
	}
}

// eventsOnce returns how many lines it read, and the id of the last one. own means that the error
// is that of f.
func (t *target) eventsOnce(ctx context.Context, query url.Values,
	f func(line []byte) error) (n int, last string, own bool, err error) {
	body, err := t.open(ctx, t.base+"/api/events?"+query.Encode(), t.token, "application/x-ndjson")
	if err != nil {
		return 0, "", false, err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 64<<10), maxAnswer)
	for lines.Scan() {
		var e struct{ ID string }
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.ID == "" {
			return n, last, true, fmt.Errorf("list events: the line %q is not an event", head(lines.Text()))
		}
		if err := f(lines.Bytes()); err != nil {
			return n, last, true, err
		}
		n, last = n+1, e.ID
	}
	return n, last, false, lines.Err()
}

func head(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}

// bodyDigest reads the body of an event. It is not an error if the event has no body.
func (t *target) bodyDigest(ctx context.Context, id string) (sum [sha256.Size]byte, size int,
	found bool, err error) {
	body, err := t.get(ctx, "/api/events/"+url.PathEscape(id)+"/body", "*/*")
	var status *statusError
	if errors.As(err, &status) && status.status == http.StatusNotFound {
		return sum, 0, false, nil
	}
	return sha256.Sum256(body), len(body), err == nil, err
}

func (t *target) trace(ctx context.Context, messageID string) ([]byte, error) {
	return t.get(ctx, "/api/trace/"+url.PathEscape(messageID)+"?limit=1000", jsonType)
}

const (
	// keptRows is the number of approvals, and of rows of the admin trail, in the evidence: the
	// latest ones.
	keptRows = 1000
	// maxRows bounds the rows that are read to find them.
	maxRows = 1_000_000
)

// latest returns the latest rows of a listing of the admin API, approvals or actions, and the
// number of earlier ones, as JSON.
func (t *target) latest(ctx context.Context, listing string) ([]byte, error) {
	rows, omitted := []json.RawMessage{}, 0
	for query := (url.Values{"limit": {fmt.Sprint(keptRows)}}); ; {
		text, err := t.get(ctx, "/admin/"+listing+"?"+query.Encode(), jsonType)
		if err != nil {
			return nil, err
		}
		var page map[string]json.RawMessage
		var of []json.RawMessage
		var next string
		err = json.Unmarshal(text, &page)
		if err == nil {
			err = json.Unmarshal(page[listing], &of)
		}
		if err == nil && page["next"] != nil {
			err = json.Unmarshal(page["next"], &next)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", listing, err)
		}
		rows = append(rows, of...)
		if more := len(rows) - keptRows; more > 0 {
			rows = slices.Delete(rows, 0, more)
			omitted += more
		}
		switch {
		case next == "":
			return json.Marshal(map[string]any{listing: rows, "omitted": omitted})
		case len(of) == 0, omitted > maxRows:
			return nil, fmt.Errorf("read %s: the listing has no end after %s", listing, head(next))
		}
		query.Set("after", next)
	}
}

// verify asks the target to verify its own audit chain, which may take minutes.
func (t *target) verify(ctx context.Context, timeout time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		body, err := t.open(ctx, t.base+"/api/audit/verify", t.token, jsonType)
		if err == nil {
			defer body.Close()
			return io.ReadAll(io.LimitReader(body, maxAnswer))
		}
		var status *statusError
		if !errors.As(err, &status) || status.status != http.StatusServiceUnavailable {
			return nil, fmt.Errorf("ask the target to verify its audit chain: %w", err)
		}
		select { // another verification is running
		case <-ctx.Done():
			return nil, fmt.Errorf("ask the target to verify its audit chain: %w", err)
		case <-time.After(time.Second):
		}
	}
}
