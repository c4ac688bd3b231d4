package gate

import (
	"strings"

	"github.com/hookgate/hookgate/internal/secret"
)

// The presets below return a source of each kind: one sender with its secrets. Change fields of the
// result for what is special. docs/reference/senders.md says what the secret of each kind is, and
// where the sender shows it.
//
// A secret is taken as it is, or refers to one, as Secrets says: "env:NAME" or "file:PATH". For a
// secret that itself begins so, set SourceOptions.Secrets to "exact:" and the secret.

// Sources are senders by name. See Options.Sources.
type Sources map[string]SourceOptions

// preset returns a source of a kind.
func preset(kind string, secrets []string) SourceOptions {
	return SourceOptions{Kind: kind, Secrets: exactly(secrets)}
}

// exactly returns secrets whose text is taken as it is. References remain references.
func exactly(texts []string) (secrets Secrets) {
	for _, text := range texts {
		if !strings.HasPrefix(text, secret.Exact) {
			text = secret.Exact + text
		}
		secrets = append(secrets, text)
	}
	return secrets
}

// Envelope is for senders of your own, which send the JSON envelope and sign it. The secrets are
// for HMAC; set BearerKeys for bearer keys. With neither the gate makes its own, for the source
// "default".
func Envelope(secrets ...string) SourceOptions { return preset("envelope", secrets) }

// HMAC is for senders without a preset that sign as signature says. HMAC, Bearer, Basic, APIKey and
// None do not know where the sender puts its message id: set MessageID.
func HMAC(signature SignatureOptions, secrets ...string) SourceOptions {
	s := preset("hmac", secrets)
	s.Signature = signature
	return s
}

// Bearer is for senders that send "Authorization: Bearer" with a token.
func Bearer(tokens ...string) SourceOptions { return preset("bearer", tokens) }

// Basic is for senders that send "Authorization: Basic". An entry is user:password.
func Basic(users ...string) SourceOptions { return preset("basic", users) }

// APIKey is for senders that send a key in a header; empty: admit.DefaultKeyHeader.
func APIKey(header string, keys ...string) SourceOptions {
	s := preset("api_key", keys)
	s.Header = header
	return s
}

// None is for senders that prove nothing: everybody who reaches the gate may send. It needs
// Options.AllowUnauthenticated, unless the gate listens on loopback.
func None() SourceOptions { return SourceOptions{Kind: "none"} }

// Meta is for Meta: WhatsApp, Messenger, Instagram, Facebook. Meta sends verifyToken when it checks
// the address.
func Meta(verifyToken string, secrets ...string) SourceOptions {
	s := preset("meta", secrets)
	s.VerifyTokens = exactly([]string{verifyToken})
	return s
}

// SNS is for Amazon SNS. Amazon signs the messages of every topic, so topics are the ARNs that may
// send. Set Confirm to confirm their subscriptions.
func SNS(topics ...string) SourceOptions { return SourceOptions{Kind: "sns", Topics: topics} }

// Bitbucket is for Bitbucket, Cloud and Data Center.
func Bitbucket(secrets ...string) SourceOptions { return preset("bitbucket", secrets) }

// Calendly is for Calendly.
func Calendly(secrets ...string) SourceOptions { return preset("calendly", secrets) }

// CloudEvents is for CloudEvents over HTTP.
func CloudEvents(secrets ...string) SourceOptions { return preset("cloudevents", secrets) }

// Discord is for Discord. The keys are public keys in hex.
func Discord(keys ...string) SourceOptions { return preset("discord", keys) }

// Dropbox is for Dropbox.
func Dropbox(secrets ...string) SourceOptions { return preset("dropbox", secrets) }

// GitHub is for GitHub.
func GitHub(secrets ...string) SourceOptions { return preset("github", secrets) }

// GitLab is for GitLab.
func GitLab(secrets ...string) SourceOptions { return preset("gitlab", secrets) }

// Intercom is for Intercom.
func Intercom(secrets ...string) SourceOptions { return preset("intercom", secrets) }

// Linear is for Linear.
func Linear(secrets ...string) SourceOptions { return preset("linear", secrets) }

// Mailgun is for Mailgun.
func Mailgun(secrets ...string) SourceOptions { return preset("mailgun", secrets) }

// MicrosoftGraph is for Microsoft Graph.
func MicrosoftGraph(secrets ...string) SourceOptions { return preset("microsoft_graph", secrets) }

// Okta is for Okta event hooks.
func Okta(secrets ...string) SourceOptions { return preset("okta", secrets) }

// Paddle is for Paddle Billing.
func Paddle(secrets ...string) SourceOptions { return preset("paddle", secrets) }

// PagerDuty is for PagerDuty, webhooks version 3.
func PagerDuty(secrets ...string) SourceOptions { return preset("pagerduty", secrets) }

// SendGrid is for the SendGrid Event Webhook. The keys are public keys.
func SendGrid(keys ...string) SourceOptions { return preset("sendgrid", keys) }

// Sentry is for Sentry.
func Sentry(secrets ...string) SourceOptions { return preset("sentry", secrets) }

// Shopify is for Shopify.
func Shopify(secrets ...string) SourceOptions { return preset("shopify", secrets) }

// Slack is for Slack.
func Slack(secrets ...string) SourceOptions { return preset("slack", secrets) }

// StandardWebhooks is for senders that follow Standard Webhooks.
func StandardWebhooks(secrets ...string) SourceOptions { return preset("standard_webhooks", secrets) }

// Stripe is for Stripe.
func Stripe(secrets ...string) SourceOptions { return preset("stripe", secrets) }

// Svix is for Svix and its users, such as Clerk and Resend.
func Svix(secrets ...string) SourceOptions { return preset("svix", secrets) }

// Telegram is for Telegram bots.
func Telegram(secrets ...string) SourceOptions { return preset("telegram", secrets) }

// Typeform is for Typeform.
func Typeform(secrets ...string) SourceOptions { return preset("typeform", secrets) }

// WooCommerce is for WooCommerce.
func WooCommerce(secrets ...string) SourceOptions { return preset("woocommerce", secrets) }

// Zendesk is for Zendesk.
func Zendesk(secrets ...string) SourceOptions { return preset("zendesk", secrets) }

// Zoom is for Zoom.
func Zoom(secrets ...string) SourceOptions { return preset("zoom", secrets) }

// HubSpot is for HubSpot, signature version 3. It signs the URL: set Options.PublicURL, or
// PublicURL of the source.
func HubSpot(secrets ...string) SourceOptions { return preset("hubspot", secrets) }

// Square is for Square. It signs the URL: set Options.PublicURL, or PublicURL of the source.
func Square(secrets ...string) SourceOptions { return preset("square", secrets) }

// Twilio is for Twilio. It signs the URL: set Options.PublicURL, or PublicURL of the source.
func Twilio(secrets ...string) SourceOptions { return preset("twilio", secrets) }
