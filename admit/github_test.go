package admit

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/hookgate/hookgate"
)

func newGitHubForTest(t testing.TB, path string) Scheme {
	t.Helper()
	s, err := newGitHub([]string{"s"}, path)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return s
}

// newGitHub makes a source whose ordering key stands at the path, or where the kind looks for it.
func newGitHub(secrets []string, path string) (Scheme, error) {
	o := Options{Secrets: secrets}
	if path != "" {
		o.Places.OrderingKey = list("json:" + path)
	}
	return New("github", o)
}

func gitHubHeader(pairs ...string) http.Header {
	return header(append([]string{"X-GitHub-Delivery", "d", "X-GitHub-Event", "push"}, pairs...)...)
}

// Goal: GitHub's signatures are understood. Method: the example in GitHub's documentation
// ("Validating webhook deliveries"), as it is and with each part changed.
func TestGitHubPublishedExample(t *testing.T) {
	const secret, payload = "It's a Secret to Everybody", "Hello, World!"
	const value = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	for _, c := range []struct {
		name, secret, payload, value string
		ok                           bool
	}{
		{"as published", secret, payload, value, true},
		{"another secret", "it's a Secret to Everybody", payload, value, false},
		{"another payload", secret, payload + "\n", value, false},
		{"another signature", secret, payload, strings.Replace(value, "e17", "e18", 1), false},
	} {
		s, err := newGitHub([]string{c.secret}, "")
		if err != nil {
			t.Fatal(err)
		}
		h := header("X-Hub-Signature-256", c.value)
		if err := s.CheckHeader(&Request{Header: h}); err != nil {
			t.Errorf("%s: CheckHeader: %v", c.name, err)
		}
		switch err := s.Authenticate(&Request{Header: h, Body: []byte(c.payload)}); {
		case c.ok && err != nil:
			t.Errorf("%s: refused: %v", c.name, err)
		case !c.ok && !errors.Is(err, ErrUnauthenticated):
			t.Errorf("%s: error is %v, want ErrUnauthenticated", c.name, err)
		}
	}
}

// Goal: id and type come from the headers and never from the body. Method: a body that has the
// fields of an envelope, well-formed and not.
func TestGitHubIdentity(t *testing.T) {
	h := header("X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958", "X-GitHub-Event",
		"issues")
	want := Message{"72d3162e-cc78-11e3-81ab-4c9367dc0958", "issues", "issues", hookgate.NoSequence,
		false}
	for _, text := range []string{
		`{}`, `{"action":"opened"}`, body(`"orderingKey":"o","sequence":3`),
		body(`"sequence":-1,"messageId":4`),
	} {
		got, err := newGitHubForTest(t, "").Identify(&Request{Header: h, Body: []byte(text)})
		wantMessage(t, got, err, want)
	}
}

// Goal: without its delivery id an event is refused; without an event type, or with one that cannot
// be used as it is, it is not. Method: a table for both headers.
func TestGitHubHeaders(t *testing.T) {
	long, most := strings.Repeat("x", 257), strings.Repeat("é", 128)
	for _, c := range []struct {
		name     string
		values   []string
		id, typ  string
		refusals string // of the id
	}{
		{"missing", nil, "", "event", "is missing"},
		{"empty", []string{""}, "", "event", "is empty"},
		{"twice", []string{"a", "b"}, "", "event", "occurs more than once"},
		{"twice the same", []string{"a", "a"}, "", "event", "occurs more than once"},
		{"256 bytes", []string{most}, most, most, ""},
		{"257 bytes", []string{long}, hashOf(long), hashOf(long), ""},
		{"tab", []string{"a\tb"}, hashOf("a\tb"), hashOf("a\tb"), ""},
		{"DEL", []string{"a\x7f"}, hashOf("a\x7f"), hashOf("a\x7f"), ""},
		{"Latin-1", []string{"caf\xe9"}, hashOf("caf\xe9"), hashOf("caf\xe9"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := gitHubHeader()
			h["X-Github-Delivery"] = c.values
			got, err := newGitHubForTest(t, "").Identify(&Request{Header: h, Body: []byte("{}")})
			if c.refusals != "" {
				wantMalformed(t, err, "X-GitHub-Delivery", c.refusals)
				if got != (Message{}) {
					t.Errorf("message is %+v beside the error", got)
				}
			} else {
				wantMessage(t, got, err, Message{c.id, "push", "push", hookgate.NoSequence, false})
			}
			h = gitHubHeader()
			h["X-Github-Event"] = c.values
			got, err = newGitHubForTest(t, "").Identify(&Request{Header: h, Body: []byte("{}")})
			wantMessage(t, got, err, Message{"d", c.typ, c.typ, hookgate.NoSequence, false})
		})
	}
}

// Goal: the ordering key is the string or number at the path, or the hash of one that cannot be
// used as it is. Nothing there, something else or two values mean the event type. Method: a table
// of paths and bodies.
func TestGitHubOrderingKey(t *testing.T) {
	for _, c := range []struct{ name, path, body, want string }{
		{"no path", "", `{"a":"k"}`, "push"},
		{"string", "a", `{"a":"k"}`, "k"},
		{"string with escapes", "a", `{"a":"\u0041\"\/\ud83d\ude00"}`, `A"/😀`},
		{"number", "a", `{"a":12}`, "12"},
		{"number as written", "a", `{"a":-1.50E+2 }`, "-1.50E+2"},
		{"large number", "a", `{"a":123456789012345678901234567890}`, "123456789012345678901234567890"},
		{"zero", "a", `{"a":0}`, "0"},
		{"missing", "a", `{"b":"k"}`, "push"},
		{"null", "a", `{"a":null}`, "push"},
		{"empty string", "a", `{"a":""}`, "push"},
		{"the string null", "a", `{"a":"null"}`, "null"},
		{"space", "a", `{"a":" "}`, " "},
		{"nested", "repository.full_name", `{"full_name":"x","repository":{"id":1,"full_name":"o/r"}}`,
			"o/r"},
		{"nested and missing", "a.b.c", `{"a":{"b":{}}}`, "push"},
		{"nested in null", "a.b", `{"a":null}`, "push"},
		{"nested in a string", "a.b", `{"a":"b"}`, "push"},
		{"nested in a number", "a.b", `{"a":1,"b":"x"}`, "push"},
		{"same name deeper does not count", "b", `{"a":{"b":"x"},"b":"k"}`, "k"},
		{"same name only deeper", "b", `{"a":{"b":"x"}}`, "push"},
		{"index", "a.1", `{"a":["x","k"]}`, "k"},
		{"index and name", "commits.0.id", `{"commits":[{"id":"k"},{"id":"x"}]}`, "k"},
		{"index beyond", "a.2", `{"a":["x","y"]}`, "push"},
		{"index of an empty array", "a.0", `{"a":[]}`, "push"},
		{"name in an array", "a.b", `{"a":[{"b":"x"}]}`, "push"},
		{"digits as name", "a.0", `{"a":{"0":"k"}}`, "k"},
		{"escaped member name", "a", `{"\u0061":"k"}`, "k"},
		{"case counts", "a", `{"A":"x"}`, "push"},
		{"white space", "a.b", " { \"a\" :\n{ \"b\" :\t\"k\" } } ", "k"},
		{"256 bytes", "a", `{"a":"` + strings.Repeat("é", 128) + `"}`, strings.Repeat("é", 128)},

		{"two", "a", `{"a":"k","a":"x"}`, "push"},
		{"two of which one is escaped", "a", `{"a":"k","\u0061":"k"}`, "push"},
		{"two of which the path takes one", "a.b", `{"a":{"b":"k"},"a":1}`, "push"},
		{"two further down", "a.b", `{"a":{"b":"k","c":{"b":1},"b":null}}`, "push"},
		{"two in another object", "a.b", `{"a":{"b":"k"},"c":{"b":"x","b":"y"}}`, "k"},
		{"two elements with one name each", "a.0.b", `{"a":[{"b":"k"},{"b":"x"}]}`, "k"},
		{"object", "a", `{"a":{"b":1}}`, "push"},
		{"empty object", "a", `{"a":{}}`, "push"},
		{"array", "a", `{"a":["k"]}`, "push"},
		{"true", "a", `{"a":true}`, "push"},
		{"false", "a.b", `{"a":{"b":false}}`, "push"},
		{"257 bytes", "a", `{"a":"` + strings.Repeat("x", 257) + `"}`, hashOf(strings.Repeat("x", 257))},
		{"257 digits", "a.b", `{"a":{"b":` + strings.Repeat("1", 257) + `}}`,
			hashOf(strings.Repeat("1", 257))},
		{"257 bytes by escapes", "a", `{"a":"` + strings.Repeat(`\u0041`, 257) + `"}`,
			hashOf(strings.Repeat("A", 257))},
		{"control character", "a", `{"a":"x\u0000"}`, hashOf("x\x00")},
		{"not UTF-8", "a", "{\"a\":\"\xff\"}", hashOf("\xff")},
		{"half a surrogate", "a.0", `{"a":["\ud800"]}`, hashOf("\xed\xa0\x80")},
		{"byte order mark", "a", "\ufeff{\"a\":\"k\"}", "k"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := []byte(c.body)
			got, err := newGitHubForTest(t, c.path).Identify(&Request{Header: gitHubHeader(), Body: text})
			for i := range text {
				text[i] = '#' // the message must not refer to the body
			}
			wantMessage(t, got, err, Message{"d", "push", c.want, hookgate.NoSequence, c.want != "push"})
		})
	}
}

// Goal: the body has the limits of an envelope's. Method: some bodies that are not one JSON object.
func TestGitHubBodyRefused(t *testing.T) {
	for _, c := range []struct{ body, words string }{
		{"", "is empty"}, {"[]", "is not a JSON object"}, {`{"a":"k"`, "is truncated"},
		{`{"a":"k"}}`, "after the JSON object"},
		{`{"a":"k","b":}`, "is not valid JSON"}, {`{"a":"k","b":` + strings.Repeat("[", 128) +
			strings.Repeat("]", 128) + "}", "is nested deeper"},
		{"payload=%7B%22a%22%3A%22k%22%7D", "is a form"},
	} {
		_, err := newGitHubForTest(t, "a").Identify(&Request{Header: gitHubHeader(),
			Body: []byte(c.body)})
		wantMalformed(t, err, "body", c.words)
	}
}

// Goal: GitHub's form encoding is refused with advice. Method: content types and encodings.
func TestGitHubMediaType(t *testing.T) {
	s := newGitHubForTest(t, "")
	for _, value := range []string{"application/json", "application/json; charset=utf-8", ""} {
		got, err := s.Identify(&Request{Header: gitHubHeader("Content-Type", value), Body: []byte("{}")})
		wantMessage(t, got, err, Message{"d", "push", "push", hookgate.NoSequence, false})
	}
	for _, c := range []struct{ name, value, words string }{
		{"Content-Type", "application/x-www-form-urlencoded",
			"set the webhook's content type to application/json"},
	} {
		_, err := s.Identify(&Request{Header: gitHubHeader(c.name, c.value), Body: []byte("{}")})
		if !errors.Is(err, ErrUnsupportedMediaType) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s %s: error is %v, want ErrUnsupportedMediaType with %q", c.name, c.value, err,
				c.words)
		}
	}
}
