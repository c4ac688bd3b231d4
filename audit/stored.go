package audit

import (
	"crypto/sha256"
	"encoding/json"

	"github.com/hookgate/hookgate"
)

// EmptySHA256 is the digest of no bytes: that of a duplicate, whose body is not kept.
var EmptySHA256 = sha256.Sum256(nil)

// HeadersText is the JSON of the headers. Bytes that are not UTF-8 are replaced in it, as JSON
// demands.
func HeadersText(headers []hookgate.Header) string {
	if len(headers) == 0 {
		return "[]"
	}
	text, err := json.Marshal(headers)
	if err != nil {
		panic(err) // two strings always have a JSON form
	}
	return string(text)
}

// ParseHeaders reads the text of headers as it is stored.
func ParseHeaders(text string) (headers []hookgate.Header, err error) {
	if text == "[]" {
		return nil, nil
	}
	err = json.Unmarshal([]byte(text), &headers)
	return headers, err
}

// RequestIDText is the text of a request id as it is stored: empty if there is none.
func RequestIDText(id hookgate.RequestID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}

// ParseRequestIDText reads what RequestIDText writes.
func ParseRequestIDText(text string) (hookgate.RequestID, error) {
	if text == "" {
		return hookgate.RequestID{}, nil
	}
	return hookgate.ParseRequestID(text)
}

// IdentityKey is the identity as the column identity of webhook_events and webhook_requests has it: the first 8 bytes of the
// SHA-256 of the message id, so that one range of keys holds all that is stored of a message id,
// and then the 16 bytes of Identity.Hash. It must never change.
func IdentityKey(id hookgate.Identity) (key [24]byte) {
	message := sha256.Sum256([]byte(id.MessageID))
	copy(key[:8], message[:])
	hash := id.Hash()
	copy(key[8:], hash[:])
	return key
}

// MessageRange returns the lowest and the highest key that an event with the message id can have.
// Events of other message ids can lie in between, so compare the text too.
func MessageRange(messageID string) (low, high [24]byte) {
	message := sha256.Sum256([]byte(messageID))
	for i := range high {
		high[i] = 0xff
	}
	copy(low[:8], message[:])
	copy(high[:8], message[:])
	return low, high
}
