package admit

import (
	"bytes"
	"cmp"
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
)

const (
	// maxSignatures limits the signatures of one header. maxSignatureBytes is the size of the longest
	// signature: ECDSA with P-256 in ASN.1.
	maxSignatures, maxSignatureBytes = 16, 72
	// maxSets limits the timestamps of one header, each with signatures of its own.
	maxSets = 4
	// keptBuffer is the size of the largest buffer that is reused for the next request.
	keptBuffer = 64 << 10
)

// signature is a Rule with its keys. It verifies a request against several keys.
type signature struct {
	rule      Rule
	size      int // bytes of a signature; 0: it varies
	template  template
	timestamp timestampPlace
	tolerance window
	url       string
	// positions are the positions of the keys among the source's secrets, from 1; nil if they are all
	// of them.
	positions []int
	keys      int
	hmacKeys  [][]byte
	edKeys    []ed25519.PublicKey
	ecKeys    []*ecdsa.PublicKey
	// states has *sealing values, so that the key schedules are not computed for each request.
	states sync.Pool
}

// sealing has a state for each HMAC key, and reusable buffers.
type sealing struct {
	hashes []hash.Hash
	sum    [64]byte
	text   []byte
}

// newSignature compiles a rule. Without secrets it rejects every signed request.
func newSignature(r Rule, secrets []string) (*signature, error) {
	r, err := r.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &signature{rule: r, keys: len(secrets), tolerance: newWindow(Options{})}
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

// parsed is a parsed signature header: sets of signatures, each with its own timestamp.
type parsed struct {
	sums       [maxSignatures][maxSignatureBytes]byte
	sizes      [maxSignatures]uint8
	setOf      [maxSignatures]uint8
	n          int
	timestamps [maxSets]string
	late       [maxSets]bool // the time is outside the tolerance: the set is ignored
	sets       int
}

// parse reports whether the request has the header, and returns an error if its form is wrong. In a
// list it skips a malformed signature if another one is well formed, as the senders' own libraries
// do.
func (s *signature) parse(r *Request, p *parsed) (present bool, err error) {
	p.sets = 1
	values := r.Header[s.rule.Header]
	switch {
	case len(values) == 0:
		return false, nil
	case len(values) > 1:
		return true, unauthenticated(s.rule.Header, "occurs more than once")
	case s.keys == 0:
		return true, unauthenticated(s.rule.Header, "is present but the source has no secrets")
	case s.rule.Separator == "":
		text, ok := s.rule.Prefix.cut(values[0])
		if !ok {
			return true, unauthenticated(s.rule.Header, "does not begin with "+s.rule.Prefix.String())
		}
		return true, s.add(p, text)
	}
	var malformed error
	signatures := 0
	for element := range strings.SplitSeq(values[0], s.rule.Separator) {
		for i := 0; ; i++ {
			one, rest := s.firstOf(strings.TrimSpace(element))
			if i > 0 { // after a space another set begins
				if p.sets == maxSets {
					return true, unauthenticated(s.rule.Header, "has more than "+strconv.Itoa(maxSets)+
						" sets of signatures")
				}
				p.sets++
			}
			if text, ok := strings.CutPrefix(one, s.timestamp.element); ok && s.timestamp.element != "" {
				if p.timestamps[p.sets-1] != "" {
					return true, unauthenticated(s.rule.Header, "has more than one "+s.timestamp.element)
				}
				p.timestamps[p.sets-1] = text
			} else if text, ok := s.rule.Prefix.cut(one); ok {
				if signatures++; signatures > maxSignatures {
					return true, unauthenticated(s.rule.Header, "has more than "+strconv.Itoa(maxSignatures)+
						" signatures")
				}
				malformed = cmp.Or(malformed, s.add(p, text))
			}
			if element = rest; element == "" {
				break
			}
		}
	}
	switch {
	case p.n > 0:
		return true, nil
	case malformed != nil:
		return true, malformed
	}
	return true, unauthenticated(s.rule.Header, "has no signature after "+s.rule.Prefix.String())
}

// firstOf cuts an element of the header at a space, after which another set begins: Persona and
// others write "t=1,v1=a t=1,v1=b" during a rotation.
func (s *signature) firstOf(element string) (first, rest string) {
	if s.timestamp.element == "" {
		return element, ""
	}
	first, rest, _ = strings.Cut(element, " ")
	return first, strings.TrimLeft(rest, " ")
}

// add decodes one signature.
func (s *signature) add(p *parsed, text string) error {
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
		return unauthenticated(s.rule.Header, "does not have "+strconv.Itoa(2*s.size)+
			" hexadecimal digits")
	case s.size > 0:
		return unauthenticated(s.rule.Header, "is not the base64 of "+strconv.Itoa(s.size)+" bytes")
	default:
		return unauthenticated(s.rule.Header, "is not a signature in "+s.rule.Encoding)
	}
	p.sizes[p.n], p.setOf[p.n] = uint8(size), uint8(p.sets-1)
	p.n++
	return nil
}

// decodeHexInto returns the number of decoded bytes, or 0 if src is not hexadecimal.
func decodeHexInto(dst, src []byte) int {
	n, err := hex.Decode(dst, src)
	if err != nil {
		return 0
	}
	return n
}

// decodeBase64 returns the number of decoded bytes. It returns 0 if src is not strict base64
// (padded, with no stray bits) or does not fit dst.
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

// checkForm checks what the header alone shows: signature, timestamp and other signed headers occur
// once each and have the right form, and the time is within the tolerance.
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
		text, err := soleHeader(r, s.timestamp.header)
		if err != nil {
			return true, err
		}
		p.timestamps[0] = text
		return true, checkTime(s.timestamp.header, text, s.timestamp.unit, r.Time, s.tolerance)
	}
	if s.timestamp.element != "" {
		inTime := false
		for i, text := range p.timestamps[:p.sets] {
			e := checkTime(s.timestamp.element+" in "+s.rule.Header, text, s.timestamp.unit, r.Time,
				s.tolerance)
			p.late[i], inTime, err = e != nil, inTime || e == nil, cmp.Or(err, e)
		}
		if !inTime {
			return true, err
		}
	}
	return true, nil
}

// soleHeader returns the value of a header that must occur exactly once and not be empty. The name
// is in canonical form.
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

// verify does what checkForm does, and then compares the signature with that of each secret. It
// always tries all secrets, so that the time does not reveal which one is in use.
func (s *signature) verify(r *Request) (present bool, err error) {
	var p parsed
	present, err = s.read(r, &p)
	if !present || err != nil {
		return present, err
	}
	secret := s.matches(r, &p)
	if secret == 0 {
		return true, unauthenticated(s.rule.Header, s.mismatch())
	}
	if s.timestamp.json != nil {
		if err := s.checkBodyTime(r); err != nil {
			return true, err
		}
	}
	r.Credential = Credential{Secrets, positionOf(s.positions, secret)}
	return true, nil
}

// mismatch completes the error about a wrong signature.
func (s *signature) mismatch() string {
	if s.template.url {
		return "does not match the body and the URL " + shownURL(s.url) +
			" with any of the configured secrets; compare URL and secret with the sender's"
	}
	return "does not match the body with any of the configured secrets"
}

// matches returns the number of the key that signed the request, counted from 1, or 0.
func (s *signature) matches(r *Request, p *parsed) (key int) {
	w := s.states.Get().(*sealing)
	urls, n := [2]string{}, 1
	if s.template.url {
		urls, n = calledURLs(s.url, r)
	}
	for set := range p.sets {
		for _, url := range urls[:n] {
			if !p.late[set] {
				key = max(key, s.match(w, r, p, set, url))
			}
		}
	}
	if cap(w.text) <= keptBuffer {
		s.states.Put(w)
	}
	return key
}

// match is matches for the signatures of one set and one URL. If several keys match, the first
// counts.
func (s *signature) match(w *sealing, r *Request, p *parsed, set int, url string) (key int) {
	timestamp := p.timestamps[set]
	w.text = appendPieces(w.text[:0], s.template.before, r, url, timestamp)
	if len(s.hmacKeys) > 0 {
		before := len(w.text)
		w.text = appendPieces(w.text, s.template.after, r, url, timestamp)
		for i := len(w.hashes) - 1; i >= 0; i-- {
			mac := w.hashes[i]
			mac.Reset()
			mac.Write(w.text[:before])
			if s.template.body {
				mac.Write(r.Body)
			}
			mac.Write(w.text[before:])
			sum, match := mac.Sum(w.sum[:0]), 0
			for j := range p.n {
				if int(p.setOf[j]) == set {
					match |= subtle.ConstantTimeCompare(p.sums[j][:p.sizes[j]], sum)
				}
			}
			key = subtle.ConstantTimeSelect(match, i+1, key)
		}
		return key
	}
	if s.template.body {
		w.text = append(w.text, r.Body...)
	}
	w.text = appendPieces(w.text, s.template.after, r, url, timestamp)
	for j := range p.n {
		if int(p.setOf[j]) != set {
			continue
		}
		sum := bytes.Clone(p.sums[j][:p.sizes[j]]) // otherwise p would escape to the heap, for HMAC too
		for i, k := range s.edKeys {
			if ed25519.Verify(k, w.text, sum) {
				key = i + 1
			}
		}
		if len(s.ecKeys) > 0 {
			digest := sha256.Sum256(w.text)
			for i, k := range s.ecKeys {
				if ecdsa.VerifyASN1(k, digest[:], sum) {
					key = i + 1
				}
			}
		}
	}
	return key
}

// checkBodyTime checks a timestamp in the body, which is authentic.
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
