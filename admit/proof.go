package admit

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// proof verifies the credentials of a sender. Its methods promise what those of a Scheme promise.
type proof interface {
	checkHeader(r *Request) error
	authenticate(r *Request) error
}

// signed is a proof by a signature, which is required.
type signed struct {
	*signature
	hint string // end of the error about a missing signature
}

func (s signed) checkHeader(r *Request) error {
	present, err := s.checkForm(r)
	return s.must(present, err)
}

func (s signed) authenticate(r *Request) error {
	present, err := s.verify(r)
	return s.must(present, err)
}

func (s signed) must(present bool, err error) error {
	if err == nil && !present {
		return unauthenticated(s.rule.Header, "is missing"+s.hint)
	}
	return err
}

// newSigned returns the proof of a rule with the secrets and the URL of the options.
func newSigned(rule Rule, o Options, hint string) (proof, error) {
	if len(o.Secrets) == 0 {
		return nil, errNoCredentials
	}
	s, err := newSignature(rule, o.Secrets)
	if err != nil {
		return nil, err
	}
	s.tolerance = newWindow(o)
	if !strings.Contains(s.rule.Signed, "{body}") {
		return nil, fmt.Errorf("signed text %q has no {body}: a signature would be valid for any body",
			s.rule.Signed)
	}
	if s.template.url && o.PublicURL == "" {
		return nil, errNoURL
	}
	s.url, s.positions = o.PublicURL, o.positions
	return signed{s, hint}, nil
}

var errNoURL = errors.New("the sender signs the URL that it calls:" +
	" set public_url to exactly the URL " +
	"configured there")

// token is a proof by a header that has one of the secrets. It stores digests, which all have the
// same size, so that the time of a comparison reveals nothing about a secret, not even its length.
type token struct {
	header, prefix string
	digests        [][sha256.Size]byte
	positions      []int // as in signature
}

func newToken(header, prefix string, o Options) (proof, error) {
	if len(o.Secrets) == 0 {
		return nil, errNoCredentials
	}
	t := token{header: http.CanonicalHeaderKey(header), prefix: prefix, positions: o.positions}
	if t.header == "" {
		return nil, errors.New("header is missing: set it to the name of the header with the secret")
	}
	for i, secret := range o.Secrets {
		if reason := unsendable(secret); reason != "" {
			return nil, fmt.Errorf("secret %d %s", i+1, reason)
		}
		t.digests = append(t.digests, sha256.Sum256([]byte(secret)))
	}
	return t, nil
}

// unsendable returns why a header cannot have the secret as its value; empty if it can. A header
// value arrives trimmed and has no control characters.
func unsendable(secret string) string {
	switch {
	case secret == "":
		return "is empty"
	case strings.TrimSpace(secret) != secret || strings.ContainsFunc(secret, isControl):
		return "begins or ends with white space or has control characters: no request can send it"
	}
	return ""
}

// newBasic returns the proof of HTTP Basic authentication. A secret is USER:PASSWORD.
func newBasic(o Options) (proof, error) {
	encoded := make([]string, len(o.Secrets))
	for i, secret := range o.Secrets {
		if !strings.Contains(secret, ":") || strings.ContainsFunc(secret, isControl) {
			return nil, fmt.Errorf("secret %d is not of the form USER:PASSWORD", i+1)
		}
		encoded[i] = base64.StdEncoding.EncodeToString([]byte(secret))
	}
	o.Secrets = encoded
	return newToken("Authorization", "Basic ", o)
}

func (t token) checkHeader(r *Request) error {
	value, err := soleHeader(r, t.header)
	if err != nil {
		return err
	}
	if t.prefix != "" {
		// The name of an authentication scheme is not case-sensitive (RFC 9110, section 11.1).
		if len(value) < len(t.prefix) || !strings.EqualFold(value[:len(t.prefix)], t.prefix) {
			return unauthenticated(t.header, "does not begin with "+strings.TrimSpace(t.prefix))
		}
		value = strings.TrimLeft(value[len(t.prefix):], " ")
	}
	secret := matchDigest(t.digests, value)
	if secret == 0 {
		return unauthenticated(t.header, "has none of the configured secrets")
	}
	r.Credential = Credential{Secrets, positionOf(t.positions, secret)}
	return nil
}

// matchDigest returns the number of the digest that matches a value, counted from 1, or 0. It
// compares with all of them, so that the time does not depend on the result.
func matchDigest(digests [][sha256.Size]byte, value string) (which int) {
	got := sha256.Sum256([]byte(value))
	for i := len(digests) - 1; i >= 0; i-- {
		which = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(got[:], digests[i][:]), i+1, which)
	}
	return which
}

// SecretHeaders returns the headers, in canonical form, in which requests have an unencrypted
// secret. They must not be stored with events.
func SecretHeaders(s Scheme) []string {
	switch s := s.(type) {
	case *source:
		return headersOf(s.proof)
	case *shakingSource:
		return headersOf(s.proof)
	}
	return []string{"Authorization"}
}

func headersOf(p proof) (names []string) {
	switch p := p.(type) {
	case token:
		names = append(names, p.header)
	case either:
		for _, way := range p.ways {
			names = append(names, headersOf(way)...)
		}
	}
	return names
}

func (t token) authenticate(r *Request) error { return t.checkHeader(r) }

// either is one of several proofs, chosen by the request.
type either struct {
	ways []proof
	// pick returns the index of the proof for the request.
	pick func(*Request) int
}

func (e either) checkHeader(r *Request) error  { return e.ways[e.pick(r)].checkHeader(r) }
func (e either) authenticate(r *Request) error { return e.ways[e.pick(r)].authenticate(r) }

// anyOf is a proof by one of several signatures in the same header.
type anyOf []proof

func (a anyOf) checkHeader(r *Request) error {
	return a.first(func(p proof) error { return p.checkHeader(r) })
}
func (a anyOf) authenticate(r *Request) error {
	return a.first(func(p proof) error { return p.authenticate(r) })
}

// first returns nil if one of the proofs does, else the last error.
func (a anyOf) first(check func(proof) error) (err error) {
	for _, p := range a {
		if err = check(p); err == nil {
			return nil
		}
	}
	return err
}

// open accepts every request.
type open struct{}

func (open) checkHeader(*Request) error  { return nil }
func (open) authenticate(*Request) error { return nil }

// split returns the options with the secrets that have one of the prefixes, and with the others.
func split(o Options, prefixes ...string) (with, without Options) {
	with, without = o, o
	with.Secrets, without.Secrets = nil, nil
	with.positions, without.positions = nil, nil
	for i, s := range o.Secrets {
		to := &without
		if slices.ContainsFunc(prefixes, func(prefix string) bool {
			return strings.HasPrefix(s,
				prefix)
		}) {
			to = &with
		}
		to.Secrets = append(to.Secrets, s)
		to.positions = append(to.positions, positionOf(o.positions, i+1))
	}
	return with, without
}

// covers reports whether a proof authenticates the value at a place, so that nobody but the sender
// can change it.
func covers(p proof, at place) bool {
	if at.kind == placeConst {
		return true
	}
	switch p := p.(type) {
	case signed:
		if at.kind != placeHeader {
			return at.kind != placeRequest && p.template.body
		}
		found := at.header == p.timestamp.header
		_ = p.template.headers(func(name string) error {
			found = found || name == at.header
			return nil
		})
		return found
	case anyOf: // they differ in their keys and algorithms
		return covers(p[0], at)
	case twilio: // its signature does not separate the name of a field from the value
		return at.kind == placeHash && at.omit == nil
	case mailgun:
		return at.kind == placeJSON && at.name == mailgunToken
	case sns:
		return at.kind == placeJSON && slices.ContainsFunc(snsPaths[:snsVersion],
			func(p path) bool { return p[0] == at.name })
	}
	return false
}

// TypeUnproven reports whether the message ids of a scheme are authentic and unique over all event
// types, while its event types are not authentic; see hookgate.Request.
func TypeUnproven(s Scheme) bool {
	switch s := s.(type) {
	case *source:
		return s.typeUnproven
	case *shakingSource:
		return s.typeUnproven
	}
	return false
}
