package admit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const twilioHeader = "X-Twilio-Signature"

// twilio is the proof of Twilio (twilio.com/docs/usage/webhooks/webhooks-security): the HMAC-SHA1
// of the URL that it called. For a form, the name and value of each field follow the URL, sorted by
// name. For any other body, the query has its SHA-256 as bodySHA256.
type twilio struct {
	url     string
	secrets []string
}

func newTwilio(o Options) (proof, error) {
	switch {
	case len(o.Secrets) == 0:
		return nil, errNoCredentials
	case o.PublicURL == "":
		return nil, errNoURL
	}
	return twilio{o.PublicURL, o.Secrets}, nil
}

func (t twilio) checkHeader(r *Request) error {
	_, err := t.parse(r)
	return err
}

func (t twilio) parse(r *Request) (sum [sha1.Size]byte, err error) {
	value, err := soleHeader(r, twilioHeader)
	if err != nil {
		return sum, err
	}
	if decodeBase64(sum[:], []byte(value)) != len(sum) {
		return sum, unauthenticated(twilioHeader, "is not the base64 of 20 bytes")
	}
	return sum, nil
}

func (t twilio) authenticate(r *Request) error {
	got, err := t.parse(r)
	if err != nil {
		return err
	}
	var fields []byte
	switch {
	case len(r.Body) == 0:
		// Otherwise anybody could reuse the signature of a request that had no body.
		return unauthenticated("body", "is empty")
	case isFormType(r.Header) && !strings.Contains(r.Query, "bodySHA256"):
		if fields, err = sortedFields(r.Body); len(fields) == 0 && err == nil {
			err = unauthenticated("body", "has no fields") // for the same reason
		}
	default:
		err = checkBodyHash(r)
	}
	if err != nil {
		return err
	}
	which := 0
	for _, u := range t.urls(r, len(fields) <= maxTwilioForm) {
		for i := len(t.secrets) - 1; i >= 0; i-- {
			match := subtle.ConstantTimeCompare(got[:], twilioSum(t.secrets[i], u, fields))
			which = subtle.ConstantTimeSelect(match, i+1, which)
		}
	}
	if which == 0 {
		return unauthenticated(twilioHeader,
			"does not match the body and the URL "+shownURL(t.url)+
				" with its query, with any of the configured "+
				"secrets; compare the URL with Twilio's console, and the secret with the account's auth "+
				"token, not an API key")
	}
	r.Credential = Credential{Secrets, which}
	return nil
}

// urls returns the forms of the URL that Twilio may have signed, at most 16: with and without the
// port, because its products differ. If rewritten is true, also with unescaped characters in the
// query (twilio/twilio-node#1059 and #621), and with and without a slash at the end of the path.
func (t twilio) urls(r *Request, rewritten bool) (all []string) {
	bases, n := slashForms(t.url, r.Slash)
	queries := []string{r.Query}
	if rewritten {
		queries = queryForms(r.Query)
	} else {
		n = 1
	}
	for _, base := range bases[:n] {
		for _, withPort := range portForms(base) {
			for _, query := range queries {
				all = append(all, calledURL(withPort, query))
			}
		}
	}
	return all
}

// queryForms returns a query as it arrived, and with the characters unescaped that Twilio signs
// unescaped: those that old rules do not escape, those of SIP addresses, and both.
func queryForms(query string) []string {
	const unescaped, sip = "!'()*~", "@:"
	forms := []string{query}
	for _, raw := range []string{unescaped, sip, unescaped + sip} {
		if form := withRaw(query, raw); !slices.Contains(forms, form) {
			forms = append(forms, form)
		}
	}
	return forms
}

// withRaw returns a query with the given characters unescaped.
func withRaw(query, characters string) string {
	if !strings.Contains(query, "%") {
		return query
	}
	text := make([]byte, 0, len(query))
	for i := 0; i < len(query); i++ {
		if query[i] == '%' && i+2 < len(query) {
			high, low := unhex[query[i+1]], unhex[query[i+2]]
			if c := high<<4 | low; high != notHex && low != notHex && strings.IndexByte(characters, c) >= 0 {
				text = append(text, c)
				i += 2
				continue
			}
		}
		text = append(text, query[i])
	}
	return string(text)
}

func twilioSum(secret, called string, fields []byte) []byte {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(called))
	mac.Write(fields)
	return mac.Sum(nil)
}

// checkBodyHash compares the body with bodySHA256 in the query. The signature covers the query.
func checkBodyHash(r *Request) error {
	text, reason := queryValue(r.Query, "bodySHA256")
	want, err := hex.DecodeString(text)
	sum := sha256.Sum256(r.Body)
	if reason != "" || err != nil || subtle.ConstantTimeCompare(want, sum[:]) != 1 {
		return unauthenticated("bodySHA256", "is missing in the query or not the SHA-256 of the body")
	}
	return nil
}

// maxTwilioForm is the size in bytes of the largest form that is tried with all forms of the URL.
// Each try hashes the form of a sender that is not authenticated yet. The forms of Twilio are much
// smaller.
const maxTwilioForm = 64 << 10

// maxFields limits the fields of a form, which are parsed before the sender is authenticated.
// Twilio sends a few dozen.
const maxFields = 1000

// sortedFields returns the names and values of a form as Twilio signs them: sorted by name, with
// the values of a name sorted and without repetitions.
func sortedFields(body []byte) ([]byte, error) {
	if bytes.Count(body, []byte("&")) >= maxFields {
		return nil, unauthenticated("body", "has more than "+strconv.Itoa(maxFields)+" fields")
	}
	type field struct{ name, value string }
	var fields []field
	for pair := range strings.SplitSeq(string(body), "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil {
			return nil, unauthenticated("body", "is not a valid form")
		}
		fields = append(fields, field{name, value})
	}
	slices.SortFunc(fields, func(a, b field) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	text := make([]byte, 0, len(body))
	for _, f := range slices.Compact(fields) {
		text = append(append(text, f.name...), f.value...)
	}
	return text, nil
}

// signedByTwilio returns the signed part of the body. For a form that is the sorted fields, because
// the same fields can be encoded in different ways.
func signedByTwilio(r *Request) []byte {
	if isFormType(r.Header) && !strings.Contains(r.Query, "bodySHA256") {
		if fields, err := sortedFields(r.Body); err == nil {
			return []byte(fields)
		}
	}
	return r.Body
}

// portForms returns a URL without a port and with one: its own, or the default of its scheme.
func portForms(called string) []string {
	scheme, rest, ok := strings.Cut(called, "://")
	if !ok {
		return []string{called}
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, tail := rest[:end], rest[end:]
	bare, port := host, ""
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		bare, port = host[:i], host[i:]
	}
	if port == "" {
		port = ":443"
		if strings.EqualFold(scheme, "http") {
			port = ":80"
		}
	}
	return []string{scheme + "://" + bare + tail, scheme + "://" + bare + port + tail}
}

// signTwilio signs a request as Twilio does.
func signTwilio(o Options, r *Request) error {
	var fields []byte
	if isFormType(r.Header) {
		var err error
		if fields, err = sortedFields(r.Body); err != nil {
			return err
		}
	} else if len(r.Body) > 0 {
		sum := sha256.Sum256(r.Body)
		r.Query = "bodySHA256=" + hex.EncodeToString(sum[:])
	}
	setHeader(r, twilioHeader, base64.StdEncoding.EncodeToString(twilioSum(o.Secrets[0],
		calledURL(o.PublicURL, r.Query), fields)))
	return nil
}

func setHeader(r *Request, name, value string) {
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Header.Set(name, value)
}
