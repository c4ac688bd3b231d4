package httpserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/hookgate/hookgate/api"
)

// jsonType is shared by all answers. It must not be modified.
var jsonType = []string{"application/json"}

// WriteError answers with an error. The caller sets any other header before.
func WriteError(w http.ResponseWriter, status int, text, requestID string) {
	body, err := json.Marshal(api.ErrorAnswer{Status: "error", Error: text, RequestID: requestID})
	if err != nil {
		panic(err) // it consists of strings
	}
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(status)
	w.Write(append(body, '\n')) // the client may be gone
}

// RetryAfter returns the value of a Retry-After header: d in seconds, rounded up.
func RetryAfter(d time.Duration) string {
	return fmt.Sprint(int64((d + time.Second - 1) / time.Second))
}
