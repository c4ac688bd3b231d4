package admit

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Rule says how a sender signs: which text, with which algorithm, and how it writes the signature
// into which header. Most senders differ only in that, so a preset is a Rule and Places.
type Rule struct {
	// Algorithm is hmac-sha256 (the default), hmac-sha1, hmac-sha512, ed25519 or ecdsa-sha256. The
	// secrets of the last two are public keys.
	Algorithm string
	// Header is the name of the header with the signature.
	Header string
	// Separator is the text between the elements of the header, if it has several: signatures, each
	// after Prefix, a timestamp, and others, which are ignored. After a space another such list may
	// follow. Empty: the header is one signature.
	Separator string
	// Prefix is the text before each signature. There may be several, because some senders use a
	// different prefix for each of two secrets during a rotation.
	Prefix Prefixes
	// Encoding of a signature: hex (the default) or base64.
	Encoding string
	// Signed is the signed text, with {body}, {timestamp}, {method}, {url} and {header:NAME} in it;
	// {body} by default.
	Signed string
	// Timestamp is the place of the time of the signature: "header:NAME", "element:PREFIX" for an
	// element of the signature's header, "json:PATH" in the body; empty if there is none. The time
	// must be within the tolerance of now.
	Timestamp string
	// TimestampUnit is s (the default), ms or rfc3339.
	TimestampUnit string
	// SecretEncoding says how a secret is written: text (the default), hex or base64. "whsec_" or
	// "whpk_" may precede base64.
	SecretEncoding string
}

// Prefixes are texts, one of which precedes a signature. Without any, nothing precedes it.
type Prefixes []string

// UnmarshalText parses a single prefix, which may have commas.
func (p *Prefixes) UnmarshalText(text []byte) error {
	*p = Prefixes{string(text)}
	return nil
}

// String lists the prefixes for people.
func (p Prefixes) String() string { return strings.Join(p, " or ") }

// cut removes the longest prefix that a text begins with.
func (p Prefixes) cut(text string) (rest string, ok bool) {
	rest, ok = text, len(p) == 0
	for _, prefix := range p {
		if r, has := strings.CutPrefix(text, prefix); has && (!ok || len(r) < len(rest)) {
			rest, ok = r, true
		}
	}
	return rest, ok
}

// first returns the prefix that Sign uses.
func (p Prefixes) first() string {
	if len(p) == 0 {
		return ""
	}
	return p[0]
}

// isZero reports whether no field is set.
func (r Rule) isZero() bool { return reflect.DeepEqual(r, Rule{}) }

// DefaultTolerance is how far a timestamp may be from now, in either direction.
const DefaultTolerance = 5 * time.Minute

var hashes = map[string]func() hash.Hash{"hmac-sha256": sha256.New, "hmac-sha1": sha1.New,
	"hmac-sha512": sha512.New}

const (
	ed25519Algorithm = "ed25519"
	ecdsaAlgorithm   = "ecdsa-sha256"
)

// withDefaults sets the defaults and returns an error for an invalid rule.
func (r Rule) withDefaults() (Rule, error) {
	for value, otherwise := range map[*string]string{
		&r.Algorithm: "hmac-sha256", &r.Encoding: "hex", &r.Signed: "{body}", &r.TimestampUnit: "s",
		&r.SecretEncoding: "text",
	} {
		if *value == "" {
			*value = otherwise
		}
	}
	if _, known := hashes[r.Algorithm]; !known && r.Algorithm != ed25519Algorithm &&
		r.Algorithm != ecdsaAlgorithm {
		return r, fmt.Errorf("signature algorithm %q is not one of hmac-sha256, hmac-sha1,"+
			" hmac-sha512, %s, %s",
			r.Algorithm, ed25519Algorithm, ecdsaAlgorithm)
	}
	for _, c := range []struct {
		what, value string
		known       []string
	}{
		{"signature encoding", r.Encoding, []string{"hex", "base64"}},
		{"timestamp unit", r.TimestampUnit, []string{"s", "ms", "rfc3339"}},
		{"secret encoding", r.SecretEncoding, []string{"text", "hex", "base64"}},
	} {
		if !slices.Contains(c.known, c.value) {
			return r, fmt.Errorf("%s %q is not one of %s", c.what, c.value, strings.Join(c.known, ", "))
		}
	}
	if r.Header == "" {
		return r, errors.New("signature.header is missing: set it to the name of the header with the " +
			"signature")
	}
	r.Header = http.CanonicalHeaderKey(r.Header)
	return r, nil
}

// timestampPlace is the place of a Rule's timestamp; the zero value means that there is none.
type timestampPlace struct {
	header, element string
	json            []path // one path
	unit            string
}

func parseTimestampPlace(r Rule) (p timestampPlace, err error) {
	p.unit = r.TimestampUnit
	kind, arg, _ := strings.Cut(r.Timestamp, ":")
	switch {
	case r.Timestamp == "":
	case arg == "":
		err = fmt.Errorf("timestamp %q is not of the form header:NAME, element:PREFIX or json:PATH",
			r.Timestamp)
	case kind == "header":
		p.header = http.CanonicalHeaderKey(arg)
	case kind == "element" && r.Separator == "":
		err = errors.New("a timestamp that is an element of the signature's header needs a separator")
	case kind == "element":
		p.element = arg
	case kind == "json":
		var one path
		one, err = parsePath(arg)
		p.json = []path{one}
	default:
		err = fmt.Errorf("timestamp %q is not of the form header:NAME, element:PREFIX or json:PATH",
			r.Timestamp)
	}
	return p, err
}

// parseTime parses a timestamp. A number has digits only, so that a signed text has one meaning.
func parseTime(text, unit string) (time.Time, bool) {
	if unit == "rfc3339" {
		t, err := time.Parse(time.RFC3339, text)
		return t, err == nil
	}
	if text == "" || len(text) > 16 || strings.ContainsFunc(text, func(r rune) bool {
		return r < '0' ||
			r > '9'
	}) {
		return time.Time{}, false
	}
	n, _ := parseSequence(text)
	if unit == "ms" {
		return time.UnixMilli(n), true
	}
	return time.Unix(n, 0), true
}

// window is how far a timestamp may be before now, and after it.
type window struct{ back, ahead time.Duration }

// newWindow returns the tolerance of a source. A sender may repeat a webhook with the time of the
// first attempt, but never with a time in the future.
func newWindow(o Options) window {
	if o.Tolerance > 0 {
		return window{o.Tolerance, o.Tolerance}
	}
	return window{max(DefaultTolerance, o.repeats), DefaultTolerance}
}

// checkTime rejects a timestamp that is outside the window around now.
func checkTime(where, text, unit string, now time.Time, w window) error {
	switch t, ok := parseTime(text, unit); {
	case !ok:
		return unauthenticated(where, "is not a timestamp in "+unitNames[unit])
	case t.Before(now.Add(-w.back)):
		return unauthenticated(where, "is more than "+w.back.String()+" ago")
	case t.After(now.Add(w.ahead)): // a difference of times could overflow
		return unauthenticated(where, "is more than "+w.ahead.String()+" in the future")
	}
	return nil
}

var unitNames = map[string]string{"s": "seconds since 1970", "ms": "milliseconds since 1970",
	"rfc3339": "the form of RFC 3339"}

// decodeSecret decodes a configured secret or public key. prefix may precede one in base64.
func decodeSecret(secret, encoding, prefix string) ([]byte, error) {
	switch encoding {
	case "hex":
		return decodeHex(secret)
	case "base64":
		bare, err := bareKey(secret, prefix)
		if err != nil {
			return nil, err
		}
		key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(bare, "="))
		if err != nil {
			return nil, errors.New("is not base64")
		}
		return key, nil
	}
	return []byte(secret), nil
}
