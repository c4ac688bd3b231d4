package admit

import (
	"net/http"
	"slices"
)

// moreHeaders are headers of well-known senders that their handlers need, beside those that sign or
// identify an event. A name that ends in a star stands for all headers that begin like it.
var moreHeaders = map[string][]string{
	"bitbucket":   {"X-Hook-UUID", "X-Attempt-Number"},
	"cloudevents": {"Ce-*"},
	"github": {"X-Hub-Signature", "X-GitHub-Hook-ID", "X-GitHub-Hook-Installation-Target-ID",
		"X-GitHub-Hook-Installation-Target-Type"},
	"gitlab":  {"X-Gitlab-Instance", "X-Gitlab-Webhook-UUID"},
	"hubspot": {"X-Hubspot-Signature", "X-Hubspot-Signature-Version"},
	"linear":  {"Linear-Delivery", "Linear-Event", "Linear-Timestamp"},
	"meta":    {"X-Hub-Signature"},
	"sentry":  {"Sentry-Hook-Timestamp"},
	"shopify": {"X-Shopify-Shop-Domain", "X-Shopify-Api-Version", "X-Shopify-Event-Id",
		"X-Shopify-Triggered-At", "X-Shopify-Sub-Topic"},
	"slack": {"X-Slack-Retry-Num", "X-Slack-Retry-Reason"},
	"sns": {"X-Amz-Sns-Message-Id", "X-Amz-Sns-Message-Type", "X-Amz-Sns-Subscription-Arn",
		"X-Amz-Sns-Topic-Arn"},
	"square": {"Square-Environment", "Square-Initial-Delivery-Timestamp", "Square-Retry-Number",
		"Square-Retry-Reason"},
	"woocommerce": {"X-WC-Webhook-Source", "X-WC-Webhook-Resource", "X-WC-Webhook-Event"},
	"zendesk":     {"X-Zendesk-Account-Id", "X-Zendesk-Webhook-Id"},
}

// KeptHeaders returns the headers that an application behind the gate needs to handle the events
// of a source: Content-Type, those that the sender signs with or signs, those at the places of id,
// type and key, and others that its handlers use. The names are in canonical form and sorted. A
// name that ends in a star stands for all headers that begin like it. None has an unencrypted
// secret.
func KeptHeaders(s Scheme) []string {
	names := []string{"Content-Type"}
	switch s := s.(type) {
	case *source:
		names = append(names, s.keptHeaders()...)
	case *shakingSource:
		names = append(names, s.keptHeaders()...)
	case *envelope:
		names = append(names, s.signature.headers()...)
	}
	for i, name := range names {
		names[i] = http.CanonicalHeaderKey(name)
	}
	slices.Sort(names)
	secret := SecretHeaders(s)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool {
		return slices.Contains(secret, name)
	})
}

func (s *source) keptHeaders() []string {
	names := append(signingHeaders(s.proof), moreHeaders[s.Name]...)
	places := s.options.Places.over(s.Places)
	for _, list := range [][]Place{places.MessageID, places.EventType, places.OrderingKey,
		places.Sequence} {
		for _, parts := range list {
			for _, text := range parts {
				if p, err := parsePlace(text); err == nil && p.kind == placeHeader {
					names = append(names, p.header)
				}
			}
		}
	}
	return names
}

// SignatureHeaders returns the headers, in canonical form, in which senders of a source send
// signatures. The value of a request that is not authentic may be a secret by mistake.
func SignatureHeaders(s Scheme) (names []string) {
	switch s := s.(type) {
	case *source:
		names = signaturesOf(s.proof)
	case *shakingSource:
		names = signaturesOf(s.proof)
	case *envelope:
		names = []string{s.signature.rule.Header}
	}
	for i, name := range names {
		names[i] = http.CanonicalHeaderKey(name)
	}
	return names
}

func signaturesOf(p proof) (names []string) {
	switch p := p.(type) {
	case signed:
		return []string{p.rule.Header}
	case zendesk:
		return signaturesOf(p.proof)
	case twilio:
		return []string{twilioHeader}
	case anyOf:
		for _, one := range p {
			names = append(names, signaturesOf(one)...)
		}
	case either:
		for _, one := range p.ways {
			names = append(names, signaturesOf(one)...)
		}
	}
	return names
}

// signingHeaders returns the headers that a proof reads, except those with an unencrypted secret.
func signingHeaders(p proof) (names []string) {
	switch p := p.(type) {
	case signed:
		return p.headers()
	case zendesk:
		return signingHeaders(p.proof)
	case twilio:
		return []string{twilioHeader}
	case anyOf:
		for _, one := range p {
			names = append(names, signingHeaders(one)...)
		}
	case either:
		for _, one := range p.ways {
			names = append(names, signingHeaders(one)...)
		}
	}
	return names
}

// headers returns the headers of the signature, of its time, and those that are signed.
func (s *signature) headers() []string {
	names := []string{s.rule.Header}
	if s.timestamp.header != "" {
		names = append(names, s.timestamp.header)
	}
	_ = s.template.headers(func(name string) error {
		names = append(names, name)
		return nil
	})
	return names
}
