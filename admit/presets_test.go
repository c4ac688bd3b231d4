package admit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/hookgate/hookgate"
)

// vector is a request that a preset must take, signed by others.
type vector struct {
	name    string // of the preset, and what is special
	source  string // where the vector comes from
	secret  string
	url     string
	query   string
	headers []string // name, value, …
	body    string
	at      int64 // when it is sent, in seconds; for vectors without a time anything
	// proof is the header that holds the signature or secret; empty if that stands in the body.
	proof string
	// timestamp is the header that holds the time, if that is one of its own.
	timestamp string
	// unsigned says that the body is not covered.
	unsigned bool
	// token says that the header holds the secret itself.
	token bool
	want  Message
}

const (
	jsonType = "application/json"
	formType = "application/x-www-form-urlencoded"
)

// vectors has at least one for each preset. Where a sender publishes none, it is made by its own
// package for Node.js, or else by the formula of its documentation with node:crypto, and the source
// says which.
func vectors() []vector {
	const slackBody = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow" +
		"&channel_id=G8PSS9T3V&channel_name=foobar&" +
		"user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=" +
		"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2F" +
		"T1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN" +
		"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
	const twilioForm = "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234" +
		"&From=%2B14158675309&To=%2B18005551212"
	const pagerDutyBody = `{"event":{"id":"01BWDWL3NYY7LUFPZCC28QUCMK",` +
		`"event_type":"incident.priority_updated","resource_type":"incident",` +
		`"occurred_at":"2021-04-26T17:36:27.458Z",` +
		`"agent":{"html_url":"https://acme.pagerduty.com/users/PLH1HKV","id":"PLH1HKV",` +
		`"self":"https://api.pagerduty.com/users/PLH1HKV","summary":"Tenex Engineer",` +
		`"type":"user_reference"},"client":null,"data":{"id":"PGR0VU2","type":"incident",` +
		`"self":"https://api.pagerduty.com/incidents/PGR0VU2",` +
		`"html_url":"https://acme.pagerduty.com/incidents/PGR0VU2","number":2,"status":"triggered",` +
		`"title":"A little bump in the road",` +
		`"service":{"html_url":"https://acme.pagerduty.com/services/PF9KMXH","id":"PF9KMXH",` +
		`"self":"https://api.pagerduty.com/services/PF9KMXH","summary":"API Service",` +
		`"type":"service_reference"},` +
		`"assignees":[{"html_url":"https://acme.pagerduty.com/users/PTUXL6G","id":"PTUXL6G",` +
		`"self":"https://api.pagerduty.com/users/PTUXL6G","summary":"User 123",` +
		`"type":"user_reference"}],` +
		`"escalation_policy":{"html_url":"https://acme.pagerduty.com/escalation_policies/PUS0KTE",` +
		`"id":"PUS0KTE","self":"https://api.pagerduty.com/escalation_policies/PUS0KTE",` +
		`"summary":"Default","type":"escalation_policy_reference"},` +
		`"teams":[{"html_url":"https://acme.pagerduty.com/teams/PFCVPS0","id":"PFCVPS0",` +
		`"self":"https://api.pagerduty.com/teams/PFCVPS0","summary":"Engineering",` +
		`"type":"team_reference"}],` +
		`"priority":{"html_url":"https://acme.pagerduty.com/account/incident_priorities",` +
		`"id":"PSO75BM","self":"https://api.pagerduty.com/priorities/PSO75BM","summary":"P1",` +
		`"type":"priority_reference"},"urgency":"high","conference_bridge":{"conference_number":1000,` +
		`"conference_url":"https://example.com"},"resolve_reason":null}}}`
	const paddleBody = `{"data":{"id":"pri_01hsdn96k2hxjzsq5yerecdj9j","name":null,` +
		`"status":"active","quantity":{"maximum":999999,"minimum":1},"tax_mode":"account_setting",` +
		`"product_id":"pro_01hsdn8qp7yydry3x1yeg6a9rv","unit_price":{"amount":"1000",` +
		`"currency_code":"USD"},"custom_data":null,"description":"testing","import_meta":null,` +
		`"trial_period":null,"billing_cycle":{"interval":"month","frequency":1},` +
		`"unit_price_overrides":[]},"event_id":"evt_01hsdn97563968dy0szkmgjwh3",` +
		`"event_type":"price.created","occurred_at":"2024-03-20T10:07:35.590857Z",` +
		`"notification_id":"ntf_01hsdn977e920kbgzt6r6c9rqc"}`
	const sendGridBody = `[{"email":"hello@world.com","event":"dropped",` +
		`"reason":"Bounced Address",` +
		`"sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",` +
		`"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0","smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]` + "\r\n"
	const linearBody = `{"action":"create","type":"Comment",` +
		`"createdAt":"2020-01-23T12:53:18.084Z","data":{"id":"2174add1-f7c8-44e3-bbf3-2d60b5ea8bc9",` +
		`"body":"Indeed","issueId":"539068e2-ae88-4d09-bd75-22eb4a59612f"},"organizationId":"a-1",` +
		`"webhookTimestamp":1676056940508,"webhookId":"000042e3-d123-4980-b49f-8e140eef9329"}`
	const hubSpotBody = `[{"eventId":1,"subscriptionId":12345,"portalId":62515,` +
		`"occurredAt":1564113600000,"subscriptionType":"contact.creation","attemptNumber":0,` +
		`"objectId":123,"changeSource":"CRM","changeFlag":"NEW","appId":54321}]`
	const metaBody = `{"object":"whatsapp_business_account","entry":[{"id":"102290129340398",` +
		`"changes":[]}]}`
	const zoomBody = `{"event":"meeting.started","event_ts":1658940994914,` +
		`"payload":{"account_id":"D8cJuqWVQ623CI4Q8yQK0Q","object":{"id":"1234567890"}}}`
	const calendlyBody = `{"event":"invitee.created","created_at":"2020-11-23T17:51:19.000000Z",` +
		`"created_by":"https://api.calendly.com/users/AAAA",` +
		`"payload":{"uri":"https://api.calendly.com/scheduled_events/AAAA/invitees/BBBB"}}`
	message := func(id, eventType, key string) Message {
		return Message{id, eventType, key, hookgate.NoSequence, key != eventType}
	}
	return []vector{
		{name: "standard_webhooks", source: "tests of the libraries of" +
			" standard-webhooks/standard-webhooks; made again by standardwebhooks 1.1.1",
			secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
			headers: []string{"webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp",
				"1614265330", "webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
			body: `{"test": 2432232314}`, at: 1614265330, proof: "webhook-signature",
			timestamp: "webhook-timestamp",
			want:      message("msg_p5jXN8AQM9LWM0D4loKWxJek", "event", "event")},
		{name: "standard_webhooks/v1a",
			source: "the formula of spec/standard-webhooks.md, with the key of RFC 8032, test 1," +
				" and node:crypto",
			secret: "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
			headers: []string{"webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp",
				"1614265330",
				"webhook-signature", "v1a,fldxM4gAKugP6nnt1hdz3sgGfZ6d99nzrMFnZOELIxbzEHoVmAb2ADpkJK7zgPePmPsle0zV9jSeGlHFG2NVAw=="},
			body: `{"test": 2432232314}`, at: 1614265330, proof: "webhook-signature",
			timestamp: "webhook-timestamp",
			want:      message("msg_p5jXN8AQM9LWM0D4loKWxJek", "event", "event")},
		{name: "svix", source: "docs.svix.com, \"Verifying manually\"; made again by svix 1.99.1",
			secret: "whsec_plJ3nmyCDGBKInavdOK15jsl",
			headers: []string{"svix-id", "msg_loFOjxBNrRLzqYUf", "svix-timestamp", "1731705121",
				"svix-signature", "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="},
			body: `{"event_type":"ping","data":{"success":true}}`, at: 1731705121,
			proof: "svix-signature", timestamp: "svix-timestamp",
			want: message("msg_loFOjxBNrRLzqYUf", "ping", "ping")},
		{name: "github", source: "docs.github.com, \"Validating webhook deliveries\" gives this" +
			" signature of a body that is no JSON; this one is made by @octokit/webhooks-methods 6.0.0",
			secret: "It's a Secret to Everybody", headers: []string{"X-GitHub-Delivery", "72d3162e",
				"X-GitHub-Event", "push",
				"X-Hub-Signature-256", "sha256=d5aa8446c953d201609ca981265c2250988b034d456076285dd504cadeaa7e11"},
			body: `{"repository":{"full_name":"octocat/Hello-World"}}`, proof: "X-Hub-Signature-256",
			want: message("72d3162e", "push", "octocat/Hello-World")},
		{name: "gitlab/token", source: "docs.gitlab.com, \"Webhooks\": the secret token as it is",
			secret: "a-secret-token-of-gitlab",
			headers: []string{"X-Gitlab-Token", "a-secret-token-of-gitlab", "X-Gitlab-Event", "Push Hook",
				"Idempotency-Key", "f5e5f430-f57b-4e6e-9fac-d9128cd7232f"},
			body:  `{"object_kind":"push","project":{"path_with_namespace":"mike/diaspora"}}`,
			proof: "X-Gitlab-Token", unsigned: true, token: true,
			want: message("f5e5f430-f57b-4e6e-9fac-d9128cd7232f", "Push Hook", "mike/diaspora")},
		{name: "gitlab/signing token",
			source: "gitlab-org/gitlab!230944: Standard Webhooks; the formula with node:crypto and the" +
				" token of !231325",
			secret: "whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=",
			headers: []string{"X-Gitlab-Event", "Push Hook", "webhook-id",
				"f5e5f430-f57b-4e6e-9fac-d9128cd7232f", "webhook-timestamp", "1744000000",
				"webhook-signature", "v1,LVLrwAaZqFcv84pFtiXqnyVJgMiPA7YhDF0B3l9kdMM="},
			body: `{"object_kind":"push","project":{"path_with_namespace":"mike/diaspora"}}`, at: 1744000000,
			proof: "webhook-signature", timestamp: "webhook-timestamp",
			want: message("f5e5f430-f57b-4e6e-9fac-d9128cd7232f", "Push Hook", "mike/diaspora")},
		{name: "bitbucket", source: "support.atlassian.com, \"Manage webhooks\", gives the signature" +
			" of \"Hello World!\", for which see TestPublished; this body by node:crypto",
			secret: "It's a Secret to Everybody",
			headers: []string{"X-Hub-Signature",
				"sha256=201fea1dbccfdd4d7ef501a96cfffa581fdaac8e528a5cbe0613dc2636436a5d", "X-Event-Key",
				"repo:push", "X-Request-UUID", "c8cf8a6e"},
			body: `{"repository":{"full_name":"team/repo"}}`, proof: "X-Hub-Signature",
			want: message("c8cf8a6e", "repo:push", "team/repo")},
		{name: "stripe", source: "made by stripe 23.1.0, generateTestHeaderString",
			secret: "whsec_test_secret",
			headers: []string{"Stripe-Signature",
				"t=1686089970,v1=e205421c3a065d620d5861e8679cb7dda12c51cabd8621142e789cb367b3412d"},
			body: `{"id":"evt_1NG8Du2eZvKYlo2CUI79vXWy","object":"event","type":"customer.created",` +
				`"data":{"object":{"id":"cus_9s6XKzkNRiz8i3","object":"customer"}}}`,
			at: 1686089970, proof: "Stripe-Signature", want: message("evt_1NG8Du2eZvKYlo2CUI79vXWy",
				"customer.created", "cus_9s6XKzkNRiz8i3")},
		{name: "shopify", source: "shopify.dev, \"Deliver webhooks through HTTPS\": the formula with" +
			" node:crypto", secret: "shpss_0123456789",
			headers: []string{"X-Shopify-Hmac-Sha256", "K1NW11kNChIi2Xm1wL3tIUzsVUWX4DdY4LUYGWC1PD8=",
				"X-Shopify-Topic", "orders/create", "X-Shopify-Webhook-Id", "b54557e4"},
			body: `{"id":820982911946154508,"email":"jon@example.com"}`, proof: "X-Shopify-Hmac-Sha256",
			want: message("b54557e4", "orders/create", "820982911946154508")},
		{name: "slack/command", source: "docs.slack.dev, \"Verifying requests from Slack\"",
			secret: "8f742231b10e8888abcd99yyyzzz85a5",
			headers: []string{"Content-Type", formType, "X-Slack-Request-Timestamp", "1531420618",
				"X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"},
			body: slackBody, at: 1531420618, proof: "X-Slack-Signature",
			timestamp: "X-Slack-Request-Timestamp",
			want: message("398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c", "/webhook-collect",
				"G8PSS9T3V")},
		{name: "twilio/form", source: "tests of twilio-node", secret: "12345",
			url: "https://mycompany.com/myapp.php", query: "foo=1&bar=2",
			headers: []string{"Content-Type", formType, "X-Twilio-Signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8=",
				"I-Twilio-Idempotency-Token", "97ea86ca"},
			body: twilioForm, proof: "X-Twilio-Signature", want: message("97ea86ca", "event",
				"CA1234567890ABCDE")},
		{name: "twilio/form, port signed", source: "tests of twilio-node", secret: "12345",
			url: "https://mycompany.com/myapp.php", query: "foo=1&bar=2",
			headers: []string{"Content-Type", formType, "X-Twilio-Signature", "kvajT1Ptam85bY51eRf/AJRuM3w=",
				"I-Twilio-Idempotency-Token", "97ea86ca"},
			body: twilioForm, proof: "X-Twilio-Signature", want: message("97ea86ca", "event",
				"CA1234567890ABCDE")},
		{name: "twilio/form, http", source: "tests of twilio-node", secret: "12345",
			url: "http://mycompany.com/myapp.php", query: "foo=1&bar=2",
			headers: []string{"Content-Type", formType, "X-Twilio-Signature", "0ZXoZLH/DfblKGATFgpif+LLRf4=",
				"I-Twilio-Idempotency-Token", "97ea86ca"},
			body: twilioForm, proof: "X-Twilio-Signature", want: message("97ea86ca", "event",
				"CA1234567890ABCDE")},
		{name: "twilio/repeated fields", source: "tests of twilio-node", secret: "12345",
			url: "https://mycompany.com/myapp.php", query: "foo=1&bar=2",
			headers: []string{"Content-Type", formType, "X-Twilio-Signature", "IK+Dwps556ElfBT0I3Rgjkr1wJU=",
				"I-Twilio-Idempotency-Token", "97ea86ca"},
			body:  "SidAccount=AC123&Digits=5678&Sid=CA123&Digits=1234&Digits=1234",
			proof: "X-Twilio-Signature", want: message("97ea86ca", "event", "twilio")},
		{name: "twilio/JSON", source: "tests of twilio-node", secret: "12345",
			url:   "https://mycompany.com/myapp.php",
			query: "foo=1&bar=2&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620",
			headers: []string{"Content-Type", jsonType, "X-Twilio-Signature", "a9nBmqA0ju/hNViExpshrM61xv4=",
				"I-Twilio-Idempotency-Token", "97ea86ca"},
			body: `{"property": "value", "boolean": true}`, proof: "X-Twilio-Signature",
			want: message("97ea86ca", "event", "twilio")},
		{name: "discord", source: "discord.com/developers/docs: the formula with node:crypto and the" +
			" key of RFC 8032, test 1; verified by discord-interactions 4.4.0",
			secret: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
			headers: []string{"X-Signature-Timestamp", "1690000000",
				"X-Signature-Ed25519", "1fdc6812842fe3414b3c4c32c51a5f3715ea32f99d8b79a4e7afcfd68e4a50e22253714ae5165a343dcfa63ccbdb60d5a451ce4bb6b1846a75dcb5e3444fb609"},
			body: `{"id":"845027738276462632","application_id":"845027738276462632","type":2,` +
				`"token":"x","guild_id":"290926798626357999","version":1}`,
			at: 1690000000, proof: "X-Signature-Ed25519", timestamp: "X-Signature-Timestamp",
			want: message("845027738276462632", "2", "290926798626357999")},
		{name: "meta", source: "developers.facebook.com, \"Webhooks:" +
			" Getting started\": the formula with node:crypto", secret: "app-secret-0123",
			headers: []string{"X-Hub-Signature-256",
				"sha256=a67ddd642653e6b4804acb465135c7a61f31bb85e5290c7affd56c82862ea076"},
			body: metaBody, proof: "X-Hub-Signature-256", want: message(hashOf(metaBody),
				"whatsapp_business_account", "102290129340398")},
		{name: "zoom", source: "developers.zoom.us, \"Using webhooks\": the formula with node:crypto",
			secret: "zoom-secret-token",
			headers: []string{"x-zm-request-timestamp", "1658940994", "x-zm-signature",
				"v0=f4f3229ad1358e745716d92d2b88779243bafedfe174c186208893b483dd437e"},
			body: zoomBody, at: 1658940994, proof: "x-zm-signature", timestamp: "x-zm-request-timestamp",
			want: message(hashOf(zoomBody), "meeting.started", "1234567890")},
		{name: "linear", source: "linear.app/developers/webhooks: the formula with node:crypto;" +
			" @linear/sdk 98.0.0 takes it for signed, though too old",
			secret: "lin_wh_secret_0123456789",
			headers: []string{"Linear-Signature",
				"d5399a7feaaae0bed439390813c0d42d3e540e3375897e990e2d72c7534faf3c", "Linear-Delivery",
				"234d1a4e", "Linear-Event", "Comment"},
			body: linearBody,
			at:   1676056940, proof: "Linear-Signature",
			want: message(hashOf(strings.Replace(linearBody, `"webhookTimestamp":1676056940508,`, "", 1)),
				"Comment", "539068e2-ae88-4d09-bd75-22eb4a59612f")},
		{name: "intercom", source: "developers.intercom.com, \"Webhooks:" +
			" Signed notifications\": the formula with node:crypto", secret: "intercom-client-secret",
			headers: []string{"X-Hub-Signature", "sha1=54db3eff0e29b648eb604ecd537d02e9b1101121"},
			body: `{"type":"notification_event","app_id":"abc","id":"notif_0123",` +
				`"topic":"conversation.user.created","data":{"item":{"id":"147"}}}`,
			proof: "X-Hub-Signature", want: message("notif_0123", "conversation.user.created", "147")},
		{name: "hubspot", source: "made by @hubspot/api-client 13.5.0, Signature.getSignature, version 3",
			secret: "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy",
			url:    "https://www.example.com/webhook_uri",
			headers: []string{"X-HubSpot-Request-Timestamp", "1564113605000", "X-HubSpot-Signature-v3",
				"RaO48D9Wi+Q+9yhgU7XLGU1/TM1Ov0ckGixJN6edfK8="},
			body: hubSpotBody, at: 1564113605, proof: "X-HubSpot-Signature-v3",
			timestamp: "X-HubSpot-Request-Timestamp",
			want: message(hashOf(strings.Replace(strings.Trim(hubSpotBody, "[]"), `"attemptNumber":0,`, "",
				1)), "contact.creation", "62515,123")},
		{name: "square", source: "developer.squareup.com, \"Validate notifications\": the formula" +
			" with node:crypto; verified by square 46.0.0, WebhooksHelper", secret: "asdf1234",
			url: "https://example.com/webhook", headers: []string{"x-square-hmacsha256-signature",
				"M+NsTFGK2R2genm/TVJtkL7I9VhhX53fi9PDnqSvnPQ="},
			body: `{"merchant_id":"MLEFBHHSJGVHD","type":"payment.created",` +
				`"event_id":"13b867cf-db3d-4b1c-90b6-2f32a9d78124","created_at":"2020-02-06T21:27:34.308Z",` +
				`"data":{"type":"payment","id":"KkAkhdMsgzn59SM8A89WgKwekxLZY"}}`,
			proof: "x-square-hmacsha256-signature", want: message("13b867cf-db3d-4b1c-90b6-2f32a9d78124",
				"payment.created", "MLEFBHHSJGVHD")},
		{name: "paddle", source: "PaddleHQ/paddle-go-sdk, example_webhook_verifier_test.go",
			secret: "pdl_ntfset_01hsdn8d43dt7mezr1ef2jtbaw_hKkRiCGyyRhbFwIUuqiTBgI7gnWoV0Gr",
			headers: []string{"Paddle-Signature",
				"ts=1710929255;h1=6c05ef8fa83c44d751be6d259ec955ce5638e2c54095bf128e408e2fce1589c8"},
			body: paddleBody, at: 1710929255, proof: "Paddle-Signature",
			want: message("evt_01hsdn97563968dy0szkmgjwh3", "price.created",
				"pri_01hsdn96k2hxjzsq5yerecdj9j")},
		{name: "sendgrid", source: "tests of sendgrid-python and sendgrid-nodejs, eventwebhook;" +
			" verified by @sendgrid/eventwebhook 8.0.0",
			secret: "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==",
			headers: []string{"X-Twilio-Email-Event-Webhook-Timestamp", "1600112502",
				"X-Twilio-Email-Event-Webhook-Signature",
				"MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="},
			body: sendGridBody, at: 1600112502, proof: "X-Twilio-Email-Event-Webhook-Signature",
			timestamp: "X-Twilio-Email-Event-Webhook-Timestamp",
			want: message("ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA", "dropped",
				"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0")},
		{name: "mailgun", source: "documentation.mailgun.com, \"Securing Webhooks\": the formula with" +
			" node:crypto", secret: "mailgun-signing-key",
			body: `{"signature":{"timestamp":"1529006854",` +
				`"token":"a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0",` +
				`"signature":"ea25a18a69b376dbf3bddc72c0387b89e67c91e021fb2c210d3a071505629b09"},` +
				`"event-data":{"event":"opened","id":"Ase7i2zsRYeDXztHGENqRA",` +
				`"recipient":"alice@example.com"}}`,
			at: 1529006854, unsigned: true,
			want: message("a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0", "opened",
				"alice@example.com")},
		{name: "typeform", source: "typeform.com/developers, \"Secure your webhooks\": the formula" +
			" with node:crypto", secret: "typeform-secret",
			headers: []string{"Typeform-Signature", "sha256=JR75n3uAZOwn/3JACdqrrevmPX6ToW/Ei6LLAfjfx4k="},
			body: `{"event_id":"LtWXD3crgy","event_type":"form_response",` +
				`"form_response":{"form_id":"lT4Z3j"}}`,
			proof: "Typeform-Signature", want: message("LtWXD3crgy", "form_response", "lT4Z3j")},
		{name: "woocommerce", source: "developer.woocommerce.com," +
			" \"Webhooks\", WC_Webhook::generate_signature:" +
			" the formula with node:crypto", secret: "woo-secret-0123",
			headers: []string{"X-WC-Webhook-Signature", "RVirGbSKHOIrBwggn+S0h3X2+VWcVwolEKsOeJxq/y4=",
				"X-WC-Webhook-Topic", "order.updated", "X-WC-Webhook-Delivery-ID", "d41d8c"},
			body: `{"id":727,"status":"processing"}`, proof: "X-WC-Webhook-Signature",
			want: message("d41d8c,"+hashOf(`{"id":727,"status":"processing"}`), "order.updated", "727")},
		{name: "zendesk", source: "developer.zendesk.com, \"Verifying webhook authenticity\": the" +
			" formula with node:crypto, its test secret and timestamp",
			secret: "dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ==",
			headers: []string{"X-Zendesk-Webhook-Signature", "Q/g+2FScrBRFA9YeLlO908CTyL7jCutnAdf7+efnWso=",
				"X-Zendesk-Webhook-Signature-Timestamp", "2021-03-25T05:09:27Z",
				"X-Zendesk-Webhook-Invocation-Id", "8350205582"},
			body: `{"type":"zen:event-type:ticket.created","id":"cbe4028c-7239-495d-b020-f22348516046",` +
				`"subject":"zen:ticket:5158","detail":{"id":"5158"}}`,
			at: 1616648967, proof: "X-Zendesk-Webhook-Signature",
			timestamp: "X-Zendesk-Webhook-Signature-Timestamp",
			want:      message("8350205582", "zen:event-type:ticket.created", "zen:ticket:5158")},
		{name: "calendly", source: "developer.calendly.com, \"Webhook Signatures\": the formula with" +
			" node:crypto", secret: "calendly-signing-key",
			headers: []string{"Calendly-Webhook-Signature",
				"t=1492774577,v1=d295d03617a59faa6fe5b941997393fd3173a2d28f66bba2adb37eef0176bd65"},
			body: calendlyBody, at: 1492774577, proof: "Calendly-Webhook-Signature",
			want: message(hashOf(calendlyBody), "invitee.created",
				"https://api.calendly.com/scheduled_events/AAAA/invitees/BBBB")},
		{name: "dropbox", source: "dropbox.com/developers/reference/webhooks:" +
			" the formula with node:crypto", secret: "dropbox-app-secret",
			headers: []string{"X-Dropbox-Signature",
				"450ef9f57aef4016f16da031b9d4597c8f4672296e2d3b8d98fd21af6db3fd6a"},
			body: `{"list_folder":{"accounts":["dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc"]},` +
				`"delta":{"users":[12345678]}}`,
			proof: "X-Dropbox-Signature", want: message(testRequestID, "notification",
				"dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc")},
		{name: "pagerduty", source: "PagerDuty/go-pagerduty, webhookv3/webhookv3_test.go",
			secret: "lDQHScfUeXUKaQRNF+8XIiDKZ7XX3itBAYzwU0TARw8lJqRnkKl2iB1anSb0Z+IK",
			headers: []string{"X-PagerDuty-Signature",
				"v1=0c0b9495b893a39e70d1fea2fe11fbe0a825f88b9f67846f6cc07dd2bc5476cd"},
			body: pagerDutyBody, proof: "X-PagerDuty-Signature",
			want: message("01BWDWL3NYY7LUFPZCC28QUCMK", "incident.priority_updated", "PGR0VU2")},
		{name: "sentry", source: "docs.sentry.io, \"Webhooks\": the formula with node:crypto",
			secret: "sentry-client-secret",
			headers: []string{"Sentry-Hook-Signature",
				"31405c49fe445f47c3d3239f833d8f172a87f0ef928d0778a8bf336c6903763e", "Sentry-Hook-Resource",
				"issue", "Request-ID", "4e6f7d"},
			body: `{"action":"created","installation":{"uuid":"a8e5d37a-696c-4c54-adb5-b3f28d64c7de"},` +
				`"data":{"issue":{"id":"1170820242"}}}`,
			proof: "Sentry-Hook-Signature", want: message("4e6f7d", "issue", "1170820242")},
		{name: "okta", source: "developer.okta.com, \"Event hooks\": the secret as it is",
			secret: "okta-hook-secret", headers: []string{"Authorization", "okta-hook-secret"},
			body: `{"eventType":"com.okta.event_hook",` +
				`"source":"https://x.okta.com/api/v1/eventHooks/who1","eventId":"b5a188b9",` +
				`"data":{"events":[{"eventType":"user.lifecycle.create","target":[{"id":"00u1"}]}]}}`,
			proof: "Authorization", unsigned: true, token: true, want: message("b5a188b9",
				"user.lifecycle.create", "00u1")},
		{name: "microsoft_graph", source: "learn.microsoft.com/graph/change-notifications-delivery-webhooks", secret: "secretClientState",
			body: `{"value":[{"subscriptionId":"7f105c7d","clientState":"secretClientState",` +
				`"changeType":"updated","resource":"users/1"},{"subscriptionId":"7f105c7d",` +
				`"clientState":"secretClientState","changeType":"created","resource":"users/2"}]}`,
			unsigned: true, want: message(testRequestID[:32]+"0001", "updated", "7f105c7d")},
		{name: "telegram", source: "core.telegram.org/bots/api, setWebhook: the secret as it is",
			secret:  "telegram-secret_1",
			headers: []string{"X-Telegram-Bot-Api-Secret-Token", "telegram-secret_1"},
			body:    `{"update_id":10000,"message":{"chat":{"id":-1001}}}`,
			proof:   "X-Telegram-Bot-Api-Secret-Token", unsigned: true, token: true, want: message("10000",
				"update", "-1001")},
		{name: "cloudevents/binary", source: "cloudevents/spec, http-protocol-binding.md, section 3.1",
			secret: "bearer-of-cloudevents",
			headers: []string{"Authorization", "Bearer bearer-of-cloudevents", "ce-specversion", "1.0",
				"ce-type", "com.example.someevent",
				"ce-id", "1234-1234-1234", "ce-source", "/mycontext/subcontext", "Content-Type",
				"application/json; charset=utf-8"},
			body: "{}", proof: "Authorization", unsigned: true, token: true,
			want: message("/mycontext/subcontext 1234-1234-1234", "com.example.someevent",
				"/mycontext/subcontext")},
		{name: "cloudevents/structured",
			source: "cloudevents/spec, http-protocol-binding.md, section 3.2",
			secret: "bearer-of-cloudevents",
			headers: []string{"Authorization", "Bearer bearer-of-cloudevents", "Content-Type",
				"application/cloudevents+json; charset=utf-8"},
			body: `{"specversion":"1.0","type":"com.example.someevent","id":"1234",` +
				`"source":"/mycontext","subject":"s",` +
				`"data":{}}`, proof: "Authorization", unsigned: true, token: true,
			want: message("/mycontext 1234", "com.example.someevent", "/mycontext s")},
	}
}

const testRequestID = "01a20b55-c078-7b8c-bf95-7665f4529acd"

func (v vector) kind() string { kind, _, _ := strings.Cut(v.name, "/"); return kind }

func (v vector) options() Options { return Options{Secrets: []string{v.secret}, PublicURL: v.url} }

func (v vector) scheme(t testing.TB, secrets ...string) Scheme {
	t.Helper()
	o := v.options()
	if len(secrets) > 0 {
		o.Secrets = secrets
	}
	if v.kind() == "meta" {
		o.VerifyTokens = []string{"meta-verify-token"}
	}
	s, err := New(v.kind(), o)
	if err != nil {
		t.Fatalf("%s: %v", v.name, err)
	}
	return s
}

func (v vector) request() *Request {
	return &Request{Method: http.MethodPost, Header: header(v.headers...), Query: v.query,
		ID: testRequestID, Time: time.Unix(v.at, 0), Body: []byte(v.body)}
}

// other is a secret of the same form that is not the vector's.
func (v vector) other() string {
	switch {
	case v.kind() == "sendgrid":
		return "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q=="
	case v.kind() == "discord":
		return "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
	case strings.HasPrefix(v.secret, "whpk_"):
		return "whpk_PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="
	case strings.HasPrefix(v.secret, "whsec_"):
		return "whsec_b3RoZXJzZWNyZXRvdGhlcnNlY3JldA=="
	}
	return "another-secret-than-theirs"
}

// wantRefused fails unless the request is refused as one that is not authenticated, without any
// secret in the error.
func (v vector) wantRefused(t *testing.T, what string, s Scheme, r *Request) {
	t.Helper()
	_, err := admitOnce(s, r)
	if !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("%s: error is %v, want ErrUnauthenticated", what, err)
		return
	}
	if strings.Contains(err.Error(), v.secret) || strings.Contains(err.Error(), v.other()) {
		t.Errorf("%s: error %q tells a secret", what, err)
	}
}

// Goal: each preset takes what its sender sends, finds what identifies it, and takes nothing else.
// Method: the vectors, as they are and changed in every way that is not the sender's.
func TestPresets(t *testing.T) {
	tested := map[string]bool{}
	for _, v := range vectors() {
		tested[v.kind()] = true
		t.Run(v.name, func(t *testing.T) {
			s := v.scheme(t)
			for range 2 { // the second time the state of the hash is not fresh
				got, err := admitOnce(s, v.request())
				wantMessage(t, got, err, v.want)
			}
			got, err := admitOnce(v.scheme(t, v.other(), v.secret), v.request())
			wantMessage(t, got, err, v.want)
			v.wantRefused(t, "wrong secret", v.scheme(t, v.other()), v.request())
			v.bodyMutations(t, s)
			v.headerMutations(t, s)
			v.timeMutations(t, s)
		})
	}
	for _, k := range presets() {
		if !tested[k.Name] && k.Name != "sns" { // which has a test of its own

			t.Errorf("preset %s has no vector", k.Name)
		}
	}
}

func (v vector) bodyMutations(t *testing.T, s Scheme) {
	if v.unsigned {
		return
	}
	for what, body := range map[string]string{
		"a byte changed": v.body[:len(v.body)/2] + string(v.body[len(v.body)/2]^1) +
			v.body[len(v.body)/2+1:],
		"a space behind": v.body + " ", "cut": v.body[:len(v.body)-1], "empty": "",
	} {
		r := v.request()
		r.Body = []byte(body)
		v.wantRefused(t, "body: "+what, s, r)
	}
}

func (v vector) headerMutations(t *testing.T, s Scheme) {
	if v.proof == "" {
		return
	}
	with := func(what string, change func(h http.Header, name, value string)) {
		r := v.request()
		name := http.CanonicalHeaderKey(v.proof)
		change(r.Header, name, r.Header.Get(name))
		v.wantRefused(t, what, s, r)
	}
	with("missing", func(h http.Header, name, _ string) { h.Del(name) })
	with("empty", func(h http.Header, name, _ string) { h.Set(name, "") })
	with("doubled", func(h http.Header, name, value string) { h.Add(name, value) })
	with("doubled by another", func(h http.Header, name, value string) {
		h[name] = []string{"x",
			value}
	})
	with("garbage", func(h http.Header, name, _ string) { h.Set(name, "\x00\xff=,;v1=") })
	with("truncated", func(h http.Header, name, value string) { h.Set(name, value[:len(value)-1]) })
	with("truncated by half", func(h http.Header, name, value string) {
		h.Set(name,
			value[:len(value)/2])
	})
	with("lengthened", func(h http.Header, name, value string) { h.Set(name, value+"0") })
	with("space within", func(h http.Header, name, value string) {
		h.Set(name, value[:len(value)-2]+
			" "+value[len(value)-2:])
	})
	with("a signature of a wrong length in the right form", func(h http.Header, name,
		value string) {
		h.Set(name, value+"00")
	})
	with("last character but two changed", func(h http.Header, name, value string) {
		i := len(value) - 3
		h.Set(name, value[:i]+string(otherDigit(value[i]))+value[i+1:])
	})
	if !v.token {
		// Upper-case digits are the same signature where that is hexadecimal, and another one where it is
		// base64.
		i := strings.LastIndexAny(header(v.headers...).Get(v.proof), "=,") + 1
		if digits := header(v.headers...).Get(v.proof)[i:]; len(digits) >= 40 &&
			!strings.ContainsFunc(digits, func(r rune) bool {
				return !unicode.Is(unicode.ASCII_Hex_Digit,
					r)
			}) {
			r := v.request()
			name := http.CanonicalHeaderKey(v.proof)
			value := r.Header.Get(name)
			r.Header.Set(name, value[:i]+strings.ToUpper(digits))
			got, err := admitOnce(s, r)
			wantMessage(t, got, err, v.want)
		}
	}
	if v.timestamp == "" {
		return
	}
	name := http.CanonicalHeaderKey(v.timestamp)
	value := header(v.headers...).Get(name)
	for what, values := range map[string][]string{
		"missing": nil, "empty": {""}, "doubled": {value, value}, "sign before": {"+" + value},
		"space behind": {value + " "}, "fraction": {value + ".0"},
		"letters": {"now"}, "negative": {"-" + value}, "hexadecimal": {"0x10"},
		"longer than any": {strings.Repeat("9", 40)},
	} {
		r := v.request()
		r.Header[name] = values
		v.wantRefused(t, "timestamp: "+what, s, r)
	}
	// A second later the time is still good, but not what was signed.
	r := v.request()
	r.Header.Set(name, nextDigit(value))
	v.wantRefused(t, "timestamp: altered", s, r)
}

func (v vector) timeMutations(t *testing.T, s Scheme) {
	if v.at == 0 {
		return
	}
	back := max(DefaultTolerance, kinds[v.kind()].repeats)
	for after, ok := range map[time.Duration]bool{
		-DefaultTolerance - 2*time.Second: false, -DefaultTolerance + 2*time.Second: true,
		back - 2*time.Second: true, back + 2*time.Second: false,
		365 * 24 * time.Hour: false, -365 * 24 * time.Hour: false,
	} {
		r := v.request()
		r.Time = r.Time.Add(after)
		got, err := admitOnce(s, r)
		switch {
		case ok:
			wantMessage(t, got, err, v.want)
		case !errors.Is(err, ErrUnauthenticated):
			t.Errorf("%v after its time: error is %v", after, err)
		}
	}
	o := v.options()
	o.Tolerance = 400 * 24 * time.Hour
	if s, err := New(v.kind(), o); err != nil {
		t.Error(err)
	} else {
		r := v.request()
		r.Time = r.Time.Add(365 * 24 * time.Hour)
		got, err := admitOnce(s, r)
		wantMessage(t, got, err, v.want)
	}
}

func otherDigit(c byte) byte {
	if c == 'a' {
		return 'b'
	}
	return 'a'
}

// nextDigit replaces a digit near the end by another, so that the time changes by seconds.
func nextDigit(text string) string {
	i := strings.LastIndexAny(text, "0123456789")
	return text[:i] + string('0'+(text[i]-'0'+1)%10) + text[i+1:]
}

// Goal: what Sign makes a source takes, for every kind that can be signed. Method: each kind with a
// secret of its form.
func TestSign(t *testing.T) {
	bodies := map[string]string{}
	for _, v := range vectors() {
		bodies[v.kind()] = v.body
	}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		t.Run(name, func(t *testing.T) {
			o := Options{Secrets: []string{"user:a-secret-of-mine"}, PublicURL: "https://example.com/x"}
			k := kinds[name]
			switch {
			case k.Open:
				o.Secrets = nil
			case name == "telegram":
				o.Secrets = []string{"a-secret-of-mine"}
			case k.rule.SecretEncoding == "base64", name == "stripe":
				o.Secrets = []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
			}
			key, public := testKeys(t, k.rule.Algorithm)
			if public != "" {
				o.Secrets = []string{public}
			}
			if k.uses.noSecrets {
				if err := Sign(name, Options{}, nil, &Request{}); err == nil {
					t.Fatal("Sign has no key and yet signs")
				}
				return
			}
			if k.uses.verifyTokens {
				o.VerifyTokens = []string{"verify-token"}
			}
			if k.uses.signature {
				o.Signature = Rule{Header: "X-Sig", Separator: ",", Prefix: Prefixes{"s="},
					Signed: "{method} {url} {header:X-Id} {timestamp} {body}", Timestamp: "element:t=",
					Algorithm: "hmac-sha512"}
			}
			if len(k.Places.MessageID) == 0 {
				o.Places.MessageID = list("sha256:body")
			}
			body := bodies[name]
			if body == "" {
				body = plainEnvelope
			}
			r := &Request{Method: http.MethodPost, Header: header("Content-Type", jsonType, "X-Id", "1"),
				Query: "a=b", Time: time.Now(), Body: []byte(body), ID: testRequestID}
			if name == "cloudevents" {
				r.Header.Set("Content-Type", "application/cloudevents+json")
			}
			if name == "slack" || name == "twilio" {
				r.Header.Set("Content-Type", formType)
			}
			if err := Sign(name, o, key, r); err != nil {
				t.Fatal(err)
			}
			s, err := New(name, o)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := admitOnce(s, r); err != nil {
				t.Fatalf("%v\n%v\n%s", err, r.Header, r.Body)
			}
		})
	}
}

const plainEnvelope = `{"messageId":"m","eventType":"e"}`

// testKeys returns a private key for an algorithm, and its public key as it is configured; nothing
// for HMAC.
func testKeys(t *testing.T, algorithm string) (crypto.Signer, string) {
	t.Helper()
	switch algorithm {
	case ed25519Algorithm:
		key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
		return key, hex.EncodeToString(key.Public().(ed25519.PublicKey))
	case ecdsaAlgorithm:
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		return key, base64.StdEncoding.EncodeToString(der)
	}
	return nil, ""
}

// Goal: two senders' published examples, whose bodies are no JSON, are understood. Method: the
// examples of GitHub and Bitbucket.
func TestPublished(t *testing.T) {
	for _, c := range []struct{ kind, header, value, body string }{
		{"github", "X-Hub-Signature-256",
			"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17", "Hello, World!"},
		{"bitbucket", "X-Hub-Signature",
			"sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9", "Hello World!"},
	} {
		s, err := New(c.kind, Options{Secrets: []string{"It's a Secret to Everybody"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Authenticate(&Request{Header: header(c.header, c.value),
			Body: []byte(c.body)}); err != nil {
			t.Errorf("%s: %v", c.kind, err)
		}
	}
}
