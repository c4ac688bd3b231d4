package certify

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/load"
)

// signatureHeader signs a webhook of a source of kind envelope.
const signatureHeader = "X-Webhook-Signature"

// credentialReport is credentials.json: well-formed webhooks whose credential is wrong.
type credentialReport struct {
	Tried []credentialTry `json:"tried"`
	// Stored and Traced are the message ids of those that the target stored, or has a trail of.
	Stored []string `json:"stored"`
	Traced []string `json:"traced"`
	// Skipped says why they were not tried, Unread why Stored and Traced are not known.
	Skipped string `json:"skipped,omitempty"`
	Unread  string `json:"unread,omitempty"`
}

// credentialTry is such a webhook and its answer.
type credentialTry struct {
	Credential string `json:"credential"`
	// MessageID is empty for a repetition of an event that is stored.
	MessageID string `json:"messageId,omitempty"`
	answer
}

func (r *credentialReport) criterion(p Profile) Criterion {
	c := Criterion{ID: "credentials", Relation: "=", Unit: "webhooks", Evidence: credentialsFile,
		Text: "webhooks with a wrong credential that were not answered 401, or are stored"}
	unclear := r.Unread
	for _, t := range r.Tried {
		why := t.foreign(webhookPath, http.StatusUnauthorized)
		switch {
		case t.Status == http.StatusUnauthorized:
		case why != "":
			unclear = orElse(unclear, t.Credential+": "+why)
		default:
			c.Value++
			c.find("a webhook with %s was answered %d, it should be 401", t.Credential, t.Status)
		}
	}
	for _, id := range r.Stored {
		c.Value++
		c.find("%s has a wrong credential and is stored", id)
	}
	for _, id := range r.Traced {
		c.Value++
		c.find("%s has a wrong credential and a trail, as if the target had accepted it", id)
	}
	c.decide()
	switch {
	case r.Skipped != "" && p.CanaryPercent < 100:
		c.Note = "not tried: " + r.Skipped
	case len(r.Tried) == 0:
		c.invalidate("no webhook with a wrong credential was tried")
	case unclear != "" && c.Status == Pass:
		c.invalidate("%s", unclear)
	}
	return c
}

// badCredential is what a webhook is sent with instead of what authenticates it.
type badCredential struct {
	name   string
	header http.Header
}

// badCredentials returns everything that must not authenticate a body.
func badCredentials(c load.Credentials, body []byte) (all []badCredential) {
	signed := func(name, signature string) {
		all = append(all, badCredential{name, http.Header{signatureHeader: {signature}}})
	}
	with := func(name, authorization string) {
		all = append(all, badCredential{name, http.Header{"Authorization": {authorization}}})
	}
	const another = "another secret of no sender"
	all = append(all, badCredential{name: "no credential"})
	signed("an empty signature", "")
	signed("a signature without digits", "sha256=")
	signed("a signature of zeros", "sha256="+strings.Repeat("0", 64))
	signed("a signature by another secret", load.Credentials{HMACSecret: another}.Sign(body))
	with("an empty bearer key", "Bearer ")
	with("another bearer key", "Bearer "+another)
	if c.HMACSecret != "" {
		good := c.Sign(body)
		changed := []byte(good)
		if last := &changed[len(changed)-1]; *last == '0' {
			*last = '1'
		} else {
			*last = '0'
		}
		signed("the signature of another body", c.Sign(append([]byte(" "), body...)))
		signed("the signature of an empty body", c.Sign(nil))
		signed("a signature whose last digit is changed", string(changed))
		signed("a signature without its last digit", good[:len(good)-1])
		signed("the first half of a signature", good[:len("sha256=")+32])
		signed("a signature by the upper-case secret", load.Credentials{
			HMACSecret: upper(c.HMACSecret)}.Sign(body))
		with("its signature as the bearer key", "Bearer "+good)
	}
	if key := c.BearerKey; key != "" {
		with("the bearer key without its last character", "Bearer "+key[:len(key)-1])
		with("the bearer key with one character more", "Bearer "+key+"x")
		with("the bearer key in upper case", "Bearer "+upper(key))
		with("the name of the scheme alone", "Bearer")
	}
	return all
}

// upper is a text in upper case; with another last character if it has no lower-case letters.
func upper(s string) string {
	if u := strings.ToUpper(s); u != s {
		return u
	}
	return s + "A"
}

// refusedPrefix begins the message ids of webhooks with a wrong credential.
func (c *certification) refusedPrefix() string { return c.start.RunID + "-refused-" }

// tryCredentials sends well-formed webhooks that the target must refuse.
func (c *certification) tryCredentials(ctx context.Context) (r credentialReport) {
	r = credentialReport{Tried: []credentialTry{}, Stored: []string{}, Traced: []string{}}
	if c.Profile.CanaryPercent < 100 {
		r.Skipped = "during a canary the previous service answers what the gate would refuse"
		return r
	}
	address := strings.TrimSuffix(c.Target, "/") + c.Profile.Path
	for n := range badCredentials(c.Credentials, nil) {
		id := c.refusedPrefix() + strconv.Itoa(n)
		body := fmt.Sprintf(`{"messageId":%q,"eventType":%q,"orderingKey":"refused","sequence":1,`+
			`"payload":{}}`, id, eventTypes[0])
		bad := badCredentials(c.Credentials, []byte(body))[n]
		r.Tried = append(r.Tried, credentialTry{bad.name, id, c.target.try(ctx, http.MethodPost,
			address, webhookPath, body, http.StatusUnauthorized, bad.header)})
	}
	if body := c.storedBody(); body != "" {
		header := http.Header{signatureHeader: {load.Credentials{HMACSecret: "none"}.Sign([]byte(body))}}
		r.Tried = append(r.Tried, credentialTry{"a signature by another secret, and an event that is " +
			"stored", "", c.target.try(ctx, http.MethodPost, address, webhookPath, body,
			http.StatusUnauthorized, header)})
	}
	return r
}

// storedBody returns the body of an event that was sent; empty for recorded traffic.
func (c *certification) storedBody() string {
	if c.Input != "" || c.start.Input != "" || len(c.start.Phases) == 0 {
		return ""
	}
	name := c.start.Phases[0]
	limits, err := c.Profile.limitsOf(name)
	if err != nil {
		return ""
	}
	for m, err := range c.Profile.planOf(prefixOf(c.start.RunID, name), limits).messages() {
		if err == nil {
			return string(m.Body)
		}
		break
	}
	return ""
}

// refusedDrain bounds the wait until the queue is empty before tryCredentials is looked up.
const refusedDrain = 5 * time.Second

// lookUpRefused looks for the webhooks of tryCredentials in the store of the target.
func (c *certification) lookUpRefused(ctx context.Context, r *credentialReport) {
	if len(r.Tried) == 0 {
		return
	}
	(&observer{target: c.target}).drained(ctx, refusedDrain, time.Now())
	query := url.Values{"prefix": {c.refusedPrefix()}}
	if c.Profile.Source == hookgate.TestSource {
		query.Set("tests", "true")
	}
	if err := c.target.events(ctx, query, func(line []byte) error {
		var e struct{ MessageID string }
		if err := json.Unmarshal(line, &e); err == nil &&
			strings.HasPrefix(e.MessageID, c.refusedPrefix()) {
			r.Stored = append(r.Stored, e.MessageID)
		}
		return nil
	}); err != nil {
		r.Unread = err.Error()
		return
	}
	for _, t := range r.Tried {
		if t.MessageID == "" {
			continue
		}
		var trace struct{ Requests []json.RawMessage }
		text, err := c.target.trace(ctx, t.MessageID)
		if err != nil {
			c.say("trace %s: %v", t.MessageID, err)
			continue
		}
		if json.Unmarshal(text, &trace) == nil && len(trace.Requests) > 0 {
			r.Traced = append(r.Traced, t.MessageID)
		}
	}
}
