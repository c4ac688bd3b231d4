package push

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
)

// Step is one step on the way to a consumer.
type Step struct {
	// Name is look-up, egress, connect, TLS or test event.
	Name string
	// Detail says for people what the step has found; empty if it failed.
	Detail string
	// Err is why the step failed; nil if it did not.
	Err  error
	Took time.Duration
}

// Probe takes the steps of an attempt up to the request, which it does not send. It ends with the
// first step that fails.
func (c *Consumer) Probe(ctx context.Context) (steps []Step) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	step := func(name string, do func() (string, error)) bool {
		from := time.Now()
		detail, err := do()
		steps = append(steps, Step{name, printable(detail, maxReason), err, time.Since(from)})
		return err == nil
	}
	var addrs []netip.Addr
	var conn net.Conn
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	host := c.url.Hostname()
	port := c.url.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[c.url.Scheme]
	}
	_ = step("look-up", func() (string, error) {
		var err error
		addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if _, literal := netip.ParseAddr(host); literal == nil {
			return "not needed", err
		}
		return host + " is " + list(addrs), err
	}) && step("egress", func() (string, error) {
		var refused []error
		for _, a := range addrs {
			if err := c.policy.Check(a.Unmap()); err != nil {
				refused = append(refused, err)
			}
		}
		switch {
		case len(refused) == len(addrs):
			return "", errors.Join(refused...)
		case len(refused) > 0:
			return "permitted, except that " + errors.Join(refused...).Error(), nil
		}
		return fmt.Sprintf("%s: permitted", c.policy), nil
	}) && step("connect", func() (detail string, err error) {
		if conn, err = c.transport.DialContext(ctx, "tcp", net.JoinHostPort(host, port)); err != nil {
			return "", err
		}
		return "to " + conn.RemoteAddr().String(), nil
	}) && c.url.Scheme == "https" && step("TLS", func() (string, error) {
		config := c.transport.TLSClientConfig.Clone()
		if config.ServerName == "" {
			config.ServerName = host
		}
		config.NextProtos = []string{"h2", "http/1.1"}
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return "", err
		}
		s := secure.ConnectionState()
		spoken := "HTTP/1.1"
		if s.NegotiatedProtocol == "h2" {
			spoken = "HTTP/2"
		}
		return fmt.Sprintf("%s, %s, certificate until %s", tls.VersionName(s.Version), spoken,
			s.PeerCertificates[0].NotAfter.UTC().Format(time.DateOnly)), nil
	})
	return steps
}

func list(addrs []netip.Addr) string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.Unmap().String()
	}
	return strings.Join(texts, ", ")
}

// TestHeader is the header, with the value true, of an event that SendTest sends.
const TestHeader = "Hookgate-Test"

// SendTest sends an event that only tests the consumer, signed like any other. The header
// TestHeader marks it.
func (c *Consumer) SendTest(ctx context.Context, e *hookgate.Event) hookgate.Answer {
	h := c.header(&hookgate.Delivery{Event: e, Attempt: 1})
	h[http.CanonicalHeaderKey(TestHeader)] = []string{"true"}
	return c.post(ctx, h, e.Body)
}
