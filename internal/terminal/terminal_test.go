package terminal

import (
	"io"
	"os"
	"testing"
)

// TestWriter: the characters that a terminal would act on are escaped, however the bytes are cut;
// everything else is written as it is.
func TestWriter(t *testing.T) {
	for in, want := range map[string]string{
		"plain text\n\tin a table\n": "plain text\n\tin a table\n",
		"Zürich 東京 👩‍👧 مرحبا":        "Zürich 東京 👩‍👧 مرحبا",
		"\x1b[2J\a\b\r\x00\x7f":      `\u001b[2J\u0007\u0008\u000d\u0000\u007f`,
		"C1: \u009b2J \u0085 \u0090": `C1: \u009b2J \u0085 \u0090`,
		"raw: \x9b2J \xff":           `raw: \x9b2J \xff`,
		"\u202egnp.exe\u202c \u2066x\u2069" +
			" \u200f\u061c": `\u202egnp.exe\u202c \u2066x\u2069 \u200f\u061c`,
		"\u2028 \u2029":                 `\u2028 \u2029`,
		`{"id":"a\\` + "\u202e" + `b"}`: `{"id":"a\\\u202eb"}`,
	} {
		for _, step := range []int{1, 2, 3, len(in)} {
			r, pipe, err := os.Pipe()
			must(t, err)
			w := NewWriter(pipe)
			for rest := []byte(in); len(rest) > 0; {
				n := min(step, len(rest))
				if m, err := w.Write(rest[:n]); m != n || err != nil {
					t.Fatalf("wrote %d, %v", m, err)
				}
				rest = rest[n:]
			}
			must(t, pipe.Close())
			got, err := io.ReadAll(r)
			must(t, err)
			r.Close()
			if string(got) != want {
				t.Errorf("%q in steps of %d is written as %q, want %q", in, step, got, want)
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
