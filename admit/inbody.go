package admit

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// mailgun is the proof of Mailgun (documentation.mailgun.com, "Securing Webhooks"): the body has a
// timestamp, a token and the HMAC-SHA256 of the two. The rest of the body is not signed.
type mailgun struct {
	secrets   []string
	tolerance window
}

func newMailgun(o Options) (proof, error) {
	if len(o.Secrets) == 0 {
		return nil, errNoCredentials
	}
	return mailgun{o.Secrets, newWindow(o)}, nil
}

// mailgunToken is unique to an event. It is the only signed value that is.
const mailgunToken = "signature.token"

func (mailgun) checkHeader(*Request) error { return nil }

var mailgunPaths = []path{{"signature", "timestamp"}, {"signature", "token"},
	{"signature", "signature"}}

func (m mailgun) authenticate(r *Request) error {
	var f finder
	f.lookFor(mailgunPaths, 2)
	if err := scan(r.Body, false, &f); err != nil {
		return fmt.Errorf("%w: signature cannot be found: %w", ErrUnauthenticated, err)
	}
	var texts [3]string
	for i, p := range mailgunPaths {
		text, reason := jsonText(f.raw(i, r.Body))
		switch {
		case f.twice != noPath:
			reason = "or its neighbour occurs more than once"
		case reason == "" && text == "":
			reason = "is missing"
		}
		if reason != "" {
			return unauthenticated(strings.Join(p, "."), reason)
		}
		texts[i] = text
	}
	got, err := decodeHex(texts[2])
	if err != nil || len(got) != sha256.Size {
		return unauthenticated("signature.signature", "does not have 64 hexadecimal digits")
	}
	which := 0
	for i := len(m.secrets) - 1; i >= 0; i-- {
		match := subtle.ConstantTimeCompare(got, mailgunSum(m.secrets[i], texts[0]+texts[1]))
		which = subtle.ConstantTimeSelect(match, i+1, which)
	}
	r.Credential = Credential{Secrets, which}
	if which == 0 {
		return unauthenticated("signature.signature",
			"is not what any of the configured secrets makes of timestamp and token")
	}
	return checkTime("signature.timestamp", texts[0], "s", r.Time, m.tolerance)
}

func mailgunSum(secret, text string) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// signMailgun adds a signature to a body that is an object.
func signMailgun(o Options, r *Request) error {
	var body map[string]json.RawMessage
	if err := json.Unmarshal(r.Body, &body); err != nil || body == nil {
		return errors.New("the body is not a JSON object, which the signature could be put into")
	}
	timestamp, token := strconv.FormatInt(r.Time.Unix(), 10), rand.Text()
	body["signature"] = fmt.Appendf(nil, `{"timestamp":%q,"token":%q,"signature":%q}`, timestamp,
		token,
		hex.EncodeToString(mailgunSum(o.Secrets[0], timestamp+token)))
	var err error
	r.Body, err = json.Marshal(body)
	return err
}

// graph is the proof of Microsoft Graph (learn.microsoft.com/graph/change-notifications-overview):
// each notification in the body has the clientState, a secret of the subscriber and Microsoft.
type graph struct{ digests [][sha256.Size]byte }

func (graph) checkHeader(*Request) error { return nil }

// maxNotifications limits the notifications of one request. maxClientState limits a clientState, in
// bytes: Microsoft allows 128 characters.
const maxNotifications, maxClientState = 1000, 512

var graphPaths = []path{{"value", anyElement, "clientState"}}

// authenticate compares the clientState of each notification in one pass. It copies nothing of the
// body, which anybody may have sent.
func (g graph) authenticate(r *Request) error {
	var f finder
	f.lookFor(graphPaths, len(graphPaths[0]))
	var buf [maxClientState]byte
	right, which, wrong := 0, 0, false
	f.each = func(at span) {
		raw := r.Body[at.start:at.end]
		if wrong = wrong || raw[0] != '"' || f.elements > maxNotifications; wrong {
			return // one wrong clientState is enough
		}
		state, reason := unescape(buf[:0], raw[1:len(raw)-1], len(buf))
		if which = matchDigest(g.digests, string(state)); reason != "" || which == 0 {
			wrong = true
			return
		}
		right++
	}
	switch err := scan(r.Body, false, &f); {
	case err != nil:
		return fmt.Errorf("%w: clientState cannot be found: %w", ErrUnauthenticated, err)
	case f.twice != noPath: // another reader could use the other one
		return unauthenticated("value or clientState", "occurs more than once")
	case f.elements == 0 || f.elements > maxNotifications:
		return unauthenticated("value", "is not an array of 1 to "+strconv.Itoa(maxNotifications)+
			" notifications")
	case wrong || right != f.elements:
		return unauthenticated("clientState",
			"is missing in a notification or none of the configured secrets")
	}
	r.Credential = Credential{Secrets, which}
	return nil
}

// signGraph adds the clientState to each notification of a body.
func signGraph(o Options, r *Request) error {
	var body map[string]json.RawMessage
	var value []map[string]json.RawMessage
	if json.Unmarshal(r.Body, &body) != nil || json.Unmarshal(body["value"], &value) != nil {
		return errors.New(`the body is not of the form {"value":[{…}]}`)
	}
	for _, notification := range value {
		notification["clientState"], _ = json.Marshal(o.Secrets[0])
	}
	body["value"], _ = json.Marshal(value)
	var err error
	r.Body, err = json.Marshal(body)
	return err
}
