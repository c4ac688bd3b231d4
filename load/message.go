package load

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"golang.org/x/net/http/httpguts"
)

// Message is one request to send.
type Message struct {
	// Body is an event of a source of kind envelope, sent as it is. The caller may change it when
	// the next message is asked for.
	Body []byte
	// Gzip, if not nil, is Body in gzip format. It is signed and sent in place of Body, with
	// Content-Encoding: gzip. The caller may change it like Body.
	Gzip []byte
	// Header has more headers to send. It must not have a header that frames or signs a request.
	Header []hookgate.Header
	// At is when it is due, after the first message, if Config.Timed. It must not decrease.
	At time.Duration
	// Together sends it at the same time as the previous message, which must have the same ordering
	// key: some senders repeat a request before they have an answer. The next message of the key
	// waits for both answers.
	Together bool
	// Follows makes it due as soon as the previous message of its ordering key is answered. It takes a
	// place of the schedule all the same.
	Follows bool
	// Kind is written into the ledger.
	Kind string
}

// Planned returns the members of an Attempt that follow from a message alone: the
// digest of the body as it is sent, what the envelope says of the event, and the kind. Replay would
// reject a message for which it returns an error.
func Planned(m Message) (Attempt, error) {
	ev, err := parseEvent(m.Body)
	if err != nil {
		return Attempt{}, err
	}
	ev.compress(m.Gzip)
	return Attempt{MessageID: ev.messageID, EventType: ev.eventType, OrderingKey: ev.orderingKey,
		Sequence: ev.sequence, SHA256: ev.sha256, Gzip: ev.gzip, Kind: m.Kind}, nil
}

// ownHeaders are those that the sender sets itself.
var ownHeaders = []string{"Host", "User-Agent", "Content-Type", "Authorization",
	"X-Webhook-Signature", "Content-Length",
	"Transfer-Encoding", "Connection", "Expect", "Upgrade", "Trailer", "Content-Encoding"}

// encodeHeader returns headers as they are written to the wire, or the reason why they cannot be
// sent.
func encodeHeader(header []hookgate.Header) (string, error) {
	var text strings.Builder
	for _, h := range header {
		if !httpguts.ValidHeaderFieldName(h.Name) || !httpguts.ValidHeaderFieldValue(h.Value) {
			return "", fmt.Errorf("has a header %q that cannot be sent", h.Name)
		}
		if isOwn(h.Name) {
			return "", fmt.Errorf("has a header %s, which the sender sets itself", h.Name)
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
