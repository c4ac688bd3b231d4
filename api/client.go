package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client calls the read and admin API of a gate. Several goroutines may use it at a time.
//
// A method returns *Error for an error answer, *ApprovalError if the call needs an approval, and
// the error of the HTTP client if there was no answer. After any of them the call can be repeated.
// Only the repetition of CreateToken fails if the first call has succeeded: names are used once.
type Client struct {
	// URL is the base URL of the gate, such as http://127.0.0.1:8080.
	URL string
	// Token authorises the calls. Health, Live and Ready need none, and do not send it.
	Token string
	// HTTP makes the requests; nil means http.DefaultClient.
	HTTP *http.Client
}

const (
	typeJSON   = "application/json"
	typeNDJSON = "application/x-ndjson"
	typeBytes  = "application/octet-stream"
)

// The headers of a call that changes something.
const (
	ReasonHeader   = "X-Reason"
	ApprovalHeader = "X-Approval"
)

// Option is something that accompanies a call that changes something.
type Option func(http.Header)

// WithReason says why. The gate writes it into the admin trail. Empty means no reason.
func WithReason(why string) Option {
	return func(h http.Header) {
		if why != "" {
			h.Set(ReasonHeader, why)
		}
	}
}

// WithApproval names the approval that the call uses. Empty means none.
func WithApproval(id string) Option {
	return func(h http.Header) {
		if id != "" {
			h.Set(ApprovalHeader, id)
		}
	}
}

// ErrURL is the error of every call of a client whose URL is not one. It does not repeat the URL,
// which may contain a password.
var ErrURL = errors.New("the gate's base URL is not a URL like http://127.0.0.1:8080")

// request is a call to make.
type request struct {
	method, path string
	query        url.Values
	accept       string
	body         any // encoded as JSON; nil for none
	open         bool
	wait         time.Duration // for which the gate may wait before it has answered
	options      []Option
}

// do makes a call. The caller closes the body of the answer.
func (c *Client) do(ctx context.Context, r request) (*http.Response, error) {
	target := strings.TrimSuffix(c.URL, "/") + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	var body io.Reader
	if r.body != nil {
		text, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("encode the call: %w", err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil || req.URL.Host == "" {
		return nil, ErrURL
	}
	if c.Token != "" && !r.open {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	req.Header.Set("Accept", r.accept)
	if body != nil {
		req.Header.Set("Content-Type", typeJSON)
	}
	for _, set := range r.options {
		set(req.Header)
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	if client.Timeout > 0 && r.wait > 0 {
		longer := *client
		longer.Timeout += r.wait
		client = &longer
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the gate (is it running, and is the URL right?): %w", err)
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent:
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, readError(resp)
}

// call makes a call and decodes the answer.
func call[T any](ctx context.Context, c *Client, r request) (answer T, err error) {
	r.accept = typeJSON
	resp, err := c.do(ctx, r)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer, fmt.Errorf("read the gate's answer: %w", err)
	}
	if resp.StatusCode == http.StatusAccepted {
		var needed ApprovalRequired
		if json.Unmarshal(text, &needed) == nil && needed.Status == StatusApprovalRequired {
			return answer, &ApprovalError{needed.Approval}
		}
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return answer, fmt.Errorf("read the gate's answer: %w", err)
	}
	return answer, nil
}

// get asks for the answer at a path.
func get[T any](ctx context.Context, c *Client, path string, query url.Values) (T, error) {
	return call[T](ctx, c, request{method: http.MethodGet, path: path, query: query})
}

// post changes something.
func post[T any](ctx context.Context, c *Client, path string, body any, options []Option) (T,
	error) {
	return call[T](ctx, c, request{method: http.MethodPost, path: path, body: body,
		options: options})
}

// send makes a call whose answer is empty.
func (c *Client) send(ctx context.Context, path string, body any) error {
	resp, err := c.do(ctx, request{method: http.MethodPost, path: path, body: body,
		accept: typeJSON})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// stream yields the lines of the NDJSON answer to a GET. It ends after the first error.
func stream[T any](ctx context.Context, c *Client, r request) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		r.method, r.accept = http.MethodGet, typeNDJSON
		resp, err := c.do(ctx, r)
		if err != nil {
			yield(none, err)
			return
		}
		defer resp.Body.Close()
		for lines := json.NewDecoder(resp.Body); ; {
			var line T
			err := lines.Decode(&line)
			switch {
			case errors.Is(err, io.EOF):
				return
			case err != nil: // the gate breaks the connection if it fails in the middle
				yield(none, fmt.Errorf("read the gate's answer: %w", err))
				return
			case !yield(line, nil):
				return
			}
		}
	}
}

// pages yields the rows of all pages. read returns one page and the place of the next one.
func pages[T any](read func(after string) (rows []T, next string, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for after := ""; ; {
			rows, next, err := read(after)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			after = next
		}
	}
}

// bytesOf returns the answer at a path as it is.
func (c *Client) bytesOf(ctx context.Context, path string) (io.ReadCloser, error) {
	resp, err := c.do(ctx, request{method: http.MethodGet, path: path, accept: typeBytes})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}
