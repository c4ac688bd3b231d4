package admit

import (
	"fmt"
	"net/http"
	"strings"
)

const expectJSON = "send application/json or a type that ends in +json"

// checkJSONContent refuses a Content-Type that is not JSON, and any Content-Encoding. A missing type
// passes: the body is checked anyway. expected ends the error's text.
func checkJSONContent(h http.Header, expected string) error {
	switch types := h.Values("Content-Type"); {
	case len(types) > 1:
		return fmt.Errorf("%w: Content-Type occurs more than once; %s", ErrUnsupportedMediaType, expected)
	case len(types) == 1 && !isJSONType(types[0]):
		return fmt.Errorf("%w: Content-Type is %.100q; %s", ErrUnsupportedMediaType, types[0], expected)
	}
	for _, coding := range h.Values("Content-Encoding") {
		if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
			return fmt.Errorf("%w: Content-Encoding is %.100q; send the body without compression (identity)",
				ErrUnsupportedMediaType, coding)
		}
	}
	return nil
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

// isToken reports whether s is a restricted name of RFC 6838, section 4.2. It keeps out lists of types
// that a proxy has joined with commas.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("!#$&-^_.+", r))
	})
}
