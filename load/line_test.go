package load

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/hookgate/hookgate"
)

var lineTests = []struct {
	name, line string
	want       event
	err        string
}{
	{"all members", `{"messageId":"m","eventType":"t","orderingKey":"k","sequence":7,"x":[1]}`,
		event{messageID: "m", eventType: "t", orderingKey: "k", sequence: 7}, ""},
	{"key defaults to type", `{"messageId":"m","eventType":"t"}`, event{messageID: "m", eventType: "t",
		orderingKey: "t", sequence: hookgate.NoSequence}, ""},
	{"null means none", `{"messageId":"m","eventType":"t","orderingKey":null,"sequence":null}`,
		event{messageID: "m", eventType: "t", orderingKey: "t", sequence: hookgate.NoSequence}, ""},
	{"escaped", `{"message\u0049d":"\u00e9\n","eventType":"t\/u"}`, event{messageID: "é\n",
		eventType: "t/u", orderingKey: "t/u", sequence: hookgate.NoSequence}, ""},
	{"largest sequence", `{"messageId":"m","eventType":"t","sequence":9223372036854775807}`,
		event{messageID: "m", eventType: "t", orderingKey: "t", sequence: 1<<63 - 1}, ""},
	{"other strings need not be UTF-8", "{\"messageId\":\"m\",\"eventType\":\"t\",\"x\":\"\xff\"}",
		event{messageID: "m", eventType: "t", orderingKey: "t", sequence: hookgate.NoSequence}, ""},
	{"nested names are not ours",
		`{"a":{"messageId":1,"sequence":"x"},"messageId":"m","eventType":"t"}`,
		event{messageID: "m", eventType: "t", orderingKey: "t", sequence: hookgate.NoSequence}, ""},

	{"not JSON", `{"messageId":"m"`, event{}, "is not valid JSON"},
	{"trailing garbage", `{"messageId":"m","eventType":"t"} x`, event{}, "is not valid JSON"},
	{"not an object", `["messageId"]`, event{}, "is not a JSON object"},
	{"no id", `{"eventType":"t"}`, event{}, "messageId is missing or empty"},
	{"empty type", `{"messageId":"m","eventType":""}`, event{}, "eventType is missing or empty"},
	{"number as id", `{"messageId":1,"eventType":"t"}`, event{}, "messageId is not a string"},
	{"null id", `{"messageId":null,"eventType":"t"}`, event{}, "messageId is not a string"},
	{"id that is not UTF-8", "{\"messageId\":\"\xff\",\"eventType\":\"t\"}", event{},
		"messageId is not valid UTF-8"},
	{"id twice", `{"messageId":"m","eventType":"t","messageId":"n"}`, event{},
		"messageId occurs twice"},
	{"null and then a key", `{"messageId":"m","eventType":"t","orderingKey":null,"orderingKey":"k"}`,
		event{}, "orderingKey occurs twice"},
	{"negative sequence", `{"messageId":"m","eventType":"t","sequence":-1}`, event{},
		"sequence is not an integer"},
	{"fraction", `{"messageId":"m","eventType":"t","sequence":1.0}`, event{},
		"sequence is not an integer"},
	{"exponent", `{"messageId":"m","eventType":"t","sequence":1e2}`, event{},
		"sequence is not an integer"},
	{"sequence too large", `{"messageId":"m","eventType":"t","sequence":9223372036854775808}`, event{},
		"sequence is not an integer"},
	{"sequence as string", `{"messageId":"m","eventType":"t","sequence":"1"}`, event{},
		"sequence is not an integer"},
	{"nesting bomb", strings.Repeat("[", 200_000), event{}, "is not valid JSON"},
}

// Goal: a line is parsed as the gate parses it, so that both have the same order. A line that is
// not an event is rejected with a reason that names the member.
func TestParseEvent(t *testing.T) {
	for _, test := range lineTests {
		t.Run(test.name, func(t *testing.T) {
			ev, err := parseEvent([]byte(test.line))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want one that says %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256([]byte(test.line))
			test.want.body, test.want.sha256 = test.line, hex.EncodeToString(sum[:])
			if *ev != test.want {
				t.Errorf("got  %+v\nwant %+v", *ev, test.want)
			}
		})
	}
}

// Goal: the parser accepts any bytes without a panic. If it returns an event, the standard library
// finds the same members.
func FuzzParseEvent(f *testing.F) {
	for _, test := range lineTests {
		if len(test.line) < 1000 {
			f.Add([]byte(test.line))
		}
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		ev, err := parseEvent(line)
		if err != nil {
			return
		}
		if ev.body != string(line) || ev.messageID == "" || ev.eventType == "" || ev.orderingKey == "" ||
			ev.sequence < hookgate.NoSequence {
			t.Fatalf("accepted %q as %+v", line, ev)
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(line, &members); err != nil {
			t.Fatalf("accepted %q, which is not a JSON object: %v", line, err)
		}
		if !utf8.Valid(line) || bytes.Contains(line, []byte(`\u`)) {
			return // the two decoders replace what is not a character in different ways
		}
		var id string
		if err := json.Unmarshal(members["messageId"], &id); err != nil || id != ev.messageID {
			t.Fatalf("messageId %q of %q, want %q (%v)", ev.messageID, line, id, err)
		}
	})
}

// Goal: with any read-ahead, no more lines are admitted than the channels have room for. A
// sender that blocked on one of them while it held the chains would stop everything.
func TestWindowHoldsNoMoreLinesThanItsChannels(t *testing.T) {
	for readAhead := 1; readAhead < 300_000; readAhead += 1 + readAhead/7 {
		l := newLines(readAhead)
		if n := windowBytes / l.leastCost; n < 1 || n > int64(cap(l.events)) {
			t.Errorf("read-ahead %d lets in %d lines", readAhead, n)
		}
	}
}

// Goal: reading ends in one of four ways: the end of the input, a line that is not an event, a line
// that is too long, or an input that fails in the middle of a line.
func TestReadLines(t *testing.T) {
	const good = `{"messageId":"m","eventType":"t"}` + "\n"
	broken := errors.New("broken")
	longest := `{"messageId":"m","eventType":"t","x":"`
	longest += strings.Repeat("x", maxLineBytes-len(longest)-len(`"}`)) + `"}`
	for _, test := range []struct {
		name   string
		input  io.Reader
		events int
		line   int // of the LineError
		err    error
	}{
		{"empty", strings.NewReader(""), 0, 0, nil},
		{"blank lines", strings.NewReader("\n\r\n" + good + "\n"), 1, 0, nil},
		{"no newline at the end", strings.NewReader(good + strings.TrimSuffix(good, "\n")), 2, 0, nil},
		{"carriage returns", strings.NewReader(strings.ReplaceAll(good+good, "\n", "\r\n")), 2, 0, nil},
		{"bad line", strings.NewReader(good + "\n" + "{}\n" + good), 1, 3, nil},
		{"longest line", strings.NewReader(longest + "\r\n" + good), 2, 0, nil},
		{"longer line", strings.NewReader(good + longest + "   \n"), 1, 2, nil},
		{"read error", io.MultiReader(strings.NewReader(good+`{"messageId`), iotest.ErrReader(broken)), 1,
			0, broken},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLines(16)
			l.leastCost = 1
			l.read(context.Background(), test.input, Credentials{}.signer())
			if len(l.events) != test.events {
				t.Errorf("%d events, want %d", len(l.events), test.events)
			}
			var bad *LineError
			if errors.As(l.err, &bad) != (test.line > 0) || bad != nil && bad.Line != test.line {
				t.Errorf("error %v, want one of line %d", l.err, test.line)
			}
			if bad == nil && !errors.Is(l.err, test.err) {
				t.Errorf("error %v, want %v", l.err, test.err)
			}
			if l.whole != (l.err == nil) {
				t.Errorf("whole %v with error %v", l.whole, l.err)
			}
		})
	}
}

func BenchmarkParseEvent(b *testing.B) {
	line := bytes.TrimSuffix(generated(b, Generator{Count: 1}), []byte("\n"))
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if _, err := parseEvent(line); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	line := generated(b, Generator{Count: 1})
	sign := Credentials{HMACSecret: testSecret}.signer()
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		sign(line)
	}
}
