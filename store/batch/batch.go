// Package batch prepares a hookgate.Batch for a store, whatever the database: each record is put
// into the form in which the audit chain covers it.
package batch

import (
	"crypto/sha256"
	"encoding/json"

	"github.com/hookgate/hookgate"
)

// EmptySHA256 is the digest of no bytes: that of a duplicate, whose body is not kept.
var EmptySHA256 = sha256.Sum256(nil)

// headersText is the JSON of the headers. Bytes that are not UTF-8 are replaced in it, as JSON
// demands.
func headersText(headers []hookgate.Header) string {
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
