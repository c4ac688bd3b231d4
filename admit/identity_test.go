package admit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Goal: several places are one value, which is there only if all of them are, and which no other
// values give. Method: one list of alternatives, and requests that have some of them.
func TestComposite(t *testing.T) {
	s := newForTest(t, "none", Options{Places: Places{
		MessageID:   []Place{{"json:envelope", "json:recipient"}, {"json:alone"}, {"sha256:body"}},
		OrderingKey: []Place{{"header:X-Shop", "json:customer"}, {"json:customer"}},
	}})
	long := strings.Repeat("x", 200)
	for _, c := range []struct{ body, id, key string }{
		{`{"envelope":"e","recipient":"r","customer":"c"}`, "e,r", "shop,c"},
		{`{"envelope":"e","alone":"a"}`, "a", "event"},
		{`{"envelope":"e","recipient":null}`, hashOf(`{"envelope":"e","recipient":null}`), "event"},
		{`{"envelope":"e","recipient":{"id":1},"alone":7}`, "7", "event"},
		{`{"envelope":"a,b","recipient":"c"}`, `a\,b,c`, "event"},
		{`{"envelope":"a","recipient":"b,c"}`, `a,b\,c`, "event"},
		{`{"envelope":"a\\","recipient":"b"}`, `a\\,b`, "event"},
		{`{"envelope":"a","recipient":"\\,b"}`, `a,\\\,b`, "event"},
		{`{"alone":"e,r"}`, `e\,r`, "event"},
		{`{"envelope":"` + long + `","recipient":"` + long + `"}`, hashOf(long + "," + long), "event"},
		{`{"envelope":"e","recipient":"\ud800"}`, "e," + hashOf("\xed\xa0\x80"), "event"},
	} {
		got, err := s.Identify(&Request{Header: header("X-Shop", "shop"), Body: []byte(c.body)})
		wantMessage(t, got, err, Message{c.id, "event", c.key, -1, c.key != "event"})
	}
	only := newForTest(t, "none", Options{Places: Places{MessageID: []Place{{"json:a", "json:b"}}}})
	_, err := only.Identify(&Request{Header: http.Header{}, Body: []byte(`{"a":1}`)})
	wantMalformed(t, err, "messageId", "is at none of the configured places")
	_, err = only.Identify(&Request{Header: http.Header{}, Body: []byte(`{"a":1,"b":2,"b":3}`)})
	wantMalformed(t, err, "b", "occurs more than once")
}

// Goal: two lists of parts never give one text. Method: random lists of a few characters.
func TestRapidComposite(t *testing.T) {
	part := rapid.StringOfN(rapid.SampledFrom([]rune(`,\a`)), 1, 4, -1)
	join := func(parts []string) string {
		places := make([]place, len(parts))
		for i, p := range parts {
			places[i] = place{kind: placeConst, name: p}
		}
		text, _, _ := (&content{}).join(places, true)
		return text
	}
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOfN(part, 1, 3).Draw(t, "a")
		b := rapid.SliceOfN(part, 1, 3).Draw(t, "b")
		if (join(a) == join(b)) != (strings.Join(a, "\x00") == strings.Join(b, "\x00")) {
			t.Fatalf("%q and %q give %q and %q", a, b, join(a), join(b))
		}
	})
}

// Goal: the hash of a body without members is that of the body that never had them. Method: a table
// of bodies with the members, and what is left.
func TestOmit(t *testing.T) {
	o, err := parseOmit("n+a.b")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ body, left string }{
		{`{"x":1,"n":0,"y":2}`, `{"x":1,"y":2}`},
		{`{"n":0,"x":1}`, `{"x":1}`},
		{`{"x":1,"n":0}`, `{"x":1}`},
		{`{"n":0}`, `{}`},
		{`{"n":0,"a":{"b":1}}`, `{"a":{}}`},
		{`{"n":0,"n":1,"x":{},"n":[{"n":"]},\""}],"n":-1e5}`, `{"x":{}}`},
		{`{"n":0,"n":1,"n":2}`, `{}`},
		{`[{"n":0,"x":1},{"x":2,"n":1}]`, `[{"x":1},{"x":2}]`},
		{`[[{"n":0}],{"n":0}]`, `[[{}],{}]`},
		{`{"a":{"b":0,"c":1}}`, `{"a":{"c":1}}`},
		{`{"a":[{"b":0,"c":1},[{"b":[]}],7]}`, `{"a":[{"c":1},[{}],7]}`},
		{`{"\u006e":0,"x":1}`, `{"x":1}`},
		{"\ufeff{\"x\":1,\"n\":0}", "\ufeff{\"x\":1}"},
		{`{"x":"n","y":["n"],"N":0,"x":{"n":1},"b":1}`, `{"x":"n","y":["n"],"N":0,"x":{"n":1},"b":1}`},
		{`{"a":{"n":1,"x":{"b":1}},"y":{"a":{"b":1}}}`, `{"a":{"n":1,"x":{"b":1}},"y":{"a":{"b":1}}}`},
		{`{"a":1,"b":2}`, `{"a":1,"b":2}`},
		{"{ \"n\" :\t0 ,\"x\": 1}", "{  \"x\": 1}"},
		{"{\"x\": 1 , \"n\" : null }", "{\"x\": 1  }"},
	} {
		if err := scan([]byte(c.body), true, nil); err != nil {
			t.Fatalf("%s: %v", c.body, err)
		}
		if got := o.hash([]byte(c.body)); got != hashOf(c.left) {
			t.Errorf("%s: the hash is not that of %s", c.body, c.left)
		}
	}
	s := newForTest(t, "none", Options{Places: Places{MessageID: list("sha256:body-without:n")}})
	for _, body := range []string{"no JSON", `{"n":1`, ""} {
		got, err := s.Identify(&Request{Header: http.Header{}, Body: []byte(body)})
		wantMessage(t, got, err, Message{hashOf(body), "event", "event", -1, false})
	}
}

// withoutMembers returns what is left of valid JSON by encoding/json, to compare with.
func withoutMembers(v any, o omit) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = withoutMembers(v[i], o)
		}
	case map[string]any:
		for name, member := range v {
			var inner omit
			for _, p := range o {
				switch {
				case p[0] != name:
				case len(p) == 1:
					delete(v, name)
				default:
					inner = append(inner, p[1:])
				}
			}
			if _, kept := v[name]; kept {
				v[name] = withoutMembers(member, inner)
			}
		}
	}
	return v
}

// Goal: no body makes the hash panic, take another member or miss one. Method: any body that scan
// accepts; encoding/json removes the members from it, and both results are compared in the form
// that encoding/json writes.
func FuzzOmit(f *testing.F) {
	for _, seed := range [][2]string{
		{"n", `{"x":1,"n":0}`}, {"a.b+n", `[{"a":[{"b":{}}]},{"n":[1,{"n":"}"}]}]`},
		{"a", "\ufeff{\"\\u0061\" : \"\\\"\" , \"b\":[]}"},
		{"a", strings.Repeat(`{"a":`, 128) + "1" + strings.Repeat("}", 128)},
		{"a.a.a", strings.Repeat("[", 127) + `{"a":{"a":{"b":1,"a":2}}}` + strings.Repeat("]", 127)},
		{"a", `{"a":1,"a":2,"b":3,"a":4}`}, {"", "{}"}, {"1", "[0]"},
	} {
		f.Add(seed[0], []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, paths string, body []byte) {
		o, err := parseOmit(paths)
		if err != nil || scan(body, true, nil) != nil {
			return
		}
		got := o.hash(body)
		var value any
		if !json.Valid(bytes.TrimPrefix(body, byteOrderMark)) {
			t.Fatal("scan and encoding/json disagree")
		}
		// Only a compact body without repeated names is what encoding/json would write again.
		if json.Unmarshal(body, &value) != nil {
			return
		}
		if again, _ := json.Marshal(value); !bytes.Equal(again, body) {
			return
		}
		if want, _ := json.Marshal(withoutMembers(value, o)); got != hashOf(string(want)) {
			t.Fatalf("%q without %s: the hash is not that of %q", body, paths, want)
		}
	})
}

// Goal: a hash without members is what the property says for bodies of any shape. Method: random
// values with few names, and those of the paths among them.
func TestRapidOmit(t *testing.T) {
	names := rapid.SampledFrom([]string{"a", "b", "n", ""})
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		scalars := []*rapid.Generator[any]{rapid.Just[any](nil), rapid.Int16().AsAny(),
			rapid.SampledFrom([]string{"a", `}"],\`}).AsAny()}
		if depth == 0 {
			return rapid.OneOf(scalars...)
		}
		inner := rapid.Deferred(func() *rapid.Generator[any] { return value(depth - 1) })
		return rapid.OneOf(append(scalars, rapid.SliceOfN(inner, 0, 3).AsAny(), rapid.MapOfN(names, inner,
			0, 3).AsAny())...)
	}
	o, err := parseOmit("a+b.a+n.n.n")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		v := map[string]any{"a": value(4).Draw(t, "a"), "n": value(4).Draw(t, "n"),
			"b": value(4).Draw(t, "b")}
		body, _ := json.Marshal(v)
		left, _ := json.Marshal(withoutMembers(v, o))
		if sum := sha256.Sum256(left); o.hash(body) != hex.EncodeToString(sum[:]) {
			t.Fatalf("%s: the hash is not that of %s", body, left)
		}
	})
}
