package gate

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver/egress"
	"github.com/hookgate/hookgate/deliver/push"
	"github.com/hookgate/hookgate/internal/secret"
)

// SubscriptionOptions describe a subscription: which events leave the gate, where they go, and what
// happens if they do not arrive. PushTo returns one with the defaults.
type SubscriptionOptions struct {
	// Sources and Types select events. In a type a star stands for any text. nil: all.
	Sources []string `setting:"sources"`
	Types   []string `setting:"types"`
	// Start is where the subscription begins. It counts once, when the gate first sees the
	// subscription.
	Start Start `setting:"start"`
	// Order says which events wait for each other.
	Order hookgate.Order `setting:"order"`
	// Exactly one of Push, Pull and Handler is set.
	Push *PushOptions `setting:"push"`
	Pull *PullOptions `setting:"pull"`
	// Handler is set by Gate.Handle, HandleTx and HandleSQL, and only there.
	Handler *HandlerOptions `setting:"-"`
	Retry   RetryOptions    `setting:"retry"`
	// Then is ThenPark or ThenDeadLetter: what happens to an event when the time to retry is over.
	Then string `setting:"then"`
}

// The values of SubscriptionOptions.Then.
const (
	ThenPark       = "park"        // the event and the later ones of its key wait for a person
	ThenDeadLetter = "dead_letter" // the event becomes a dead letter; the next one of its key follows
)

// PushOptions say how the gate sends the events of a subscription to a URL.
type PushOptions struct {
	// URL may have a user and password, which are sent as HTTP Basic authentication.
	URL string `setting:"url"`
	// Signing are Standard Webhooks secrets, whsec_ and base64. Each one makes a signature, so that
	// the receiver can change from one to another. Without any, requests have no signature.
	Signing Secrets `setting:"signing"`
	// Timeout bounds one attempt, from the connection to the header of the answer.
	Timeout time.Duration `setting:"timeout"`
	// Concurrency bounds the attempts at a time. With OrderAll there is one at a time.
	Concurrency int `setting:"concurrency"`
	// Rate bounds the attempts per second; 0: no limit.
	Rate float64 `setting:"rate"`
	// Egress is the egress.Policy: which addresses the URL may lead to.
	Egress string `setting:"egress"`
	// Headers are sent with each request. A value is a text or a reference, like those of Secrets.
	Headers map[string]string `setting:"headers"`
	// TLSCA is a file of certificates to trust. TLSCert and TLSKey are files with a certificate and
	// its key, which the gate presents.
	TLSCA   string `setting:"tls_ca"`
	TLSCert string `setting:"tls_cert"`
	TLSKey  string `setting:"tls_key"`
}

// PullOptions make a subscription wait for clients that fetch its events.
type PullOptions struct{}

// RetryOptions say when a failed delivery is tried again.
type RetryOptions struct {
	// First is the wait after the first failure. Each wait is twice as long as the one before, up to
	// Max, and then shortened by chance.
	First time.Duration `setting:"first"`
	Max   time.Duration `setting:"max"`
	// For is how long the gate retries; 0: not at all. Time in which the subscription is paused, or
	// its consumer away, does not count.
	For time.Duration `setting:"for"`
	// Final are HTTP statuses that are not retried.
	Final []int `setting:"final"`
}

// HandlerOptions say how the gate calls a Go function.
type HandlerOptions struct {
	// Timeout bounds the context of one call. The gate waits until the function returns, also after
	// that.
	Timeout time.Duration
	// Concurrency bounds the calls at a time. With OrderAll there is one at a time. HandleTx and
	// HandleSQL have fewer transactions: the others wait, and share the next one.
	Concurrency int
	// Inbox is set by HandleTx and HandleSQL, and only there.
	Inbox *InboxOptions
}

// InboxOptions describe the inbox of a handler, in the database of the program.
type InboxOptions struct {
	// Table is its name, which may have a schema: "billing.inbox". The schema must exist. Several
	// subscriptions can share a table.
	Table string
	// Keep is how long a row is kept. It must be longer than an event can come again:
	// RetryOptions.For, plus your longest outage and pause, plus the time for which you let events
	// stay parked.
	Keep time.Duration
}

// PushTo returns a subscription that sends the events of all sources to a URL, with the defaults.
func PushTo(url string) SubscriptionOptions {
	s := defaultSubscription()
	s.Push = &PushOptions{URL: url, Timeout: push.DefaultTimeout,
		Concurrency: push.DefaultConcurrency, Egress: string(egress.Any)}
	return s
}

// defaultSubscription returns a subscription without a consumer.
func defaultSubscription() SubscriptionOptions {
	return SubscriptionOptions{
		Start: Start{At: hookgate.StartNow},
		Order: hookgate.OrderKey,
		Retry: RetryOptions{First: time.Second, Max: 5 * time.Minute, For: 72 * time.Hour},
		Then:  ThenPark,
	}
}

// Start is where a subscription begins.
type Start hookgate.Start

// maxEventID is above every event id.
const maxEventID = 1 << 53

// UnmarshalText parses now, beginning, a time in the form of RFC 3339, or the id of an event.
func (s *Start) UnmarshalText(text []byte) error {
	switch t := string(text); t {
	case string(hookgate.StartNow), string(hookgate.StartBeginning):
		*s = Start{At: hookgate.StartAt(t)}
		return nil
	default:
		if id, err := strconv.ParseInt(t, 10, 64); err == nil && id >= 0 && id < maxEventID {
			*s = Start{At: hookgate.StartAfter, After: id}
			return nil
		}
		at, err := time.Parse(time.RFC3339, t)
		if err != nil {
			return fmt.Errorf("%q is not a start: write now, beginning, a time like"+
				" 2026-11-29T08:00:00Z, or the id of an event", t)
		}
		*s = Start{At: hookgate.StartTime, Time: at}
		return nil
	}
}

// SubscriptionNames returns the names of all subscriptions, sorted.
func (o Options) SubscriptionNames() []string {
	return slices.Sorted(maps.Keys(o.Subscriptions))
}

// definition is the form in which the store keeps a subscription. It has the names of the settings,
// and no secret: of secrets and values of headers it has the references only, and of the URL
// neither the password nor the query, which may hold a token.
type definition struct {
	Sources []string       `json:"sources,omitempty"`
	Types   []string       `json:"types,omitempty"`
	Order   hookgate.Order `json:"order"`
	Push    *pushed        `json:"push,omitempty"`
	Handler *handled       `json:"handler,omitempty"`
	Pull    *PullOptions   `json:"pull,omitempty"`
	Retry   struct {
		First string `json:"first"`
		Max   string `json:"max"`
		For   string `json:"for"`
		Final []int  `json:"final,omitempty"`
	} `json:"retry"`
	Then string `json:"then"`
}

type handled struct {
	Timeout     string `json:"timeout"`
	Concurrency int    `json:"concurrency"`
}

type pushed struct {
	URL         string            `json:"url"`
	Signed      bool              `json:"signed"`
	Signing     []string          `json:"signing,omitempty"`
	Timeout     string            `json:"timeout"`
	Concurrency int               `json:"concurrency"`
	Rate        float64           `json:"rate,omitempty"`
	Egress      string            `json:"egress"`
	Headers     map[string]string `json:"headers,omitempty"`
	TLSCA       string            `json:"tls_ca,omitempty"`
	TLSCert     string            `json:"tls_cert,omitempty"`
	TLSKey      string            `json:"tls_key,omitempty"`
}

// definition returns the part of a subscription that the processes of a gate share.
func (s SubscriptionOptions) definition(name string) (hookgate.SubscriptionDefinition, error) {
	d := definition{Sources: s.Sources, Types: s.Types, Order: s.Order, Pull: s.Pull, Then: s.Then}
	d.Retry.First, d.Retry.Max = s.Retry.First.String(), s.Retry.Max.String()
	d.Retry.For, d.Retry.Final = s.Retry.For.String(), s.Retry.Final
	if p := s.Push; p != nil {
		d.Push = &pushed{URL: withoutSecrets(p.URL), Signed: len(p.Signing) > 0,
			Timeout: p.Timeout.String(), Concurrency: s.concurrency(), Rate: p.Rate, Egress: p.Egress,
			TLSCA: p.TLSCA, TLSCert: p.TLSCert, TLSKey: p.TLSKey}
		for _, setting := range p.Signing {
			if secret.Refers(setting) {
				d.Push.Signing = append(d.Push.Signing, setting)
			}
		}
		for name, value := range p.Headers {
			if d.Push.Headers == nil {
				d.Push.Headers = map[string]string{}
			}
			if !secret.Refers(value) {
				value = ""
			}
			d.Push.Headers[http.CanonicalHeaderKey(name)] = value
		}
	}
	if h := s.Handler; h != nil {
		d.Handler = &handled{h.Timeout.String(), s.concurrency()}
	}
	text, err := json.Marshal(d)
	return hookgate.SubscriptionDefinition{
		Name: name, Start: hookgate.Start(s.Start), Order: s.Order,
		Filter:     hookgate.Filter{Sources: s.Sources, Types: s.Types},
		Definition: string(text),
	}, err
}

// concurrency returns the number of attempts at a time.
func (s SubscriptionOptions) concurrency() int {
	switch {
	case s.Order == hookgate.OrderAll:
		return 1
	case s.Push != nil:
		return s.Push.Concurrency
	case s.Handler != nil:
		return s.Handler.Concurrency
	}
	return 1
}

// hostOf returns the host and port of a URL.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Host
}

// withoutSecrets returns a URL without its user, its query and the parts of its path that look
// like secrets.
func withoutSecrets(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	parts := strings.Split(u.EscapedPath(), "/")
	for i, part := range parts {
		if len(part) >= secretPart && strings.ContainsFunc(part,
			func(r rune) bool { return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' }) {
			parts[i] = "…"
		}
	}
	shown := u.Scheme + "://" + u.Host + strings.Join(parts, "/")
	if u.RawQuery != "" {
		shown += "?…"
	}
	return shown
}

// secretPart is the length, in bytes, from which a part of a path with a digit or an upper-case
// letter looks like a secret.
const secretPart = 16
