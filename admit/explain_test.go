package admit

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

func inUTF16(text string, big bool) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(text)) {
		pair := []byte{byte(unit), byte(unit >> 8)}
		if big {
			pair[0], pair[1] = pair[1], pair[0]
		}
		b.Write(pair)
	}
	return b.String()
}

// Goal: an error about a missing id says what the body is instead of JSON. Method: signed bodies
// that people send by mistake, to a source of kind hmac and to a preset.
func TestMissingIDSaysWhy(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	for _, c := range []struct{ name, contentType, body, says, class string }{
		{"no id", "application/json", `{"a":1}`, "id is missing", "id is missing"},
		{"null", "application/json", `{"id":null}`, "id is missing", "id is missing"},
		{"NaN", "application/json", `{"x":NaN,"id":"a"}`,
			"id is missing: the body is not valid JSON (JSON has no NaN or Infinity; at byte 5)",
			"id is missing: the body is not valid JSON"},
		{"truncated", "application/json", `{"id":"a","b":`,
			"id is missing: the body is truncated (the JSON object does not end in its 14 bytes)",
			"id is missing: the body is truncated"},
		{"single quotes", "application/json", `{'id':'a'}`, "(' at byte 1 instead of a member name",
			"id is missing: the body is not valid JSON"},
		{"NDJSON", "application/x-ndjson", "{\"id\":\"a\"}\n{\"id\":\"b\"}\n",
			"has several JSON values; send one (the second starts at byte 11)",
			"id is missing: the body has several JSON values; send one"},
		{"a form", form, "id=a&b=c", "id is missing: the body is a form; send JSON",
			"id is missing: the body is a form; send JSON"},
		{"a form called JSON", "application/json", "payload=%7B%7D", "the body is a form",
			"id is missing: the body is a form; send JSON"},
		{"XML", "application/json", "<event id='a'/>", "the body is XML or HTML",
			"id is missing: the body is XML or HTML; send JSON"},
		{"multipart", "multipart/form-data; boundary=x", "--x\r\n", "the body is multipart/form-data",
			"id is missing: the body is multipart/form-data; send JSON"},
		{"gzip", "application/json", "\x1f\x8b\x08\x00", "the body is compressed with gzip",
			"id is missing: the body is compressed with gzip, but Content-Encoding does not say so"},
		{"text", "text/plain", "hello", "the body is not a JSON object or array",
			"id is missing: the body is not a JSON object or array: it begins with neither { nor ["},
		{"empty", "application/json", "", "the body is empty", "id is missing: the body is empty"},
		{"UTF-16", "application/json", inUTF16(`{"id":"a"}`, false), "the body is in UTF-16",
			"id is missing: the body is in UTF-16; send UTF-8"},
		{"UTF-16 with a mark", "application/json", inUTF16("\ufeff"+`{"id":"a"}`, false),
			"the body is in UTF-16", "id is missing: the body is in UTF-16; send UTF-8"},
		{"UTF-16, big", "application/json", inUTF16(`{"id":"a"}`, true), "the body is in UTF-16",
			"id is missing: the body is in UTF-16; send UTF-8"},
		{"UTF-16, big, with a mark", "application/json", inUTF16("\ufeff"+`{"id":"a"}`, true),
			"the body is in UTF-16", "id is missing: the body is in UTF-16; send UTF-8"},
	} {
		o := Options{Secrets: []string{"a-secret"}, Signature: Rule{Header: "X-Sig"},
			Places: Places{MessageID: list("json:id")}}
		s, err := New("hmac", o)
		if err != nil {
			t.Fatal(err)
		}
		r := &Request{Method: http.MethodPost, Header: header("Content-Type", c.contentType),
			Time: time.Now(), Body: []byte(c.body)}
		if err := Sign("hmac", o, nil, r); err != nil {
			t.Fatal(err)
		}
		_, err = admitOnce(s, r)
		var malformed *MalformedError
		if !errors.As(err, &malformed) || !strings.Contains(err.Error(), c.says) ||
			malformed.Class() != c.class {
			t.Errorf("%s: %v", c.name, err)
		}
		// A source that looks for its id elsewhere does not care what the body is.
		o.Places = Places{MessageID: list("header:X-Id")}
		if s, err = New("hmac", o); err != nil {
			t.Fatal(err)
		}
		if _, err := admitOnce(s, r); err == nil || err.Error() != "X-Id is missing" {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// Goal: an error about an id that stands at none of several places names these. Method: a composite
// and another place.
func TestMissingIDNamesThePlaces(t *testing.T) {
	o := Options{Places: Places{MessageID: []Place{{"json:order.id", "json:line"}, {"header:x-id"}}}}
	s, err := New("none", o)
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]string{
		`{"a":1}`: "messageId is at none of the configured places ([json:order.id, json:line]," +
			" header:x-id)",
		`a=1`: "messageId is at none of the configured places: the body is a form; send JSON " +
			"([json:order.id, json:line], header:x-id)",
	} {
		if _, err := admitOnce(s, &Request{Header: http.Header{}, Body: []byte(body)}); err == nil ||
			err.Error() != want {
			t.Errorf("%s: %v", body, err)
		}
	}
}
