package admit

import (
	"fmt"
	"net/http"
	"strings"
)

const expectJSON = "send application/json or a type that ends in +json"

// bodyKind is the form that a source's bodies must have.
type bodyKind int

const (
	bodyAny        bodyKind = iota
	bodyObject              // one JSON object
	bodyJSON                // a JSON object or array
	bodyJSONOrForm          // bodyJSON, or application/x-www-form-urlencoded
	bodyForm
)

// strictJSON reports whether a body must be JSON.
func (k bodyKind) strictJSON(isForm bool) bool {
	return k == bodyObject || k == bodyJSON || k == bodyJSONOrForm && !isForm
}

// checkContentType rejects a Content-Type that the kind does not accept. A missing type counts as
// JSON, because the body is checked anyway. expected is the end of the error.
func checkContentType(h http.Header, kind bodyKind, expected string) error {
	types := h["Content-Type"]
	if len(types) > 1 {
		return fmt.Errorf("%w: Content-Type occurs more than once; %s", ErrUnsupportedMediaType, expected)
	}
	contentType := ""
	if len(types) == 1 {
		contentType = types[0]
	}
	switch {
	case kind == bodyAny:
	case kind != bodyForm && isJSONType(contentType):
	case (kind == bodyJSONOrForm || kind == bodyForm) && isFormType(h):
	default:
		return fmt.Errorf("%w: Content-Type is %.100q; %s", ErrUnsupportedMediaType, contentType,
			expected)
	}
	return nil
}

// Gzipped reports whether the body is compressed with gzip. For any other Content-Encoding, or
// several, it returns an error that wraps ErrUnsupportedMediaType.
func Gzipped(h http.Header) (bool, error) {
	gzipped := false
	for _, coding := range h["Content-Encoding"] {
		switch coding = strings.TrimSpace(coding); {
		case coding == "" || strings.EqualFold(coding, "identity"):
		case !gzipped && (strings.EqualFold(coding, "gzip") || strings.EqualFold(coding, "x-gzip")):
			gzipped = true
		default:
			return false, fmt.Errorf("%w: Content-Encoding is %.100q; send gzip or no compression",
				ErrUnsupportedMediaType, coding)
		}
	}
	return gzipped, nil
}

func isFormType(h http.Header) bool {
	types := h["Content-Type"]
	if len(types) != 1 {
		return false
	}
	mediaType, _, _ := strings.Cut(types[0], ";")
	return strings.EqualFold(strings.TrimSpace(mediaType), "application/x-www-form-urlencoded")
}

func isJSONType(contentType string) bool {
	mediaType, _, _ := strings.Cut(contentType, ";")
	mediaType = strings.TrimSpace(mediaType)
	if contentType == "" || strings.EqualFold(mediaType, "application/json") {
		return true
	}
	kind, subtype, _ := strings.Cut(mediaType, "/")
	name, suffix := cutLast(subtype, '+')
	return isToken(kind) && isToken(name) && strings.EqualFold(suffix, "json")
}

func cutLast(s string, sep byte) (before, after string) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:]
	}
	return s, ""
}

// isToken reports whether s is a restricted name of RFC 6838, section 4.2. A list of types that a
// proxy has joined with commas is not.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
			strings.ContainsRune("!#$&-^_.+", r))
	})
}
