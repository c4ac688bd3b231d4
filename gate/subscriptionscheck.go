package gate

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/net/http/httpguts"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/deliver/egress"
	"github.com/hookgate/hookgate/deliver/push"
	"github.com/hookgate/hookgate/ingest"
)

// SettingError is a mistake in one setting.
type SettingError struct {
	// Setting is the path of the setting, such as subscriptions.billing.push.url.
	Setting string
	// Text goes on with the sentence that Setting begins.
	Text string
}

// Error implements error.
func (e *SettingError) Error() string { return e.Setting + " " + e.Text }

// CheckSubscriptions returns every mistake in the subscriptions, each a *SettingError, except
// those that only show when a secret or a file is read. Check includes them.
func (o Options) CheckSubscriptions() error {
	var errs []error
	for _, name := range o.SubscriptionNames() {
		c := newSubscriptionCheck("subscriptions", name, &errs)
		if o.Subscriptions[name].Handler != nil {
			c.wrong("handler", "is set: register handlers with Gate.Handle")
		}
		c.check(o.Subscriptions[name], o)
	}
	return errors.Join(errs...)
}

// validName reports whether a name of a source or subscription has the permitted form.
func validName(name string) bool {
	return name != "" && len(name) <= 64 && !strings.ContainsFunc(name, func(r rune) bool {
		return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '_')
	})
}

// subscriptionCheck collects the mistakes of one subscription.
type subscriptionCheck struct {
	path string
	errs *[]error
}

// newSubscriptionCheck checks the name of a subscription and returns a check of the rest. section
// begins the paths of the settings.
func newSubscriptionCheck(section, name string, errs *[]error) *subscriptionCheck {
	c := &subscriptionCheck{section + "." + name, errs}
	if !validName(name) {
		*errs = append(*errs, &SettingError{section + ":", fmt.Sprintf("the name %q must have"+
			" 1 to 64 characters of a-z, 0-9, - and _", name)})
		c.path = fmt.Sprintf("%s.%q", section, name)
	}
	return c
}

func (c *subscriptionCheck) wrong(setting, format string, args ...any) {
	path := c.path
	if setting != "" {
		path += "." + setting
	}
	*c.errs = append(*c.errs, &SettingError{path, fmt.Sprintf(format, args...)})
}

func (c *subscriptionCheck) check(s SubscriptionOptions, o Options) {
	c.filter(s, o)
	switch s.Start.At {
	case hookgate.StartNow, hookgate.StartBeginning, hookgate.StartTime, hookgate.StartAfter:
	default:
		c.wrong("start", "is %q; it must be now, beginning, a time or the id of an event", s.Start.At)
	}
	if !slices.Contains([]hookgate.Order{hookgate.OrderKey, hookgate.OrderAll, hookgate.OrderNone},
		s.Order) {
		c.wrong("order", "is %q; it must be key, all or none", s.Order)
	}
	switch {
	case s.Push == nil && s.Pull == nil && s.Handler == nil:
		c.wrong("", "has neither push nor pull: set one of them")
	case s.Push != nil && s.Pull != nil:
		c.wrong("", "has push and pull: remove one of them")
	case s.Pull != nil && len(s.Retry.Final) > 0:
		c.wrong("retry.final", "has HTTP statuses, and clients pull the events: a client says with dead"+
			" that no retry can help")
	}
	if s.Push != nil {
		c.push(s.Push)
	}
	if s.Handler != nil {
		c.handler(s)
	}
	c.retry(s.Retry)
	if s.Then != ThenPark && s.Then != ThenDeadLetter {
		c.wrong("then", "is %q; it must be park or dead_letter", s.Then)
	}
}

// filter checks what the subscription selects.
func (c *subscriptionCheck) filter(s SubscriptionOptions, o Options) {
	if s.Sources != nil && len(s.Sources) == 0 {
		c.wrong("sources", "is an empty list: remove it to select all sources")
	}
	for i, name := range s.Sources {
		switch _, ok := o.Sources[name]; {
		case name == hookgate.TestSource && o.Sources[ingest.DefaultSource].Kind != "envelope":
			c.wrong("sources", "has %q, and this gate takes no test traffic: its source default is not"+
				" an envelope", name)
		case name == hookgate.TestSource && len(s.Sources) > 1:
			c.wrong("sources", "has %q and others: a subscription to test traffic has no other source",
				name)
		case name == hookgate.TestSource:
		case !ok:
			c.wrong("sources", "has %q, and there is no such source; there are %s", name,
				strings.Join(o.SourceNames(), ", "))
		case slices.Contains(s.Sources[:i], name):
			c.wrong("sources", "has %q twice", name)
		}
	}
	if s.Types != nil && len(s.Types) == 0 {
		c.wrong("types", "is an empty list: remove it to select all types")
	}
	for i, pattern := range s.Types {
		switch {
		case pattern == "":
			c.wrong("types", "has an empty entry, which matches no event")
		case pattern != strings.TrimSpace(pattern) ||
			strings.ContainsFunc(pattern, unicode.IsControl):
			c.wrong("types", "has %q, with white space around it or a control character in it", pattern)
		case len(pattern) > admit.MaxIdentityBytes:
			c.wrong("types", "has an entry of %d bytes; a type has at most %d", len(pattern),
				admit.MaxIdentityBytes)
		case slices.Contains(s.Types[:i], pattern):
			c.wrong("types", "has %q twice", pattern)
		}
	}
}

// ownHeaders are headers that the gate sets or that belong to the connection.
var ownHeaders = []string{"Host", "Content-Length", "Content-Type", "Content-Encoding",
	"Transfer-Encoding", "Connection", "Keep-Alive", "Te", "Trailer", "Upgrade", "Expect",
	"Proxy-Connection"}

func (c *subscriptionCheck) push(p *PushOptions) {
	u := c.url(p)
	for i, s := range p.Signing {
		if s == "" {
			c.wrong("push.signing", "has an empty entry")
		} else if slices.Contains(p.Signing[:i], s) {
			c.wrong("push.signing", "has the same secret twice, as entry %d", i+1)
		}
	}
	if p.Timeout <= 0 || p.Timeout > push.MaxTimeout {
		c.wrong("push.timeout", "is %v; it must be above 0s, and at most 1h", p.Timeout)
	}
	c.concurrency("push.concurrency", p.Concurrency)
	if !(p.Rate >= 0 && p.Rate <= 1e6) {
		c.wrong("push.rate", "is %v; it must be a number of attempts per second from 0 (no limit)"+
			" to 1000000", p.Rate)
	}
	if _, err := egress.ParsePolicy(p.Egress); err != nil || p.Egress == "" {
		c.wrong("push.egress", "is %q; it must be any, private or public", p.Egress)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Headers)) {
		switch canonical := http.CanonicalHeaderKey(name); {
		case !httpguts.ValidHeaderFieldName(name):
			c.wrong("push.headers", "has %q, which is not the name of a header", name)
		case slices.Contains(ownHeaders, canonical), strings.HasPrefix(canonical, "Webhook-"),
			strings.HasPrefix(canonical, "Hookgate-"):
			c.wrong("push.headers", "has %s, which the gate sets itself", name)
		case !httpguts.ValidHeaderFieldValue(p.Headers[name]):
			c.wrong("push.headers."+name, "has a character that a header cannot have")
		}
	}
	if (p.TLSCert == "") != (p.TLSKey == "") {
		c.wrong("push.tls_cert", "and push.tls_key belong together: set both or neither")
	}
	if u != nil && u.Scheme == "http" && (p.TLSCA != "" || p.TLSCert != "" || p.TLSKey != "") {
		c.wrong("push.url", "begins with http://, and a setting for TLS is set: use https://, or remove"+
			" tls_ca, tls_cert and tls_key")
	}
}

// url checks the URL and returns it, or nil if it cannot be used. The mistakes do not show the URL,
// which may hold a password.
func (c *subscriptionCheck) url(p *PushOptions) *url.URL {
	if p.URL == "" {
		c.wrong("push.url", "is missing")
		return nil
	}
	u, err := url.Parse(p.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		u.Fragment != "" {
		c.wrong("push.url", "must be a URL like https://app.example.com/hooks")
		return nil
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			c.wrong("push.url", "has the port %s; it must be from 1 to 65535", port)
		}
	}
	// The addresses of a name are checked when they are dialled.
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		var refused *egress.RefusedError
		switch errors.As(egress.Policy(p.Egress).Check(a), &refused); {
		case refused == nil:
		case refused.Policy == "":
			c.wrong("push.url", "has the address %s, %s, to which the gate never connects", a, refused.Is)
		default:
			c.wrong("push.egress", "is %s, and push.url has the address %s, %s", p.Egress, a, refused.Is)
		}
	}
	return u
}

// handler checks what the options of Gate.Handle have made of a subscription.
func (c *subscriptionCheck) handler(s SubscriptionOptions) {
	if s.Push != nil || s.Pull != nil {
		c.wrong("", "has a handler, and push or pull: remove all but one")
	}
	if s.Handler.Timeout <= 0 {
		c.wrong("handler.timeout", "is %v; it must be above 0s", s.Handler.Timeout)
	}
	c.concurrency("handler.concurrency", s.Handler.Concurrency)
	if i := s.Handler.Inbox; i != nil && i.Keep <= s.Retry.For {
		c.wrong("handler.inbox.keep", "is %v; it must be above retry.for", i.Keep)
	}
	if len(s.Retry.Final) > 0 {
		c.wrong("retry.final", "is for push; a handler returns gate.Dead")
	}
}

func (c *subscriptionCheck) concurrency(setting string, n int) {
	if n < 1 || n > 10_000 {
		c.wrong(setting, "is %d; it must be from 1 to 10000", n)
	}
}

func (c *subscriptionCheck) retry(r RetryOptions) {
	if r.First <= 0 {
		c.wrong("retry.first", "must be greater than zero")
	}
	switch {
	case r.Max <= 0:
		c.wrong("retry.max", "must be greater than zero")
	case r.Max < r.First:
		c.wrong("retry.max", "(%v) must not be less than retry.first (%v)", r.Max, r.First)
	}
	if r.For < 0 {
		c.wrong("retry.for", "must not be negative; 0s means no retries")
	}
	for i, status := range r.Final {
		switch {
		case status < 300 || status > 599:
			c.wrong("retry.final", "has %d; a status that can fail is from 300 to 599", status)
		case slices.Contains(r.Final[:i], status):
			c.wrong("retry.final", "has %d twice", status)
		}
	}
}
