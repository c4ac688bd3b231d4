// Package push delivers events to a URL.
//
//	Deliver ─► headers, signature ─► look up, check the address, connect ─► response ─► Answer
//
// A request carries the sender's own bytes and content type. Standard Webhooks signatures prove
// that the gate sent it (signature.go). The response decides what becomes of the event (answer.go).
// An attempt without a response is an outage of the consumer or a failure of our own (failure.go).
package push

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver/egress"
)

// Defaults and limits of Config.
const (
	// DefaultTimeout is the Timeout of a Config that has none.
	DefaultTimeout = 30 * time.Second
	// MinTimeout and MaxTimeout bound Config.Timeout.
	MinTimeout, MaxTimeout = 100 * time.Millisecond, time.Hour
	// DefaultConcurrency is the Concurrency of a Config that has none.
	DefaultConcurrency = 32
)

const (
	// connectTimeout bounds look-up and connection, so that their failure shows before the time-out
	// of the attempt. See failure.go.
	connectTimeout = 10 * time.Second
	// idleTimeout closes a connection that was not used. It is shorter than the time after which most
	// servers and balancers close one themselves.
	idleTimeout = 30 * time.Second
	// maxHeader bounds the header of a response, in bytes.
	maxHeader = 64 << 10
	// An HTTP/2 connection that was silent for pingAfter must answer a ping within pingTimeout.
	pingAfter, pingTimeout = 15 * time.Second, 5 * time.Second
)

// Config describes one consumer.
type Config struct {
	// Name is the name of the subscription.
	Name string
	// URL is the address of the consumer, http or https. Its path and its user may be secret: no
	// error and no Answer shows them. A user and password are sent as HTTP Basic authentication.
	URL string
	// Signing are Standard Webhooks secrets: "whsec_" and base64, base64 alone, or "raw:" and the key
	// itself. Each makes one signature. Without a secret requests are not signed.
	Signing []string
	// Timeout bounds one attempt, up to the header of the response. 0 means DefaultTimeout.
	Timeout time.Duration
	// Egress selects the addresses to which the gate may connect. Empty means egress.Any.
	Egress egress.Policy
	// Original sends the webhook- headers of the sender in place of those of the gate, so that an
	// application can verify a sender that signs as Standard Webhooks. The gate's own webhook-id
	// stays if the sender has none. It excludes Signing.
	Original bool
	// Headers are added to each request. They replace headers of the sender.
	Headers map[string]string
	// TLS applies to https.
	TLS TLS
	// Final are statuses from 300 to 599 after which no retry can help.
	Final []int
	// Concurrency is how many connections are kept open while they are idle. 0 means
	// DefaultConcurrency.
	Concurrency int
	// Now returns the time for signatures; nil means time.Now.
	Now func() time.Time

	resolver *net.Resolver // nil: that of the system
}

// Consumer delivers events to a URL. It implements hookgate.Consumer.
type Consumer struct {
	url       *url.URL
	name      []string // for the header
	fixed     []field  // headers of the configuration
	signers   []*signer
	original  bool
	timeout   time.Duration
	final     []int
	policy    egress.Policy
	now       func() time.Time
	transport *http.Transport
	// drainTime bounds the time for which the rest of a response is read.
	drainTime time.Duration
}

// field is a header whose values all requests share.
type field struct {
	name   string
	values []string
}

// New returns a consumer. It reads the files of the TLS settings and does not connect. Its error
// joins all mistakes; each begins with the setting below `push`. It shows no secret.
func New(c Config) (*Consumer, error) {
	consumer := &Consumer{name: []string{escape(c.Name)}, final: slices.Clone(c.Final), now: c.Now,
		timeout: c.Timeout, original: c.Original, drainTime: drainTime}
	if consumer.now == nil {
		consumer.now = time.Now
	}
	if c.Name == "" {
		consumer.name = nil
	}
	if consumer.timeout == 0 {
		consumer.timeout = DefaultTimeout
	}
	if c.Concurrency == 0 {
		c.Concurrency = DefaultConcurrency
	}
	var errs []error
	mistake := func(setting string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", setting, err))
		}
	}
	var err error
	c.Egress, err = egress.ParsePolicy(string(c.Egress))
	mistake("egress", err)
	consumer.url, err = parseURL(c.URL, c.Egress)
	mistake("url", err)
	if c.Original && len(c.Signing) > 0 {
		mistake("signing", errors.New("the request has the sender's own signature"))
	}
	for i, secret := range c.Signing {
		s, err := newSigner(secret)
		mistake(fmt.Sprintf("signing: secret %d", i+1), err)
		consumer.signers = append(consumer.signers, s)
	}
	if consumer.timeout < MinTimeout || consumer.timeout > MaxTimeout {
		mistake("timeout", fmt.Errorf("%v is not between %v and %v", c.Timeout, MinTimeout, MaxTimeout))
	}
	if c.Concurrency < 0 {
		mistake("concurrency", errors.New("must not be negative"))
	}
	for _, status := range c.Final {
		if status < 300 || status > 599 {
			mistake("retry.final", fmt.Errorf("%d is not a status from 300 to 599", status))
		}
	}
	consumer.fixed, err = fixedFields(c.Headers, consumer.url)
	mistake("headers", err)
	if consumer.url != nil && consumer.url.Scheme == "http" && c.TLS != (TLS{}) {
		mistake("tls", errors.New("the URL is http: use https or remove the settings of TLS"))
	}
	config, err := c.TLS.config()
	mistake("tls", err)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if consumer.url.User != nil {
		bare := *consumer.url
		bare.User = nil
		consumer.url = &bare
	}
	consumer.policy = c.Egress
	dialer := &net.Dialer{Timeout: min(connectTimeout, consumer.timeout/2),
		Control: c.Egress.Control, Resolver: c.resolver}
	consumer.transport = &http.Transport{
		Proxy:       nil, // a proxy from the environment would connect in our place, to any address
		DialContext: dialer.DialContext, TLSClientConfig: config, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: dialer.Timeout, DisableCompression: true,
		MaxIdleConnsPerHost: c.Concurrency, IdleConnTimeout: idleTimeout,
		MaxResponseHeaderBytes: maxHeader,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
	return consumer, nil
}

// parseURL returns the address of a consumer. Its errors do not show the text, which may be secret.
func parseURL(text string, policy egress.Policy) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return nil, errors.New("is missing")
	case err != nil:
		return nil, errors.New("is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("must begin with http:// or https://")
	case u.Hostname() == "":
		return nil, errors.New("has no host")
	case u.Fragment != "":
		return nil, errors.New("has a fragment (#), which is not sent to a server: remove it")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return nil, errors.New("has an invalid port")
		}
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
		if err := policy.Check(addr); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// Deliver implements hookgate.Consumer.
func (c *Consumer) Deliver(ctx context.Context, d *hookgate.Delivery) hookgate.Answer {
	return c.post(ctx, c.header(d), d.Event.Body)
}

// Send posts a message that is no event, such as an alarm, as JSON. id must be the same in each
// attempt to send it.
func (c *Consumer) Send(ctx context.Context, id string, body []byte) hookgate.Answer {
	h := http.Header{"Content-Type": jsonType, "User-Agent": userAgent}
	c.addFixed(h)
	c.sign(h, id, body)
	permitRepeat(h)
	return c.post(ctx, h, body)
}

// Host returns the host and port of the URL, for logs.
func (c *Consumer) Host() string { return c.url.Host }

// CloseIdleConnections closes the connections that are not in use.
func (c *Consumer) CloseIdleConnections() { c.transport.CloseIdleConnections() }
