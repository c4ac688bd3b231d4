package httpd

import (
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"unicode"

	"golang.org/x/time/rate"
)

const (
	// refusalsPerSecond is how many refused deliveries are logged a second; refusalBurst how many at
	// once.
	refusalsPerSecond, refusalBurst = 10, 50
)

// refusals logs what is refused, but not without limit: whoever sends garbage should not fill the
// disk.
type refusals struct {
	message    string
	logger     *slog.Logger
	limiter    *rate.Limiter
	suppressed atomic.Int64
}

func newRefusals(l *slog.Logger, message string) *refusals {
	return &refusals{message: message, logger: l, limiter: rate.NewLimiter(refusalsPerSecond,
		refusalBurst)}
}

// newStrays logs requests to paths that are no source's. Scanners make many: a line a second is
// enough to find a sender with a wrong address.
func newStrays(l *slog.Logger) *refusals {
	f := newRefusals(l, "request to a path that no source has")
	f.limiter = rate.NewLimiter(1, 20)
	return f
}

// log writes a line without body or secret, unless there were too many lately; the next line then
// says how many are missing.
func (f *refusals) log(r *http.Request, requestID string, why *refusal,
	more ...func(path string) []any) {
	if !f.limiter.Allow() {
		f.suppressed.Add(1)
		return
	}
	args := []any{"request_id", requestID, "status", why.status, "reason", why.told,
		"method", head(r.Method), "remote", r.RemoteAddr, "path", head(r.URL.Path)}
	if why.cause != nil {
		args = append(args, "cause", why.cause.Error())
	}
	for _, find := range more {
		args = append(args, find(r.URL.Path)...)
	}
	if n := f.suppressed.Swap(0); n > 0 {
		args = append(args, "suppressed", n)
	}
	level := slog.LevelWarn
	// else only the sender is gone
	if why.status >= 500 && why.cause != nil && !isContextError(why.cause) {
		level = slog.LevelError
	}
	f.logger.Log(r.Context(), level, f.message, args...)
}

// handshake writes a line about a handshake that was answered, within the same limit: some of them
// anyone can make.
func (f *refusals) handshake(r *http.Request, requestID, source string) {
	if f.limiter.Allow() {
		f.logger.Info("handshake answered", "request_id", requestID, "source", source, "method", r.Method,
			"remote", r.RemoteAddr)
	}
}

// strayed is log for a request to a path that is no source's, with the source that was probably
// meant.
func (s *Server) strayed(r *http.Request, requestID string, why *refusal) {
	s.strays.log(r, requestID, why, s.nearest)
}

// stray answers a call to a path that does not take it, and logs it: it may be a sender's with a
// wrong address.
func (c *call) stray(status int, told string) {
	if c.outer == nil {
		c.server.strayed(c.request, c.requestID, &refusal{status: status, told: told})
	}
	c.fail(status, told)
}

// head shortens what a client can make as long as it likes.
// It also replaces what a log or a terminal could take for something else.
func head(s string) string { return shortened(s, maxShown) }

// shortened is head with another bound, in bytes.
func shortened(s string, limit int) string {
	s = strings.ToValidUTF8(s[:min(len(s), limit)], "\uFFFD")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// maxShown is how much of a text that a client has made stands in the log, in bytes.
const maxShown = 200
