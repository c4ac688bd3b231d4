package httpd

import (
	"log/slog"
	"net/http"
	"sync/atomic"

	"golang.org/x/time/rate"
)

const (
	// refusalsPerSecond is how many refused deliveries are logged a second; refusalBurst how many at once.
	refusalsPerSecond, refusalBurst = 10, 50
)

// refusals logs what is refused, but not without limit: whoever sends garbage should not fill the disk.
type refusals struct {
	message    string
	logger     *slog.Logger
	limiter    *rate.Limiter
	suppressed atomic.Int64
}

func newRefusals(l *slog.Logger, message string) *refusals {
	return &refusals{message: message, logger: l, limiter: rate.NewLimiter(refusalsPerSecond, refusalBurst)}
}

// log writes a line without body or secret, unless there were too many lately; the next line then says
// how many are missing.
func (f *refusals) log(r *http.Request, requestID string, why *refusal) {
	if !f.limiter.Allow() {
		f.suppressed.Add(1)
		return
	}
	args := []any{"request_id", requestID, "status", why.status, "reason", why.told, "remote", r.RemoteAddr, "path", head(r.URL.Path)}
	if why.cause != nil {
		args = append(args, "cause", why.cause.Error())
	}
	if n := f.suppressed.Swap(0); n > 0 {
		args = append(args, "suppressed", n)
	}
	level := slog.LevelWarn
	if why.status >= 500 && why.cause != nil && !isContextError(why.cause) { // else only the sender is gone
		level = slog.LevelError
	}
	f.logger.Log(r.Context(), level, f.message, args...)
}

// head shortens what a client can make as long as it likes.
func head(s string) string { return s[:min(len(s), 200)] }
