package admit

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// maxSignatures is how many signatures one header may hold, maxSignatureBytes the longest of them: that
	// of ECDSA with P-256 in ASN.1.
	maxSignatures, maxSignatureBytes = 16, 72
	// keptBuffer is the largest buffer that is kept for the next request.
	keptBuffer = 64 << 10
)

// signature is a Rule with its keys: it checks what a sender signed against several of them.
type signature struct {
	rule      Rule
	size      int // bytes of a signature; 0: it varies
	template  template
	timestamp timestampPlace
	tolerance time.Duration
	url       string
	keys      int
	hmacKeys  [][]byte
	edKeys    []ed25519.PublicKey
	ecKeys    []*ecdsa.PublicKey
	// states holds *sealing. The key schedules are computed once and not for each request.
	states sync.Pool
}

// sealing has a state for each HMAC key, and room that would else be allocated.
type sealing struct {
	hashes []hash.Hash
	sum    [64]byte
	text   []byte
}

// newSignature compiles a rule. There may be no secrets; a request that is signed is refused then.
func newSignature(r Rule, secrets []string) (*signature, error) {
	r, err := r.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &signature{rule: r, keys: len(secrets), tolerance: DefaultTolerance}
	if s.timestamp, err = parseTimestampPlace(r); err != nil {
		return nil, err
	}
	if s.template, err = parseTemplate(r.Signed, r.Timestamp != ""); err != nil {
		return nil, err
	}
	for i, secret := range secrets {
		if secret == "" {
			return nil, fmt.Errorf("secret %d is empty", i+1)
		}
		if err := s.addKey(secret); err != nil {
			return nil, fmt.Errorf("secret %d %w", i+1, err)
		}
	}
	newHash := hashes[r.Algorithm]
	switch r.Algorithm {
	case ed25519Algorithm:
		s.size = ed25519.SignatureSize
	case ecdsaAlgorithm:
	default:
		s.size = newHash().Size()
	}
	s.states.New = func() any {
		w := &sealing{hashes: make([]hash.Hash, len(s.hmacKeys))}
		for i, key := range s.hmacKeys {
			w.hashes[i] = hmac.New(newHash, key)
		}
		return w
	}
	return s, nil
}

// parsed is what a signature's header says.
type parsed struct {
	sums      [maxSignatures][maxSignatureBytes]byte
	sizes     [maxSignatures]uint8
	n         int
	timestamp string
}

// parse reports whether the request has the header and whether it has the right form.
func (s *signature) parse(r *Request, p *parsed) (present bool, err error) {
	values := r.Header[s.rule.Header]
	switch {
	case len(values) == 0:
		return false, nil
	case len(values) > 1:
		return true, unauthenticated(s.rule.Header, "occurs more than once")
	case s.keys == 0:
		return true, unauthenticated(s.rule.Header, "is present but the source has no secrets")
	case s.rule.Separator == "":
		text, ok := strings.CutPrefix(values[0], s.rule.Prefix)
		if !ok {
			return true, unauthenticated(s.rule.Header, "does not begin with "+s.rule.Prefix)
		}
		return true, s.add(p, text)
	}
	for element := range strings.SplitSeq(values[0], s.rule.Separator) {
		element = strings.TrimSpace(element)
		if text, ok := strings.CutPrefix(element, s.rule.Prefix); ok {
			if err := s.add(p, text); err != nil {
				return true, err
			}
		} else if text, ok := strings.CutPrefix(element, s.timestamp.element); ok && s.timestamp.element != "" {
			if p.timestamp != "" {
				return true, unauthenticated(s.rule.Header, "holds more than one "+s.timestamp.element)
			}
			p.timestamp = text
		}
	}
	if p.n == 0 {
		return true, unauthenticated(s.rule.Header, "holds no signature behind "+s.rule.Prefix)
	}
	return true, nil
}

// add decodes one signature.
func (s *signature) add(p *parsed, text string) error {
	if p.n == maxSignatures {
		return unauthenticated(s.rule.Header, "holds more than "+strconv.Itoa(maxSignatures)+" signatures")
	}
	var encoded [2 * maxSignatureBytes]byte
	n, size := 0, 0
	if len(text) <= len(encoded) {
		n = copy(encoded[:], text)
		if s.rule.Encoding == "hex" {
			size = decodeHexInto(p.sums[p.n][:], encoded[:n])
		} else {
			size = decodeBase64(p.sums[p.n][:], encoded[:n])
		}
	}
	switch {
	case size > 0 && (size == s.size || s.size == 0):
	case s.rule.Encoding == "hex" && s.size > 0:
		return unauthenticated(s.rule.Header, "does not have "+strconv.Itoa(2*s.size)+" hexadecimal digits")
	case s.size > 0:
		return unauthenticated(s.rule.Header, "is not the base64 of "+strconv.Itoa(s.size)+" bytes")
	default:
		return unauthenticated(s.rule.Header, "is not a signature in "+s.rule.Encoding)
	}
	p.sizes[p.n] = uint8(size)
	p.n++
	return nil
}

// decodeHexInto returns the number of bytes, and 0 for what is not hexadecimal throughout.
func decodeHexInto(dst, src []byte) int {
	n, err := hex.Decode(dst, src)
	if err != nil {
		return 0
	}
	return n
}

// decodeBase64 returns the number of bytes, and 0 for what is not exactly the base64 of something that fits: padded, and without bits
// that count for nothing.
func decodeBase64(dst, src []byte) int {
	var room [maxSignatureBytes + 3]byte
	if base64.StdEncoding.DecodedLen(len(src)) > len(room) || bytes.ContainsAny(src, "\r\n") {
		return 0
	}
	n, err := strictBase64.Decode(room[:], src)
	if err != nil || n > len(dst) {
		return 0
	}
	return copy(dst, room[:n])
}

var strictBase64 = base64.StdEncoding.Strict()

// checkForm is what the header alone tells: that signature, timestamp and whatever else is signed are there, once each,
// in the right form, and that the time is right.
func (s *signature) checkForm(r *Request) (present bool, err error) {
	var p parsed
	return s.read(r, &p)
}

func (s *signature) read(r *Request, p *parsed) (present bool, err error) {
	present, err = s.parse(r, p)
	if !present || err != nil {
		return present, err
	}
	err = s.template.headers(func(name string) error {
		_, err := soleHeader(r, name)
		return err
	})
	if err != nil {
		return true, err
	}
	if s.timestamp.header != "" {
		if p.timestamp, err = soleHeader(r, s.timestamp.header); err != nil {
			return true, err
		}
		return true, checkTime(s.timestamp.header, p.timestamp, s.timestamp.unit, r.Time, s.tolerance)
	}
	if s.timestamp.element != "" {
		return true, checkTime(s.timestamp.element+" in "+s.rule.Header, p.timestamp, s.timestamp.unit, r.Time, s.tolerance)
	}
	return true, nil
}

// soleHeader returns the value of a header that must occur once and not be empty. The name is in canonical form.
func soleHeader(r *Request, name string) (string, error) {
	switch values := r.Header[name]; {
	case len(values) == 0:
		return "", unauthenticated(name, "is missing")
	case len(values) > 1:
		return "", unauthenticated(name, "occurs more than once")
	case values[0] == "":
		return "", unauthenticated(name, "is empty")
	default:
		return values[0], nil
	}
}

// verify is checkForm and then the comparison with what each secret makes of the request. All are tried
// whatever comes out, so that the time does not tell which of them is in use.
func (s *signature) verify(r *Request) (present bool, err error) {
	var p parsed
	present, err = s.read(r, &p)
	if !present || err != nil {
		return present, err
	}
	if !s.matches(r, &p) {
		return true, unauthenticated(s.rule.Header, "is not what any of the configured secrets makes of the body")
	}
	if s.timestamp.json != nil {
		return true, s.checkBodyTime(r)
	}
	return true, nil
}

func (s *signature) matches(r *Request, p *parsed) bool {
	w := s.states.Get().(*sealing)
	match := s.match(w, r, p)
	if cap(w.text) <= keptBuffer {
		s.states.Put(w)
	}
	return match == 1
}

func (s *signature) match(w *sealing, r *Request, p *parsed) (match int) {
	w.text = appendPieces(w.text[:0], s.template.before, r, s.urlOf(r), p.timestamp)
	if len(s.hmacKeys) > 0 {
		before := len(w.text)
		w.text = appendPieces(w.text, s.template.after, r, s.urlOf(r), p.timestamp)
		for _, mac := range w.hashes {
			mac.Reset()
			mac.Write(w.text[:before])
			if s.template.body {
				mac.Write(r.Body)
			}
			mac.Write(w.text[before:])
			sum := mac.Sum(w.sum[:0])
			for i := range p.n {
				match |= subtle.ConstantTimeCompare(p.sums[i][:p.sizes[i]], sum)
			}
		}
		return match
	}
	if s.template.body {
		w.text = append(w.text, r.Body...)
	}
	w.text = appendPieces(w.text, s.template.after, r, s.urlOf(r), p.timestamp)
	for i := range p.n {
		sum := bytes.Clone(p.sums[i][:p.sizes[i]]) // else all of p would be allocated, for HMAC too
		for _, key := range s.edKeys {
			if ed25519.Verify(key, w.text, sum) {
				match = 1
			}
		}
		if len(s.ecKeys) > 0 {
			digest := sha256.Sum256(w.text)
			for _, key := range s.ecKeys {
				if ecdsa.VerifyASN1(key, digest[:], sum) {
					match = 1
				}
			}
		}
	}
	return match
}

// urlOf is what the sender called: the configured URL, and the query as it came.
func (s *signature) urlOf(r *Request) string {
	if !s.template.url {
		return ""
	}
	return calledURL(s.url, r.Query)
}

func calledURL(url, query string) string {
	if query == "" {
		return url
	}
	return url + "?" + query
}

// checkBodyTime checks a timestamp that stands in the body, which is authentic.
func (s *signature) checkBodyTime(r *Request) error {
	var f finder
	f.lookFor(s.timestamp.json, len(s.timestamp.json[0]))
	name := strings.Join(s.timestamp.json[0], ".")
	if err := scan(r.Body, true, &f); err != nil {
		return fmt.Errorf("%w: %s cannot be found: %w", ErrUnauthenticated, name, err)
	}
	text, reason := jsonText(f.raw(0, r.Body))
	switch {
	case f.twice != noPath:
		reason = "occurs more than once"
	case text == "" && reason == "":
		reason = "is missing"
	}
	if reason != "" {
		return unauthenticated(name, reason)
	}
	return checkTime(name, text, s.timestamp.unit, r.Time, s.tolerance)
}

func decodeHex(text string) ([]byte, error) {
	b, err := hex.DecodeString(text)
	if err != nil {
		return nil, errors.New("is not hexadecimal")
	}
	return b, nil
}
