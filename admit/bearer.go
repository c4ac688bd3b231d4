package admit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
)

// bearerKeys checks "Authorization: Bearer KEY" against several keys. It stores digests, which all
// have the same size, so that the time of a comparison reveals nothing about a key, not even its
// length.
type bearerKeys struct {
	digests [][sha256.Size]byte
}

func newBearerKeys(keys []string) (bearerKeys, error) {
	var b bearerKeys
	for i, key := range keys {
		switch {
		case key == "":
			return b, fmt.Errorf("bearer key %d is empty", i+1)
		case strings.TrimSpace(key) != key || strings.ContainsFunc(key, isControl):
			// A header value arrives trimmed and has no control characters.
			return b, fmt.Errorf("bearer key %d begins or ends with white space or has control characters:"+
				" no request can send it", i+1)
		}
		b.digests = append(b.digests, sha256.Sum256([]byte(key)))
	}
	return b, nil
}

// check reports whether the request has an Authorization header, and returns an error if it is
// wrong. The name of the scheme is not case-sensitive (RFC 9110, section 11.1); the key is.
func (b bearerKeys) check(r *Request) (present bool, err error) {
	values := r.Header["Authorization"]
	if len(values) == 0 {
		return false, nil
	}
	if len(values) > 1 {
		return true, unauthenticated("Authorization", "occurs more than once")
	}
	if len(b.digests) == 0 {
		return true, unauthenticated("Authorization", "is present but the source has no bearer keys")
	}
	scheme, key, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return true, unauthenticated("Authorization", "is not of the form Bearer KEY")
	}
	which := matchDigest(b.digests, strings.TrimLeft(key, " "))
	if which == 0 {
		return true, unauthenticated("Authorization", "has none of the configured bearer keys")
	}
	r.Credential = Credential{BearerKeys, which}
	return true, nil
}

func unauthenticated(header, reason string) error {
	return fmt.Errorf("%w: %s %s", ErrUnauthenticated, header, reason)
}

var errNoCredentials = errors.New("no bearer key and no secret is configured," +
	" so no request can be " +
	"authenticated: set secrets")
