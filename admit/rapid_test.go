package admit

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/hookgate/hookgate"
	"pgregory.net/rapid"
)

// envelopeMembers identify an envelope.
var envelopeMembers = []string{"messageId", "eventType", "orderingKey", "sequence"}

// identityText draws a text of 1 to 64 runes, and so at most 256 bytes, that may identify
// something.
func identityText() *rapid.Generator[string] {
	r := rapid.OneOf(rapid.Rune(), rapid.RuneFrom([]rune(`"\/ aZ9é€😀`+"\u0080\u2028\ufffd")))
	return rapid.StringOfN(r.Filter(func(r rune) bool {
		return r > 0x1f && r != 0x7f &&
			utf8.ValidRune(r)
	}), 1, 64, -1)
}

// jsonValue draws what encoding/json can write, nested at most depth deep.
func jsonValue(depth int) *rapid.Generator[any] {
	scalars := []*rapid.Generator[any]{
		rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.Int64().AsAny(), rapid.Float64().AsAny(),
		rapid.String().AsAny(),
		rapid.SampledFrom([]string{"messageId", "eventType", "}", `"`, `\`, "\x00"}).AsAny(),
	}
	if depth == 0 {
		return rapid.OneOf(scalars...)
	}
	inner := rapid.Deferred(func() *rapid.Generator[any] { return jsonValue(depth - 1) })
	name := rapid.OneOf(rapid.String(), rapid.SampledFrom(envelopeMembers))
	return rapid.OneOf(append(scalars, rapid.SliceOfN(inner, 0, 3).AsAny(), rapid.MapOfN(name, inner,
		0, 3).AsAny())...)
}

// written draws one of the ways to write text as a JSON string.
func written(t *rapid.T, text string) string {
	ways := rapid.SliceOfN(rapid.IntRange(0, 3), 1, 20).Draw(t, "ways")
	var b strings.Builder
	b.WriteByte('"')
	for i, r := range []rune(text) {
		switch way := ways[i%len(ways)]; {
		case way == 0 && r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04X`, high, low)
		case way == 0:
			fmt.Fprintf(&b, `\u%04x`, r)
		case r == '"' || r == '\\' || r == '/' && way == 1:
			b.WriteString(`\` + string(r))
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}

// spaced puts white space around the structural characters of valid JSON.
func spaced(t *rapid.T, text string) string {
	spaces := rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune(" \t\r\n")), 0, 3, -1), 1,
		10).Draw(t, "spaces")
	var b strings.Builder
	n, inString := 0, false
	space := func() {
		b.WriteString(spaces[n%len(spaces)])
		n++
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			b.WriteString(text[i : i+2])
			i++
		case c == '"':
			inString = !inString
			b.WriteByte(c)
		case !inString && strings.IndexByte("{}[]:,", c) >= 0:
			space()
			b.WriteByte(c)
			space()
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// envelopeText draws an envelope and what Identify must find in it.
func envelopeText(t *rapid.T) (string, Message) {
	want := Message{
		MessageID: identityText().Draw(t, "messageId"),
		EventType: identityText().Draw(t, "eventType"),
		Sequence:  hookgate.NoSequence,
	}
	want.OrderingKey = want.EventType
	type pair struct{ name, value string }
	pairs := []pair{{"messageId", written(t, want.MessageID)},
		{"eventType", written(t, want.EventType)}}
	switch rapid.IntRange(0, 2).Draw(t, "how orderingKey") {
	case 1:
		pairs = append(pairs, pair{"orderingKey", "null"})
	case 2:
		want.OrderingKey, want.Keyed = identityText().Draw(t, "orderingKey"), true
		pairs = append(pairs, pair{"orderingKey", written(t, want.OrderingKey)})
	}
	switch rapid.IntRange(0, 2).Draw(t, "how sequence") {
	case 1:
		pairs = append(pairs, pair{"sequence", "null"})
	case 2:
		want.Sequence = rapid.Int64Min(0).Draw(t, "sequence")
		pairs = append(pairs, pair{"sequence", strconv.FormatInt(want.Sequence, 10)})
	}
	others := rapid.MapOfN(rapid.String(), jsonValue(3), 0, 5).Draw(t, "others")
	for _, name := range slices.Sorted(maps.Keys(others)) {
		if slices.Contains(envelopeMembers, name) {
			continue
		}
		text, err := json.Marshal(others[name])
		if err != nil {
			t.Fatalf("marshal: %v", err)
		}
		encoded, err := json.Marshal(name)
		if err != nil {
			t.Fatalf("marshal: %v", err)
		}
		pairs = append(pairs, pair{"", string(encoded) + ":" + string(text)})
	}
	var members []string
	for _, p := range rapid.Permutation(pairs).Draw(t, "order") {
		if p.name == "" {
			members = append(members, p.value)
		} else {
			members = append(members, written(t, p.name)+":"+p.value)
		}
	}
	return spaced(t, "{"+strings.Join(members, ",")+"}"), want
}

// Goal: Identify returns exactly what was put in, in any surroundings and any notation. Method:
// random envelopes.
func TestRapidIdentify(t *testing.T) {
	s := bearerEnvelope(t)
	rapid.Check(t, func(t *rapid.T) {
		text, want := envelopeText(t)
		got, err := s.Identify(&Request{Header: http.Header{}, Body: []byte(text)})
		if err != nil {
			t.Fatalf("%s: refused: %v", text, err)
		}
		if got != want {
			t.Fatalf("%s: got %+v, want %+v", text, got, want)
		}
	})
}

// Goal: one wrong byte never panics nor slips through. Method: random envelopes with a byte
// replaced, inserted or removed, judged by encoding/json.
func TestRapidMutation(t *testing.T) {
	s := bearerEnvelope(t)
	bytesOfInterest := rapid.OneOf(rapid.Byte(),
		rapid.SampledFrom([]byte("{}[]:,\"\\u0-eE.+tfn \x00\x1f\x7f\x80\xff")))
	rapid.Check(t, func(t *rapid.T) {
		text, _ := envelopeText(t)
		at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		b := string([]byte{bytesOfInterest.Draw(t, "byte")})
		for _, mutated := range []string{
			text[:at] + b + text[at+1:], text[:at] + b + text[at:], text[:at] + text[at+1:], text + b,
			text[:at],
		} {
			compareWithOracle(t, s, []byte(mutated))
		}
	})
}

// Goal: the search for the end of a string, eight bytes at a time, stops where one byte at a time
// would. Method: every pair of bytes at every offset of a word, after bytes that borrow or carry.
func TestPlainStops(t *testing.T) {
	special := func(c byte) bool { return c < 0x20 || c == '"' || c == '\\' }
	for _, fill := range []byte{' ', 'x', 0x7f, 0x80, 0xff} {
		data := make([]byte, 19)
		for at := range len(data) - 1 {
			for i := range data {
				data[i] = fill
			}
			for pair := range 1 << 16 {
				data[at], data[at+1] = byte(pair), byte(pair>>8)
				want := len(data)
				if special(data[at]) {
					want = at
				} else if special(data[at+1]) {
					want = at + 1
				}
				s := scanner{data: data}
				if s.plain(); s.pos != want {
					t.Fatalf("stops at %d of %q, want %d", s.pos, data, want)
				}
			}
		}
	}
}

// Goal: the ordering key is what encoding/json finds at the path. Method: random values with few
// names and random paths of these; strings and names are written in random ways.
func TestRapidGitHubOrderingKey(t *testing.T) {
	names := rapid.SampledFrom([]string{"a", "b", "ab", "0", "1", "-", "é", "a/b", "$"})
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.SliceOfN(names, 1, 4).Draw(t, "path")
		// write draws a value that tends to have something at rest.
		var write func(depth int, rest []string) string
		write = func(depth int, rest []string) string {
			what := rapid.IntRange(0, 6)
			if depth > 3 {
				what = rapid.IntRange(2, 6)
			} else if len(rest) > 0 {
				what = rapid.SampledFrom([]int{0, 0, 0, 0, 1, 1, 1, 2, 4})
			}
			next, behind := "", rest
			if len(rest) > 0 {
				next, behind = rest[0], rest[1:]
			}
			var parts []string
			switch what.Draw(t, "what") {
			case 0:
				members := rapid.SliceOfNDistinct(names, 0, 4, rapid.ID[string]).Draw(t, "names")
				if next != "" && !slices.Contains(members, next) && depth < 4 {
					members = append(members, next)
				}
				for _, name := range rapid.Permutation(members).Draw(t, "order") {
					if name == next {
						parts = append(parts, written(t, name)+":"+write(depth+1, behind))
					} else {
						parts = append(parts, written(t, name)+":"+write(depth+2, nil))
					}
				}
				return "{" + strings.Join(parts, ",") + "}"
			case 1:
				for range rapid.IntRange(0, 3).Draw(t, "length") {
					parts = append(parts, write(depth+1, behind))
				}
				return "[" + strings.Join(parts, ",") + "]"
			case 2:
				return rapid.SampledFrom([]string{"true", "false", "null", `""`, `"\u0000"`, `"\\"`, `"\""`,
					`"]}"`}).Draw(t, "special")
			case 3:
				return rapid.SampledFrom([]string{"0", "-0", "1.50", "1e3", "-2E-7",
					"12345678901234567890123"}).Draw(t, "number")
			default:
				return written(t, identityText().Draw(t, "text"))
			}
		}
		text := spaced(t, `{"":`+write(2, path)+","+written(t, path[0])+":"+write(1, path[1:])+"}")

		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		var found any
		if err := dec.Decode(&found); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for _, name := range path {
			switch v := found.(type) {
			case map[string]any:
				found = v[name]
			case []any:
				found = nil
				if i, err := strconv.Atoi(name); err == nil && i < len(v) {
					found = v[i]
				}
			default:
				found = nil
			}
		}
		want := ""
		switch v := found.(type) {
		case nil:
			want = "push"
		case json.Number:
			want = v.String()
		case string:
			want = v
			if v == "" {
				want = "push"
			} else if v == "\x00" {
				want = hashOf(v)
			}
		default:
			want = "push"
		}
		s, err := newGitHub([]string{"s"}, strings.Join(path, "."))
		if err != nil {
			t.Fatalf("path %q: %v", path, err)
		}
		got, err := s.Identify(&Request{Header: gitHubHeader(), Body: []byte(text)})
		if err != nil || got.OrderingKey != want {
			t.Fatalf("%s at %q: got %q and error %v, want %q", text, path, got.OrderingKey, err, want)
		}
	})
}
