package httpserver

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"unicode"

	"golang.org/x/time/rate"
)

// Rejection is a request that was not served.
type Rejection struct {
	Status int
	// Text is what the client reads.
	Text string
	// Cause is for the log only; nil if Text says everything.
	Cause error
}

// RejectionLog logs rejected requests at a bounded rate, so that a client that sends garbage cannot
// fill the disk. All methods may be called concurrently.
type RejectionLog struct {
	message    string
	logger     *slog.Logger
	limiter    *rate.Limiter
	suppressed atomic.Int64
}

// NewRejectionLog returns a log whose lines say message. It writes at most perSecond lines a
// second, and burst at once.
func NewRejectionLog(l *slog.Logger, message string, perSecond rate.Limit,
	burst int) *RejectionLog {
	return &RejectionLog{message: message, logger: l, limiter: rate.NewLimiter(perSecond, burst)}
}

// Log writes a line without body or secret, with the arguments that more returns. It drops lines
// beyond the rate; the next line then says how many are missing.
func (l *RejectionLog) Log(r *http.Request, requestID string, why Rejection, more ...func() []any) {
	if !l.limiter.Allow() {
		l.suppressed.Add(1)
		return
	}
	args := []any{"request_id", requestID, "status", why.Status, "reason", why.Text,
		"method", Printable(r.Method, MaxLogged), "remote", r.RemoteAddr,
		"path", Printable(r.URL.Path, MaxLogged)}
	if why.Cause != nil {
		args = append(args, "cause", why.Cause.Error())
	}
	for _, f := range more {
		args = append(args, f()...)
	}
	if n := l.suppressed.Swap(0); n > 0 {
		args = append(args, "suppressed", n)
	}
	level := slog.LevelWarn
	// A context ends because the client has gone, which is no error of the gate.
	if why.Status >= 500 && why.Cause != nil && !isContextError(why.Cause) {
		level = slog.LevelError
	}
	l.logger.Log(r.Context(), level, l.message, args...)
}

// Info writes a line of its own at level info, within the same rate.
func (l *RejectionLog) Info(message string, args ...any) {
	if l.limiter.Allow() {
		l.logger.Info(message, args...)
	}
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// MaxLogged is how many bytes of a text that a client chose are logged or quoted.
const MaxLogged = 200

// Printable returns the first limit bytes of a text that a client chose. It replaces characters
// that a log or a terminal could take for something else.
func Printable(s string, limit int) string {
	s = strings.ToValidUTF8(s[:min(len(s), limit)], "\uFFFD")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}
