package load

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"golang.org/x/net/http/httpguts"
)

// Message is one request to make, for senders that are not content with lines of text.
type Message struct {
	// Body is an event of a source of kind envelope. It is sent as it is, and is the caller's again
	// when the next message is asked for.
	Body []byte
	// Header is sent beside what the sender needs. It must not name a header that frames or signs a
	// request.
	Header []hookgate.Header
	// At is when it is due, counted from the first of all, if Config.Timed. It must not fall.
	At time.Duration
	// Together sends it at the same time as the message before, which must have the same ordering key.
	// It is what a sender does who repeats before it has an answer. The key is free for the next when
	// both have theirs.
	Together bool
	// Kind is noted in the ledger.
	Kind string
}

// ownHeaders are set by the sender itself.
var ownHeaders = []string{"Host", "User-Agent", "Content-Type", "Authorization",
	"X-Webhook-Signature", "Content-Length",
	"Transfer-Encoding", "Connection", "Expect", "Upgrade", "Trailer", "Content-Encoding"}

// encodeHeader returns a header as it goes over the wire, or says why it cannot be sent.
func encodeHeader(header []hookgate.Header) (string, error) {
	var text strings.Builder
	for _, h := range header {
		if !httpguts.ValidHeaderFieldName(h.Name) || !httpguts.ValidHeaderFieldValue(h.Value) {
			return "", fmt.Errorf("has a header %q that cannot be sent", h.Name)
		}
		if isOwn(h.Name) {
			return "", fmt.Errorf("has a header %s, which is the sender's own", h.Name)
		}
		text.WriteString(h.Name + ": " + h.Value + "\r\n")
	}
	return text.String(), nil
}

func isOwn(name string) bool {
	return slices.ContainsFunc(ownHeaders, func(own string) bool {
		return strings.EqualFold(own,
			name)
	})
}
