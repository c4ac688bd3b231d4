package admit

import (
	"fmt"
	"net/http"
	"strings"
)

// template is the text that a sender signs: the pieces before the body and those after it.
type template struct {
	before, after []piece
	body          bool
	url           bool
}

// piece is a literal text or the name of a value.
type piece struct {
	text   string
	header string
	value  pieceKind
}

type pieceKind int

const (
	pieceText pieceKind = iota
	pieceTimestamp
	pieceMethod
	pieceURL
	pieceHeader
)

// parseTemplate parses Rule.Signed.
func parseTemplate(text string, hasTimestamp bool) (t template, err error) {
	for rest := text; rest != ""; {
		to := &t.before
		if t.body {
			to = &t.after
		}
		if rest[0] != '{' {
			literal := rest
			if i := strings.IndexByte(rest, '{'); i >= 0 {
				literal = rest[:i]
			}
			*to = append(*to, piece{text: literal})
			rest = rest[len(literal):]
			continue
		}
		name, behind, ok := strings.Cut(rest[1:], "}")
		header, isHeader := strings.CutPrefix(name, "header:")
		switch {
		case !ok:
			return t, fmt.Errorf("signed text %q has a { without its }", text)
		case name == "body" && t.body:
			return t, fmt.Errorf("signed text %q has the body twice", text)
		case name == "body":
			t.body = true
		case name == "timestamp" && !hasTimestamp:
			return t, fmt.Errorf("signed text %q has {timestamp}: set signature.timestamp to its place",
				text)
		case name == "timestamp":
			*to = append(*to, piece{value: pieceTimestamp})
		case name == "method":
			*to = append(*to, piece{value: pieceMethod})
		case name == "url":
			t.url = true
			*to = append(*to, piece{value: pieceURL})
		case isHeader && header != "":
			*to = append(*to, piece{value: pieceHeader, header: http.CanonicalHeaderKey(header)})
		default:
			return t, fmt.Errorf("signed text %q has {%s}; use {body}, {timestamp}, {method}, {url} and "+
				"{header:NAME}", text, name)
		}
		rest = behind
	}
	return t, nil
}

// headers calls do for each header in the text. It stops at the first error and returns it.
func (t template) headers(do func(name string) error) error {
	for _, pieces := range [][]piece{t.before, t.after} {
		for _, p := range pieces {
			if p.value == pieceHeader {
				if err := do(p.header); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// appendPieces appends the values of the pieces in the request. The caller has checked the headers.
func appendPieces(dst []byte, pieces []piece, r *Request, url, timestamp string) []byte {
	for _, p := range pieces {
		switch p.value {
		case pieceText:
			dst = append(dst, p.text...)
		case pieceTimestamp:
			dst = append(dst, timestamp...)
		case pieceMethod:
			dst = append(dst, r.Method...)
		case pieceURL:
			dst = append(dst, url...)
		case pieceHeader:
			dst = append(dst, r.Header.Get(p.header)...)
		}
	}
	return dst
}
