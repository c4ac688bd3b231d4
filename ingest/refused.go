package ingest

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/refused"
)

const (
	// maxRefusedHeaders bounds the headers that are kept of a refused request, and maxRefusedValue the
	// bytes of each value.
	maxRefusedHeaders = 40
	maxRefusedValue   = 200
)

// harmless are the headers whose values are kept of a refused request, in addition to those that
// its source keeps with events. Any other may hold a secret.
var harmless = []string{"Accept", "Accept-Encoding", "Content-Encoding", "Content-Length",
	"Content-Type", "Date", "Forwarded", "Transfer-Encoding", "User-Agent", "Via", "X-Forwarded-For",
	"X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-Id"}

var (
	// signatureName matches names of headers with signatures or secrets, as senders call them.
	signatureName = regexp.MustCompile(`(?i)signature|hmac|digest|token|secret|auth|key|password`)
	// signatureForm matches what comes before a signature in its header.
	signatureForm = regexp.MustCompile(`^(t=\d{1,12},)?(sha1|sha256|sha512|v\d)[=,]`)
)

// authSchemes are the schemes that are shown of an Authorization header.
var authSchemes = []string{"Bearer", "Basic", "Digest", "Token"}

// keepRefused keeps a refused request for people, within the budget of its source.
func (h *Handler) keepRefused(x *exchange, why *rejection) {
	budget := h.unknown
	if x.source != nil {
		budget = x.source.refused
	}
	if budget != nil {
		budget.Keep(func() refused.Request { return h.describe(x, why) })
	}
}

func (h *Handler) describe(x *exchange, why *rejection) refused.Request {
	printable := func(text string) string { return httpserver.Printable(text, httpserver.MaxLogged) }
	r := refused.Request{
		ID: x.info.ID, At: x.info.Received, Status: why.status,
		Reason: why.shown(),
		Method: printable(x.http.Method), Path: printable(x.http.URL.Path),
		Size:    max(x.http.ContentLength, int64(len(x.body))),
		Address: x.http.RemoteAddr,
	}
	if len(x.body) == 0 && x.http.ContentLength < 0 {
		r.Size = -1
	}
	if client, ok := httpserver.ClientAddr(x.http, h.config.TrustedProxies); ok {
		r.Address = client.String()
	}
	var shows func(name string) bool
	if s := x.source; s != nil {
		r.Source, shows = s.Name, s.shows
		if s.KeepRefusedBodies {
			r.Body = bytes.Clone(x.body[:min(len(x.body), refused.MaxBody)])
		}
	}
	r.Headers = refusedHeaders(x.http.Header, shows)
	return r
}

// shows reports whether the source keeps a header with its events, and the value cannot be a secret
// that the sender sent in place of a signature.
func (s *servedSource) shows(name string) bool {
	if slices.Contains(s.signatures, name) || signatureName.MatchString(name) {
		return false
	}
	return slices.Contains(s.kept, name) || slices.ContainsFunc(s.keptPrefixes,
		func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// refusedHeaders returns the headers of a refused request without secrets: of a header that may
// hold one it has the length of the value. shows may be nil.
func refusedHeaders(h http.Header, shows func(name string) bool) (all []hookgate.Header) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		shown := slices.Contains(harmless, name) || shows != nil && shows(name)
		for _, value := range h[name] {
			if len(all) == maxRefusedHeaders {
				return all
			}
			if !shown {
				value = hiddenValue(name, value)
			}
			all = append(all, hookgate.Header{Name: httpserver.Printable(name, maxRefusedValue),
				Value: httpserver.Printable(value, maxRefusedValue)})
		}
	}
	return all
}

// hiddenValue describes the value of a header that may hold a secret.
func hiddenValue(name, value string) string {
	scheme, credentials, ok := strings.Cut(value, " ")
	if name == "Authorization" && ok && slices.Contains(authSchemes, scheme) {
		return fmt.Sprintf("%s (%d bytes, not kept)", scheme, len(credentials))
	}
	if form := signatureForm.FindString(value); form != "" {
		return fmt.Sprintf("%s (%d bytes, not kept)", form, len(value)-len(form))
	}
	return fmt.Sprintf("(%d bytes, not kept)", len(value))
}
