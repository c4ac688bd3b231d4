package admit

import "errors"

// EnvelopeConfig holds the credentials of an envelope source. There must be at least one, of either
// sort; several of a sort are all valid, so that they can be rotated.
type EnvelopeConfig struct {
	BearerKeys  []string
	HMACSecrets []string
}

// envelopeRule is how the sender of an envelope signs.
var envelopeRule = Rule{Header: "X-Webhook-Signature", Prefix: Prefixes{"sha256="}}

type envelope struct {
	keys      bearerKeys
	signature *signature
}

// NewEnvelope returns the scheme of the default source: a JSON object with the members messageId
// and eventType, and optionally orderingKey and sequence, beside any others.
//
// The sender shows "Authorization: Bearer KEY" or signs with "X-Webhook-Signature: sha256=HEX", the
// HMAC-SHA256 of the body. Whatever it sends must be right: if both headers are present both are
// checked, and a header for which nothing is configured is refused. A bearer key, and the form of
// a signature, are checked by CheckHeader; Authenticate checks everything.
//
// Identify takes a missing Content-Type, application/json and every type that ends in +json,
// whatever their parameters. It looks at it only after the credentials, so that a stranger learns
// nothing but 401.
//
// The body must be one JSON object (RFC 8259) nested at most 128 deep. Member names are compared
// exactly, after unescaping. messageId, eventType and orderingKey are strings of 1 to
// MaxIdentityBytes bytes of UTF-8 without control characters (U+0000 to U+001F, U+007F), taken as
// they are: no Unicode normalisation. A missing or null orderingKey means the event type. sequence
// is an integer from 0 to 2^63-1 written in digits alone; missing or null means none. None of the
// four may occur twice. Bytes that are not UTF-8 are tolerated in all other strings, because the
// body is kept byte for byte and not interpreted.
//
// An error names a credential that is empty or could never be sent.
func NewEnvelope(c EnvelopeConfig) (Scheme, error) {
	if len(c.BearerKeys)+len(c.HMACSecrets) == 0 {
		return nil, errNoCredentials
	}
	keys, err1 := newBearerKeys(c.BearerKeys)
	sig, err2 := newSignature(envelopeRule, c.HMACSecrets)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return &envelope{keys, sig}, nil
}

func (e *envelope) CheckHeader(r *Request) error {
	shown, err := e.keys.check(r)
	if err != nil {
		return err
	}
	signed, err := e.signature.checkForm(r)
	return present(shown || signed, err)
}

// Authenticate checks the bearer key again: it is cheap, and a caller that left out CheckHeader
// must not let anyone in.
func (e *envelope) Authenticate(r *Request) error {
	shown, err := e.keys.check(r)
	if err != nil {
		return err
	}
	signed, err := e.signature.verify(r)
	return present(shown || signed, err)
}

func present(any bool, err error) error {
	if err == nil && !any {
		return unauthenticated("Authorization", "and X-Webhook-Signature are both missing")
	}
	return err
}

func (e *envelope) Identify(r *Request) (Message, error) {
	if err := checkContentType(r.Header, bodyJSON, expectJSON); err != nil {
		return Message{}, err
	}
	return scanEnvelope(r.content())
}
