package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

const (
	// maxAnswerBytes is how much of an answer's body is taken.
	maxAnswerBytes = 64 << 10
	// maxExchangeBytes bounds everything that is read for one request, headers included.
	maxExchangeBytes = maxAnswerBytes + 64<<10
)

var (
	errAnswerTooLong = fmt.Errorf("the answer is longer than %d bytes", maxAnswerBytes)
	errConnLost      = errors.New("connection lost")
)

// conn is one HTTP/1.1 connection that carries one request at a time. It does in the caller's own
// goroutine what http.Transport does in three, at half the processor time, which matters where
// the client shares a machine with the gate it measures. Answers are parsed by net/http.
type conn struct {
	net.Conn
	limit  io.LimitedReader // what the current exchange may still read
	reader *bufio.Reader    // of limit
	forget func() bool      // unties the connection from the context it was dialled in
	used   bool             // an exchange has ended on it, and another may follow
}

// dial opens a connection to the target by the deadline. It goes there directly: a proxy in between
// would be measured too. When ctx ends, the connection closes, whatever is under way on it.
func dial(ctx context.Context, target *url.URL, deadline time.Time) (*conn, error) {
	port := target.Port()
	if port == "" {
		port = target.Scheme // "http" and "https" are names of ports
	}
	address := net.JoinHostPort(target.Hostname(), port)
	dialing, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	var nc net.Conn
	var err error
	if target.Scheme == "https" {
		nc, err = new(tls.Dialer).DialContext(dialing, "tcp", address)
	} else {
		nc, err = new(net.Dialer).DialContext(dialing, "tcp", address)
	}
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, limit: io.LimitedReader{R: nc}}
	c.reader = bufio.NewReader(&c.limit)
	c.forget = context.AfterFunc(ctx, func() { nc.Close() })
	return c, nil
}

func (c *conn) close() {
	c.forget()
	c.Close()
}

// reusable reports whether another request can be sent: the server has neither hung up nor said
// anything that was not asked for.
func (c *conn) reusable() bool { return c.used && c.reader.Buffered() == 0 && idle(c.Conn) }

// exchange writes a whole request and reads the answer, its body into body. The response is nil
// when no status arrived; with an error beside it the body is incomplete. The request may have
// reached the server even if there is an error. Without an error, reusable tells whether c can be
// used again.
func (c *conn) exchange(request []byte, body *bytes.Buffer, deadline time.Time) (*http.Response,
	error) {
	c.used = false
	c.limit.N = maxExchangeBytes
	if err := c.SetDeadline(deadline); err != nil {
		return nil, err
	}
	// A server may refuse, and hang up, before it has read everything: look for its answer anyway.
	_, writeErr := c.Write(request)
	resp, err := c.readResponse()
	if err != nil {
		if writeErr != nil {
			err = writeErr
		}
		return nil, err
	}
	body.Reset()
	n, err := body.ReadFrom(io.LimitReader(resp.Body, maxAnswerBytes+1))
	if err == nil && n > maxAnswerBytes {
		body.Truncate(maxAnswerBytes)
		err = errAnswerTooLong
	}
	c.used = err == nil && writeErr == nil && !resp.Close && resp.StatusCode >= 200
	return resp, err
}

// readResponse passes over informational responses. Their number is bounded by that of the bytes.
func (c *conn) readResponse() (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(c.reader, nil)
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return nil, errConnLost
		case err != nil:
			return nil, err
		case resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols:
			return resp, nil
		}
	}
}

// reason replaces the error of an exchange by what was behind it.
func reason(ctx context.Context, err error, timeout time.Duration) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %v", timeout)
	}
	return err
}
