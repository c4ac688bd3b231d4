package admit

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// presets are the kinds of well-known senders. Each follows the documentation of the sender, which
// docs/reference/senders.md links.
func presets() []kind {
	ok := Success{Status: http.StatusOK}
	return []kind{
		{
			Kind: Kind{Name: "standard_webhooks", Sender: "Standard Webhooks",
				Proof: "HMAC-SHA256 (v1) or Ed25519 (v1a) of {header:webhook-id}.{timestamp}.{body} in" +
					" webhook-signature",
				Places: Places{MessageID: list("header:webhook-id"), EventType: list("json:type",
					"const:event")}},
			rule:  standardRule("webhook"),
			proof: func(o Options) (proof, error) { return newStandard("webhook", o) },
		},
		{
			Kind: Kind{Name: "svix", Sender: "Svix and its users, such as Clerk and Resend",
				Proof: "HMAC-SHA256 (v1) or Ed25519 (v1a) of {header:svix-id}.{timestamp}.{body} in" +
					" svix-signature",
				Places: Places{MessageID: list("header:svix-id"), EventType: list("json:type",
					"json:event_type", "const:event")}},
			rule:  standardRule("svix"),
			proof: func(o Options) (proof, error) { return newStandard("svix", o) },
		},
		{
			// docs.github.com, "Webhook events and payloads"
			Kind: Kind{Name: "github", Sender: "GitHub", LargestBody: 25 << 20,
				Places: Places{MessageID: list("header:X-GitHub-Delivery"),
					EventType: list("header:X-GitHub-Event"), OrderingKey: list("json:repository.full_name")}},
			rule: Rule{Header: "X-Hub-Signature-256", Prefix: Prefixes{"sha256="}},
			hint: "; set a secret in the webhook's settings", body: bodyObject,
			expected: "set the webhook's content type to application/json",
		},
		{
			Kind: Kind{Name: "gitlab", Sender: "GitLab",
				Proof: "X-Gitlab-Token, or Standard Webhooks for a secret that begins with whsec_",
				Places: Places{
					// GitLab has Idempotency-Key since 17.4. Without it two events can have the same body, if a
					// branch moves back and forth, but then not the same UUID. Events that a hook causes share a
					// UUID.
					MessageID: []Place{{"header:webhook-id"}, {"header:Idempotency-Key"},
						{"header:X-Gitlab-Event-UUID", "sha256:body"}, {"sha256:body"}},
					EventType:   list("header:X-Gitlab-Event"),
					OrderingKey: list("json:project.path_with_namespace", "json:project_id", "json:group_id")}},
			proof: newGitLab, body: bodyObject,
		},
		{
			Kind: Kind{Name: "bitbucket", Sender: "Bitbucket, Cloud and Data Center",
				Places: Places{MessageID: list("header:X-Request-UUID", "header:X-Request-Id", "sha256:body"),
					EventType: list("header:X-Event-Key"),
					OrderingKey: list("json:repository.full_name", "json:repository.id",
						"json:pullRequest.toRef.repository.id")}},
			rule: Rule{Header: "X-Hub-Signature", Prefix: Prefixes{"sha256="}},
			hint: "; set a secret in the webhook's settings", body: bodyObject,
			handshake: handshake{reply: bitbucketReply, mayPing: bitbucketPing,
				isPing: bitbucketPingBody.Match},
		},
		{
			Kind: Kind{Name: "stripe", Sender: "Stripe",
				Places: Places{MessageID: list("json:id"), EventType: list("json:type"),
					OrderingKey: list("json:data.object.customer", "json:data.object.id", "json:id")}},
			rule: Rule{Header: "Stripe-Signature", Separator: ",", Prefix: Prefixes{"v1="},
				Signed: "{timestamp}.{body}", Timestamp: "element:t="},
			body: bodyObject,
		},
		{
			Kind: Kind{Name: "shopify", Sender: "Shopify",
				Places: Places{MessageID: list("header:X-Shopify-Webhook-Id"),
					EventType:   list("header:X-Shopify-Topic"),
					OrderingKey: list("json:id", "header:X-Shopify-Shop-Domain")}},
			rule: Rule{Header: "X-Shopify-Hmac-Sha256", Encoding: "base64"},
		},
		{
			Kind: Kind{Name: "slack", Sender: "Slack: events, commands, interactions",
				Places: Places{MessageID: list("json:event_id", "form:trigger_id", "sha256:body"),
					EventType: list("json:event.type", "json:type", "form:command", "const:interaction"),
					OrderingKey: list("json:event.channel", "json:event.channel.id", "json:team_id",
						"form:channel_id"),
				}, Success: ok},
			// Slack makes three attempts within six minutes.
			repeats: 15 * time.Minute,
			rule: Rule{Header: "X-Slack-Signature", Prefix: Prefixes{"v0="},
				Signed: "v0:{timestamp}:{body}", Timestamp: "header:X-Slack-Request-Timestamp"},
			body: bodyJSONOrForm, handshake: handshake{reply: slackReply},
		},
		{
			Kind: Kind{Name: "twilio", Sender: "Twilio",
				Proof: "HMAC-SHA1 of the URL and the form's fields, or of the URL with bodySHA256," +
					" in X-Twilio-Signature",
				Places: Places{MessageID: list("header:I-Twilio-Idempotency-Token", "sha256:body"),
					EventType: list("form:MessageStatus", "form:SmsStatus", "form:CallStatus", "json:type",
						"const:event"),
					OrderingKey: list("form:MessageSid", "form:CallSid", "form:SmsSid", "const:twilio")},
				Success: Success{http.StatusOK, "text/xml", "<Response/>"}},
			proof: newTwilio, hashed: signedByTwilio, sign: signTwilio,
		},
		{
			Kind: Kind{Name: "discord", Sender: "Discord: interactions, webhook events",
				Places: Places{MessageID: list("json:id", "sha256:body"), EventType: list("json:event.type",
					"json:type"),
					OrderingKey: list("json:guild_id", "json:event.data.guild.id", "json:application_id")},
				Success: Success{Status: http.StatusNoContent}},
			repeats: 15 * time.Minute, // webhook events, for ten minutes
			rule: Rule{Algorithm: ed25519Algorithm, Header: "X-Signature-Ed25519",
				Signed:    "{timestamp}{body}",
				Timestamp: "header:X-Signature-Timestamp", SecretEncoding: "hex"},
			body: bodyObject, handshake: handshake{reply: discordReply},
		},
		{
			Kind: Kind{Name: "meta", Sender: "Meta: WhatsApp, Messenger, Instagram, Facebook",
				Places: Places{MessageID: list("sha256:body"), EventType: list("json:object"),
					OrderingKey: list("json:entry.0.id")},
				Success: ok},
			rule: Rule{Header: "X-Hub-Signature-256", Prefix: Prefixes{"sha256="}},
			body: bodyObject, uses: uses{verifyTokens: true},
			handshake: handshake{methods: []string{http.MethodGet}, greet: metaGreet},
		},
		{
			Kind: Kind{Name: "zoom", Sender: "Zoom",
				Places: Places{MessageID: list("sha256:body"), EventType: list("json:event"),
					OrderingKey: list("json:payload.object.id", "json:payload.account_id")},
				Success: ok},
			repeats: 3 * time.Hour, // after 5, 25 and 85 minutes
			rule: Rule{Header: "X-Zm-Signature", Prefix: Prefixes{"v0="}, Signed: "v0:{timestamp}:{body}",
				Timestamp: "header:X-Zm-Request-Timestamp"},
			body: bodyObject, handshake: handshake{reply: zoomReply},
		},
		{
			Kind: Kind{Name: "linear", Sender: "Linear",
				// Linear-Delivery is not signed; the body is. webhookTimestamp may differ in each attempt.
				Places: Places{MessageID: list("sha256:body-without:webhookTimestamp"),
					EventType:   list("json:type"),
					OrderingKey: list("json:data.issueId", "json:data.id", "json:organizationId")},
				Success: ok},
			repeats: 8 * time.Hour, // after 1 minute, 1 hour and 6 hours
			rule: Rule{Header: "Linear-Signature", Timestamp: "json:webhookTimestamp",
				TimestampUnit: "ms"},
			body: bodyObject,
		},
		{
			Kind: Kind{Name: "intercom", Sender: "Intercom",
				Places: Places{MessageID: list("json:id"), EventType: list("json:topic"),
					OrderingKey: list("json:data.item.id", "json:app_id")},
				Success: ok},
			rule: Rule{Algorithm: "hmac-sha1", Header: "X-Hub-Signature", Prefix: Prefixes{"sha1="}},
			body: bodyObject, handshake: handshake{reply: intercomReply},
		},
		{
			Kind: Kind{Name: "hubspot", Sender: "HubSpot (signature version 3)",
				Split: "json:@this",
				// eventId is not always unique, and a retry changes attemptNumber.
				Places: Places{MessageID: list("sha256:body-without:attemptNumber"),
					EventType:   list("json:subscriptionType"),
					OrderingKey: []Place{{"json:portalId", "json:objectId"}, {"json:portalId", "const:hubspot"}}}},
			repeats: 25 * time.Hour, // ten times in 24 hours
			rule: Rule{Header: "X-Hubspot-Signature-V3", Encoding: "base64",
				Signed:    "{method}{url}{body}{timestamp}",
				Timestamp: "header:X-Hubspot-Request-Timestamp", TimestampUnit: "ms"},
			body: bodyJSON,
		},
		{
			Kind: Kind{Name: "square", Sender: "Square",
				Places: Places{MessageID: list("json:event_id"), EventType: list("json:type"),
					OrderingKey: list("json:merchant_id", "json:event_id")}},
			rule: Rule{Header: "X-Square-Hmacsha256-Signature", Encoding: "base64", Signed: "{url}{body}"},
			body: bodyObject,
		},
		{
			Kind: Kind{Name: "paddle", Sender: "Paddle Billing",
				Places: Places{MessageID: list("json:event_id"), EventType: list("json:event_type"),
					OrderingKey: list("json:data.customer_id", "json:data.id", "json:event_id")},
				Success: ok},
			repeats: 73 * time.Hour, // for three days
			rule: Rule{Header: "Paddle-Signature", Separator: ";", Prefix: Prefixes{"h1="},
				Signed: "{timestamp}:{body}", Timestamp: "element:ts="},
			body: bodyObject,
		},
		{
			Kind: Kind{Name: "sendgrid", Sender: "SendGrid Event Webhook",
				Split: "json:@this",
				// The ordering key is one mail to one recipient.
				Places: Places{MessageID: list("json:sg_event_id"), EventType: list("json:event"),
					OrderingKey: list("json:sg_message_id", "json:email", "const:sendgrid")}},
			repeats: 25 * time.Hour, // for 24 hours
			rule: Rule{Algorithm: ecdsaAlgorithm, Header: "X-Twilio-Email-Event-Webhook-Signature",
				Encoding: "base64", Signed: "{timestamp}{body}",
				Timestamp: "header:X-Twilio-Email-Event-Webhook-Timestamp"},
			body: bodyJSON,
		},
		{
			Kind: Kind{Name: "mailgun", Sender: "Mailgun",
				Proof: "HMAC-SHA256 of signature.timestamp and signature.token in the body;" +
					" the rest of the body is not signed",
				// The token is the only signed value that is unique. So each token counts once, with any body.
				Places: Places{MessageID: list("json:" + mailgunToken),
					EventType:   list("json:event-data.event"),
					OrderingKey: list("json:event-data.recipient", "json:event-data.id")},
				Success: ok}, // Mailgun repeats after any other 2xx
			repeats: 9 * time.Hour, // for 8 hours, with the first time and token
			proof:   newMailgun, body: bodyObject, sign: signMailgun,
		},
		{
			Kind: Kind{Name: "typeform", Sender: "Typeform",
				Places: Places{MessageID: list("json:event_id"), EventType: list("json:event_type"),
					OrderingKey: list("json:form_response.form_id", "json:event_id")}},
			rule: Rule{Header: "Typeform-Signature", Prefix: Prefixes{"sha256="}, Encoding: "base64"},
			body: bodyObject,
		},
		{
			Kind: Kind{Name: "woocommerce", Sender: "WooCommerce",
				// The delivery id is a hash of the webhook's id and the current second
				// (WC_Webhook::get_new_delivery_id), so it is not unique alone.
				Places: Places{MessageID: []Place{{"header:X-WC-Webhook-Delivery-ID", "sha256:body"}},
					EventType:   list("header:X-WC-Webhook-Topic"),
					OrderingKey: list("json:id", "header:X-WC-Webhook-ID")},
				Success: ok},
			rule: Rule{Header: "X-Wc-Webhook-Signature", Encoding: "base64"},
			body: bodyObject, handshake: handshake{mayPing: wooPing, isPing: wooPingBody.Match},
		},
		{
			Kind: Kind{Name: "zendesk", Sender: "Zendesk",
				Places: Places{MessageID: list("header:X-Zendesk-Webhook-Invocation-Id", "json:id",
					"sha256:body"),
					EventType: list("json:type", "const:trigger"), OrderingKey: list("json:subject",
						"header:X-Zendesk-Webhook-Id")}},
			rule: zendeskRule, proof: newZendesk,
		},
		{
			Kind: Kind{Name: "calendly", Sender: "Calendly",
				Places: Places{MessageID: list("sha256:body"), EventType: list("json:event"),
					OrderingKey: list("json:payload.uri", "json:created_by")}},
			repeats: 25 * time.Hour, // for 24 hours
			rule: Rule{Header: "Calendly-Webhook-Signature", Separator: ",", Prefix: Prefixes{"v1="},
				Signed: "{timestamp}.{body}", Timestamp: "element:t="},
			body: bodyObject,
		},
		{
			Kind: Kind{Name: "dropbox", Sender: "Dropbox",
				// Two notifications of one account have the same body but are different events.
				Places: Places{MessageID: list("request:id"), EventType: list("const:notification"),
					OrderingKey: list("json:list_folder.accounts.0")}},
			rule: Rule{Header: "X-Dropbox-Signature"},
			body: bodyObject, handshake: handshake{methods: []string{http.MethodGet}, greet: dropboxGreet},
		},
		{
			Kind: Kind{Name: "pagerduty", Sender: "PagerDuty (webhooks version 3)",
				Places: Places{MessageID: list("json:event.id"), EventType: list("json:event.event_type"),
					OrderingKey: list("json:event.data.incident.id", "json:event.data.id", "json:event.id")}},
			rule: Rule{Header: "X-Pagerduty-Signature", Separator: ",", Prefix: Prefixes{"v1="}},
			body: bodyObject,
		},
		{
			Kind: Kind{Name: "sentry", Sender: "Sentry",
				Places: Places{MessageID: list("header:Request-ID"),
					EventType: list("header:Sentry-Hook-Resource"),
					OrderingKey: list("json:data.issue.id", "json:installation.uuid",
						"header:Sentry-Hook-Resource")}},
			rule: Rule{Header: "Sentry-Hook-Signature"},
			body: bodyObject,
		},
		{
			Kind: Kind{Name: "okta", Sender: "Okta event hooks", Proof: "the secret in Authorization",
				Places: Places{MessageID: list("json:eventId"), EventType: list("json:data.events.0.eventType",
					"json:eventType"),
					OrderingKey: list("json:data.events.0.target.0.id", "json:source")},
				Success: ok},
			proof: func(o Options) (proof, error) { return newToken("Authorization", "", o) },
			body:  bodyObject, handshake: handshake{methods: []string{http.MethodGet}, greet: oktaGreet},
		},
		{
			Kind: Kind{Name: "microsoft_graph", Sender: "Microsoft Graph",
				Proof: "the secret as clientState of each notification in the body",
				// Two changes of one resource may have the same body but are different events.
				Split: "json:value",
				Places: Places{MessageID: list("json:id", "request:id"), EventType: list("json:changeType",
					"json:lifecycleEvent"),
					OrderingKey: list("json:subscriptionId")}},
			proof: newGraph, body: bodyObject, handshake: handshake{greet: graphGreet}, sign: signGraph,
		},
		{
			Kind: Kind{Name: "telegram", Sender: "Telegram bots",
				Proof: "the secret in X-Telegram-Bot-Api-Secret-Token",
				Places: Places{MessageID: list("json:update_id"), EventType: list("const:update"),
					OrderingKey: list("json:message.chat.id", "json:edited_message.chat.id",
						"json:channel_post.chat.id",
						"json:callback_query.message.chat.id", "json:callback_query.from.id",
						"json:inline_query.from.id", "const:update")},
				Success: ok},
			proof: func(o Options) (proof, error) { return newToken(telegramHeader, "", o) },
			body:  bodyObject,
		},
		{
			Kind: Kind{Name: "sns", Sender: "Amazon SNS",
				Proof: "RSA signature in the body, with a certificate of Amazon," +
					" of one of the configured topics",
				Places: Places{MessageID: list("json:MessageId"), EventType: list("json:Type"),
					OrderingKey: list("json:TopicArn")}, Success: ok},
			proof: newSNS, uses: uses{topics: true, noSecrets: true},
			expected:  "send text/plain, as Amazon SNS does, or JSON",
			handshake: handshake{reply: snsReply},
		},
		{
			Kind: Kind{Name: "cloudevents", Sender: "CloudEvents over HTTP: binary, structured and batch",
				Proof: "Authorization: Bearer",
				Places: Places{MessageID: list("header:ce-id"), EventType: list("header:ce-type"),
					OrderingKey: list("header:ce-source")},
				Split: "json:@this"},
			proof:    func(o Options) (proof, error) { return newToken("Authorization", "Bearer ", o) },
			identify: identifyCloudEvent, splits: isCloudEventsBatch, element: structuredEvent,
			uses:      uses{fixedPlaces: true},
			handshake: handshake{methods: []string{http.MethodOptions}, greet: cloudEventsGreet},
		},
	}
}

const (
	telegramHeader = "X-Telegram-Bot-Api-Secret-Token"
	gitLabHeader   = "X-Gitlab-Token"
)

// list returns a list of single places.
func list(places ...string) []Place {
	all := make([]Place, len(places))
	for i, p := range places {
		all[i] = Place{p}
	}
	return all
}

// standardRule is the symmetric signature of Standard Webhooks. Its headers begin with name.
func standardRule(name string) Rule {
	return Rule{Header: name + "-signature", Separator: " ", Prefix: Prefixes{"v1,"},
		Encoding: "base64", SecretEncoding: "base64",
		Signed: "{header:" + name + "-id}.{timestamp}.{body}", Timestamp: "header:" + name + "-timestamp"}
}

// asymmetricRule turns r into the asymmetric signature of Standard Webhooks.
func asymmetricRule(r Rule) Rule {
	r.Algorithm, r.Prefix = ed25519Algorithm, Prefixes{"v1a,"}
	return r
}

// newStandard returns the proof of Standard Webhooks: secrets (whsec_… or bare base64) verify v1
// signatures, public keys (whpk_…) verify v1a.
func newStandard(name string, o Options) (proof, error) {
	public, secret := split(o, publicPrefix, "v1a,"+publicPrefix)
	var all anyOf
	var errs error
	add := func(rule Rule, o Options) {
		if len(o.Secrets) > 0 {
			p, err := newSigned(rule, o, "")
			all, errs = append(all, p), errors.Join(errs, err)
		}
	}
	add(standardRule(name), secret)
	add(asymmetricRule(standardRule(name)), public)
	switch {
	case errs != nil:
		return nil, errs
	case len(all) == 0:
		return nil, errNoCredentials
	case len(all) == 1:
		return all[0], nil
	}
	return all, nil
}

// newGitLab returns the proof of GitLab: secret tokens are sent in a header, signing tokens
// (whsec_…) sign like Standard Webhooks. If a request has a signature, only the signature counts.
func newGitLab(o Options) (proof, error) {
	signing, tokens := split(o, signingPrefix)
	for _, t := range tokens.Secrets {
		if isPublic(t) {
			return nil, errors.New("a secret is a public key: use the secret token or the signing token")
		}
	}
	switch {
	case len(signing.Secrets) == 0:
		return newToken(gitLabHeader, "", tokens)
	case len(tokens.Secrets) == 0:
		return newStandard("webhook", signing)
	}
	plain, err1 := newToken(gitLabHeader, "", tokens)
	standard, err2 := newStandard("webhook", signing)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return either{[]proof{plain, standard}, func(r *Request) int {
		if len(r.Header["Webhook-Signature"]) > 0 {
			return 1
		}
		return 0
	}}, nil
}

// newGraph returns the proof of Microsoft Graph: every notification has the clientState of the
// subscription.
func newGraph(o Options) (proof, error) {
	if len(o.Secrets) == 0 {
		return nil, errNoCredentials
	}
	for _, s := range o.Secrets {
		if s == "" || strings.ContainsFunc(s, isControl) {
			return nil, errors.New("a clientState is empty or has control characters")
		}
		if len(s) > maxClientState {
			return nil, fmt.Errorf("a clientState is longer than %d bytes", maxClientState)
		}
	}
	return graph{digestsOf(o.Secrets)}, nil
}

var zendeskRule = Rule{Header: "X-Zendesk-Webhook-Signature", Encoding: "base64",
	Signed:    "{timestamp}{body}",
	Timestamp: "header:X-Zendesk-Webhook-Signature-Timestamp", TimestampUnit: "rfc3339"}

// zendeskTestSecret signs the tests of a webhook that is not created yet. Zendesk publishes it
// (developer.zendesk.com, "Verifying webhook authenticity"), so it proves nothing.
const zendeskTestSecret = "dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ=="

// newZendesk returns the proof of Zendesk. Its error distinguishes a test from a wrong secret.
func newZendesk(o Options) (proof, error) {
	p, err1 := newSigned(zendeskRule, o, "")
	o.Secrets = []string{zendeskTestSecret}
	test, err2 := newSigned(zendeskRule, o, "")
	return zendesk{p, test}, errors.Join(err1, err2)
}

type zendesk struct{ proof, test proof }

func (z zendesk) checkHeader(r *Request) error { return z.proof.checkHeader(r) }

func (z zendesk) authenticate(r *Request) error {
	err := z.proof.authenticate(r)
	if err != nil && z.test.authenticate(r) == nil {
		r.Credential = Credential{}
		return unauthenticated("X-Zendesk-Webhook-Signature",
			"is made with the secret that Zendesk publishes for tests: "+
				"the Test button uses it until the webhook is created; create the webhook, then test it")
	}
	return err
}
