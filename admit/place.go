package admit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// place is where in a request a value stands.
type place struct {
	kind placeKind
	// name is that of the header or form field, the path in JSON, or the value itself of a constant; as it is configured.
	name   string
	header string // canonical
	path   int    // of JSON: its index in identity.paths
}

type placeKind int

const (
	placeHeader placeKind = iota
	placeJSON
	placeForm
	placeHash
	placeRequest
	placeConst
)

const placeForms = "header:NAME, json:PATH, form:FIELD, sha256:body, request:id and const:VALUE"

// parsePlace reads a place as it is configured. What has no kind is a path in JSON.
func parsePlace(text string) (place, error) {
	kind, arg, ok := strings.Cut(text, ":")
	if !ok {
		kind, arg = "json", text
	}
	p := place{name: arg}
	switch kind {
	case "header":
		p.kind, p.header = placeHeader, http.CanonicalHeaderKey(arg)
	case "json":
		p.kind = placeJSON
	case "form":
		p.kind = placeForm
	case "sha256":
		p.kind = placeHash
		if arg != "body" {
			return p, fmt.Errorf("%q: only the body has a hash; write sha256:body", text)
		}
	case "request":
		p.kind = placeRequest
		if arg != "id" {
			return p, fmt.Errorf("%q: of a request only the id that the gate gives it is a place; write request:id", text)
		}
	case "const":
		p.kind = placeConst
		if reason := checkIdentity(arg); reason != "" {
			return p, fmt.Errorf("constant %q %s", text, reason)
		}
	default:
		return p, fmt.Errorf("%q is not a place; known are %s", text, placeForms)
	}
	if arg == "" {
		return p, fmt.Errorf("%q is not complete; known are %s", text, placeForms)
	}
	return p, nil
}

// value returns what stands at the place. Neither a text nor a reason means that there is nothing, or what means
// nothing: null or an empty string.
func (p place) value(r *Request, f *finder, isForm bool) (text, reason string) {
	switch p.kind {
	case placeHeader:
		switch values := r.Header[p.header]; len(values) {
		case 0:
			return "", ""
		case 1:
			text = values[0]
		default:
			return "", "occurs more than once"
		}
	case placeJSON:
		if text, reason = jsonText(f.raw(p.path, r.content())); reason != "" {
			return "", reason
		}
	case placeForm:
		if !isForm {
			return "", ""
		}
		if text, reason = formField(r.content(), p.name); reason != "" {
			return "", reason
		}
	case placeHash:
		sum := sha256.Sum256(r.Body)
		return hex.EncodeToString(sum[:]), ""
	case placeRequest:
		return r.ID, ""
	case placeConst:
		return p.name, ""
	}
	if text == "" {
		return "", ""
	}
	return text, checkIdentity(text)
}

// jsonText reads a JSON value that may identify something: a string, or a number as it is written. Null and the empty string
// are nothing.
func jsonText(raw []byte) (text, reason string) {
	if len(raw) == 0 {
		return "", ""
	}
	switch c := raw[0]; {
	case c == 'n' || string(raw) == `""`:
		return "", ""
	case c == '"':
		return identityString(raw)
	case c == '-' || isDigit(c):
		return string(raw), ""
	}
	return "", reasonNotScalar
}

const reasonNotScalar = "is neither a string nor a number"

// formField returns a field of a body in application/x-www-form-urlencoded. Other bodies that are called so have no fields.
func formField(body []byte, name string) (text, reason string) {
	found := false
	for len(body) > 0 {
		var pair []byte
		pair, body, _ = bytes.Cut(body, []byte("&"))
		key, value, _ := bytes.Cut(pair, []byte("="))
		if !isFieldName(key, name) {
			continue
		}
		if found {
			return "", "occurs more than once"
		}
		found = true
		if len(value) > 3*MaxIdentityBytes {
			return "", reasonTooLong
		}
		var err error
		if text, err = url.QueryUnescape(string(value)); err != nil {
			return "", "is not properly encoded"
		}
	}
	return text, ""
}

func isFieldName(key []byte, name string) bool {
	if !bytes.ContainsAny(key, "%+") {
		return string(key) == name
	}
	if len(key) > 3*len(name) {
		return false
	}
	decoded, err := url.QueryUnescape(string(key))
	return err == nil && decoded == name
}
