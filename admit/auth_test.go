package admit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// sign computes a signature header with the standard library alone.
func sign(secret string, text []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(text)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// header builds a header from alternating names and values.
func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// authCase says what CheckHeader and Authenticate answer; empty words mean acceptance.
type authCase struct {
	name        string
	scheme      Scheme
	h           http.Header
	body        string
	byHeader    string
	byBody      string
	credentials []string // must not show in an error
}

func (c authCase) run(t *testing.T) {
	t.Run(c.name, func(t *testing.T) {
		before := c.h.Clone()
		c.verify(t, "CheckHeader", c.scheme.CheckHeader(&Request{Header: c.h}), c.byHeader)
		text := []byte(c.body)
		// Twice, because the second time the state of the hash is not fresh.
		for range 2 {
			c.verify(t, "Authenticate", c.scheme.Authenticate(&Request{Header: c.h, Body: text}), c.byBody)
		}
		if string(text) != c.body {
			t.Error("the body was changed")
		}
		for name, values := range before {
			if !slices.Equal(values, c.h[name]) {
				t.Errorf("the header %s was changed", name)
			}
		}
	})
}

func (c authCase) verify(t *testing.T, method string, err error, words string) {
	t.Helper()
	if words == "" {
		if err != nil {
			t.Errorf("%s refuses: %v", method, err)
		}
		return
	}
	if !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("%s: error is %v, want ErrUnauthenticated", method, err)
		return
	}
	if !strings.Contains(err.Error(), words) {
		t.Errorf("%s: error is %q, want it to contain %q", method, err, words)
	}
	for _, secret := range c.credentials {
		if strings.Contains(strings.ToLower(err.Error()), strings.ToLower(secret)) {
			t.Errorf("%s: error %q tells the credential %q", method, err, secret)
		}
	}
}

const (
	key1, key2, key3 = "KEY-one-1111", "KEY-two-2222", "KEY three 3333"
	secret1, secret2 = "SECRET-one-1111", "SECRET-two-2222"
)

// Goal: a bearer key is taken if and only if it is one of the configured ones, by both methods
// alike. Method: a table of Authorization values against three keys.
func TestBearer(t *testing.T) {
	s := newEnvelopeForTest(t, EnvelopeConfig{BearerKeys: []string{key1, key2, key3}})
	const wrong, form = "has none of the configured bearer keys", "is not of the form Bearer KEY"
	for _, c := range []struct{ name, value, words string }{
		{"first", "Bearer " + key1, ""},
		{"second", "Bearer " + key2, ""},
		{"with spaces inside", "Bearer " + key3, ""},
		{"scheme in lower case", "bearer " + key1, ""},
		{"scheme in upper case", "BEARER " + key1, ""},
		{"several spaces", "Bearer   " + key1, ""},
		{"wrong", "Bearer WRONG-KEY", wrong},
		{"key in lower case", "Bearer " + strings.ToLower(key1), wrong},
		{"key cut", "Bearer " + key1[:len(key1)-1], wrong},
		{"key lengthened", "Bearer " + key1 + "x", wrong},
		{"key with space behind", "Bearer " + key1 + " ", wrong},
		{"two keys", "Bearer " + key1 + " " + key2, wrong},
		{"two keys with comma", "Bearer " + key1 + "," + key2, wrong},
		{"no key", "Bearer ", wrong},
		{"digest of the key", "Bearer " + digest(key1), wrong},
		{"quoted", `Bearer "` + key1 + `"`, wrong},
		{"scheme alone", "Bearer", form},
		{"empty", "", form},
		{"key alone", key1, form},
		{"no space", "Bearer" + key1, form},
		{"tab", "Bearer\t" + key1, form},
		{"Basic", "Basic " + key1, form},
		{"token", "token " + key1, form},
		{"space before", " Bearer " + key1, form},
	} {
		authCase{c.name, s, header("Authorization", c.value), "{}", c.words, c.words,
			[]string{key1, key2, key3, "WRONG-KEY", digest(key1)}}.run(t)
	}
	const missing = "Authorization and X-Webhook-Signature are both missing"
	authCase{"none", s, header("X-Api-Key", key1), "{}", missing, missing, []string{key1}}.run(t)
	authCase{"twice", s, header("Authorization", "Bearer "+key1, "Authorization", "Bearer "+key1),
		"{}",
		"occurs more than once", "occurs more than once", []string{key1}}.run(t)
	authCase{"no header at all", s, nil, "", missing, missing, nil}.run(t)
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Goal: a signature is taken if and only if it is the HMAC of exactly this body with one of the
// secrets; its form is already judged by the header. Method: one table for the two schemes that
// sign.
func TestSignature(t *testing.T) {
	gh, err := newGitHub([]string{secret1, secret2}, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []struct {
		header, missing string
		scheme          Scheme
	}{
		{"X-Webhook-Signature", "are both missing",
			newEnvelopeForTest(t, EnvelopeConfig{HMACSecrets: []string{secret1, secret2}})},
		{"X-Hub-Signature-256", "is missing", gh},
	} {
		const text = `{"a":"b"}`
		good := sign(secret1, []byte(text))
		const prefix, digits = "does not begin with sha256=", "does not have 64 hexadecimal digits"
		const wrong = "does not match the body with any of the configured secrets"
		for _, c := range []struct{ name, value, body, byHeader, byBody string }{
			{"first secret", good, text, "", ""},
			{"second secret", sign(secret2, []byte(text)), text, "", ""},
			{"upper-case digits", "sha256=" + strings.ToUpper(good[7:]), text, "", ""},
			{"empty body", sign(secret1, nil), "", "", ""},
			{"large body", sign(secret1, []byte(strings.Repeat("x", 1e5))), strings.Repeat("x", 1e5), "",
				""},
			{"third secret", sign("other", []byte(text)), text, "", wrong},
			{"signature of another body", good, `{"a":"c"}`, "", wrong},
			{"space behind the body", good, text + " ", "", wrong},
			{"empty body, signature of another", good, "", "", wrong},
			{"body, signature of the empty one", sign(secret1, nil), text, "", wrong},
			{"bare digest", "sha256=" + digest(text), text, "", wrong},
			{"zeros", "sha256=" + strings.Repeat("0", 64), text, "", wrong},
			{"last digit changed", good[:len(good)-1] + string(hexOther(good[len(good)-1])), text, "",
				wrong},
			{"first digit changed", "sha256=" + string(hexOther(good[7])) + good[8:], text, "", wrong},
			{"no prefix", good[7:], text, prefix, prefix},
			{"upper-case prefix", "SHA256=" + good[7:], text, prefix, prefix},
			{"sha1 prefix", "sha1=" + good[7:], text, prefix, prefix},
			{"sha512 prefix", "sha512=" + good[7:], text, prefix, prefix},
			{"colon", "sha256:" + good[7:], text, prefix, prefix},
			{"space before", " " + good, text, prefix, prefix},
			{"empty", "", text, prefix, prefix},
			{"prefix alone", "sha256=", text, digits, digits},
			{"63 digits", good[:len(good)-1], text, digits, digits},
			{"65 digits", good + "0", text, digits, digits},
			{"twice in one value", good + "," + good, text, digits, digits},
			{"space behind", good + " ", text, digits, digits},
			{"space before the digits", "sha256= " + good[8:], text, digits, digits},
			{"not hexadecimal first", "sha256=g" + good[8:], text, digits, digits},
			{"not hexadecimal last", good[:len(good)-1] + "z", text, digits, digits},
			{"not ASCII", "sha256=" + strings.Repeat("é", 32), text, digits, digits},
			{"64 digits in wide characters", "sha256=" + strings.Repeat("１", 64), text, digits, digits},
		} {
			told := []string{secret1, secret2, digest(text), sign(secret1, []byte(c.body))[7:],
				sign(secret2, []byte(c.body))[7:]}
			if len(c.value) > 20 {
				told = append(told, c.value, c.value[7:])
			}
			authCase{target.header + "/" + c.name, target.scheme, header(target.header, c.value), c.body,
				c.byHeader, c.byBody, told}.run(t)
		}
		authCase{target.header + "/none", target.scheme, header("X-Signature", good, "X-Hub-Signature",
			good), text,
			target.missing, target.missing, []string{good[7:]}}.run(t)
		authCase{target.header + "/twice", target.scheme, header(target.header, good, target.header,
			good), text,
			"occurs more than once", "occurs more than once", []string{good[7:]}}.run(t)
		authCase{target.header + "/good then bad", target.scheme, header(target.header, good,
			target.header, "x"), text,
			"occurs more than once", "occurs more than once", []string{good[7:]}}.run(t)
		authCase{target.header + "/name in lower case", target.scheme,
			header(strings.ToLower(target.header), good), text,
			"", "", nil}.run(t)
	}
}

// hexOther returns another hexadecimal digit than c.
func hexOther(c byte) byte {
	if c == '0' {
		return '1'
	}
	return '0'
}

// Goal: each credential that an envelope's sender shows must be right and configured. Method: both
// headers in each state, against sources with either sort of credential and with both.
func TestEnvelopeBothCredentials(t *testing.T) {
	const text = `{"a":1}`
	keys, secrets := []string{key1, key2}, []string{secret1, secret2}
	both := newEnvelopeForTest(t, EnvelopeConfig{keys, secrets})
	keysOnly := newEnvelopeForTest(t, EnvelopeConfig{BearerKeys: keys})
	secretsOnly := newEnvelopeForTest(t, EnvelopeConfig{HMACSecrets: secrets})
	const auth, sig = "Authorization", "X-Webhook-Signature"
	goodKey, badKey := "Bearer "+key2, "Bearer WRONG-KEY"
	goodSig, badSig := sign(secret2, []byte(text)), sign("WRONG-SECRET", []byte(text))
	const wrongKey = "Authorization has none of the configured"
	const wrongSig = "X-Webhook-Signature does not match"
	const noKeys = "Authorization is present but the source has no bearer keys"
	const noSecrets = "X-Webhook-Signature is present but the source has no secrets"
	for _, c := range []struct {
		name             string
		scheme           Scheme
		h                http.Header
		byHeader, byBody string
	}{
		{"both right", both, header(auth, goodKey, sig, goodSig), "", ""},
		{"key alone", both, header(auth, goodKey), "", ""},
		{"signature alone", both, header(sig, goodSig), "", ""},
		{"wrong key, right signature", both, header(auth, badKey, sig, goodSig), wrongKey, wrongKey},
		{"right key, wrong signature", both, header(auth, goodKey, sig, badSig), "", wrongSig},
		{"right key, malformed signature", both, header(auth, goodKey, sig, "x"), "does not begin",
			"does not begin"},
		{"both wrong", both, header(auth, badKey, sig, badSig), wrongKey, wrongKey},
		{"right key, signature twice", both, header(auth, goodKey, sig, goodSig, sig, goodSig),
			"more than once", "more than once"},
		{"Basic, right signature", both, header(auth, "Basic eA==", sig, goodSig), "not of the form",
			"not of the form"},
		{"neither", both, header(), "both missing", "both missing"},
		{"key without configured keys", secretsOnly, header(auth, goodKey), noKeys, noKeys},
		{"key without configured keys beside a signature", secretsOnly, header(auth, goodKey, sig,
			goodSig), noKeys, noKeys},
		{"empty key without configured keys", secretsOnly, header(auth, "Bearer "), noKeys, noKeys},
		{"signature without configured secrets", keysOnly, header(sig, goodSig), noSecrets, noSecrets},
		{"signature without configured secrets beside a key", keysOnly, header(auth, goodKey, sig,
			goodSig), noSecrets, noSecrets},
		{"signature with an empty secret", keysOnly, header(sig, sign("", []byte(text))), noSecrets,
			noSecrets},
		{"secret as key", both, header(auth, "Bearer "+secret1), wrongKey, wrongKey},
		{"signed with a key", both, header(sig, sign(key1, []byte(text))), "", wrongSig},
		{"GitHub's header", both, header("X-Hub-Signature-256", goodSig), "both missing", "both missing"},
	} {
		authCase{c.name, c.scheme, c.h, text, c.byHeader, c.byBody,
			append([]string{"WRONG", "eA==", goodSig[7:], badSig[7:]}, append(keys, secrets...)...)}.run(t)
	}
}

// Goal: a configuration that could never work, or would let anyone in, is refused with its reason
// and without the credential. Method: a table of kinds and options.
func TestConstructorErrors(t *testing.T) {
	k, s := []string{key1}, []string{secret1}
	for _, c := range []struct {
		name, kind string
		o          Options
		words      []string
	}{
		{"envelope without credentials", "envelope", Options{}, []string{"source kind envelope",
			"no bearer key and no secret"}},
		{"envelope with empty lists", "envelope", Options{BearerKeys: []string{}, Secrets: []string{}},
			[]string{"no bearer key and no secret"}},
		{"empty key", "envelope", Options{BearerKeys: []string{""}}, []string{"bearer key 1 is empty"}},
		{"second key empty", "envelope", Options{BearerKeys: []string{key1, ""}},
			[]string{"bearer key 2 is empty"}},
		{"space before the key", "envelope", Options{BearerKeys: []string{" " + key1}},
			[]string{"bearer key 1 begins or ends with white space"}},
		{"space behind the key", "envelope", Options{BearerKeys: []string{key1 + " "}},
			[]string{"bearer key 1 begins or ends"}},
		{"key of spaces", "envelope", Options{BearerKeys: []string{"  "}},
			[]string{"bearer key 1 begins or ends"}},
		{"line feed behind the key", "envelope", Options{BearerKeys: []string{key1 + "\n"}},
			[]string{"bearer key 1 begins or ends"}},
		{"line feed in the second key", "envelope", Options{BearerKeys: []string{key1, "KEY\nTWO"}},
			[]string{"bearer key 2", "control characters"}},
		{"DEL in the key", "envelope", Options{BearerKeys: []string{"KEY\x7fX"}}, []string{"bearer key 1",
			"control characters"}},
		{"empty secret", "envelope", Options{Secrets: []string{secret1, ""}},
			[]string{"secret 2 is empty"}},
		{"empty secret beside a key", "envelope", Options{BearerKeys: k, Secrets: []string{""}},
			[]string{"secret 1 is empty"}},
		{"both errors", "envelope", Options{BearerKeys: []string{""}, Secrets: []string{""}},
			[]string{"bearer key 1 is empty", "secret 1 is empty"}},
		{"envelope with a place", "envelope", Options{BearerKeys: k,
			Places: Places{OrderingKey: list("a")}}, []string{"envelope: it does not use message_id",
			"fixed"}},
		{"github without secret", "github", Options{}, []string{"source kind github", "no secret"}},
		{"github with a key", "github", Options{BearerKeys: k, Secrets: s},
			[]string{"github: it does not use bearer_keys"}},
		{"github with an empty secret", "github", Options{Secrets: []string{""}},
			[]string{"secret 1 is empty"}},
		{"github with two errors", "github", Options{Secrets: []string{""},
			Places: Places{OrderingKey: list("json:.")}}, []string{"secret 1 is empty", "empty part"}},
		{"unknown kind", "gitlob", Options{Secrets: s}, []string{`source kind "gitlob" is unknown`,
			"envelope, github"}},
		{"kind in another case", "GitHub", Options{Secrets: s}, []string{`"GitHub" is unknown`}},
		{"no kind", "", Options{Secrets: s}, []string{`"" is unknown`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := New(c.kind, c.o)
			if err == nil || got != nil {
				t.Fatalf("got %v and error %v, want nil and an error", got, err)
			}
			for _, w := range c.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error is %q, want it to contain %q", err, w)
				}
			}
			for _, secret := range []string{key1, secret1, "KEY\nTWO", "KEY\x7fX"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("error %q tells the credential %q", err, secret)
				}
			}
		})
	}
}

// Goal: a path is member names and indexes and nothing that others would interpret.
// Method: tables of paths.
func TestGitHubPathCheck(t *testing.T) {
	for _, path := range []string{
		"", "a", "repository.full_name", "a.0.b", "0", "a-b", "_x.$y", "a/b", "größe.名前", "true", "null",
		"a." + strings.Repeat("b.", 6) + "c",
		strings.Repeat("x", 64),
	} {
		if _, err := newGitHub([]string{"s"}, path); err != nil {
			t.Errorf("path %q is refused: %v", path, err)
		}
	}
	for _, c := range []struct{ path, words string }{
		{".", "has an empty part"}, {"..", "has an empty part"}, {".a", "has an empty part"},
		{"a.", "has an empty part"},
		{"a..b", "has an empty part"}, {"..0", "has an empty part"},
		{"a.*", `has '*'`}, {"a?", `has '?'`}, {"a.#", `has '#'`}, {`a.#(b=="c").d`, `has '#'`},
		{"a|b", `has '|'`},
		{"@this", `has '@'`}, {"a.@reverse", `has '@'`}, {`a\.b`, `has '\\'`},
		{"[a,b]", `has '['`}, {"{a}", `has '{'`},
		{"!1", `has '!'`}, {`!"x"`, `has '!'`}, {"a b", `has ' '`}, {" a", `has ' '`},
		{"a\n", `has '\n'`}, {":0", `has ':'`},
		{`"a"`, `has '"'`}, {"a=b", `has '='`}, {"a,b", `has ','`}, {"~true", `has '~'`},
		{"a\x00", `has '\x00'`}, {"a\xff", `has '�'`},
		{"a%", `has '%'`}, {"a<b", `has '<'`}, {strings.Repeat("a.", 8) + "c", "more than 8 parts"},
		{strings.Repeat("x", 65), "more than 64 bytes"},
	} {
		got, err := newGitHub([]string{"s"}, c.path)
		if err == nil || got != nil {
			t.Errorf("path %q: got %v and error %v, want nil and an error", c.path, got, err)
			continue
		}
		if !strings.Contains(err.Error(), c.words) ||
			!strings.Contains(err.Error(), "ordering_key: path") {
			t.Errorf("path %q: error is %q, want it to contain %q", c.path, err, c.words)
		}
	}
}

// Goal: New makes kinds of the right sort. Method: which header each accepts.
func TestKinds(t *testing.T) {
	for kind, o := range map[string]Options{
		"envelope": {BearerKeys: []string{key1}, Secrets: []string{secret1}},
		"github":   {Secrets: []string{secret1}, Places: Places{OrderingKey: list("a.b")}},
	} {
		s, err := New(kind, o)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		name := map[string]string{"envelope": "X-Webhook-Signature",
			"github": "X-Hub-Signature-256"}[kind]
		if err := s.Authenticate(&Request{Header: header(name, sign(secret1, []byte("x"))),
			Body: []byte("x")}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if err := s.Authenticate(&Request{Header: header("Authorization", "Bearer "+key1),
			Body: nil}); (err == nil) != (kind == "envelope") {
			t.Errorf("%s: a bearer key gives %v", kind, err)
		}
	}
}

// Goal: the configuration can be changed afterwards without effect. Method: overwrite the slices.
func TestConfigIsCopied(t *testing.T) {
	keys, secrets := []string{key1}, []string{secret1}
	s := newEnvelopeForTest(t, EnvelopeConfig{keys, secrets})
	keys[0], secrets[0] = key2, secret2
	if err := s.Authenticate(&Request{Header: header("Authorization", "Bearer "+key1,
		"X-Webhook-Signature", sign(secret1, nil)), Body: nil}); err != nil {
		t.Error(err)
	}
	if err := s.Authenticate(&Request{Header: header("X-Webhook-Signature", sign(secret2, nil)),
		Body: nil}); err == nil {
		t.Error("a secret that was put in afterwards is taken")
	}
}

// Goal: the same for the presets, of which some keep their options. Method: overwrite the secrets
// of each vector.
func TestPresetIsCopied(t *testing.T) {
	for _, v := range vectors() {
		o := v.options()
		s, err := New(v.kind(), o)
		if err != nil {
			t.Fatal(err)
		}
		o.Secrets[0] = v.other()
		got, err := admitOnce(s, v.request())
		wantMessage(t, got, err, v.want)
	}
}

// Goal: a scheme may be used concurrently. Method: right and wrong signatures of different bodies
// at once; shared state of a hash would mix them up, and the race detector would see it.
func TestAuthenticateConcurrently(t *testing.T) {
	s := newEnvelopeForTest(t, EnvelopeConfig{HMACSecrets: []string{secret1, secret2}})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			text := []byte(strings.Repeat(string(rune('a'+i)), 100*i))
			right := header("X-Webhook-Signature", sign(secret2, text))
			wrong := header("X-Webhook-Signature", sign("x", text))
			for range 300 {
				if err := s.Authenticate(&Request{Header: right, Body: text}); err != nil {
					t.Errorf("right: %v", err)
				}
				if err := s.Authenticate(&Request{Header: wrong, Body: text}); !errors.Is(err,
					ErrUnauthenticated) {
					t.Errorf("wrong: %v", err)
				}
			}
		})
	}
	wg.Wait()
}
