package gate

import (
	"crypto"
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/hookgate/hookgate/admit"
)

// TestWebhook is a webhook to sign as the sender of a source does.
type TestWebhook struct {
	// Body is the body; nil for a sample with an id, a type and an ordering key.
	Body []byte
	// Header replaces headers of the same names.
	Header http.Header
	// Key signs, if the sender has a private key.
	Key crypto.Signer
}

// SignTestWebhook returns a request as the sender of a source makes it, signed with the first of
// the source's secrets.
func (c Options) SignTestWebhook(source string, w TestWebhook) (*admit.Request, error) {
	s, ok := c.Sources[source]
	if !ok {
		return nil, fmt.Errorf("the configuration has no source %s, only %s; without --config and"+
			" HOOKGATE_CONFIG it is read from hookgate.yaml in this folder",
			source, strings.Join(c.SourceNames(), ", "))
	}
	options, err := c.SchemeOptions(source)
	if err != nil {
		return nil, err
	}
	r := &admit.Request{Method: http.MethodPost, Time: time.Now(), Body: w.Body,
		Header: http.Header{"Content-Type": {"application/json"}}}
	if w.Body == nil {
		sample, err := admit.SampleOf(s.Kind, options, "test-"+strings.ToLower(rand.Text()))
		if err != nil {
			return nil, err
		}
		r.Header, r.Body = sample.Header, sample.Body
	}
	maps.Copy(r.Header, w.Header)
	if err := admit.Sign(s.Kind, options, w.Key, r); err != nil {
		return nil, fmt.Errorf("sign for source %s (%s): %w", source, s.Kind, err)
	}
	return r, nil
}
