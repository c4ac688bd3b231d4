package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
)

// plainWriter writes text of which a part may come from strangers, such as message ids and reasons.
// Characters that a terminal obeys, or that make it show a text in another order, are written as
// \u009b: so they read the same in JSON too.
type plainWriter struct {
	to *os.File

	mu   sync.Mutex // guards all below
	rest []byte     // the beginning of a character of which the end has not come yet
	text []byte     // for reuse
}

// Write writes p, except for the beginning of a character at its end.
func (w *plainWriter) Write(p []byte) (int, error) {
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
		case obeyed(r):
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

// obeyed reports whether a terminal does something with a character other than to show it in its
// place.
func obeyed(r rune) bool {
	if r < utf8.RuneSelf {
		return r < ' ' && r != '\n' && r != '\t' || r == 0x7f
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' ||
		r == '\u2029'
}

// terminalOf returns the terminal that a command writes to, for its own progress bar.
func terminalOf(w io.Writer) (*os.File, bool) {
	if plain, ok := w.(*plainWriter); ok {
		w = plain.to
	}
	file, ok := w.(*os.File)
	return file, ok && isatty.IsTerminal(file.Fd())
}

// exact returns where a command writes bytes that must come out as they are, unless that is a
// terminal.
func exact(w io.Writer) io.Writer {
	if plain, ok := w.(*plainWriter); ok && !isatty.IsTerminal(plain.to.Fd()) {
		return plain.to
	}
	return w
}
