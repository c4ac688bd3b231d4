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

// Rule says how a sender signs: what it makes the signature of, with which algorithm, and how it
// writes it into which header. Most of the senders of the world differ in these alone, so that a
// preset is a Rule and the places of its identity.
type Rule struct {
	// Algorithm is hmac-sha256 (the default), hmac-sha1, hmac-sha512, ed25519 or ecdsa-sha256. The
	// secrets of the last two are public keys.
	Algorithm string
	// Header is the name of the header that the signature stands in.
	Header string
	// Separator stands between the elements of the header where it may hold several: signatures, each
	// behind Prefix, a timestamp, and others, which are ignored. Behind a space another such list may
	// follow. Empty: the header is one signature.
	Separator string
	// Prefix stands before each signature. There may be several: some senders write the signatures of
	// two secrets behind different ones while a secret is being replaced.
	Prefix Prefixes
	// Encoding of a signature: hex (the default) or base64.
	Encoding string
	// Signed is the text that is signed, with {body}, {timestamp}, {method}, {url} and {header:NAME}
	// in it; {body} by default.
	Signed string
	// Timestamp says where the time of the signature stands: "header:NAME", "element:PREFIX" for an
	// element of the signature's header, "json:PATH" in the body; empty if there is none. It must be
	// within the tolerance of now.
	Timestamp string
	// TimestampUnit is s (the default), ms or rfc3339.
	TimestampUnit string
	// SecretEncoding says how a secret is written: text (the default), hex or base64, which may stand
	// behind "whsec_" or "whpk_".
	SecretEncoding string
}

// Prefixes are texts of which one stands before a signature; without any, nothing does.
type Prefixes []string

// UnmarshalText takes a single one, commas and all.
func (p *Prefixes) UnmarshalText(text []byte) error {
	*p = Prefixes{string(text)}
	return nil
}

// String names them for people.
func (p Prefixes) String() string { return strings.Join(p, " or ") }

// cut returns what stands behind the longest of the prefixes that a text begins with.
func (p Prefixes) cut(text string) (rest string, ok bool) {
	rest, ok = text, len(p) == 0
	for _, prefix := range p {
		if r, has := strings.CutPrefix(text, prefix); has && (!ok || len(r) < len(rest)) {
			rest, ok = r, true
		}
	}
	return rest, ok
}

// first is the one that this program signs with.
func (p Prefixes) first() string {
	if len(p) == 0 {
		return ""
	}
	return p[0]
}

// isZero reports whether nothing is said.
func (r Rule) isZero() bool { return reflect.DeepEqual(r, Rule{}) }

// DefaultTolerance is how far a timestamp may be from now, in either direction.
const DefaultTolerance = 5 * time.Minute

var hashes = map[string]func() hash.Hash{"hmac-sha256": sha256.New, "hmac-sha1": sha1.New,
	"hmac-sha512": sha512.New}

const (
	ed25519Algorithm = "ed25519"
	ecdsaAlgorithm   = "ecdsa-sha256"
)

// withDefaults fills in what is left out and finds what cannot be.
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
		return r, fmt.Errorf("signature algorithm %q is not one of hmac-sha256, hmac-sha1, hmac-sha512, %s, %s", r.Algorithm, ed25519Algorithm, ecdsaAlgorithm)
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
		return r, errors.New("the name of the signature's header is missing")
	}
	r.Header = http.CanonicalHeaderKey(r.Header)
	return r, nil
}

// timestampPlace is where a Rule's timestamp stands; the zero value is nowhere.
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

// parseTime reads a timestamp. Numbers are digits alone, so that what is signed has one meaning.
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

// window is how far a timestamp may lie back from now, and ahead of it.
type window struct{ back, ahead time.Duration }

// newWindow returns the tolerance of a source. Its sender may repeat a webhook with the first time,
// but never has one from the future.
func newWindow(o Options) window {
	if o.Tolerance > 0 {
		return window{o.Tolerance, o.Tolerance}
	}
	return window{max(DefaultTolerance, o.repeats), DefaultTolerance}
}

// checkTime refuses a timestamp that is not within the window around now.
func checkTime(where, text, unit string, now time.Time, w window) error {
	switch t, ok := parseTime(text, unit); {
	case !ok:
		return unauthenticated(where, "is not a timestamp in "+unitNames[unit])
	case t.Before(now.Add(-w.back)):
		return unauthenticated(where, "is a time that lies back more than "+w.back.String())
	case t.After(now.Add(w.ahead)): // a difference of times could overflow
		return unauthenticated(where, "is a time that lies ahead more than "+w.ahead.String())
	}
	return nil
}

var unitNames = map[string]string{"s": "seconds since 1970", "ms": "milliseconds since 1970",
	"rfc3339": "the form of RFC 3339"}

// decodeSecret reads a secret as it is configured, or a public key; prefix is what may stand before
// it in base64.
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
