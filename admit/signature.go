package admit

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"hash"
	"net/http"
	"strings"
	"sync"
)

const signaturePrefix = "sha256="

// signature checks a header of the form "sha256=HEX", the HMAC-SHA256 of the body's exact bytes,
// against several secrets. The prefix is in lower case; the digits may be in either.
type signature struct {
	header  string
	secrets int
	// states holds *macs. Their key schedules are computed once and not for each request.
	states *sync.Pool
}

// macs has a state for each secret, and room for a sum that would else be allocated.
type macs struct {
	hashes []hash.Hash
	sum    [sha256.Size]byte
}

func newSignature(header string, secrets []string) (signature, error) {
	keys := make([][]byte, len(secrets))
	for i, secret := range secrets {
		if secret == "" {
			return signature{}, fmt.Errorf("secret %d is empty", i+1)
		}
		keys[i] = []byte(secret)
	}
	return signature{header, len(keys), &sync.Pool{New: func() any {
		m := &macs{hashes: make([]hash.Hash, len(keys))}
		for i, key := range keys {
			m.hashes[i] = hmac.New(sha256.New, key)
		}
		return m
	}}}, nil
}

// parse reports whether the request has the header and whether it has the right form.
func (s signature) parse(h http.Header) (sum [sha256.Size]byte, present bool, err error) {
	values := h.Values(s.header)
	if len(values) == 0 {
		return sum, false, nil
	}
	if len(values) > 1 {
		return sum, true, unauthenticated(s.header, "occurs more than once")
	}
	if s.secrets == 0 {
		return sum, true, unauthenticated(s.header, "is present but the source has no secrets")
	}
	digits, ok := strings.CutPrefix(values[0], signaturePrefix)
	if !ok {
		return sum, true, unauthenticated(s.header, "does not begin with "+signaturePrefix)
	}
	var text [2 * sha256.Size]byte
	if len(digits) != len(text) {
		return sum, true, unauthenticated(s.header, "does not have 64 hexadecimal digits")
	}
	copy(text[:], digits)
	if _, err := hex.Decode(sum[:], text[:]); err != nil {
		return sum, true, unauthenticated(s.header, "does not have 64 hexadecimal digits")
	}
	return sum, true, nil
}

// check is parse and then the comparison with what each secret makes of the body. All are tried
// whatever comes out, so that the time does not tell which of them is in use.
func (s signature) check(h http.Header, body []byte) (present bool, err error) {
	got, present, err := s.parse(h)
	if !present || err != nil {
		return present, err
	}
	m := s.states.Get().(*macs)
	match := 0
	for _, mac := range m.hashes {
		mac.Reset()
		mac.Write(body)
		match |= subtle.ConstantTimeCompare(got[:], mac.Sum(m.sum[:0]))
	}
	s.states.Put(m)
	if match != 1 {
		return true, unauthenticated(s.header, "is not what any of the configured secrets makes of the body")
	}
	return true, nil
}
