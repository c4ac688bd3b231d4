package admit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode"

	"github.com/hookgate/hookgate/internal/jsontext"
)

// handshake says how a kind of sender tests its endpoint; see Handshaker.
type handshake struct {
	methods      []string
	greet, reply func(*source, *Request) (*Answer, error)
	// mayPing checks the header of an unsigned test request, isPing its body.
	mayPing func(http.Header) bool
	isPing  func(body []byte) bool
}

// maxEcho is the longest text that a handshake echoes, in bytes.
const maxEcho = 4096

// textAnswer echoes a text. Anybody can choose the text, so no browser may show it as a page.
func textAnswer(text string) *Answer {
	return &Answer{http.StatusOK, http.Header{"Content-Type": {"text/plain; charset=utf-8"},
		"X-Content-Type-Options": {"nosniff"}}, []byte(text)}
}

func jsonAnswer(body []byte) *Answer {
	return &Answer{http.StatusOK, http.Header{"Content-Type": {"application/json"}}, body}
}

// queryValue returns the only value of a query parameter. A reason means that there are several, or
// that the value must not be echoed.
func queryValue(query, name string) (value, reason string) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", "is not properly encoded"
	}
	switch all := values[name]; {
	case len(all) == 0:
		return "", ""
	case len(all) > 1:
		return "", "occurs more than once"
	case len(all[0]) > maxEcho:
		return "", "is too long"
	case strings.ContainsFunc(all[0], unicode.IsControl):
		return "", "has a control character"
	default:
		return all[0], ""
	}
}

// members returns the texts at paths of a JSON object. A text is empty if there is none. All are
// empty if one is ambiguous.
func members(body []byte, names ...string) []string {
	found := make([]string, len(names))
	paths := make([]path, len(names))
	for i, name := range names {
		paths[i] = strings.Split(name, ".")
	}
	var f finder
	f.lookFor(paths, longestOf(paths))
	if scan(body, false, &f) != nil || f.twice != noPath {
		return found
	}
	for i := range names {
		if raw := f.raw(i, body); len(raw) > 0 && raw[0] == '"' && len(raw) <= maxEcho {
			text, reason := unescape(nil, raw[1:len(raw)-1], maxEcho)
			if reason == "" {
				found[i] = string(text)
			}
		} else if len(raw) > 0 && isDigit(raw[0]) {
			found[i] = string(raw)
		}
	}
	return found
}

// wooPing recognises the request that WooCommerce sends when a person saves a webhook: an unsigned
// form (WC_Webhook::deliver_ping). WooCommerce repeats it until it gets 200.
func wooPing(h http.Header) bool {
	return len(h["X-Wc-Webhook-Signature"]) == 0 && isFormType(h)
}

var wooPingBody = regexp.MustCompile(`\Awebhook_id=[0-9]{1,20}\z`)

// bitbucketPing recognises an unsigned "Test connection" of Bitbucket Data Center. Some versions do
// not sign it (runatlantis/atlantis#474).
func bitbucketPing(h http.Header) bool {
	return len(h["X-Hub-Signature"]) == 0 && isBitbucketPing(h)
}

func isBitbucketPing(h http.Header) bool {
	return len(h["X-Event-Key"]) == 1 && h["X-Event-Key"][0] == "diagnostics:ping"
}

var bitbucketPingBody = regexp.MustCompile(`\A\s*\{\s*"test"\s*:\s*true\s*\}\s*\z`)

// bitbucketReply answers a signed "Test connection".
func bitbucketReply(_ *source, r *Request) (*Answer, error) {
	if isBitbucketPing(r.Header) {
		return &Answer{Status: http.StatusOK}, nil
	}
	return nil, nil
}

// intercomReply answers the test of an endpoint, which is signed but has no id
// (developers.intercom.com/docs/webhooks).
func intercomReply(_ *source, r *Request) (*Answer, error) {
	if m := members(r.content(), "topic"); m[0] == "ping" {
		return &Answer{Status: http.StatusOK}, nil
	}
	return nil, nil
}

// slackReply answers url_verification (api.slack.com/events/url_verification), which is signed like
// an event.
func slackReply(_ *source, r *Request) (*Answer, error) {
	if isFormType(r.Header) {
		return nil, nil
	}
	if m := members(r.content(), "type", "challenge"); m[0] == "url_verification" && m[1] != "" {
		return textAnswer(m[1]), nil
	}
	return nil, nil
}

// zoomReply answers endpoint.url_validation (developers.zoom.us/docs/api/webhooks), which is signed
// like an event. The answer is the HMAC of the token, made with the secret that signed the request.
func zoomReply(s *source, r *Request) (*Answer, error) {
	m := members(r.content(), "event", "payload.plainToken")
	if m[0] != "endpoint.url_validation" || m[1] == "" {
		return nil, nil
	}
	if r.Credential.Position == 0 {
		return nil, unauthenticated(s.rule.Header, "has not been verified")
	}
	mac := hmac.New(sha256.New, []byte(s.options.Secrets[r.Credential.Position-1]))
	mac.Write([]byte(m[1]))
	body := jsontext.AppendString([]byte(`{"plainToken":`), m[1])
	body = append(body, `,"encryptedToken":"`...)
	return jsonAnswer(append(hex.AppendEncode(body, mac.Sum(nil)), `"}`...)), nil
}

// discordReply answers both of Discord's signed PINGs: type 1 for interactions, type 0 for webhook
// events (discord.com/developers/docs).
func discordReply(_ *source, r *Request) (*Answer, error) {
	m := members(r.content(), "type", "id", "event.type")
	switch {
	// a webhook event has type 1 too, but "event" and no id
	case m[0] == "1" && m[1] != "" && m[2] == "":
		return jsonAnswer([]byte(`{"type":1}`)), nil
	case m[0] == "0":
		return &Answer{Status: http.StatusNoContent}, nil
	}
	return nil, nil
}

// metaGreet answers the verification request, which has the verify token
// (developers.facebook.com/docs/graph-api/webhooks/getting-started).
func metaGreet(s *source, r *Request) (*Answer, error) {
	if r.Method != http.MethodGet {
		return nil, nil
	}
	for name, wanted := range map[string]func(string) bool{
		"hub.mode": func(v string) bool { return v == "subscribe" },
		"hub.verify_token": func(v string) bool {
			return v != "" &&
				matchDigest(digestsOf(s.options.VerifyTokens), v) > 0
		},
		"hub.challenge": func(v string) bool { return v != "" },
	} {
		if value, reason := queryValue(r.Query, name); reason != "" || !wanted(value) {
			return nil, unauthenticated(name, "is missing or not what is configured")
		}
	}
	challenge, _ := queryValue(r.Query, "hub.challenge")
	return textAnswer(challenge), nil
}

// dropboxGreet answers the unsigned verification request
// (dropbox.com/developers/reference/webhooks).
func dropboxGreet(_ *source, r *Request) (*Answer, error) {
	if r.Method != http.MethodGet {
		return nil, nil
	}
	return echo(r, "challenge")
}

// graphGreet answers the unsigned validation of a subscription
// (learn.microsoft.com/graph/change-notifications-delivery-webhooks).
func graphGreet(_ *source, r *Request) (*Answer, error) {
	if !strings.Contains(r.Query, "validationToken=") {
		return nil, nil
	}
	return echo(r, "validationToken")
}

func echo(r *Request, name string) (*Answer, error) {
	value, reason := queryValue(r.Query, name)
	if value == "" && reason == "" {
		reason = "is missing"
	}
	if reason != "" {
		return nil, &MalformedError{name, reason}
	}
	return textAnswer(value), nil
}

// oktaGreet answers the one-time verification request, which has the secret like an event
// (developer.okta.com/docs/concepts/event-hooks).
func oktaGreet(s *source, r *Request) (*Answer, error) {
	if r.Method != http.MethodGet {
		return nil, nil
	}
	if err := s.proof.checkHeader(r); err != nil {
		return nil, err
	}
	value, err := soleHeader(r, "X-Okta-Verification-Challenge")
	if err != nil || len(value) > maxEcho {
		return nil, &MalformedError{"X-Okta-Verification-Challenge",
			"is missing, too long or occurs more than once"}
	}
	return jsonAnswer(append(jsontext.AppendString([]byte(`{"verification":`), value), '}')), nil
}

// cloudEventsGreet answers the validation request of HTTP 1.1 Web Hooks for Event Delivery
// (cloudevents/spec, http-webhook.md, section 4): the endpoint accepts events from the origin of
// the request. The events still need the token.
func cloudEventsGreet(_ *source, r *Request) (*Answer, error) {
	if r.Method != http.MethodOptions {
		return nil, nil
	}
	origin, err := soleHeader(r, "Webhook-Request-Origin")
	if err != nil || checkIdentity(origin) != "" {
		return nil, &MalformedError{"WebHook-Request-Origin",
			"is missing, too long or occurs more than once"}
	}
	return &Answer{Status: http.StatusOK, Header: http.Header{
		"Allow": {"POST"}, "Webhook-Allowed-Origin": {origin}, "Webhook-Allowed-Rate": {"*"},
	}}, nil
}

func digestsOf(secrets []string) [][sha256.Size]byte {
	digests := make([][sha256.Size]byte, len(secrets))
	for i, s := range secrets {
		digests[i] = sha256.Sum256([]byte(s))
	}
	return digests
}
