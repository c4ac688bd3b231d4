package admit

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/hookgate/hookgate"
)

func newEnvelopeForTest(t testing.TB, c EnvelopeConfig) Scheme {
	t.Helper()
	s, err := NewEnvelope(c)
	if err != nil {
		t.Fatalf("NewEnvelope: %v", err)
	}
	return s
}

func bearerEnvelope(t testing.TB) Scheme {
	t.Helper()
	return newEnvelopeForTest(t, EnvelopeConfig{BearerKeys: []string{"k"}})
}

// wantMalformed fails unless err is a *MalformedError of the field whose reason contains words.
func wantMalformed(t *testing.T, err error, field, words string) {
	t.Helper()
	var m *MalformedError
	if !errors.As(err, &m) {
		t.Fatalf("error is %v (%T), want a *MalformedError of %s", err, err, field)
	}
	if m.Field != field || !strings.Contains(m.Reason, words) {
		t.Fatalf("got field %q, reason %q; want field %q, reason with %q", m.Field, m.Reason, field,
			words)
	}
	if m.Error() != m.Field+" "+m.Reason {
		t.Fatalf("text is %q, want the field and the reason", m.Error())
	}
}

func wantMessage(t *testing.T, got Message, err error, want Message) {
	t.Helper()
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	if got != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}

// body returns an object with good identity fields and the given members behind them.
func body(extra string) string {
	if extra != "" {
		extra = "," + extra
	}
	return `{"messageId":"m","eventType":"e"` + extra + `}`
}

// Goal: a value that cannot be the message id or event type is refused under its own name.
// Method: the same bad values for both fields in turn, the other being good.
func TestEnvelopeIdentityRefused(t *testing.T) {
	const missing = "-"
	values := []struct{ name, value, words string }{
		{"missing", missing, "is missing"},
		{"empty", `""`, "is empty"},
		{"null", `null`, "is not a string"},
		{"number", `1`, "is not a string"},
		{"true", `true`, "is not a string"},
		{"object", `{"a":"b"}`, "is not a string"},
		{"array", `["a"]`, "is not a string"},
		{"257 ASCII bytes", `"` + strings.Repeat("x", 257) + `"`, "is longer than 256 bytes"},
		{"257 bytes in 129 runes", `"` + strings.Repeat("é", 128) + `x"`, "is longer than 256 bytes"},
		{"257 bytes by escapes", `"` + strings.Repeat(`\u0041`, 257) + `"`, "is longer than 256 bytes"},
		{"257 bytes ended by a wide escape", `"` + strings.Repeat("x", 254) + `\u20ac"`,
			"is longer than 256 bytes"},
		{"far too long", `"` + strings.Repeat("x", 100_000) + `"`, "is longer than 256 bytes"},
		{"NUL", `"a\u0000"`, "control character"},
		{"U+0001", `"\u0001"`, "control character"},
		{"U+001F", `"a\u001fb"`, "control character"},
		{"U+007F escaped", `"a\u007f"`, "control character"},
		{"U+007F raw", "\"a\x7f\"", "control character"},
		{"line feed", `"a\n"`, "control character"},
		{"carriage return", `"a\rb"`, "control character"},
		{"tab", `"\ta"`, "control character"},
		{"backspace", `"a\b"`, "control character"},
		{"form feed", `"a\f"`, "control character"},
		{"stray byte", "\"a\xff\"", "not valid UTF-8"},
		{"lone continuation byte", "\"\x80\"", "not valid UTF-8"},
		{"cut rune", "\"a\xe2\x82\"", "not valid UTF-8"},
		{"overlong encoding", "\"\xc0\xaf\"", "not valid UTF-8"},
		{"surrogate in UTF-8", "\"\xed\xa0\x80\"", "not valid UTF-8"},
		{"high half at the end", `"a\ud83d"`, "an unpaired surrogate"},
		{"high half before text", `"\ud83dxxxxxxxx"`, "an unpaired surrogate"},
		{"high half before another escape", `"\ud83d\u0041"`, "an unpaired surrogate"},
		{"high half before a short escape", `"\ud83d\nde00"`, "an unpaired surrogate"},
		{"two high halves", `"\ud83d\ud83d"`, "an unpaired surrogate"},
		{"low half", `"\ude00"`, "an unpaired surrogate"},
		{"halves swapped", `"\ude00\ud83d"`, "an unpaired surrogate"},
	}
	for _, field := range []string{"messageId", "eventType"} {
		other := map[string]string{"messageId": "eventType", "eventType": "messageId"}[field]
		for _, v := range values {
			t.Run(field+"/"+v.name, func(t *testing.T) {
				text := fmt.Sprintf(`{%q:%s,%q:"x"}`, field, v.value, other)
				if v.value == missing {
					text = fmt.Sprintf(`{%q:"x"}`, other)
				}
				m, err := bearerEnvelope(t).Identify(&Request{Header: http.Header{}, Body: []byte(text)})
				wantMalformed(t, err, field, v.words)
				if m != (Message{}) {
					t.Errorf("message is %+v beside the error", m)
				}
			})
		}
	}
}

// Goal: identities up to the limit are taken as they are. Method: a table of raw and decoded
// values.
func TestEnvelopeIdentityAccepted(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"one byte", `"x"`, "x"},
		{"256 ASCII bytes", `"` + strings.Repeat("x", 256) + `"`, strings.Repeat("x", 256)},
		{"256 bytes in 128 runes", `"` + strings.Repeat("é", 128) + `"`, strings.Repeat("é", 128)},
		{"256 bytes by escapes", `"` + strings.Repeat(`\u0041`, 256) + `"`, strings.Repeat("A", 256)},
		{"256 bytes by surrogate pairs", `"` + strings.Repeat(`\ud83d\uDE00`, 64) + `"`,
			strings.Repeat("😀", 64)},
		{"short escapes", `"\"\\\/"`, `"\/`},
		{"spaces kept", `" a "`, " a "},
		{"not normalised", `"e\u0301"`, "e\u0301"},
		{"replacement character", `"\ufffd"`, "\ufffd"},
		{"U+0080 is no control here", `"\u0080"`, "\u0080"},
		{"last rune before the surrogates", `"\ud7ff"`, "\ud7ff"},
		{"first rune behind the surrogates", `"\ue000"`, "\ue000"},
		{"highest rune", `"\udbff\udfff"`, "\U0010ffff"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, fields := range [][2]string{{c.value, `"x"`}, {`"x"`, c.value}} {
				text := fmt.Sprintf(`{"messageId":%s,"eventType":%s}`, fields[0], fields[1])
				want := Message{c.want, "x", "x", hookgate.NoSequence, false}
				if fields[1] == c.value {
					want = Message{"x", c.want, c.want, hookgate.NoSequence, false}
				}
				got, err := bearerEnvelope(t).Identify(&Request{Header: http.Header{}, Body: []byte(text)})
				wantMessage(t, got, err, want)
			}
		})
	}
}

// Goal: a field that identifies occurs once, however its name is written, and an optional one that
// occurs twice counts as missing. Method: a table of bodies, with the field that must be named, or
// none.
func TestEnvelopeDuplicates(t *testing.T) {
	for _, c := range []struct{ name, body, field string }{
		{"messageId", body(`"messageId":"n"`), "messageId"},
		{"messageId with the same value", body(`"messageId":"m"`), "messageId"},
		{"messageId then null", body(`"messageId":null`), "messageId"},
		{"eventType", body(`"eventType":"f"`), "eventType"},
		{"eventType with the same value", body(`"eventType":"e"`), "eventType"},
		{"orderingKey", body(`"orderingKey":"a","orderingKey":"b"`), ""},
		{"orderingKey null twice", body(`"orderingKey":null,"orderingKey":null`), ""},
		{"sequence", body(`"sequence":1,"sequence":1`), ""},
		{"sequence null then number", body(`"sequence":null,"sequence":1`), ""},
		{"one escaped letter", body(`"\u006dessageId":"m"`), "messageId"},
		{"wholly escaped name", body(`"` + escapeAll("orderingKey") + `":"a","orderingKey":"a"`), ""},
		{"both escaped", body(`"s\u0065quence":1,"\u0073equence":1`), ""},
		{"upper-case hex", body(`"messageId\u0020":1,"event\u0054ype":"e"`), "eventType"},
		{"first value is an object", `{"messageId":{},"messageId":"m","eventType":"e"}`, "messageId"},
		{"far apart", body(`"x":[{"y":[1,2]}],"z":"` + strings.Repeat("z", 5000) + `","messageId":"m"`),
			"messageId"},
		{"three times", body(`"messageId":"a","messageId":"b"`), "messageId"},

		{"nested in an object", body(`"data":{"messageId":"x","eventType":"y","orderingKey":1,` +
			`"sequence":-1}`), ""},
		{"nested in an array", body(`"data":[{"messageId":"x"},{"messageId":"x"}]`), ""},
		{"nested twice in one object", body(`"data":{"messageId":"x","messageId":"x"}`), ""},
		{"as a value", body(`"data":"messageId","more":["eventType","sequence"]`), ""},
		{"another case", body(`"MessageId":1,"messageid":2,"EVENTTYPE":3`), ""},
		{"escaped quotation mark around", body(`"\"messageId\"":1`), ""},
		{"with a NUL", body(`"messageId\u0000":1`), ""},
		{"with half a surrogate", body(`"messageId\ud800":1`), ""},
		{"with a byte that is not UTF-8", body("\"messageId\xff\":1"), ""},
		{"escaped and longer than any name", body(`"` + escapeAll("orderingKeys") +
			`":1,"orderingKey\u0000` + strings.Repeat("x", 99) + `":1`), ""},
		{"prefix", body(`"message":1,"sequenc":"x"`), ""},
		{"other members twice", body(`"a":1,"a":2,"":3,"":4`), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := bearerEnvelope(t).Identify(&Request{Header: http.Header{}, Body: []byte(c.body)})
			if c.field != "" {
				wantMalformed(t, err, c.field, "occurs more than once")
				return
			}
			wantMessage(t, got, err, Message{"m", "e", "e", hookgate.NoSequence, false})
		})
	}
}

// escapeAll writes ASCII text with \u escapes alone.
func escapeAll(text string) string {
	var b strings.Builder
	for _, r := range text {
		fmt.Fprintf(&b, `\u%04X`, r)
	}
	return b.String()
}

// Goal: member names count after unescaping. Method: every name wholly escaped, the longest one
// included.
func TestEnvelopeEscapedNames(t *testing.T) {
	text := fmt.Sprintf(`{"%s":7,"%s":"o","%s":"e","%s":"m"}`, escapeAll("sequence"),
		escapeAll("orderingKey"),
		escapeAll("eventType"), escapeAll("messageId"))
	got, err := bearerEnvelope(t).Identify(&Request{Header: http.Header{}, Body: []byte(text)})
	wantMessage(t, got, err, Message{"m", "e", "o", 7, true})
}

// Goal: a sender's own ordering key is one also if it is the event type. Method: one request with
// it, one without.
func TestEnvelopeKeyed(t *testing.T) {
	for member, keyed := range map[string]bool{`"orderingKey":"e"`: true, "": false} {
		got, err := bearerEnvelope(t).Identify(&Request{Header: http.Header{},
			Body: []byte(body(member))})
		wantMessage(t, got, err, Message{"m", "e", "e", hookgate.NoSequence, keyed})
	}
}

// Goal: an ordering key never refuses an event: one that cannot be used as it is becomes its hash,
// and one that is no string or number the event type. Method: a table.
func TestEnvelopeOrderingKey(t *testing.T) {
	for _, c := range []struct{ name, member, want string }{
		{"missing", ``, "e"},
		{"null", `"orderingKey":null`, "e"},
		{"given", `"orderingKey":"k"`, "k"},
		{"the word null", `"orderingKey":"null"`, "null"},
		{"256 bytes", `"orderingKey":"` + strings.Repeat("x", 256) + `"`, strings.Repeat("x", 256)},
		{"empty", `"orderingKey":""`, "e"},
		{"number", `"orderingKey":1.50`, "1.50"},
		{"false", `"orderingKey":false`, "e"},
		{"object", `"orderingKey":{}`, "e"},
		{"array", `"orderingKey":[]`, "e"},
		{"257 bytes", `"orderingKey":"` + strings.Repeat("x", 257) + `"`,
			hashOf(strings.Repeat("x", 257))},
		{"257 bytes by escapes", `"orderingKey":"` + strings.Repeat(`\u0078`, 257) + `"`,
			hashOf(strings.Repeat("x", 257))},
		{"257 digits", `"orderingKey":` + strings.Repeat("1", 257), hashOf(strings.Repeat("1", 257))},
		{"control character", `"orderingKey":"a\tb"`, hashOf("a\tb")},
		{"not UTF-8", "\"orderingKey\":\"\xfe\"", hashOf("\xfe")},
		{"half a surrogate", `"orderingKey":"\udc00"`, hashOf("\xed\xb0\x80")},
		{"half a surrogate between others", `"orderingKey":"\ud83d\ude00\ud83d\u0041"`,
			hashOf("😀\xed\xa0\xbdA")},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := bearerEnvelope(t).Identify(&Request{Header: http.Header{},
				Body: []byte(body(c.member))})
			wantMessage(t, got, err, Message{"m", "e", c.want, hookgate.NoSequence, c.want != "e"})
		})
	}
}

// Goal: a sequence is digits alone within int64, and anything else counts as none. Method: a table
// of JSON values.
func TestEnvelopeSequence(t *testing.T) {
	for value, want := range map[string]int64{
		"0": 0, "1": 1, "42": 42, "9223372036854775806": 1<<63 - 2, "9223372036854775807": 1<<63 - 1,
		"null": hookgate.NoSequence, " 7 ": 7, "\t\r\n8\n": 8,
	} {
		t.Run("accepted/"+value, func(t *testing.T) {
			got, err := bearerEnvelope(t).Identify(&Request{Header: http.Header{},
				Body: []byte(body(`"sequence":` + value))})
			wantMessage(t, got, err, Message{"m", "e", "e", want, false})
		})
	}
	for _, value := range []string{
		"9223372036854775808", "18446744073709551615", "18446744073709551616", "1" + strings.Repeat("0",
			400), "-1", "-0",
		"1.0", "0.0", "1.5", "1e3", "1E3", "1e+3", "0e0", "1e-1", `"1"`, `""`, "true", "false", "{}",
		"[]", "[1]",
	} {
		t.Run("ignored/"+value[:min(len(value), 25)], func(t *testing.T) {
			got, err := bearerEnvelope(t).Identify(&Request{Header: http.Header{},
				Body: []byte(body(`"sequence":` + value))})
			wantMessage(t, got, err, Message{"m", "e", "e", hookgate.NoSequence, false})
		})
	}
}

// Goal: a body that is not one JSON object is refused with a hint at what is wrong. Method: a
// table.
func TestEnvelopeBodyRefused(t *testing.T) {
	good := body("")
	for _, c := range []struct{ name, body, words string }{
		{"empty", "", "is empty"},
		{"white space", " \t\r\n ", "has only white space"},
		{"array", "[" + good + "]", "is not a JSON object"},
		{"string", `"messageId"`, "is not a JSON object"},
		{"number", "1", "is not a JSON object"},
		{"null", "null", "is not a JSON object"},
		{"form", "payload=%7B%7D", "is a form"},
		{"form feed before", "\f" + good, "is not a JSON object"},
		{"NUL before", "\x00" + good, "is in UTF-16"},
		{"two objects", good + good,
			"several JSON values; send one (the second starts at byte " + strconv.Itoa(len(good))},
		{"two objects on two lines", good + "\n" + good, "several JSON values"},
		{"trailing text", good + " x", "after the JSON object (at byte " + strconv.Itoa(len(good)+1)},
		{"trailing comma", good + ",", "after the JSON object"},
		{"trailing brace", good + "}", "after the JSON object"},
		{"trailing NUL", good + "\x00", "after the JSON object"},
		{"trailing no-break space", good + "\u00a0", "after the JSON object"},
		{"comma before end", `{"a":1,}`, "} at byte 7 instead of a member name"},
		{"comma first", `{,"a":1}`, "instead of a member name"},
		{"name without quotes", `{a:1}`, "a at byte 1 instead of a member name"},
		{"name in single quotes", `{'a':1}`, "instead of a member name"},
		{"number as name", `{1:1}`, "instead of a member name"},
		{"no colon", `{"a" 1}`, "1 at byte 5 instead of a colon"},
		{"no value", `{"a":}`, "} at byte 5 instead of a value"},
		{"no comma", `{"a":1 "b":2}`, "instead of a comma or the end"},
		{"object closed as array", `{"a":1]`, "] at byte 6 instead of a comma or the end"},
		{"array closed as object", `{"a":[1}}`, "} at byte 7 instead of a comma or the end"},
		{"array with a comma at the end", `{"a":[1,]}`, "instead of a value"},
		{"array with a comma first", `{"a":[,1]}`, "instead of a value"},
		{"colon in array", `{"a":["b":1]}`, "instead of a comma or the end"},
		{"comment", `{/* */}`, "instead of a member name"},
		{"NaN", `{"a":NaN}`, "NaN or Infinity; at byte 5"},
		{"upper-case literal", `{"a":True}`, "instead of a value"},
		{"cut literal", `{"a":tru}`, "instead of true"},
		{"wrong literal", `{"a":nul1}`, "instead of null"},
		{"long literal", `{"a":falsey}`, "instead of a comma or the end"},
		{"leading zero", `{"a":01}`, "instead of a comma or the end"},
		{"plus sign", `{"a":+1}`, "instead of a value"},
		{"minus alone", `{"a":-}`, "instead of a digit"},
		{"minus and a point", `{"a":-.5}`, "instead of a digit"},
		{"no digit before the point", `{"a":.5}`, "instead of a value"},
		{"no digit behind the point", `{"a":1.}`, "instead of a digit"},
		{"no exponent", `{"a":1e}`, "instead of a digit"},
		{"sign without exponent", `{"a":1e+}`, "instead of a digit"},
		{"two exponent signs", `{"a":1e+-1}`, "instead of a digit"},
		{"hexadecimal number", `{"a":0x1}`, "instead of a comma or the end"},
		{"line feed in a string", "{\"a\":\"b\nc\"}",
			"byte 0x0a at byte 7 instead of an escape: a control character"},
		{"NUL in a name", "{\"a\x00\":1}", "a control character in a string must be escaped"},
		{"U+001F in a long string", "{\"a\":\"01234567890123456789\x1f\"}",
			"a control character in a string must be escaped"},
		{"unknown escape", `{"a":"\x41"}`, "x at byte 7 instead of the rest of an escape"},
		{"short hex escape", `{"a":"\u12"}`, "instead of a hexadecimal digit"},
		{"wrong hex escape", `{"a":"\u12g4"}`, "instead of a hexadecimal digit"},
		{"byte that is not UTF-8 outside strings", "{\xff}", "byte 0xff at byte 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := bearerEnvelope(t).Identify(&Request{Header: http.Header{}, Body: []byte(c.body)})
			wantMalformed(t, err, "body", c.words)
		})
	}
}

// fullBody has every part of the grammar.
const fullBody = ` {"messageId" : "m\u0041\n", "x":[ {}, [ ], [1, -2.50E+7 ,0.1e-3,true,false,` +
	`null,"\ud83d\ude00\\\"é"],{"a":{"b":[[{}]]}}],` +
	`"eventType":"e","sequence":12,"orderingKey":null}`

// Goal: a body cut anywhere is never taken. Method: every proper prefix of a body with all of the
// grammar.
func TestEnvelopeTruncated(t *testing.T) {
	s := bearerEnvelope(t)
	if err := scanObject([]byte(fullBody)); err != nil {
		t.Fatalf("the whole body is refused: %v", err)
	}
	for n := range len(fullBody) {
		words := "is truncated"
		switch n {
		case 0:
			words = "is empty"
		case 1:
			words = "has only white space"
		}
		// The capacity ends with the prefix, so that reading past it would panic.
		_, err := s.Identify(&Request{Header: http.Header{}, Body: []byte(fullBody)[:n:n]})
		wantMalformed(t, err, "body", words)
	}
}

// Goal: the limit of the nesting is 128, the body itself included, and is per level and not per
// bracket. Method: bodies at and beyond it, of arrays, objects and both.
func TestEnvelopeDepth(t *testing.T) {
	s := bearerEnvelope(t)
	for _, c := range []struct{ name, open, inner, end string }{
		{"arrays", "[", "", "]"},
		{"objects", `{"a":`, "1", "}"},
	} {
		nest := func(n int) []byte {
			return []byte(body(`"x":` + strings.Repeat(c.open, n) + c.inner + strings.Repeat(c.end, n)))
		}
		got, err := s.Identify(&Request{Header: http.Header{}, Body: nest(127)})
		wantMessage(t, got, err, Message{"m", "e", "e", hookgate.NoSequence, false})
		_, err = s.Identify(&Request{Header: http.Header{}, Body: nest(128)})
		wantMalformed(t, err, "body", "is nested deeper than 128 levels")
	}

	mixed := func(n int) []byte {
		open, end := "", ""
		for i := range n {
			if i%3 == 1 {
				open, end = open+`{"messageId":`, "}"+end
			} else {
				open, end = open+"[", "]"+end
			}
		}
		return []byte(body(`"x":` + open + "1" + end))
	}
	got, err := s.Identify(&Request{Header: http.Header{}, Body: mixed(127)})
	wantMessage(t, got, err, Message{"m", "e", "e", hookgate.NoSequence, false})
	_, err = s.Identify(&Request{Header: http.Header{}, Body: mixed(128)})
	wantMalformed(t, err, "body", "is nested deeper than 128 levels")

	// Each closing bracket at each depth must be of the right sort.
	valid := mixed(127)
	for i := strings.LastIndexByte(string(valid), '1') + 1; i < len(valid); i++ {
		wrong := []byte(string(valid))
		wrong[i] ^= '}' ^ ']'
		_, err := s.Identify(&Request{Header: http.Header{}, Body: wrong})
		wantMalformed(t, err, "body", "instead of a comma or the end of the object or array")
	}

	wide := body(`"x":[` + strings.Repeat("[],{},", 1000) + `[]]`)
	got, err = s.Identify(&Request{Header: http.Header{}, Body: []byte(wide)})
	wantMessage(t, got, err, Message{"m", "e", "e", hookgate.NoSequence, false})
}

// Goal: hostile nesting costs no stack. Method: a million brackets, and the stack memory of the
// process before and after with the collector, which alone shrinks stacks, switched off.
func TestEnvelopeDeepNestingStack(t *testing.T) {
	const n = 1_000_000
	s := bearerEnvelope(t)
	bodies := map[string][]byte{
		"is nested deeper than 128 levels": []byte(`{"a":` + strings.Repeat("[", n)),
		"is nested deeper than 128":        []byte(strings.Repeat(`{"a":`, n)),
		"is not a JSON object":             []byte(strings.Repeat("[", n)),
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for words, text := range bodies {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := s.Identify(&Request{Header: http.Header{}, Body: text})
		runtime.ReadMemStats(&after)
		wantMalformed(t, err, "body", words)
		if after.StackInuse > before.StackInuse+1<<20 {
			t.Errorf("the stacks grew from %d to %d bytes", before.StackInuse, after.StackInuse)
		}
	}
}

// Goal: exactly the escapes and literals of the grammar are known. Method: every byte behind a
// backslash, in a string, as a value and in a hexadecimal escape, judged by encoding/json.
func TestEnvelopeEveryByte(t *testing.T) {
	for c := range 256 {
		for _, format := range []string{`{"a":"\%s"}`, `{"a":"\%su0041"}`, `{"a":"%s"}`, `{"a":%s}`,
			`{"a":1%s}`, `{"a":1%s2}`, `{"a":0%s1}`,
			`{"a":"\u004%s"}`, `{"a":"\u%s123"}`, `{%s"a":1}`, `{"a"%s:1}`, `{"a":[%s]}`, `%s{}`, `{}%s`} {
			text := []byte(strings.Replace(format, "%s", string([]byte{byte(c)}), 1))
			if err := scanObject(text); (err == nil) != json.Valid(text) {
				t.Errorf("%q: %v; encoding/json says valid: %v", text, err, json.Valid(text))
			}
		}
	}
}

// Goal: bytes that are not UTF-8, and half surrogates, pass where nothing is interpreted.
// Method: one body with them in a name and in values.
func TestEnvelopeTolerance(t *testing.T) {
	text := body("\"\xff\xfe\":\"\xc3\",\"a\":[\"\\ud800\",\"\x7f\",\"\xed\xa0\x80\"]")
	got, err := bearerEnvelope(t).Identify(&Request{Header: http.Header{}, Body: []byte(text)})
	wantMessage(t, got, err, Message{"m", "e", "e", hookgate.NoSequence, false})
}

// Goal: the message does not refer to the body. Method: overwrite the body afterwards.
func TestEnvelopeMessageIsCopied(t *testing.T) {
	text := []byte(body(`"orderingKey":"o","sequence":3`))
	got, err := bearerEnvelope(t).Identify(&Request{Header: http.Header{}, Body: text})
	for i := range text {
		text[i] = '#'
	}
	wantMessage(t, got, err, Message{"m", "e", "o", 3, true})
}

// Goal: no compression and gzip are accepted, and everything else is rejected. Method: a table of
// header values.
func TestGzipped(t *testing.T) {
	for _, c := range []struct {
		values  []string
		gzipped bool
		words   string
	}{
		{nil, false, ""}, {[]string{""}, false, ""}, {[]string{"identity"}, false, ""},
		{[]string{"Identity"}, false, ""},
		{[]string{"identity", " identity "}, false, ""}, {[]string{"gzip"}, true, ""},
		{[]string{" GZIP "}, true, ""}, {[]string{"x-gzip"}, true, ""},
		{[]string{"identity", "gzip"}, true, ""}, {[]string{"gzip", "gzip"}, false,
			`Content-Encoding is "gzip"`},
		{[]string{"br"}, false, `Content-Encoding is "br"; send gzip or no compression`},
		{[]string{"identity", "br"}, false, `Content-Encoding is "br"`},
		{[]string{"identity, gzip"}, false, "Content-Encoding is"}, {[]string{"gzip, gzip"}, false,
			"Content-Encoding is"}, {[]string{"deflate"}, false, "Content-Encoding is"},
		{[]string{strings.Repeat("\x00", 1e6)}, false, "Content-Encoding is"},
	} {
		got, err := Gzipped(http.Header{"Content-Encoding": c.values})
		if got != c.gzipped || (err == nil) != (c.words == "") {
			t.Errorf("%.40q: got %v and error %v", c.values, got, err)
		}
		if err != nil && (!errors.Is(err, ErrUnsupportedMediaType) ||
			!strings.Contains(err.Error(), c.words) || len(err.Error()) > 1000) {
			t.Errorf("%.40q: error is %.200v", c.values, err)
		}
	}
}

// Goal: only JSON is taken. Method: tables of header values.
func TestEnvelopeMediaType(t *testing.T) {
	ct := func(values ...string) http.Header { return http.Header{"Content-Type": values} }
	for name, h := range map[string]http.Header{
		"missing":                 {},
		"empty":                   ct(""),
		"plain":                   ct("application/json"),
		"upper case":              ct("Application/JSON"),
		"charset":                 ct("application/json; charset=utf-8"),
		"charset without a space": ct("application/json;charset=iso-8859-1"),
		"spaces":                  ct(" application/json ; a=b"),
		"suffix":                  ct("application/cloudevents+json"),
		"suffix and parameter":    ct("application/cloudevents+json; charset=UTF-8"),
		"suffix in upper case":    ct("application/Problem+JSON"),
		"two suffixes":            ct("application/a+b+json"),
		"vendor":                  ct("application/vnd.x-y_z.v1+json"),
		"other tree":              ct("model/gltf+json"),
	} {
		t.Run("accepted/"+name, func(t *testing.T) {
			got, err := bearerEnvelope(t).Identify(&Request{Header: h, Body: []byte(body(""))})
			wantMessage(t, got, err, Message{"m", "e", "e", hookgate.NoSequence, false})
		})
	}
	for name, c := range map[string]struct {
		h     http.Header
		words string
	}{
		"text":                 {ct("text/plain"), `Content-Type is "text/plain"; send application/json`},
		"form":                 {ct("application/x-www-form-urlencoded"), "Content-Type is"},
		"text/json":            {ct("text/json"), "Content-Type is"},
		"no slash":             {ct("json"), "Content-Type is"},
		"suffix alone":         {ct("+json"), "Content-Type is"},
		"no name":              {ct("application/+json"), "Content-Type is"},
		"no type":              {ct("/a+json"), "Content-Type is"},
		"longer":               {ct("application/jsonp"), "Content-Type is"},
		"json sequence":        {ct("application/json-seq"), "Content-Type is"},
		"suffix first":         {ct("application/json+xml"), "Content-Type is"},
		"parameter only":       {ct("; charset=utf-8"), "Content-Type is"},
		"space only":           {ct(" "), "Content-Type is"},
		"list":                 {ct("application/json, application/json"), "Content-Type is"},
		"list that ends right": {ct("text/html, application/a+json"), "Content-Type is"},
		"second slash":         {ct("application/a/b+json"), "Content-Type is"},
		"twice": {ct("application/json", "application/json"),
			"Content-Type occurs more than once"},
	} {
		t.Run("refused/"+name, func(t *testing.T) {
			_, err := bearerEnvelope(t).Identify(&Request{Header: c.h, Body: []byte(body(""))})
			if !errors.Is(err, ErrUnsupportedMediaType) {
				t.Fatalf("error is %v, want ErrUnsupportedMediaType", err)
			}
			if !strings.Contains(err.Error(), c.words) {
				t.Fatalf("error is %q, want it to contain %q", err, c.words)
			}
			var m *MalformedError
			if errors.As(err, &m) {
				t.Fatalf("error is also a *MalformedError: %v", m)
			}
		})
	}

	// A hostile value must not flood the answer or the log.
	for _, h := range []http.Header{ct(strings.Repeat("x", 1e6)), ct(strings.Repeat("\x00", 1e6))} {
		_, err := bearerEnvelope(t).Identify(&Request{Header: h, Body: []byte(body(""))})
		if !errors.Is(err, ErrUnsupportedMediaType) || len(err.Error()) > 1000 {
			t.Errorf("error of %d bytes, want a short ErrUnsupportedMediaType", len(fmt.Sprint(err)))
		}
	}
}
