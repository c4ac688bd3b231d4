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

// place is the place of a value in a request.
type place struct {
	kind placeKind
	// name is the name of the header or form field, the path in JSON, or the value of a constant, as
	// configured.
	name   string
	header string // canonical name
	path   int    // for JSON: the index in identity.paths
	omit   omit   // for a hash: the omitted members
}

// String returns the place as it is written in the configuration.
func (p place) String() string { return placeKinds[p.kind] + ":" + p.name }

var placeKinds = map[placeKind]string{
	placeHeader: "header", placeJSON: "json", placeForm: "form",
	placeHash: "sha256", placeRequest: "request", placeConst: "const",
}

// content is a request with what the places need.
type content struct {
	*Request
	finder         finder
	isForm, isJSON bool
	hashed         func(*Request) []byte // nil: the body
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

const placeForms = "header:NAME, json:PATH, form:FIELD, sha256:body, sha256:body-without:PATH, " +
	"request:id and const:VALUE"

// parsePlace parses a configured place. A text without a kind is a path in JSON.
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
		paths, without := strings.CutPrefix(arg, "body-without:")
		if !without {
			if arg != "body" {
				return p, fmt.Errorf("%q: only the body can be hashed;"+
					" write sha256:body or sha256:body-without:PATH", text)
			}
			break
		}
		var err error
		if p.omit, err = parseOmit(paths); err != nil {
			return p, fmt.Errorf("%q: %w", text, err)
		}
	case "request":
		p.kind = placeRequest
		if arg != "id" {
			return p, fmt.Errorf("%q: the only place of this kind is request:id", text)
		}
	case "const":
		p.kind = placeConst
		if reason := checkIdentity(arg); reason != "" {
			return p, fmt.Errorf("constant %q %s", text, reason)
		}
	default:
		return p, fmt.Errorf("%q is not a place; use %s", text, placeForms)
	}
	if arg == "" {
		return p, fmt.Errorf("%q is incomplete; use %s", text, placeForms)
	}
	return p, nil
}

// value returns the value at the place, or its hash if the value cannot identify anything. Both
// text and reason are empty if there is no value, null or an empty string. A reason means that the
// value is ambiguous.
func (p place) value(c *content) (text, reason string) {
	switch p.kind {
	case placeHeader:
		switch values := c.Header[p.header]; len(values) {
		case 0:
			return "", ""
		case 1:
			text = values[0]
		default:
			return "", reasonTwice
		}
	case placeJSON:
		if c.finder.ambiguous>>p.path&1 == 1 {
			return "", reasonTwice
		}
		return jsonIdentity(c.finder.raw(p.path, c.content()))
	case placeForm:
		if !c.isForm {
			return "", ""
		}
		if text, reason = formField(c.content(), p.name); reason != "" {
			return "", reason
		}
	case placeHash:
		if p.omit != nil && c.isJSON {
			return p.omit.hash(c.content()), ""
		}
		body := c.Body
		if c.hashed != nil {
			body = c.hashed(c.Request)
		}
		sum := sha256.Sum256(body)
		return hex.EncodeToString(sum[:]), ""
	case placeRequest:
		return c.ID, ""
	case placeConst:
		return p.name, ""
	}
	if text == "" {
		return "", ""
	}
	return identify(text), ""
}

const (
	reasonTwice     = "occurs more than once"
	reasonNotScalar = "is neither a string nor a number"
)

// jsonIdentity is jsonText for a value of any length and with any characters: it returns the hash
// of a value that cannot identify anything.
func jsonIdentity(raw []byte) (text, reason string) {
	text, reason = jsonText(raw)
	switch {
	case len(raw) == 0 || reason == reasonNotScalar || reason == "" && len(text) <= MaxIdentityBytes:
		return text, reason
	case raw[0] == '"':
		decoded, _ := unescape(nil, raw[1:len(raw)-1], noLimit)
		return hashOf(string(decoded)), ""
	}
	return hashOf(string(raw)), "" // a number of many digits
}

// jsonText returns a JSON value that may identify something: a string, or a number as it is
// written. null and the empty string count as no value.
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

// formField returns a field of a body in application/x-www-form-urlencoded. A body in another form
// has no fields.
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
			return "", reasonTwice
		}
		found = true
		var err error
		if text, err = url.QueryUnescape(string(value)); err != nil {
			text = hashOf(string(value)) // invalid, but still one value
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
