package admit

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hookgate/hookgate"
)

// depthOf returns how deep valid JSON is nested.
func depthOf(text []byte) int {
	depth, deepest, inString := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

// isObject says by encoding/json alone whether scanObject should accept text.
func isObject(text []byte) bool {
	text = bytes.TrimPrefix(text, byteOrderMark)
	return json.Valid(text) && bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{")) &&
		depthOf(text) <= maxDepth
}

// verdict is what an oracle thinks of a body.
type verdict int

const (
	refused verdict = iota
	unsure          // it holds U+FFFD, which encoding/json also puts for what it cannot decode
	accepted
)

// oracle reads an envelope's body, which isObject accepts, with encoding/json alone.
func oracle(text []byte) (Message, verdict) {
	found, times := map[string]json.RawMessage{}, map[string]int{}
	dec := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(text, byteOrderMark)))
	if _, err := dec.Token(); err != nil {
		return Message{}, refused
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return Message{}, refused
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return Message{}, refused
		}
		switch name := name.(string); name {
		case "messageId", "eventType", "orderingKey", "sequence":
			times[name]++
			found[name] = raw
		}
	}
	if times["messageId"] > 1 || times["eventType"] > 1 {
		return Message{}, refused
	}
	v := accepted
	textOf := func(name string) (s string) {
		if raw := found[name]; len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
			v = refused
			return ""
		}
		switch {
		case strings.ContainsRune(s, utf8.RuneError):
			if v == accepted {
				v = unsure
			}
		case s == "" || len(s) > 256 || strings.ContainsFunc(s, func(r rune) bool {
			return r <= 0x1f ||
				r == 0x7f
		}):
			v = refused
		}
		return s
	}
	m := Message{MessageID: textOf("messageId"), EventType: textOf("eventType"),
		Sequence: hookgate.NoSequence}
	m.OrderingKey = m.EventType
	if raw := string(found["orderingKey"]); raw != "" && times["orderingKey"] == 1 {
		key := raw
		switch {
		case strings.IndexByte("{[tfn", raw[0]) >= 0:
			key = ""
		case raw[0] == '"':
			if json.Unmarshal([]byte(raw), &key) != nil || strings.ContainsRune(key, utf8.RuneError) {
				v = min(v, unsure)
			}
		}
		if key != "" && v != unsure &&
			(len(key) > 256 || strings.ContainsFunc(key, func(r rune) bool {
				return r <= 0x1f ||
					r == 0x7f
			})) {
			key = hashOf(key)
		}
		m.OrderingKey, m.Keyed = cmp.Or(key, m.EventType), key != ""
	}
	if raw := string(found["sequence"]); raw != "" && times["sequence"] == 1 {
		if n, err := strconv.ParseInt(raw, 10, 64); err == nil && raw[0] != '-' {
			m.Sequence = n
		}
	}
	return m, v
}

// checkLimits fails if a message is not one that the package promises.
func checkLimits(t interface{ Fatalf(string, ...any) }, m Message) {
	for _, s := range []string{m.MessageID, m.EventType, m.OrderingKey} {
		if s == "" || len(s) > 256 || !utf8.ValidString(s) ||
			strings.ContainsFunc(s, func(r rune) bool { return r <= 0x1f || r == 0x7f }) {
			t.Fatalf("the message holds %q", s)
		}
	}
	if m.Sequence < 0 && m.Sequence != hookgate.NoSequence {
		t.Fatalf("the sequence is %d", m.Sequence)
	}
}

// compareWithOracle fails if Identify and encoding/json disagree about text.
func compareWithOracle(t interface{ Fatalf(string, ...any) }, s Scheme, text []byte) {
	scanErr := scanObject(text)
	if want := isObject(text); (scanErr == nil) != want {
		t.Fatalf("scanObject: %v; encoding/json says valid: %v", scanErr, want)
	}
	got, err := s.Identify(&Request{Header: http.Header{}, Body: text})
	var malformed *MalformedError
	if err != nil && !errors.As(err, &malformed) {
		t.Fatalf("error is %T, want a *MalformedError", err)
	}
	if scanErr != nil {
		if malformed == nil || malformed.Field != "body" {
			t.Fatalf("error is %v, want one about the body", err)
		}
		return
	}
	if malformed != nil && malformed.Field == "body" {
		t.Fatalf("error is %v, but the body was scanned", err)
	}
	want, v := oracle(text)
	if v != unsure && (err == nil) != (v == accepted) {
		t.Fatalf("error is %v; the oracle accepts: %v", err, v == accepted)
	}
	if err == nil {
		checkLimits(t, got)
		if got != want && v != unsure {
			t.Fatalf("got %+v, the oracle %+v", got, want)
		}
	}
}

// Goal: the scanner takes what encoding/json takes, within its limits, and reads the same from it.
// Method: an oracle that uses encoding/json alone.
func FuzzEnvelope(f *testing.F) {
	for _, seed := range []string{
		"", " ", "{}", "[]", "null", "{", `{"a"`, fullBody, body(""),
		body(`"orderingKey":"k","sequence":7`), body(`"messageId":"m"`),
		body(`"\u006dessageId":"m"`), body(`"a":{"messageId":1}`), body(`"sequence":1e3`),
		body(`"sequence":-0`), body(`"sequence":9223372036854775808`),
		body(`"x":"\ud83d\ude00\ud800"`), body("\"\xff\":\"\xc3\""),
		`{"messageId":"\ud83d","eventType":"\ufffd"}`, "{\"messageId\":\"\x7f\",\"eventType\":\"\xff\"}",
		body(`"x":[1,-0,0.5,1E9,-2e-3,true,false,null,[[],{}]]`), body("") + body(""), body("") + " x",
		"\xef\xbb\xbf{}",
		strings.Repeat(`{"a":`, 128) + "1" + strings.Repeat("}", 128), strings.Repeat(`{"a":`, 129) +
			"1" + strings.Repeat("}", 129),
		`{"a":` + strings.Repeat("[", 128) + strings.Repeat("]", 128) + "}", `{"a":01}`, `{"a":"\u12G4"}`,
		"{\"a\":\"0123456\n\"}", `{"a":tru}`,
		`{"messageId":"` + strings.Repeat("x", 257) + `","eventType":"` + strings.Repeat("é", 128) + `"}`,
	} {
		f.Add([]byte(seed))
	}
	s := bearerEnvelope(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		before := bytes.Clone(text)
		compareWithOracle(t, s, text)
		if !bytes.Equal(before, text) {
			t.Fatalf("the body was changed")
		}
	})
}

var signatureForm = regexp.MustCompile(`\Asha256=[0-9a-fA-F]{64}\z`)

// Goal: a signature header is taken if and only if it is the right one. Method: any header, and the
// right one with one byte replaced; the oracle is a regular expression and a comparison of texts.
func FuzzSignatureHeader(f *testing.F) {
	f.Add("", []byte(""), byte(0), byte('s'))
	f.Add(sign(secret1, []byte("a")), []byte("a"), byte(8), byte('A'))
	f.Add(sign(secret2, []byte("a")), []byte("a"), byte(70), byte('g'))
	f.Add(strings.ToUpper(sign(secret1, nil)), []byte(""), byte(0), byte('S'))
	f.Add("sha256="+strings.Repeat("F", 64), []byte("{}"), byte(6), byte(':'))
	f.Add("sha256="+strings.Repeat("é", 32), []byte("{}"), byte(7), byte(0xff))
	s := newEnvelopeForTest(f, EnvelopeConfig{HMACSecrets: []string{secret1, secret2}})
	f.Fuzz(func(t *testing.T, value string, text []byte, at, replacement byte) {
		right := []string{sign(secret1, text), sign(secret2, text)}
		edited := []byte(right[int(at>>7)])
		edited[int(at&0x7f)%len(edited)] = replacement
		for _, v := range []string{value, string(edited)} {
			h := http.Header{"X-Webhook-Signature": {v}}
			headerErr, err := s.CheckHeader(&Request{Header: h}),
				s.Authenticate(&Request{Header: h, Body: text})
			for _, e := range []error{headerErr, err} {
				if e != nil && !errors.Is(e, ErrUnauthenticated) {
					t.Fatalf("%q: error is %v, want ErrUnauthenticated", v, e)
				}
			}
			formed := signatureForm.MatchString(v)
			if (headerErr == nil) != formed {
				t.Fatalf("%q: CheckHeader says %v", v, headerErr)
			}
			want := formed && (strings.ToLower(v) == right[0] || strings.ToLower(v) == right[1])
			if (err == nil) != want {
				t.Fatalf("%q: Authenticate says %v, want acceptance: %v", v, err, want)
			}
		}
	})
}

// Goal: no body, path or header breaks the limits or panics. Method: anything; what is accepted is
// checked against the limits and what is refused against the promised errors.
func FuzzGitHub(f *testing.F) {
	for _, seed := range [][2]string{
		{"", "{}"}, {"a", `{"a":"k"}`}, {"a.b", `{"a":{"b":1}}`},
		{"a.0.b", `{"a":[{"b":"\ud83d\ude00"}]}`}, {"a", `{"a":"\ud800"}`},
		{"a", `{"a":[1]}`}, {"a", "{\"a\":\"\xff\"}"}, {"a.b", `{"a":{},"a":{"b":"k"}}`},
		{"0", `{"0":-1.5e3}`}, {"a.99999999999999999999", `{"a":[]}`},
		{"é", `{"\u00e9":null}`}, {"a.#", "{}"}, {"@this", "{}"},
		{"a", `{"a":"` + strings.Repeat("x", 257) + `"}`}, {"a", fullBody}, {"x.2.1", fullBody},
		{"x.3.a.b", fullBody}, {"$/-_", `{"$/-_":true}`}, {"a", "[]"},
	} {
		f.Add(seed[0], []byte(seed[1]), "d", "push")
	}
	f.Add("a", []byte("{}"), "", "\x00")
	f.Fuzz(func(t *testing.T, path string, text []byte, id, event string) {
		s, err := newGitHub([]string{"s"}, path)
		if err != nil {
			return // nothing to identify with; which paths are refused has a test of its own
		}
		got, err := s.Identify(&Request{Header: http.Header{"X-Github-Delivery": {id},
			"X-Github-Event": {event}}, Body: text})
		if err == nil {
			checkLimits(t, got)
			if got.MessageID != identify(id) || got.EventType != identify(cmp.Or(event, noEventType)) ||
				got.Sequence != hookgate.NoSequence {
				t.Fatalf("got %+v for id %q and event %q", got, id, event)
			}
			if !isObject(text) {
				t.Fatalf("accepted, but encoding/json refuses the body")
			}
			return
		}
		var m *MalformedError
		if !errors.As(err, &m) || got != (Message{}) {
			t.Fatalf("got %+v and error %v, want a *MalformedError alone", got, err)
		}
		// A path that is itself "body" cannot be told from the body.
		if path != "body" && id != "" && (m.Field == "body") == isObject(text) {
			t.Fatalf("error is %v; encoding/json accepts the body: %v", err, isObject(text))
		}
		switch m.Field {
		case "X-GitHub-Delivery", "body":
		default:
			t.Fatalf("field is %q", m.Field)
		}
	})
}
