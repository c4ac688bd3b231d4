package dashboard

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"unicode/utf8"
)

const (
	// shownBody is how many bytes of a text body a page shows; shownHex is the same for a binary
	// body. The download always has all of it.
	shownBody, shownHex = 128 << 10, 4 << 10
	// maxPretty is the size in bytes of the largest body that is checked for JSON and indented.
	maxPretty = 1 << 20
	// maxRead is the size in bytes of the largest body of which the page shows the beginning.
	maxRead = 4 << 20
)

// bodyView is a body as a page shows it. A sender wrote it, so the template escapes it.
type bodyView struct {
	// Size is the number of bytes of the whole body.
	Size int64
	// Pretty is the body as indented JSON; it is empty if the body is not JSON. Raw is the body as
	// text, Hex a dump of it if it is binary.
	Pretty, Raw, Hex string
	// Cut is the number of bytes that Raw or Hex shows if that is not the whole body, else 0.
	// CutPretty reports whether Pretty ends early.
	Cut       int64
	CutPretty bool
	// Returns says that line ends have a carriage return, which a page does not show.
	Returns bool
	// TooLarge says that none of it is shown.
	TooLarge bool
	// Download is the address of the exact bytes.
	Download string
}

// readBody reads a body of so many bytes by a call, and makes the view of it; nil if it was purged.
func readBody(ctx context.Context, v *Visitor, path string, size int64) (*bodyView, error) {
	if size > maxRead {
		return &bodyView{Size: size, TooLarge: true, Download: path}, nil
	}
	switch status, body := v.Read(ctx, path); status {
	case http.StatusOK:
		view := viewBody(body, path)
		return &view, nil
	case http.StatusGone:
		return nil, nil
	default:
		return nil, fmt.Errorf("read %s: the call answers %d", path, status)
	}
}

// viewBody makes the view of a body.
func viewBody(body []byte, download string) bodyView {
	v := bodyView{Size: int64(len(body)), Download: download}
	if !isText(body) {
		shown := body
		if len(body) > shownHex {
			shown, v.Cut = body[:shownHex], shownHex
		}
		v.Hex = hex.Dump(shown)
		return v
	}
	v.Returns = bytes.IndexByte(body, '\r') >= 0
	shown := body
	if len(body) > shownBody {
		shown = cutText(body, shownBody)
		v.Cut = int64(len(shown))
	}
	v.Raw = string(shown)
	if len(body) <= maxPretty && json.Valid(body) {
		v.Pretty, v.CutPretty = indent(body, shownBody)
		if v.Pretty == v.Raw {
			v.Pretty = "" // the sender indented it already
		}
	}
	return v
}

// indent indents valid JSON by two spaces and stops after limit bytes of output; cut reports
// whether it did. json.Indent would need memory in proportion to size × depth: 1 GiB for a body of
// 33 kB whose arrays nest 9,500 deep.
func indent(text []byte, limit int) (_ string, cut bool) {
	out := make([]byte, 0, min(2*len(text)+64, limit+utf8.UTFMax))
	depth := 0
	newline := func() {
		out = append(out, '\n')
		for range min(2*depth, limit) {
			out = append(out, ' ')
		}
	}
	inString := false
	for i := 0; i < len(text) && len(out) <= limit; i++ {
		c := text[i]
		switch {
		case inString:
			out = append(out, c)
			if c == '\\' { // the escaped character is not the end of the string
				i++
				out = append(out, text[i])
			}
			inString = c != '"'
		case c == '"':
			out = append(out, c)
			inString = true
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		case c == '{' || c == '[':
			out = append(out, c)
			// "{}" and "[]" stay on one line
			if rest := bytes.TrimLeft(text[i+1:], " \t\r\n"); rest[0] == c+2 {
				i = len(text) - len(rest)
				out = append(out, rest[0])
				break
			}
			depth++
			newline()
		case c == '}' || c == ']':
			depth--
			newline()
			out = append(out, c)
		case c == ',':
			out = append(out, c)
			newline()
		case c == ':':
			out = append(out, ": "...)
		default:
			out = append(out, c)
		}
	}
	if len(out) > limit {
		return string(cutText(out, limit)), true
	}
	return string(out), false
}

// cutText cuts text to so many bytes, between characters.
func cutText(text []byte, size int) []byte {
	for size > 0 && !utf8.RuneStart(text[size]) {
		size--
	}
	return text[:size]
}

// isText reports whether a body is text that a page can show: UTF-8 without control characters but
// those of lines.
func isText(body []byte) bool {
	if !utf8.Valid(body) {
		return false
	}
	for _, c := range body {
		if c < ' ' && c != '\n' && c != '\r' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
