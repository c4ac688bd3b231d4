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
	// maxAnswerBytes is how much of the body of an answer is read.
	maxAnswerBytes = 64 << 10
	// maxExchangeBytes bounds all bytes read for one request, including headers.
	maxExchangeBytes = maxAnswerBytes + 64<<10
)

var (
	errAnswerTooLong = fmt.Errorf("the answer is longer than %d bytes", maxAnswerBytes)
	errConnLost      = errors.New("connection lost")
)

// conn is one HTTP/1.1 connection, with one request in flight at a time. It works in the goroutine
// of the caller, where http.Transport uses three, and takes half the processor time. That matters
// when client and gate share a machine. net/http parses the answers.
type conn struct {
	net.Conn
	limit  io.LimitedReader // bytes that the current exchange may still read
	reader *bufio.Reader    // of limit
	forget func() bool      // stops the watch of the context in which it was dialled
	used   bool             // an exchange has ended, and another may follow
}

// dial opens a connection to the target by the deadline. It uses no proxy, which would be measured
// too. When ctx ends, the connection closes, even during an exchange.
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

// reusable reports whether another request can be sent: the server has not hung up, and has sent
// nothing after its answer.
func (c *conn) reusable() bool { return c.used && c.reader.Buffered() == 0 && idle(c.Conn) }

// exchange writes a request, and reads the answer with its body. The response is nil if no status
// arrived. With an error beside a response, the body is incomplete. Even after an error the request
// may have reached the server. Without an error, reusable says whether c can be used again.
func (c *conn) exchange(request []byte, body *bytes.Buffer, deadline time.Time) (*http.Response,
	error) {
	c.used = false
	c.limit.N = maxExchangeBytes
	if err := c.SetDeadline(deadline); err != nil {
		return nil, err
	}
	// A server may reject the request and hang up before it has read everything: read its answer
	// all the same.
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

// readResponse skips informational responses. maxExchangeBytes bounds them.
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

// reason returns the cause of the error of an exchange.
func reason(ctx context.Context, err error, timeout time.Duration) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %v", timeout)
	}
	return err
}
