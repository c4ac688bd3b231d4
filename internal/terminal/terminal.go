// Package terminal writes text for people, part of which may come from strangers, such as message
// ids and reasons.
package terminal

import (
	"fmt"
	"io"
	"os"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
)

// Writer escapes the characters that a terminal acts on instead of showing them, and those that
// change the order in which text is shown. The escapes, such as \u009b, are also valid in JSON.
type Writer struct {
	to *os.File

	mu   sync.Mutex // guards all below
	rest []byte     // the beginning of a character whose end has not been written yet
	text []byte     // for reuse
}

// NewWriter returns a Writer to a file, such as os.Stdout.
func NewWriter(to *os.File) *Writer { return &Writer{to: to} }

// Write writes p, except for the beginning of a character at its end.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	in := p
	if len(w.rest) > 0 {
		in = append(w.rest, p...)
	}
	w.text, w.rest = w.text[:0], nil
	for i := 0; i < len(in); {
		r, size := utf8.DecodeRune(in[i:])
		switch {
		case r == utf8.RuneError && size == 1 && !utf8.FullRune(in[i:]):
			w.rest = append([]byte(nil), in[i:]...)
			size = len(in) - i
		case r == utf8.RuneError && size == 1: // a terminal may take the byte for a control character
			w.text = fmt.Appendf(w.text, `\x%02x`, in[i])
		case actsOn(r):
			w.text = fmt.Appendf(w.text, `\u%04x`, r)
		default:
			w.text = append(w.text, in[i:i+size]...)
		}
		i += size
	}
	if _, err := w.to.Write(w.text); err != nil {
		return 0, err
	}
	return len(p), nil
}

// actsOn reports whether a terminal does anything with a character other than showing it in its
// place.
func actsOn(r rune) bool {
	if r < utf8.RuneSelf {
		return r < ' ' && r != '\n' && r != '\t' || r == 0x7f
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' ||
		r == '\u2029'
}

// Of returns the terminal that w writes to, without the escaping; false if w writes elsewhere.
func Of(w io.Writer) (*os.File, bool) {
	if escaping, ok := w.(*Writer); ok {
		w = escaping.to
	}
	file, ok := w.(*os.File)
	return file, ok && Is(file)
}

// Is reports whether a file is a terminal.
func Is(file *os.File) bool { return isatty.IsTerminal(file.Fd()) }

// Exact returns the writer for bytes that must not change: w without the escaping, unless it writes
// to a terminal.
func Exact(w io.Writer) io.Writer {
	if escaping, ok := w.(*Writer); ok && !Is(escaping.to) {
		return escaping.to
	}
	return w
}
