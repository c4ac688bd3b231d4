package admit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// sentBy is a request of a sender as far as it identifies an event.
type sentBy struct {
	body    string
	headers []string
}

// Goal: of every preset, different events never have one identity, and a repetition of one event
// always has. Method: for each preset an event, another that is as like it as its sender can make
// it, and a repetition with everything in it that its sender changes. The evidence stands with
// each.
func TestPresetIdentities(t *testing.T) {
	form := []string{"Content-Type", formType}
	tested := map[string]bool{}
	h := func(pairs ...string) []string { return pairs }
	for _, c := range []struct {
		kind                 string
		event, other, repeat sentBy
		// unknown says that nothing in a repetition tells it from another event, so that it is one.
		unknown bool
	}{
		// standard-webhooks/standard-webhooks, spec: webhook-id is that of the message and the same in
		// each attempt; webhook-timestamp is that of the attempt.
		{kind: "standard_webhooks", event: sentBy{`{"type":"a"}`,
			h("webhook-id", "1", "webhook-timestamp", "1")},
			other:  sentBy{`{"type":"a"}`, h("webhook-id", "2", "webhook-timestamp", "1")},
			repeat: sentBy{`{"type":"a"}`, h("webhook-id", "1", "webhook-timestamp", "900")}},
		// docs.svix.com, "Receiving webhooks": svix-id is unique and the same when a message is sent
		// again.
		{kind: "svix", event: sentBy{`{"type":"a"}`, h("svix-id", "1")}, other: sentBy{`{"type":"a"}`,
			h("svix-id", "2")},
			repeat: sentBy{`{"type":"a"}`, h("svix-id", "1")}},
		// docs.github.com, "Best practices for using webhooks": X-GitHub-Delivery is unique to the
		// delivery, and that of the original delivery when one is redelivered by hand.
		{kind: "github", event: sentBy{`{}`, h("X-GitHub-Delivery", "1", "X-GitHub-Event", "push")},
			other:  sentBy{`{}`, h("X-GitHub-Delivery", "2", "X-GitHub-Event", "push")},
			repeat: sentBy{`{}`, h("X-GitHub-Delivery", "1", "X-GitHub-Event", "push")}},
		// gitlab-org/gitlab!160952: the key is generated for an event and stored with its log, from
		// which it is sent again.
		{kind: "gitlab", event: sentBy{`{}`, h("Idempotency-Key", "1")},
			other: sentBy{`{}`, h("Idempotency-Key", "2")}, repeat: sentBy{`{}`, h("Idempotency-Key", "1")}},
		// Before 17.4: a branch that goes back and forth makes the same body again, with another UUID,
		// and events that hooks cause share the UUID (lib/gitlab/web_hooks/recursion_detection).
		{kind: "gitlab", event: sentBy{`{"before":"a","after":"b"}`, h("X-Gitlab-Event-UUID", "1")},
			other:  sentBy{`{"before":"a","after":"b"}`, h("X-Gitlab-Event-UUID", "2")},
			repeat: sentBy{`{"before":"a","after":"b"}`, h("X-Gitlab-Event-UUID", "1")}},
		{kind: "gitlab", event: sentBy{`{"a":1}`, h("X-Gitlab-Event-UUID", "1")}, other: sentBy{`{"a":2}`,
			h("X-Gitlab-Event-UUID", "1")},
			repeat: sentBy{`{"a":1}`, h("X-Gitlab-Event-UUID", "1")}},
		// support.atlassian.com, "Event payloads" and "Troubleshoot webhooks": X-Request-UUID is that
		// of the request, X-Attempt-Number counts its attempts. Data Center has X-Request-Id and does
		// not repeat.
		{kind: "bitbucket", event: sentBy{`{}`, h("X-Request-UUID", "1", "X-Attempt-Number", "1")},
			other:  sentBy{`{}`, h("X-Request-UUID", "2", "X-Attempt-Number", "1")},
			repeat: sentBy{`{}`, h("X-Request-UUID", "1", "X-Attempt-Number", "2")}},
		// docs.stripe.com, "Webhooks": the same event has the same id in each attempt, with a new
		// signature.
		{kind: "stripe", event: sentBy{`{"id":"evt_1","type":"t"}`, nil},
			other: sentBy{`{"id":"evt_2","type":"t"}`, nil}, repeat: sentBy{`{"id":"evt_1","type":"t"}`,
				h("Stripe-Signature", "t=2")}},
		// shopify.dev, "Deliver webhooks through HTTPS": X-Shopify-Webhook-Id is unique to the webhook
		// and the same when it is sent again. X-Shopify-Event-Id is shared by all webhooks of one
		// action.
		{kind: "shopify", event: sentBy{`{"id":1}`, h("X-Shopify-Webhook-Id", "1", "X-Shopify-Topic",
			"orders/paid")}, other: sentBy{`{"id":1}`, h("X-Shopify-Webhook-Id", "2", "X-Shopify-Topic",
			"orders/paid")},
			repeat: sentBy{`{"id":1}`, h("X-Shopify-Webhook-Id", "1", "X-Shopify-Topic", "orders/paid")}},
		// docs.slack.dev, "Events API": event_id is globally unique; X-Slack-Retry-Num counts
		// repetitions.
		{kind: "slack", event: sentBy{`{"event_id":"Ev1"}`, nil}, other: sentBy{`{"event_id":"Ev2"}`,
			nil}, repeat: sentBy{`{"event_id":"Ev1"}`, h("X-Slack-Retry-Num", "1")}},
		// docs.slack.dev, "Slash commands", "Interactivity": trigger_id is made for each; neither is
		// repeated.
		{kind: "slack", event: sentBy{"command=%2Fa&trigger_id=1", form},
			other: sentBy{"command=%2Fa&trigger_id=2", form}, repeat: sentBy{"command=%2Fa&trigger_id=1",
				form}},
		{kind: "slack", event: sentBy{"payload=%7B%22trigger_id%22%3A1%7D", form},
			other:  sentBy{"payload=%7B%22trigger_id%22%3A2%7D", form},
			repeat: sentBy{"payload=%7B%22trigger_id%22%3A1%7D", form}},
		// twilio.com/docs/usage/webhooks: I-Twilio-Idempotency-Token is the same in the repetitions of
		// a request. Without it the fields count, which hold the Sid and the status.
		{kind: "twilio", event: sentBy{"A=1", append(h("I-Twilio-Idempotency-Token", "1"), form...)},
			other:  sentBy{"A=1", append(h("I-Twilio-Idempotency-Token", "2"), form...)},
			repeat: sentBy{"A=1", append(h("I-Twilio-Idempotency-Token", "1"), form...)}},
		{kind: "twilio", event: sentBy{"MessageSid=S&MessageStatus=sent", form},
			other:  sentBy{"MessageSid=S&MessageStatus=delivered", form},
			repeat: sentBy{"MessageStatus=sent&MessageSid=S", form}},
		// docs.discord.com: interactions have an id and are not repeated; webhook events have none, but
		// a time.
		{kind: "discord", event: sentBy{`{"id":"1","type":2}`, nil}, other: sentBy{`{"id":"2","type":2}`,
			nil}, repeat: sentBy{`{"id":"1","type":2}`, h("X-Signature-Timestamp", "2")}},
		{kind: "discord", event: sentBy{`{"type":1,"event":{"type":"E","timestamp":"1"}}`, nil},
			other: sentBy{`{"type":1,"event":{"type":"E","timestamp":"2"}}`, nil},
			repeat: sentBy{`{"type":1,"event":{"type":"E","timestamp":"1"}}`, h("X-Signature-Timestamp",
				"2")}},
		// developers.facebook.com, "Webhooks": no id of its own; messages and statuses have ids and
		// times within. If Meta puts others into a request that it repeats, they are events again.
		{kind: "meta", event: sentBy{`{"entry":[{"id":"1","changes":[{"value":{"statuses":[{"id":"w",` +
			`"status":"sent","timestamp":"1"}]}}]}]}`, nil},
			other: sentBy{`{"entry":[{"id":"1","changes":[{"value":{"statuses":[{"id":"w",` +
				`"status":"read","timestamp":"1"}]}}]}]}`, nil},
			repeat: sentBy{`{"entry":[{"id":"1","changes":[{"value":{"statuses":[{"id":"w",` +
				`"status":"sent","timestamp":"1"}]}}]}]}`, nil}},
		// developers.zoom.us, "Using webhooks": event_ts is the time of the event, in milliseconds.
		{kind: "zoom", event: sentBy{`{"event":"e","event_ts":1}`, h("x-zm-request-timestamp", "1")},
			other:  sentBy{`{"event":"e","event_ts":2}`, h("x-zm-request-timestamp", "1")},
			repeat: sentBy{`{"event":"e","event_ts":1}`, h("x-zm-request-timestamp", "2")}},
		// linear.app/developers/webhooks: createdAt is the time of the action; webhookTimestamp that of
		// sending.
		{kind: "linear", event: sentBy{`{"type":"Issue","createdAt":"1","webhookTimestamp":1}`,
			h("Linear-Delivery", "1")},
			other: sentBy{`{"type":"Issue","createdAt":"2","webhookTimestamp":1}`,
				h("Linear-Delivery", "2")},
			repeat: sentBy{`{"type":"Issue","createdAt":"1","webhookTimestamp":2}`,
				h("Linear-Delivery", "1")}},
		// developers.intercom.com, "Webhook notification object": id is unique, delivery_attempts
		// counts.
		{kind: "intercom", event: sentBy{`{"id":"notif_1","topic":"t","delivery_attempts":1}`, nil},
			other:  sentBy{`{"id":"notif_2","topic":"t","delivery_attempts":1}`, nil},
			repeat: sentBy{`{"id":"notif_1","topic":"t","delivery_attempts":2}`, nil}},
		// developer.squareup.com, "Webhook event": event_id is unique and the idempotency value of the
		// event.
		{kind: "square", event: sentBy{`{"event_id":"1","type":"t"}`, nil},
			other: sentBy{`{"event_id":"2","type":"t"}`, nil}, repeat: sentBy{`{"event_id":"1","type":"t"}`,
				h("square-retry-number", "1")}},
		// developer.paddle.com, "How webhooks work": event_id is that of the event in each notification
		// and attempt.
		{kind: "paddle", event: sentBy{`{"event_id":"1","event_type":"t","notification_id":"n1"}`, nil},
			other:  sentBy{`{"event_id":"2","event_type":"t","notification_id":"n2"}`, nil},
			repeat: sentBy{`{"event_id":"1","event_type":"t","notification_id":"n3"}`, nil}},
		// documentation.mailgun.com, "Securing webhooks": each token counts once.
		// PostHog/posthog#103057: a repetition has the timestamp and token of the first attempt.
		{kind: "mailgun", event: sentBy{`{"signature":{"token":"1"},"event-data":{"id":"e",` +
			`"event":"opened"}}`, nil}, other: sentBy{`{"signature":{"token":"2"},` +
			`"event-data":{"id":"e","event":"opened"}}`, nil},
			repeat: sentBy{`{"signature":{"token":"1"},"event-data":{"id":"e","event":"opened"}}`, nil}},
		// typeform.com/developers, "Webhooks": event_id is unique to the notification; a repetition is
		// the same request.
		{kind: "typeform", event: sentBy{`{"event_id":"1","event_type":"t"}`, nil},
			other:  sentBy{`{"event_id":"2","event_type":"t"}`, nil},
			repeat: sentBy{`{"event_id":"1","event_type":"t"}`, nil}},
		// woocommerce/woocommerce, class-wc-webhook.php: get_new_delivery_id hashes the webhook's id
		// and the second, and deliver never repeats; what a proxy repeats is the same request.
		{kind: "woocommerce", event: sentBy{`{"id":101}`, h("X-WC-Webhook-Delivery-ID", "d")},
			other:  sentBy{`{"id":102}`, h("X-WC-Webhook-Delivery-ID", "d")},
			repeat: sentBy{`{"id":101}`, h("X-WC-Webhook-Delivery-ID", "d")}},
		// The same: an order that is deleted, restored and deleted has one body twice, in different
		// seconds.
		{kind: "woocommerce", event: sentBy{`{"id":101}`, h("X-WC-Webhook-Delivery-ID", "d")},
			other:  sentBy{`{"id":101}`, h("X-WC-Webhook-Delivery-ID", "e")},
			repeat: sentBy{`{"id":101}`, h("X-WC-Webhook-Delivery-ID", "d")}},
		// developer.zendesk.com, "Webhooks": an invocation has an id, and attempts of its own.
		{kind: "zendesk", event: sentBy{`{}`, h("X-Zendesk-Webhook-Invocation-Id", "1")},
			other: sentBy{`{}`, h("X-Zendesk-Webhook-Invocation-Id", "2")},
			repeat: sentBy{`{}`, h("X-Zendesk-Webhook-Invocation-Id", "1",
				"X-Zendesk-Webhook-Signature-Timestamp", "2")}},
		// developer.calendly.com, "Webhook payload": created_at is the time of the event, and payload
		// names what it is about.
		{kind: "calendly", event: sentBy{`{"event":"e","created_at":"1","payload":{"uri":"u"}}`, nil},
			other: sentBy{`{"event":"e","created_at":"1","payload":{"uri":"v"}}`, nil},
			repeat: sentBy{`{"event":"e","created_at":"1","payload":{"uri":"u"}}`,
				h("Calendly-Webhook-Signature", "t=2")}},
		// dropbox.com/developers/reference/webhooks: a notification names accounts and nothing else, so
		// that each changes nothing but its time. Only to lose none is possible.
		{kind: "dropbox", event: sentBy{`{"list_folder":{"accounts":["a"]}}`, nil},
			other:  sentBy{`{"list_folder":{"accounts":["a"]}}`, nil},
			repeat: sentBy{`{"list_folder":{"accounts":["a"]}}`, nil}, unknown: true},
		// developer.pagerduty.com, "Webhooks overview": event.id identifies the event in each attempt.
		{kind: "pagerduty", event: sentBy{`{"event":{"id":"1","event_type":"t"}}`, nil},
			other:  sentBy{`{"event":{"id":"2","event_type":"t"}}`, nil},
			repeat: sentBy{`{"event":{"id":"1","event_type":"t"}}`, nil}},
		// getsentry/sentry, AppPlatformEvent.headers: Request-ID is made for each attempt, and the body
		// of an issue that is resolved twice can be the same. Only to lose none is possible.
		{kind: "sentry", event: sentBy{`{"action":"resolved"}`, h("Request-ID", "1")},
			other:  sentBy{`{"action":"resolved"}`, h("Request-ID", "2")},
			repeat: sentBy{`{"action":"resolved"}`, h("Request-ID", "3")}, unknown: true},
		// developer.okta.com, "Event hooks": eventId is that of the delivery; data.events have a uuid
		// each.
		{kind: "okta", event: sentBy{`{"eventId":"1","eventType":"t"}`, nil},
			other:  sentBy{`{"eventId":"2","eventType":"t"}`, nil},
			repeat: sentBy{`{"eventId":"1","eventType":"t"}`, nil}},
		// core.telegram.org/bots/api, "Update": update_id is unique, and meant to find repetitions.
		{kind: "telegram", event: sentBy{`{"update_id":1}`, nil}, other: sentBy{`{"update_id":2}`, nil},
			repeat: sentBy{`{"update_id":1}`, nil}},
		// docs.aws.amazon.com/sns: MessageId is unique and the same when a message is sent again.
		{kind: "sns", event: sentBy{`{"MessageId":"1","Type":"t"}`, nil},
			other:  sentBy{`{"MessageId":"2","Type":"t"}`, nil},
			repeat: sentBy{`{"MessageId":"1","Type":"t"}`, nil}},
		// cloudevents/spec, "id": source and id together are unique to an event; a repetition may have
		// the same.
		{kind: "cloudevents", event: sentBy{"", h("ce-specversion", "1.0", "ce-type", "t", "ce-source",
			"/a", "ce-id", "1")}, other: sentBy{"", h("ce-specversion", "1.0", "ce-type", "t", "ce-source",
			"/b", "ce-id", "1")},
			repeat: sentBy{"", h("ce-specversion", "1.0", "ce-type", "t", "ce-source", "/a", "ce-id", "1")}},
		// developers.hubspot.com, "Webhooks": eventId is not guaranteed to be unique; attemptNumber
		// counts.
		{kind: "hubspot", event: sentBy{`[{"eventId":1,"occurredAt":1,"attemptNumber":0}]`, nil},
			other: sentBy{`[{"eventId":1,"occurredAt":2,"attemptNumber":0}]`, nil},
			repeat: sentBy{`[{"eventId":1,"occurredAt":1,"attemptNumber":1}]`,
				h("X-HubSpot-Request-Timestamp", "2")}},
		// twilio.com/docs/sendgrid, "Event": sg_event_id is unique to the event.
		{kind: "sendgrid", event: sentBy{`[{"sg_event_id":"1"}]`, nil},
			other: sentBy{`[{"sg_event_id":"2"}]`, nil}, repeat: sentBy{`[{"sg_event_id":"1"}]`, nil}},
		// learn.microsoft.com/graph/api/resources/changenotification: id is unique, but optional;
		// without it two changes of one thing have the same body.
		{kind: "microsoft_graph", event: sentBy{`{"value":[{"changeType":"updated","resource":"a"}]}`,
			nil}, other: sentBy{`{"value":[{"changeType":"updated","resource":"a"}]}`, nil},
			repeat: sentBy{`{"value":[{"changeType":"updated","resource":"a"}]}`, nil}, unknown: true},
		{kind: "microsoft_graph", event: sentBy{`{"value":[{"id":"1","changeType":"updated"}]}`, nil},
			other:  sentBy{`{"value":[{"id":"2","changeType":"updated"}]}`, nil},
			repeat: sentBy{`{"value":[{"id":"1","changeType":"updated"}]}`, nil}},
	} {
		tested[c.kind] = true
		t.Run(c.kind, func(t *testing.T) {
			s := presetForTest(t, c.kind, Places{})
			identify := func(sent sentBy) [2]string {
				r := &Request{Header: header(sent.headers...), ID: hookgate.NewRequestID(time.Now()).String(),
					Body: []byte(sent.body)}
				if splitter, ok := s.(Splitter); ok && splitter.Splits() {
					parts, err := splitter.Split(r)
					if err != nil || len(parts) != 1 {
						t.Fatalf("%s: %d events, %v", sent.body, len(parts), err)
					}
					return [2]string{parts[0].EventType, parts[0].MessageID}
				}
				m, err := s.Identify(r)
				if err != nil {
					t.Fatalf("%s %v: %v", sent.body, sent.headers, err)
				}
				return [2]string{m.EventType, m.MessageID}
			}
			event := identify(c.event)
			if other := identify(c.other); other == event {
				t.Errorf("two events are %q", event)
			}
			if again := identify(c.repeat); (again == event) == c.unknown {
				t.Errorf("an event is %q and again %q", event, again)
			}
		})
	}
	for _, k := range presets() {
		if !tested[k.Name] {
			t.Errorf("preset %s has no events here", k.Name)
		}
	}
}

// presetForTest makes a preset with credentials of its form.
func presetForTest(t testing.TB, kind string, p Places) Scheme {
	t.Helper()
	o := Options{Places: p, Secrets: []string{"a-secret-of-mine"}, PublicURL: "https://example.com/x"}
	for _, v := range vectors() {
		if v.kind() == kind {
			o.Secrets = []string{v.secret}
		}
	}
	switch kind {
	case "meta":
		o.VerifyTokens = []string{"meta-verify-token"}
	case "sns":
		o.Secrets, o.Topics, o.Amazon = nil, []string{"arn:aws:sns:eu-west-1:123456789012:t"},
			&testAmazon{}
	}
	return newForTest(t, kind, o)
}

// identityOf is what the gate claims for a request: without the type where nothing proves it.
func identityOf(t *testing.T, s Scheme, r *Request) string {
	t.Helper()
	m, err := s.Identify(r)
	switch {
	case err != nil:
		return "refused"
	case TypeUnproven(s):
		return m.MessageID
	}
	return m.EventType + " " + m.MessageID
}

// Goal: a body that somebody has seen is one event with any unsigned headers,
// if the message id is its hash. Method: each preset and kind hmac with that message id, with a
// type from a header; one body with every header that could matter, in several forms.
func TestUnsignedHeaders(t *testing.T) {
	hash := Places{MessageID: list("sha256:body")}
	rule := Rule{Header: "X-Sig"}
	schemes := map[string]Scheme{
		"hmac": newForTest(t, "hmac", Options{Secrets: []string{secret1}, Signature: rule,
			Places: Places{MessageID: hash.MessageID,
				EventType:   list("header:X-GitHub-Event", "json:type", "form:type"),
				OrderingKey: list("header:X-Key")}}),
		"hmac, type in the body": newForTest(t, "hmac", Options{Secrets: []string{secret1},
			Signature: rule, Places: Places{MessageID: hash.MessageID,
				EventType: list("json:type", "form:type")}}),
		"hmac, composite": newForTest(t, "hmac", Options{Secrets: []string{secret1}, Signature: rule,
			Places: Places{
				MessageID: []Place{{"json:id", "sha256:body-without:n"}, {"sha256:body"}},
				EventType: list("header:X-GitHub-Event")}}),
	}
	for _, k := range presets() {
		switch k.Name {
		case "cloudevents", "sns", "mailgun": // have their own places, or sign no whole body
		case "twilio": // Content-Type decides what is signed; see TestTwilioForms
		// show the secret itself, which needs no body to be of use
		case "okta", "telegram", "microsoft_graph":
		default:
			schemes[k.Name] = presetForTest(t, k.Name, hash)
		}
	}
	bodies := []string{`{"type":"a","id":1,"n":2}`, `[{"type":"a"}]`, "type=a&command=%2Fc",
		"\x1f\x8b\x08gzip", "<xml/>", ""}
	for name, s := range schemes {
		if name == "gitlab" || name == "standard_webhooks" || name == "svix" {
			continue // their ids are signed; GitLab's token signs nothing
		}
		for _, body := range bodies {
			seen := map[string]bool{}
			for _, event := range []string{"", "push", "issues", strings.Repeat("x", 300)} {
				for _, contentType := range []string{"", jsonType, formType, "text/plain",
					"application/json, text/plain"} {
					r := &Request{Header: http.Header{}, Body: []byte(body)}
					for _, header := range []string{"X-Github-Event", "X-Shopify-Topic", "X-Wc-Webhook-Topic",
						"X-Event-Key", "Sentry-Hook-Resource", "Linear-Event", "X-Key"} {
						r.Header.Set(header, event)
					}
					r.Header.Set("Content-Type", contentType)
					seen[identityOf(t, s, r)] = true
				}
			}
			if delete(seen, "refused"); len(seen) > 1 {
				t.Errorf("%s: body %q is %d events", name, body, len(seen))
			}
		}
	}
	if name := "github"; !TypeUnproven(schemes[name]) {
		t.Errorf("the type of %s counts", name)
	}
}

// Goal: the type counts wherever an id may be unique only among the events of one type, or where
// the type is signed as well. Method: a table.
func TestTypeUnproven(t *testing.T) {
	rule := Rule{Header: "X-Sig", Signed: "{header:X-Signed}{body}"}
	header := list("header:X-Type")
	for _, c := range []struct {
		id, eventType []Place
		want          bool
	}{
		{list("sha256:body"), header, true},
		{list("sha256:body"), list("json:type", "header:X-Type"), true},
		{list("sha256:body"), list("json:type"), false},
		{list("sha256:body"), list("header:X-Signed"), false},
		{list("sha256:body"), nil, false},
		{list("sha256:body-without:n"), header, true},
		{list("json:id"), header, false},
		{list("json:id", "sha256:body"), header, false},
		{list("header:X-Id", "sha256:body"), header, false},
		{[]Place{{"header:X-Type", "sha256:body"}}, header, false},
		{[]Place{{"header:X-Signed", "sha256:body"}}, header, true},
		{list("request:id"), header, false},
	} {
		s := newForTest(t, "hmac", Options{Secrets: []string{secret1}, Signature: rule,
			Places: Places{MessageID: c.id, EventType: c.eventType}})
		if got := TypeUnproven(s); got != c.want {
			t.Errorf("id %q, type %q: %v", c.id, c.eventType, got)
		}
	}
	for _, k := range presets() {
		if got := TypeUnproven(presetForTest(t, k.Name, Places{})); got != (k.Name == "mailgun") {
			t.Errorf("preset %s: %v", k.Name, got)
		}
	}
}

// Goal: a repetition with the time of the first attempt is accepted while the sender repeats, if it
// is certain to be a duplicate; a time in the future is not. Method: each preset that repeats, with
// its own message id, with one that is not signed, and with a tolerance of its own.
func TestRepeats(t *testing.T) {
	for _, k := range presets() {
		if k.repeats == 0 {
			continue
		}
		var source vector
		for _, v := range vectors() {
			if v.kind() == k.Name {
				source = v
			}
		}
		for _, c := range []struct {
			name          string
			places        Places
			tolerance     time.Duration
			back, forward time.Duration
		}{
			{"as it is", Places{}, 0, k.repeats, DefaultTolerance},
			{"another message id", Places{MessageID: list("header:X-Id")}, 0, DefaultTolerance,
				DefaultTolerance},
			{"tolerance", Places{}, time.Minute, time.Minute, time.Minute},
		} {
			o := Options{Secrets: []string{source.secret}, PublicURL: "https://example.com/x",
				Places: c.places, Tolerance: c.tolerance}
			s := newForTest(t, k.Name, o)
			for after, want := range map[time.Duration]bool{c.back - time.Second: true, c.back +
				time.Second: false, time.Second - c.forward: true, -time.Second - c.forward: false} {
				r := source.request()
				r.Time = time.Unix(source.at, 0).Add(after)
				err := s.CheckHeader(r)
				if err == nil {
					err = s.Authenticate(r)
				}
				// signed, so that only the time can be judged
				if source.url != "" && source.url != o.PublicURL {
					if err != nil && !strings.Contains(err.Error(), "is more than ") {
						err = nil
					}
				}
				if (err == nil) != want || err != nil && !errors.Is(err, ErrUnauthenticated) {
					t.Errorf("%s, %s: %v after its time: %v", k.Name, c.name, after, err)
				}
			}
		}
	}
}

// Goal: what Twilio signs is one event in any notation. Method: forms with the same
// fields.
func TestTwilioForms(t *testing.T) {
	s := presetForTest(t, "twilio", Places{MessageID: list("sha256:body")})
	var first string
	for i, body := range []string{"A=1&B=x+y", "B=x+y&A=1", "A=1&B=x%20y", "%41=1&B=x+y&A=1",
		"&A=1&&B=x+y"} {
		id := identityOf(t, s, &Request{Header: header("Content-Type", formType), Body: []byte(body)})
		if i == 0 {
			first = id
		} else if id != first {
			t.Errorf("%s is another event than the first", body)
		}
	}
	if id := identityOf(t, s, &Request{Header: header("Content-Type", formType),
		Body: []byte("A=1&B=xy")}); id == first {
		t.Error("other fields are the same event")
	}
}

// Goal: a JSON body that begins with a byte order mark is one of every kind, and is signed and
// hashed as it was sent. Method: the vectors with a mark before their bodies, signed again where
// the body counts.
func TestByteOrderMark(t *testing.T) {
	for _, v := range vectors() {
		k := kinds[v.kind()]
		if !strings.HasPrefix(v.body, "{") && !strings.HasPrefix(v.body, "[") || v.kind() == "twilio" {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			s, r := v.scheme(t), v.request()
			r.Body = append(slices.Clone(byteOrderMark), r.Body...)
			before, err := s.Identify(v.request())
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.Identify(r)
			if err != nil || got.EventType != before.EventType || got.OrderingKey != before.OrderingKey {
				t.Errorf("got %+v and error %v, want %+v", got, err, before)
			}
			switch {
			case v.unsigned:
			case k.rule.Timestamp == "json:webhookTimestamp": // which signing would set
				mac := hmac.New(sha256.New, []byte(v.secret))
				mac.Write(r.Body)
				r.Header.Set(v.proof, hex.EncodeToString(mac.Sum(nil)))
			case k.rule.Algorithm == ed25519Algorithm || k.rule.Algorithm == ecdsaAlgorithm ||
				strings.HasPrefix(v.secret, "whpk_"):
				return // the test has no private key
			default:
				if err := Sign(v.kind(), v.options(), nil, r); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := admitOnce(s, r); err != nil {
				t.Error(err)
			}
		})
	}
}
