package httpserver

import (
	"fmt"
	"time"

	"github.com/hookgate/hookgate/internal/jsontext"
)

// AppendError appends the JSON of an error answer to dst.
func AppendError(dst []byte, text, requestID string) []byte {
	dst = append(dst, `{"status":"error","error":`...)
	dst = jsontext.AppendString(dst, text)
	dst = append(dst, `,"requestId":"`...)
	dst = append(dst, requestID...)
	return append(dst, "\"}\n"...)
}

// RetryAfter returns the value of a Retry-After header: d in seconds, rounded up.
func RetryAfter(d time.Duration) string {
	return fmt.Sprint(int64((d + time.Second - 1) / time.Second))
}
