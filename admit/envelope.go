package admit

import "errors"

// EnvelopeConfig has the credentials of an envelope source. At least one is required. All are valid
// at once, so that they can be rotated.
type EnvelopeConfig struct {
	BearerKeys  []string
	HMACSecrets []string
}

// envelopeRule says how the sender of an envelope signs.
var envelopeRule = Rule{Header: "X-Webhook-Signature", Prefix: Prefixes{"sha256="}}

type envelope struct {
	keys      bearerKeys
	signature *signature
}

// NewEnvelope returns the scheme of the default source: a JSON object with the members messageId
// and eventType, and optionally orderingKey and sequence, beside any others.
//
// The sender sends "Authorization: Bearer KEY", or signs with "X-Webhook-Signature: sha256=HEX",
// the HMAC-SHA256 of the body. If both headers are present, both must be right. A header for which
// no credential is configured is rejected. CheckHeader checks the bearer key and the form of the
// signature. Authenticate checks everything.
//
// Identify accepts a missing Content-Type, application/json, and every type that ends in +json,
// with any parameters. It checks the type after the credentials, so that a stranger learns nothing
// but 401.
//
// The body must be one JSON object (RFC 8259), nested at most 128 deep. Member names are compared
// exactly, after unescaping. messageId and eventType are strings of 1 to MaxIdentityBytes bytes of
// UTF-8 without control characters (U+0000 to U+001F, U+007F); they are not normalised, and neither
// may occur twice. Without a usable orderingKey the ordering key is the event type. sequence is an
// integer from 0 to 2^63-1 written in digits only; without a usable one there is none. All other
// strings may have bytes that are not UTF-8, because the body is kept byte for byte.
//
// An error names a credential that is empty or that no request could send.
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

// Authenticate checks the bearer key again. That is cheap, and a caller that forgot CheckHeader
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
