package jsontext

import (
	"bytes"
	"encoding/json"
	"testing"
)

// TestAppendString: the text is what encoding/json writes without HTML escapes, up to the
// choice of escape, and what it reads back.
func TestAppendString(t *testing.T) {
	for _, s := range []string{
		"", "plain", `a"b\c/d`, "\x00\x01\x1f\x7f", "\n\r\t\b\f", "\u00e9\U0001f600\u2028\u2029<>&",
		"\xff", "a\xffb\xc3", "\xed\xa0\x80", "\ufffd",
	} {
		got := string(AppendString([]byte("x"), s))[1:]
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		if err := e.Encode(s); err != nil {
			t.Fatal(err)
		}
		var back, wantBack string
		if err := json.Unmarshal([]byte(got), &back); err != nil {
			t.Fatalf("%q became %s: %v", s, got, err)
		}
		if err := json.Unmarshal(want.Bytes(), &wantBack); err != nil || back != wantBack {
			t.Errorf("%q became %s, which reads as %q, want %q", s, got, back, wantBack)
		}
	}
}

// FuzzAppendString: for any text, the result is valid JSON and means the same as what
// encoding/json writes.
func FuzzAppendString(f *testing.F) {
	f.Add("a\"\\\x00\xff\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal(AppendString(nil, s), &back); err != nil ||
			back != toValid(s) {
			t.Errorf("%q reads as %q (error %v)", s, back, err)
		}
	})
}

// toValid puts U+FFFD for each byte that is no UTF-8.
func toValid(s string) string { return string([]rune(s)) }
