package push

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/hookgate/hookgate"
)

// Values that requests share. Nobody may modify them.
var (
	jsonType  = []string{"application/json"}
	userAgent = []string{"hookgate"}
)

// reserved are the headers that belong to the connection or to the body, so that neither the sender
// nor the configuration may set them.
var reserved = map[string]bool{
	"Accept-Encoding": true, "Connection": true, "Content-Length": true, "Expect": true, "Host": true,
	"Http2-Settings": true, "Keep-Alive": true, "Proxy-Authenticate": true,
	"Proxy-Authorization": true, "Proxy-Connection": true, "Te": true, "Trailer": true,
	"Transfer-Encoding": true, "Upgrade": true,
}

// ours reports whether a header is one that the gate sets itself. name is in canonical form.
func ours(name string) bool {
	return strings.HasPrefix(name, "Webhook-") || strings.HasPrefix(name, "Hookgate-")
}

// fixedFields returns the headers of the configuration and of the user in the URL.
func fixedFields(headers map[string]string, u *url.URL) (fields []field, err error) {
	var errs []error
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		canonical, value := http.CanonicalHeaderKey(name), headers[name]
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			errs = append(errs, fmt.Errorf("%q is not a name of a header", name))
			continue
		case reserved[canonical], ours(canonical), canonical == "Content-Type",
			canonical == "Content-Encoding":
			errs = append(errs, fmt.Errorf("%s is set by the gate itself", name))
		case seen[canonical]:
			errs = append(errs, fmt.Errorf("%s occurs twice", name))
		case !httpguts.ValidHeaderFieldValue(value):
			errs = append(errs, fmt.Errorf("the value of %s has a control character", name))
		case u != nil && u.User != nil && canonical == "Authorization":
			errs = append(errs, errors.New("the URL has a user, and Authorization is set: remove one"))
		}
		seen[canonical] = true
		fields = append(fields, field{canonical, []string{value}})
	}
	if u != nil && u.User != nil {
		password, _ := u.User.Password()
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(u.User.Username(), password)
		fields = append(fields, field{"Authorization", r.Header["Authorization"]})
	}
	return fields, errors.Join(errs...)
}

func (c *Consumer) addFixed(h http.Header) {
	for _, f := range c.fixed {
		h[f.name] = f.values
	}
}

// ownFields is about how many headers the gate sets.
const ownFields = 16

// header returns the header of an attempt. The gate's own headers win over those of the
// configuration, and these over the sender's.
func (c *Consumer) header(d *hookgate.Delivery) http.Header {
	e := d.Event
	h := make(http.Header, ownFields+len(c.fixed)+len(e.Headers))
	values := make([]string, 0, ownFields+len(e.Headers)) // one allocation for all
	set := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	h["Content-Type"], h["User-Agent"] = jsonType, userAgent
	addSenders(h, e.Headers, c.original)
	c.addFixed(h)
	if !c.original {
		c.sign(h, e.WebhookID(), e.Body)
	} else if h["Webhook-Id"] == nil {
		set("Webhook-Id", e.WebhookID())
	}
	if c.name != nil {
		h["Hookgate-Subscription"] = c.name
	}
	set("Hookgate-Event-Id", strconv.FormatInt(e.ID, 10))
	set("Hookgate-Source", escape(e.Source))
	set("Hookgate-Type", escape(e.EventType))
	set("Hookgate-Message-Id", escape(e.MessageID))
	set("Hookgate-Received-At", e.ReceivedAt.UTC().Format(time.RFC3339Nano))
	set("Hookgate-Key", escape(e.Key()))
	set("Hookgate-Attempt", strconv.Itoa(d.Attempt))
	set("Hookgate-Redelivery", strconv.FormatInt(d.Redelivery, 10))
	permitRepeat(h)
	return h
}

// permitRepeat lets the transport repeat a request if the server closes an idle connection at the
// moment when it is used, before it answers. Both are one attempt. A key without a value permits
// that and is not sent.
func permitRepeat(h http.Header) {
	if _, set := h["X-Idempotency-Key"]; !set {
		h["X-Idempotency-Key"] = nil
	}
}

// addSenders adds the sender's own headers, as far as the source keeps them. It leaves out those of
// the connection and those that the gate sets itself. original keeps those of Standard Webhooks.
func addSenders(h http.Header, kept []hookgate.Header, original bool) {
	for i, k := range kept {
		name := http.CanonicalHeaderKey(k.Name)
		passed := name == hookgate.OriginHeader || original && strings.HasPrefix(name, "Webhook-")
		switch {
		case reserved[name], ours(name) && !passed,
			!httpguts.ValidHeaderFieldName(name), !httpguts.ValidHeaderFieldValue(k.Value):
			continue
		}
		again := slices.ContainsFunc(kept[:i], func(earlier hookgate.Header) bool {
			return http.CanonicalHeaderKey(earlier.Name) == name
		})
		if again && name != "Content-Type" {
			h[name] = append(h[name], k.Value)
		} else if !again {
			h[name] = []string{k.Value}
		}
	}
}

// escape makes a text a header value: percent-encoding replaces the bytes that are not printable
// ASCII, the percent sign, and a space at either end.
func escape(text string) string {
	plain := true
	for i := 0; i < len(text) && plain; i++ {
		plain = !mustEscape(text, i)
	}
	if plain {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if mustEscape(text, i) {
			fmt.Fprintf(&b, "%%%02X", text[i])
		} else {
			b.WriteByte(text[i])
		}
	}
	return b.String()
}

func mustEscape(text string, i int) bool {
	c := text[i]
	return c < ' ' || c > '~' || c == '%' || c == ' ' && (i == 0 || i == len(text)-1)
}
