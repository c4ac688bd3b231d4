package verify

import "github.com/hookgate/hookgate/admit"

// Presets for the senders that the gate knows, by their names. docs/reference/senders.md says what
// the secret of each sender is. Several secrets are valid at once, so that they can be rotated. A
// secret is taken as it is.

// preset returns a preset with secrets.
func preset(kind string, secrets []string) Preset {
	return Preset{kind: kind, options: admit.Options{Secrets: secrets}}
}

// generic returns a preset of a kind for senders without one of their own. Such a kind wants to
// know where the message id is, which a Verifier does not need.
func generic(kind string, secrets []string) Preset {
	p := preset(kind, secrets)
	p.options.Places.MessageID = []admit.Place{{"sha256:body"}}
	return p
}

// Envelope is for senders of your own, which sign the JSON envelope with HMAC.
func Envelope(secrets ...string) Preset { return preset("envelope", secrets) }

// HMAC is for senders without a preset that sign as rule says. A rule with {url} also needs
// Preset.URL.
func HMAC(rule admit.Rule, secrets ...string) Preset {
	p := generic("hmac", secrets)
	p.options.Signature = rule
	return p
}

// Bearer is for senders that send "Authorization: Bearer" with a token.
func Bearer(tokens ...string) Preset { return generic("bearer", tokens) }

// Basic is for senders that send "Authorization: Basic". An entry is user:password.
func Basic(users ...string) Preset { return generic("basic", users) }

// APIKey is for senders that send a key in a header; empty: admit.DefaultKeyHeader.
func APIKey(header string, keys ...string) Preset {
	p := generic("api_key", keys)
	p.options.Header = header
	return p
}

// Meta is for Meta: WhatsApp, Messenger, Instagram, Facebook. Meta sends verifyToken when it checks
// the address.
func Meta(verifyToken string, secrets ...string) Preset {
	p := preset("meta", secrets)
	p.options.VerifyTokens = []string{verifyToken}
	return p
}

// SNS is for Amazon SNS. The topics are the ARNs that may send. client fetches the certificates of
// Amazon; the package makes no requests itself. Subscriptions are not confirmed.
func SNS(client admit.Amazon, topics ...string) Preset {
	return Preset{kind: "sns", options: admit.Options{Amazon: client, Topics: topics}}
}

// Bitbucket is for Bitbucket, Cloud and Data Center.
func Bitbucket(secrets ...string) Preset { return preset("bitbucket", secrets) }

// Calendly is for Calendly.
func Calendly(secrets ...string) Preset { return preset("calendly", secrets) }

// CloudEvents is for CloudEvents over HTTP.
func CloudEvents(secrets ...string) Preset { return preset("cloudevents", secrets) }

// Discord is for Discord. The keys are public keys in hex.
func Discord(keys ...string) Preset { return preset("discord", keys) }

// Dropbox is for Dropbox.
func Dropbox(secrets ...string) Preset { return preset("dropbox", secrets) }

// GitHub is for GitHub.
func GitHub(secrets ...string) Preset { return preset("github", secrets) }

// GitLab is for GitLab.
func GitLab(secrets ...string) Preset { return preset("gitlab", secrets) }

// Intercom is for Intercom.
func Intercom(secrets ...string) Preset { return preset("intercom", secrets) }

// Linear is for Linear.
func Linear(secrets ...string) Preset { return preset("linear", secrets) }

// Mailgun is for Mailgun.
func Mailgun(secrets ...string) Preset { return preset("mailgun", secrets) }

// MicrosoftGraph is for Microsoft Graph.
func MicrosoftGraph(secrets ...string) Preset { return preset("microsoft_graph", secrets) }

// Okta is for Okta event hooks.
func Okta(secrets ...string) Preset { return preset("okta", secrets) }

// Paddle is for Paddle Billing.
func Paddle(secrets ...string) Preset { return preset("paddle", secrets) }

// PagerDuty is for PagerDuty, webhooks version 3.
func PagerDuty(secrets ...string) Preset { return preset("pagerduty", secrets) }

// SendGrid is for the SendGrid Event Webhook. The keys are public keys.
func SendGrid(keys ...string) Preset { return preset("sendgrid", keys) }

// Sentry is for Sentry.
func Sentry(secrets ...string) Preset { return preset("sentry", secrets) }

// Shopify is for Shopify.
func Shopify(secrets ...string) Preset { return preset("shopify", secrets) }

// Slack is for Slack.
func Slack(secrets ...string) Preset { return preset("slack", secrets) }

// StandardWebhooks is for senders that follow Standard Webhooks.
func StandardWebhooks(secrets ...string) Preset { return preset("standard_webhooks", secrets) }

// Stripe is for Stripe.
func Stripe(secrets ...string) Preset { return preset("stripe", secrets) }

// Svix is for Svix and its users, such as Clerk and Resend.
func Svix(secrets ...string) Preset { return preset("svix", secrets) }

// Telegram is for Telegram bots.
func Telegram(secrets ...string) Preset { return preset("telegram", secrets) }

// Typeform is for Typeform.
func Typeform(secrets ...string) Preset { return preset("typeform", secrets) }

// WooCommerce is for WooCommerce.
func WooCommerce(secrets ...string) Preset { return preset("woocommerce", secrets) }

// Zendesk is for Zendesk.
func Zendesk(secrets ...string) Preset { return preset("zendesk", secrets) }

// Zoom is for Zoom.
func Zoom(secrets ...string) Preset { return preset("zoom", secrets) }

// HubSpot is for HubSpot, signature version 3. It signs the URL that it calls.
func HubSpot(url string, secrets ...string) Preset {
	p := preset("hubspot", secrets)
	p.URL = url
	return p
}

// Square is for Square. It signs the URL that it calls.
func Square(url string, secrets ...string) Preset {
	p := preset("square", secrets)
	p.URL = url
	return p
}

// Twilio is for Twilio. It signs the URL that it calls.
func Twilio(url string, secrets ...string) Preset {
	p := preset("twilio", secrets)
	p.URL = url
	return p
}
