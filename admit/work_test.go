package admit

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// hostileBodies are bodies of about n bytes that are dear to take apart.
func hostileBodies(n int) map[string]string {
	fill := func(before, each, after string) string {
		return before + strings.TrimSuffix(strings.Repeat(each, n/len(each)), ",") + after
	}
	objects := fill(`{"value":[`, `{"clientState":"x"},`, `]}`)
	return map[string]string{
		"notifications":       objects,
		"empty notifications": fill(`{"value":[`, `{},`, `]}`),
		"nested arrays": fill(`{"value":[`, strings.Repeat("[", 100)+strings.Repeat("]", 100)+",",
			`]}`),
		"members":             fill(`{`, `"a":{},`, `}`),
		"escapes":             fill(`{"value":"`, `\u0041`, `"}`),
		"escaped clientState": fill(`{"value":[{"clientState":"`, `\u0041`, `"}]}`),
		"fields":              strings.Repeat("&a=%41", n/6),
		"a field":             "a=" + strings.Repeat("%41", n/3),
		"separators":          strings.Repeat("&", n),
		"mailgun": fill(`{"signature":{"timestamp":"`, `\u0041`,
			`","token":"x","signature":"y"}}`),
		"SNS":             snsForged(fill(`"`, `\u0041`, `"`)),
		"SNS, no escapes": snsForged(fill(`"`, `a`, `"`)),
		"SNS, long certificate": strings.Replace(snsForged(`"m"`), snsCert, snsCert+strings.Repeat("a",
			n), 1),
	}
}

func snsForged(message string) string {
	return fmt.Sprintf(`{"Type":"Notification","MessageId":"1","TopicArn":%q,`+
		`"Timestamp":"2012-05-02T00:54:06.655Z","SignatureVersion":"2",`+
		`"Signature":"AAAA","SigningCertURL":%q,"Message":%s}`, snsTopic, snsCert, message)
}

// Goal: a request that is not authentic costs the gate little more memory than its body, with any
// body and any claimed sender. Method: each preset's own headers with bodies that are dear to take
// apart; the allocated bytes and their number are counted.
func TestWorkBeforeProof(t *testing.T) {
	const size = 256 << 10
	bodies := hostileBodies(size)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	type target struct {
		scheme  Scheme
		request func() *Request
	}
	targets := map[string]target{
		"sns": {newForTest(t, "sns", Options{Topics: []string{snsTopic},
			Amazon: &testAmazon{cert: &x509.Certificate{PublicKey: key.Public()}}}),
			func() *Request {
				return &Request{Method: http.MethodPost, Header: header(topicHeader,
					snsTopic)}
			}},
	}
	for _, v := range vectors() {
		if !v.unsigned && !v.token || v.proof == "" {
			targets[v.kind()] = target{v.scheme(t), v.request}
		}
	}
	for name, target := range targets {
		for shape, body := range bodies {
			r := target.request()
			r.Body = []byte(body)
			if err := target.scheme.CheckHeader(r); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := target.scheme.Authenticate(r)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrUnauthenticated) {
				t.Errorf("%s, %s: %v", name, shape, err)
			}
			allocated, times := after.TotalAlloc-before.TotalAlloc, after.Mallocs-before.Mallocs
			if allocated > 4*size || times > 1500 {
				t.Errorf("%s, %s: %d bytes allocated in %d pieces", name, shape, allocated, times)
			}
		}
	}
}
