package audit

import (
	"crypto/sha256"
	"encoding/json"

	"github.com/hookgate/hookgate"
)

// EmptySHA256 is the digest of no bytes. A duplicate has it, because its body is not kept.
var EmptySHA256 = sha256.Sum256(nil)

// HeadersText returns the JSON in which a store keeps headers. JSON cannot hold bytes that are not
// UTF-8, so it replaces them.
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

// ParseHeaders parses the text that HeadersText returns.
func ParseHeaders(text string) (headers []hookgate.Header, err error) {
	if text == "[]" {
		return nil, nil
	}
	err = json.Unmarshal([]byte(text), &headers)
	return headers, err
}

// RequestIDText returns the text in which a store keeps a request id. It is empty for the zero id.
func RequestIDText(id hookgate.RequestID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}

// ParseRequestIDText parses the text that RequestIDText returns.
func ParseRequestIDText(text string) (hookgate.RequestID, error) {
	if text == "" {
		return hookgate.RequestID{}, nil
	}
	return hookgate.ParseRequestID(text)
}

// IdentityKey returns the value of the column identity: the first 8 bytes of the SHA-256 of the
// message id, followed by the 16 bytes of Identity.Hash. So all rows of a message id are in one
// range of keys. It must never change, because stores keep it.
func IdentityKey(id hookgate.Identity) (key [24]byte) {
	message := sha256.Sum256([]byte(id.MessageID))
	copy(key[:8], message[:])
	hash := id.Hash()
	copy(key[8:], hash[:])
	return key
}

// MessageRange returns the lowest and the highest key that an event with the message id can have.
// Other message ids can have keys in the same range, so compare the text too.
func MessageRange(messageID string) (low, high [24]byte) {
	message := sha256.Sum256([]byte(messageID))
	for i := range high {
		high[i] = 0xff
	}
	copy(low[:8], message[:])
	copy(high[:8], message[:])
	return low, high
}
