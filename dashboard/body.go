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
	// shownBody is how much of a body a page shows, in bytes; all of it can be downloaded. shownHex is that of one that is no text.
	shownBody, shownHex = 128 << 10, 4 << 10
	// maxPretty is the greatest body that is laid out.
	maxPretty = 1 << 20
	// maxRead is the greatest body that is read to show its beginning.
	maxRead = 16 << 20
)

// bodyView is a body as a page shows it. It is hostile: the template writes it as text.
type bodyView struct {
	// Size is that of all of it, in bytes.
	Size int64
	// Pretty is JSON laid out, empty if it is none; Raw the bytes as text, or Hex if they are none.
	Pretty, Raw, Hex string
	// Cut says how many bytes Raw, or Hex, shows if that is not all; CutPretty that Pretty is not all.
	Cut       int
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
		v.Cut = len(shown)
	}
	v.Raw = string(shown)
	var pretty bytes.Buffer
	if len(body) <= maxPretty && json.Valid(body) && json.Indent(&pretty, body, "", "  ") == nil {
		text := bytes.TrimSpace(pretty.Bytes())
		if len(text) > shownBody {
			text, v.CutPretty = cutText(text, shownBody), true
		}
		if v.Pretty = string(text); v.Pretty == v.Raw {
			v.Pretty = "" // nothing to lay out
		}
	}
	return v
}

// cutText cuts text to so many bytes, between characters.
func cutText(text []byte, size int) []byte {
	for size > 0 && !utf8.RuneStart(text[size]) {
		size--
	}
	return text[:size]
}

// isText reports whether a body is text that a page can show: UTF-8 without control characters but those of lines.
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
