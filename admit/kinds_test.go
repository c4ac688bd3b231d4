package admit

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

func newForTest(t testing.TB, kind string, o Options) Scheme {
	t.Helper()
	s, err := New(kind, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Goal: a secret in a header opens a source if and only if it is one of those configured and
// written as the kind says. Method: a table of headers for the kinds that take one.
func TestTokens(t *testing.T) {
	places := Places{MessageID: list("sha256:body")}
	bearer := newForTest(t, "bearer", Options{Secrets: []string{key1, key2}, Places: places})
	basic := newForTest(t, "basic", Options{Secrets: []string{"Aladdin:open sesame", "u:p:q"},
		Places: places})
	apiKey := newForTest(t, "api_key", Options{Secrets: []string{key1}, Places: places})
	other := newForTest(t, "api_key", Options{Secrets: []string{key1}, Header: "x-own-KEY",
		Places: places})
	for _, c := range []struct {
		name          string
		s             Scheme
		header, value string
		words         string // empty: accepted
	}{
		{"bearer", bearer, "Authorization", "Bearer " + key1, ""},
		{"bearer, second", bearer, "Authorization", "bearer  " + key2, ""},
		{"bearer, wrong", bearer, "Authorization", "Bearer " + key3, "none of the configured secrets"},
		{"bearer, basic", bearer, "Authorization", "Basic " + key1, "does not begin with Bearer"},
		{"bearer, bare", bearer, "Authorization", key1, "does not begin with Bearer"},
		{"bearer, short", bearer, "Authorization", "B", "does not begin with Bearer"},
		{"bearer, none", bearer, "X-Other", key1, "is missing"},
		{"basic, RFC 7617", basic, "Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", ""},
		{"basic, colon in the password", basic, "Authorization", "BASIC dTpwOnE=", ""},
		{"basic, in the clear", basic, "Authorization", "Basic Aladdin:open sesame",
			"none of the configured secrets"},
		{"basic, unpadded", basic, "Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ",
			"none of the configured secrets"},
		{"basic, bearer", basic, "Authorization", "Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
			"does not begin with Basic"},
		{"api_key", apiKey, "X-Api-Key", key1, ""},
		{"api_key, other case", apiKey, "X-Api-Key", strings.ToLower(key1),
			"none of the configured secrets"},
		{"api_key, empty", apiKey, "X-Api-Key", "", "is empty"},
		{"api_key, own header", other, "X-Own-Key", key1, ""},
		{"api_key, not the own header", other, "X-Api-Key", key1, "X-Own-Key is missing"},
	} {
		h := header(c.header, c.value)
		authCase{c.name, c.s, h, "{}", c.words, c.words, []string{key1, key2, "sesame", "QWxh"}}.run(t)
		if c.words == "" {
			h.Add(c.header, c.value)
			authCase{c.name + ", doubled", c.s, h, "{}", "occurs more than once", "occurs more than once",
				nil}.run(t)
		}
	}
}

// Goal: kind none lets everyone in, and kind hmac does what its settings say. Method: the same
// signature under other settings.
func TestGenericHMAC(t *testing.T) {
	places := Places{MessageID: list("header:X-Id")}
	none := newForTest(t, "none", Options{Places: places})
	got, err := admitOnce(none, &Request{Header: header("X-Id", "1"), Body: []byte{0xff, 0}})
	wantMessage(t, got, err, Message{"1", "event", "event", hookgate.NoSequence, false})

	now := time.UnixMilli(1_700_000_000_123)
	rule := Rule{Algorithm: "hmac-sha512", Header: "x-sig", Prefix: Prefixes{"sig "},
		Encoding: "base64", Signed: "{method}|{url}|{header:x-id}|{timestamp}|{body}|end",
		Timestamp: "header:x-time", TimestampUnit: "ms", SecretEncoding: "hex"}
	o := Options{Secrets: []string{"00ff00ff00ff00ff"}, Signature: rule,
		PublicURL: "https://example.com/hook", Places: places}
	s := newForTest(t, "hmac", o)
	sent := func() *Request {
		return &Request{Method: "POST", Query: "a=1", Header: header("X-Id", "7"), Time: now,
			Body: []byte("any\x00bytes")}
	}
	r := sent()
	// printf 'POST|https://example.com/hook?a=1|7|1700000000123|any\0bytes|end' | openssl dgst -sha512
	// -mac HMAC -macopt hexkey:00ff00ff00ff00ff -binary | base64 -w0
	r.Header.Set("X-Sig", "sig 4u0O56Q8Q11npdc0LTXB85hWviTfWYkf6i4RDpANxpOQJLk86ws46tpWRucZWx66cRktK4o9WFk/Z3wLonIzBA==")
	r.Header.Set("X-Time", "1700000000123")
	got, err = admitOnce(s, r)
	wantMessage(t, got, err, Message{"7", "event", "event", hookgate.NoSequence, false})
	for what, change := range map[string]func(*Request){
		"method": func(r *Request) { r.Method = "PUT" }, "query": func(r *Request) { r.Query = "a=2" },
		"id":      func(r *Request) { r.Header.Set("X-Id", "8") },
		"no id":   func(r *Request) { r.Header.Del("X-Id") },
		"two ids": func(r *Request) { r.Header.Add("X-Id", "7") },
		"time":    func(r *Request) { r.Header.Set("X-Time", "1700000000124") },
		"body":    func(r *Request) { r.Body = append(r.Body, 0) },
	} {
		r := sent()
		r.Header.Set("X-Sig", "sig 4u0O56Q8Q11npdc0LTXB85hWviTfWYkf6i4RDpANxpOQJLk86ws46tpWRucZWx66cRktK4o9WFk/Z3wLonIzBA==")
		r.Header.Set("X-Time", "1700000000123")
		change(r)
		if _, err := admitOnce(s, r); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("with another %s: %v", what, err)
		}
	}
}

// Goal: settings that cannot work are refused with what is wrong. Method: a table.
func TestKindErrors(t *testing.T) {
	s, id := []string{secret1}, Places{MessageID: list("sha256:body")}
	hmacWith := func(r Rule) Options { return Options{Secrets: s, Signature: r, Places: id} }
	for _, c := range []struct {
		kind  string
		o     Options
		words string
	}{
		{"bearer", Options{Secrets: s}, "message_id is missing"},
		{"bearer", Options{Places: id}, "no secret"},
		{"bearer", Options{Secrets: []string{" x"}, Places: id},
			"secret 1 begins or ends with white space"},
		{"basic", Options{Secrets: []string{"no-colon"}, Places: id}, "not of the form USER:PASSWORD"},
		{"none", Options{Secrets: s, Places: id}, "does not use secrets"},
		{"stripe", Options{Secrets: s, Header: "X"}, "does not use header"},
		{"stripe", Options{Secrets: s, Signature: Rule{Header: "X"}}, "does not use signature"},
		{"stripe", Options{Secrets: s, VerifyTokens: s}, "does not use verify_tokens"},
		{"stripe", Options{Secrets: s, Tolerance: -1}, "tolerance is negative"},
		{"stripe", Options{Secrets: s, Places: Places{EventType: list("head:X")}},
			`event_type: "head:X" is not a place`},
		{"stripe", Options{Secrets: s, Places: Places{EventType: list("header:")}}, "is incomplete"},
		{"stripe", Options{Secrets: s, Places: Places{EventType: list("sha256:header")}},
			"only the body can be hashed"},
		{"stripe", Options{Secrets: s, Places: Places{MessageID: []Place{{}}}},
			"a composite has no places"},
		{"stripe", Options{Secrets: s, Places: Places{MessageID: list("sha256:body-without:a,b")}},
			`has ','`},
		{"stripe", Options{Secrets: s, Places: Places{MessageID: list("sha256:body-without:")}},
			"has an empty part"},
		{"stripe", Options{Secrets: s, Places: Places{MessageID: list("sha256:body-without:0.a")}},
			"has an index"},
		{"stripe", Options{Secrets: s, Places: Places{EventType: list("const:a\nb")}},
			"has a control character"},
		{"stripe", Options{Secrets: s, Places: Places{MessageID: list("request:time")}},
			"is request:id"},
		{"stripe", Options{Secrets: s,
			Places: Places{MessageID: list(strings.Split("abcdefghijklmnopq", "")...)}},
			"more than 16 paths"},
		{"hmac", hmacWith(Rule{Header: "X", Signed: "{timestamp}", Timestamp: "header:T"}),
			"has no {body}"},
		{"square", Options{Secrets: s}, "set public_url"},
		{"twilio", Options{Secrets: s}, "set public_url"},
		{"svix", Options{Secrets: []string{"whsec_???"}}, "secret 1 is not base64"},
		{"svix", Options{Secrets: []string{"whpk_AAAA"}}, "not a public key of Ed25519"},
		{"svix", Options{}, "no secret"},
		{"discord", Options{Secrets: s}, "not a public key of Ed25519"},
		{"sendgrid", Options{Secrets: s}, "not a public key"},
		{"microsoft_graph", Options{}, "no secret"},
		{"hmac", hmacWith(Rule{}), "signature.header is missing"},
		{"hmac", hmacWith(Rule{Header: "X", Algorithm: "md5"}), `algorithm "md5" is not one of`},
		{"hmac", hmacWith(Rule{Header: "X", Encoding: "base32"}), "encoding"},
		{"hmac", hmacWith(Rule{Header: "X", TimestampUnit: "h"}), "timestamp unit"},
		{"hmac", hmacWith(Rule{Header: "X", SecretEncoding: "rot13"}), "secret encoding"},
		{"hmac", hmacWith(Rule{Header: "X", SecretEncoding: "hex"}), "secret 1 is not hexadecimal"},
		{"hmac", hmacWith(Rule{Header: "X", Signed: "{timestamp}.{body}"}),
			"set signature.timestamp"},
		{"hmac", hmacWith(Rule{Header: "X", Signed: "{body}{body}"}), "has the body twice"},
		{"hmac", hmacWith(Rule{Header: "X", Signed: "{body"}), "without its }"},
		{"hmac", hmacWith(Rule{Header: "X", Signed: "{secret}"}), "has {secret}"},
		{"hmac", hmacWith(Rule{Header: "X", Signed: "{url}{body}"}), "set public_url"},
		{"hmac", hmacWith(Rule{Header: "X", Timestamp: "element:t="}), "needs a separator"},
		{"hmac", hmacWith(Rule{Header: "X", Timestamp: "cookie:t"}), "is not of the form"},
		{"hmac", hmacWith(Rule{Header: "X", Timestamp: "header:"}), "is not of the form"},
	} {
		got, err := New(c.kind, c.o)
		if err == nil || got != nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s %+v: got %v and error %v, want it to contain %q", c.kind, c.o, got, err, c.words)
		} else if strings.Contains(err.Error(), secret1) {
			t.Errorf("%s: error %q tells the secret", c.kind, err)
		}
	}
}

// Goal: what identifies an event is found in the first place that has it, and obeys the limits from
// wherever it comes. Method: one list of places, and requests that have something at each, in each
// form.
func TestPlaces(t *testing.T) {
	s := newForTest(t, "none", Options{Places: Places{
		MessageID:   list("header:x-id", "json:data.id", "form:Id", "sha256:body"),
		EventType:   list("json:type", "form:a b", "const:any"),
		OrderingKey: list("json:key", "json:key.id", "header:X-Key"), Sequence: list("header:X-Seq",
			"json:seq", "form:seq"),
	}})
	form := []string{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}
	long := strings.Repeat("x", 257)
	for _, c := range []struct {
		name          string
		headers       []string
		body          string
		id, typ, key  string
		seq           int64
		field, reason string
	}{
		{"hash", nil, "\xff\x00 anything", hashOf("\xff\x00 anything"), "any", "any", -1, "", ""},
		{"empty body", nil, "", hashOf(""), "any", "any", -1, "", ""},
		{"header", []string{"X-Id", "h"}, `{"data":{"id":"j"}}`, "h", "any", "any", -1, "", ""},
		{"empty header", []string{"X-Id", ""}, `{"data":{"id":"j"}}`, "j", "any", "any", -1, "", ""},
		{"JSON", nil, `{"data":{"id":17},"type":"t","key":"k","seq":3}`, "17", "t", "k", 3, "", ""},
		{"JSON null", nil, `{"data":{"id":null},"type":null}`, hashOf(`{"data":{"id":null},"type":null}`),
			"any", "any", -1, "", ""},
		{"an object where another place follows", nil, `{"data":{"id":"j"},"key":{"id":"k"}}`, "j", "any",
			"k", -1, "", ""},
		{"an object where a form field follows", []string{"X-Id", "h"}, `{"seq":{}}`, "h", "any", "any",
			-1, "", ""},
		{"cut JSON", nil, `{"data":{"id":"j"}`, hashOf(`{"data":{"id":"j"}`), "any", "any", -1, "", ""},
		{"form", form, "x=1&Id=f+1%26&a+b=t&seq=9", "f 1&", "t", "t", 9, "", ""},
		{"form, name encoded", form, "%49d=f&a%20b=t", "f", "t", "t", -1, "", ""},
		{"form without the type", nil, "Id=f", "f", "any", "any", -1, "", ""},
		{"JSON called a form", form, `{"data":{"id":"j"}}`, "j", "any", "any", -1, "", ""},
		{"form twice", form, "Id=f&Id=f", "", "", "", 0, "Id", "occurs more than once"},
		{"form, badly encoded", form, "Id=%zz", hashOf("%zz"), "any", "any", -1, "", ""},
		{"form, NUL", form, "Id=%00", hashOf("\x00"), "any", "any", -1, "", ""},
		{"form, not UTF-8", form, "Id=%ff", hashOf("\xff"), "any", "any", -1, "", ""},
		{"form, long", form, "Id=" + long, hashOf(long), "any", "any", -1, "", ""},
		{"form, type twice", form, "Id=f&a+b=1&a+b=2", "f", "any", "any", -1, "", ""},
		{"header twice", []string{"X-Id", "a", "X-Id", "a"}, "", "", "", "", 0, "x-id",
			"occurs more than once"},
		{"header long", []string{"X-Id", long}, "", hashOf(long), "any", "any", -1, "", ""},
		{"JSON twice", nil, `{"data":{"id":"a","id":"b"}}`, "", "", "", 0, "data.id",
			"occurs more than once"},
		{"JSON parent twice", nil, `{"data":{"id":"a"},"data":{"id":"b"}}`, "", "", "", 0, "data.id",
			"occurs more than once"},
		{"JSON control", nil, `{"data":{"id":"a\u0000"}}`, hashOf("a\x00"), "any", "any", -1, "", ""},
		{"JSON, half a surrogate", nil, `{"data":{"id":"a\ud800b"}}`, hashOf("a\xed\xa0\x80b"), "any",
			"any", -1, "", ""},
		{"JSON with a byte order mark", nil, "\ufeff{\"data\":{\"id\":\"j\"},\"type\":\"t\"}", "j", "t",
			"t", -1, "", ""},
		{"type and key long", nil, `{"data":{"id":"j"},"type":"` + long + `","key":"` + long + `"}`, "j",
			hashOf(long), hashOf(long), -1, "", ""},
		{"type and key not UTF-8", nil, "{\"data\":{\"id\":\"j\"},\"type\":\"\xff\",\"key\":\"\xfe\"}",
			"j", hashOf("\xff"), hashOf("\xfe"), -1, "", ""},
		{"type and key that are neither string nor number", nil,
			`{"data":{"id":"j"},"type":{},"key":true}`, "j", "any", "any", -1, "", ""},
		{"type and key twice", []string{"X-Key", "k"},
			`{"data":{"id":"j"},"type":"a","key":1,"type":"b","key":2}`, "j", "any", "k", -1, "", ""},
		{"sequence with a sign", []string{"X-Id", "h", "X-Seq", "+1"}, "", "h", "any", "any", -1, "", ""},
		{"sequence too large", []string{"X-Id", "h", "X-Seq", "9223372036854775808"}, "", "h", "any",
			"any", -1, "", ""},
		{"sequence fraction", []string{"X-Id", "h"}, `{"seq":1.0}`, "h", "any", "any", -1, "", ""},
		{"largest sequence", []string{"X-Id", "h", "X-Seq", "9223372036854775807"}, "", "h", "any", "any",
			9223372036854775807, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := s.Identify(&Request{Header: header(c.headers...), Body: []byte(c.body)})
			if c.field != "" {
				wantMalformed(t, err, c.field, c.reason)
				return
			}
			wantMessage(t, got, err, Message{c.id, c.typ, c.key, c.seq, c.key != c.typ ||
				c.name == "type and key long"})
		})
	}
	only := newForTest(t, "none", Options{Places: Places{MessageID: list("header:X-Id", "json:id")}})
	_, err := only.Identify(&Request{Header: http.Header{}, Body: []byte("{}")})
	wantMalformed(t, err, "messageId", "is at none of the configured places")
}

// Goal: a compressed body is signed as it is sent and identified by what is in it. Method: a
// request with both forms.
func TestContent(t *testing.T) {
	s := newForTest(t, "github", Options{Secrets: []string{secret1}})
	packed := []byte("packed")
	r := &Request{Header: header("X-GitHub-Delivery", "d", "X-GitHub-Event", "push",
		"X-Hub-Signature-256", sign(secret1, packed)), Body: packed,
		Content: []byte(`{"repository":{"full_name":"o/r"}}`)}
	got, err := admitOnce(s, r)
	wantMessage(t, got, err, Message{"d", "push", "o/r", hookgate.NoSequence, true})
}

// Goal: CloudEvents are identified by source and id together, in each mode. Method: a table.
func TestCloudEvents(t *testing.T) {
	s := newForTest(t, "cloudevents", Options{Secrets: []string{key1}})
	binary := func(pairs ...string) http.Header {
		h := header("ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t")
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	structured := header("Content-Type", "application/cloudevents+json")
	long := "/" + strings.Repeat("s", 300)
	for _, c := range []struct {
		name          string
		h             http.Header
		body          string
		want          Message
		field, reason string
	}{
		{"binary", binary("Content-Type", "image/png"), "\x89PNG", Message{"/s 1", "t", "/s", -1, true},
			"", ""},
		{"subject", binary("ce-subject", "cat"), "", Message{"/s 1", "t", "/s cat", -1, true}, "", ""},
		{"percent-encoded", binary("ce-id", "Euro%20%E2%82%AC"), "", Message{"/s Euro €", "t", "/s", -1,
			true}, "", ""},
		{"badly encoded", binary("ce-id", "%zz"), "", Message{}, "ce-id", "percent-encoded"},
		{"control character encoded", binary("ce-id", "a%0ab"), "", Message{hashOf("/s a\nb"), "t", "/s",
			-1, true}, "", ""},
		{"type not UTF-8", binary("ce-type", "%ff"), "", Message{"/s 1", hashOf("\xff"), "/s", -1, true},
			"", ""},
		{"subject badly encoded", binary("ce-subject", "%zz"), "", Message{"/s 1", "t", "/s", -1, true},
			"", ""},
		{"long source", binary("ce-source", long), "", Message{hashOf(long + " 1"), "t", hashOf(long), -1,
			true}, "", ""},
		{"space in the source", binary("ce-source", "/s%201"), "", Message{}, "ce-source", "space"},
		{"no id", binary("ce-id", ""), "", Message{}, "ce-id", "is missing"},
		{"other version", binary("ce-specversion", "0.3"), "", Message{}, "ce-specversion", "is not 1.0"},
		{"structured", structured, `{"specversion":"1.0","id":"1","source":"/s","type":"t",` +
			`"subject":null}`, Message{"/s 1", "t", "/s", -1, true}, "", ""},
		{"structured, id twice", structured,
			`{"specversion":"1.0","id":"1","source":"/s","type":"t","id":"2"}`, Message{}, "id",
			"more than once"},
		{"structured, subject twice", structured,
			`{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"a","subject":"b"}`,
			Message{"/s 1", "t", "/s", -1, true}, "", ""},
		{"structured, number as subject", structured,
			`{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":1}`, Message{"/s 1", "t", "/s",
				-1, true}, "", ""},
		{"structured, number as id", structured, `{"specversion":"1.0","id":1,"source":"/s","type":"t"}`,
			Message{}, "id", "is not a string"},
		{"structured, no JSON", structured, "x", Message{}, "body", "not a JSON object"},
		{"batch", header("Content-Type", "application/cloudevents-batch+json"),
			`[{"specversion":"1.0","id":"1","source":"/s","type":"t"}]`, Message{"/s 1", "t", "/s", -1,
				true}, "", ""},
		{"batch, no CloudEvent in it", header("Content-Type", "application/cloudevents-batch+json"),
			"[{}]", Message{hashOf("{}"), "event", "event", -1, false}, "", ""},
		{"batch, no JSON", header("Content-Type", "application/cloudevents-batch+json"), "[", Message{},
			"body", "truncated"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := identifyOnce(s, &Request{Header: c.h, ID: testRequestID, Body: []byte(c.body)})
			if c.field != "" {
				wantMalformed(t, err, c.field, c.reason)
				return
			}
			wantMessage(t, got, err, c.want)
		})
	}
	if _, err := s.Identify(&Request{Header: header("Content-Type",
		"application/cloudevents+avro")}); !errors.Is(err, ErrUnsupportedMediaType) {
		t.Errorf("another format: %v", err)
	}
}

// Goal: one header holds several signatures, up to a bound, and other elements are ignored.
// Method: the vector of Stripe with others around its signature.
func TestSignatureLists(t *testing.T) {
	var v vector
	for _, one := range vectors() {
		if one.name == "stripe" {
			v = one
		}
	}
	s := v.scheme(t)
	right := v.headers[1]
	time, signature, _ := strings.Cut(right, ",")
	wrong := "v1=" + strings.Repeat("0", 64)
	for _, c := range []struct {
		name, value string
		ok          bool
	}{
		{"as it is", right, true}, {"other order", signature + "," + time, true},
		{"wrong before", time + "," + wrong + "," + signature, true},
		{"wrong behind", right + "," + wrong, true}, {"another version", right + ",v0=" +
			strings.Repeat("0", 64) + ",x", true}, {"spaces", time + ", " + signature, true},
		{"16", right + strings.Repeat(","+wrong, 15), true}, {"17", right + strings.Repeat(","+wrong, 16),
			false}, {"only wrong", time + "," + wrong, false},
		{"one malformed", right + ",v1=00", true}, {"malformed first", time + ",v1=00," + signature,
			true},
		{"only malformed", time + ",v1=00,v1=", false}, {"too many malformed", right +
			strings.Repeat(",v1=00", 16), false}, {"two times", time + "," + right, false}, {"no time",
			signature, false}, {"no signature", time, false},
		{"only another version", time + ",v0=" + signature[3:], false}, {"upper-case prefix", time +
			",V1=" + signature[3:], false}, {"empty elements", ",," + right + ",,", true},
	} {
		r := v.request()
		r.Header.Set("Stripe-Signature", c.value)
		if _, err := admitOnce(s, r); (err == nil) != c.ok || err != nil &&
			!errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// Goal: a time is judged right however far away it is. Method: the bounds, and the largest numbers
// that can be written.
func TestCheckTime(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, c := range []struct {
		text, unit string
		ok         bool
	}{
		{"1700000000", "s", true}, {"1700000300", "s", true}, {"1700000301", "s", false},
		{"1699999700", "s", true}, {"1699999699", "s", false}, {"0", "s", false},
		{"9999999999999999", "s", false}, {"99999999999999999", "s", false}, {"1700000000000", "ms",
			true}, {"1700000000", "ms", false}, {"9999999999999999", "ms", false},
		{"2023-11-14T22:13:20Z", "rfc3339", true}, {"2023-11-14T23:13:20+01:00", "rfc3339", true},
		{"0000-01-01T00:00:00Z", "rfc3339", false},
		{"9999-12-31T23:59:59Z", "rfc3339", false}, {"2023-11-14 22:13:20", "rfc3339", false},
		{"", "s", false}, {"１７０００００００００", "s", false},
	} {
		if err := checkTime("X", c.text, c.unit, now, newWindow(Options{})); (err == nil) != c.ok {
			t.Errorf("%s in %s: %v", c.text, c.unit, err)
		}
	}
}

// TestTwilioFormWithoutFields: the signature of a call without a body, whose text is the URL alone,
// lets in no form that has no fields either.
func TestTwilioFormWithoutFields(t *testing.T) {
	o := Options{Secrets: []string{"12345678"}, PublicURL: "https://example.com/hook"}
	scheme, err := New("twilio", o)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"&", "&&", "=", "=&=", "%"} {
		r := &Request{Method: http.MethodPost, Time: time.Now(),
			Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, Body: []byte(body)}
		setHeader(r, twilioHeader, base64.StdEncoding.EncodeToString(twilioSum(o.Secrets[0], o.PublicURL,
			nil)))
		if err := scheme.Authenticate(r); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%q: %v", body, err)
		}
	}
}
