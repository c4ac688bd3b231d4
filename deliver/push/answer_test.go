package push

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver/egress"
)

// TestVerdicts checks what each status means.
func TestVerdicts(t *testing.T) {
	url, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		var status int
		fmt.Sscan(r.URL.Path[1:], &status)
		w.WriteHeader(status)
		io.WriteString(w, "so\n\x00 it is")
	})
	for status, want := range map[int]hookgate.Verdict{
		200: hookgate.VerdictDelivered, 202: hookgate.VerdictDelivered, 204: hookgate.VerdictDelivered,
		299: hookgate.VerdictDelivered,
		300: hookgate.VerdictFailed, 301: hookgate.VerdictFailed, 304: hookgate.VerdictFailed,
		400: hookgate.VerdictFailed, 401: hookgate.VerdictFailed, 404: hookgate.VerdictFailed,
		408: hookgate.VerdictFailed, 409: hookgate.VerdictFailed, 410: hookgate.VerdictGone,
		422: hookgate.VerdictFinal, 429: hookgate.VerdictOutage, 500: hookgate.VerdictFailed,
		501: hookgate.VerdictFailed, 502: hookgate.VerdictOutage, 503: hookgate.VerdictOutage,
		504: hookgate.VerdictOutage, 505: hookgate.VerdictFailed, 599: hookgate.VerdictFailed,
		999: hookgate.VerdictFailed,
	} {
		c := open(t, Config{URL: fmt.Sprintf("%s/%d", url, status), Final: []int{422}})
		a := c.Deliver(t.Context(), delivery())
		if a.Verdict != want || a.Status != status {
			t.Errorf("%d: %+v, want verdict %d", status, a, want)
		}
		if good := status < 300; good && (a.Reason != "" || a.RetryAfter != 0) ||
			!good && (a.RetryAfter != 7*time.Second || !strings.HasPrefix(a.Reason, fmt.Sprint(status))) {
			t.Errorf("%d: %+v", status, a)
		}
		if status == 500 && a.Reason != "500 Internal Server Error: so it is" {
			t.Errorf("the reason is %q", a.Reason)
		}
	}
	c := open(t, Config{URL: url + "/410", Final: []int{410, 503}})
	if a := c.Deliver(t.Context(), delivery()); a.Verdict != hookgate.VerdictFinal {
		t.Errorf("410 is final, and the answer is %+v", a)
	}
}

// TestFailures checks what errors without a response mean, as the net package wraps them.
func TestFailures(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	call := func(no syscall.Errno) error { return dial(os.NewSyscallError("connect", no)) }
	c := open(t, Config{URL: "http://a/"})
	for _, f := range []struct {
		err  error
		want hookgate.Verdict
	}{
		{call(syscall.ENETUNREACH), hookgate.VerdictOwn},
		{call(syscall.EHOSTUNREACH), hookgate.VerdictOwn},
		{call(syscall.EADDRNOTAVAIL), hookgate.VerdictOwn}, {call(syscall.EMFILE), hookgate.VerdictOwn},
		{call(syscall.ENFILE), hookgate.VerdictOwn}, {call(syscall.EPERM), hookgate.VerdictOwn},
		{call(syscall.ENOBUFS), hookgate.VerdictOwn}, {call(syscall.EAFNOSUPPORT), hookgate.VerdictOwn},
		{call(syscall.ECONNREFUSED), hookgate.VerdictOutage},
		{call(syscall.ECONNRESET), hookgate.VerdictOutage},
		{call(syscall.ETIMEDOUT), hookgate.VerdictOutage},
		{dial(os.ErrDeadlineExceeded), hookgate.VerdictOutage}, {io.EOF, hookgate.VerdictOutage},
		{errors.New("tls: handshake failure"), hookgate.VerdictOutage},
		{dial(&net.DNSError{Err: "no such host", Name: "a", IsNotFound: true}), hookgate.VerdictOutage},
		{dial(&net.DNSError{Err: "i/o timeout", Name: "a", IsTimeout: true}), hookgate.VerdictOwn},
		{dial(&net.DNSError{Err: "server misbehaving", Name: "a", IsTemporary: true}),
			hookgate.VerdictOwn},
		{dial(&egress.RefusedError{Is: "a link-local address"}), hookgate.VerdictFailed},
	} {
		if a := c.failure(t.Context(), t.Context(), f.err); a.Verdict != f.want || a.Reason == "" {
			t.Errorf("%v: %+v, want verdict %d", f.err, a, f.want)
		}
	}
}

// TestRetryAfter checks the forms of the header, and its limits.
func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "1": time.Second, " 120 ": 2 * time.Minute, "0003": 3 * time.Second,
		"3600": time.Hour, "3601": time.Hour, "99999999999999999999999": time.Hour,
		"-1": 0, "+5": 0, "1.5": 0, "1e3": 0, "soon": 0, "٣": 0,
		"Sun, 29 Nov 2026 12:00:30 GMT": 30 * time.Second, "Sun, 29 Nov 2026 11:00:00 GMT": 0,
		"Sun, 29 Nov 2099 12:00:00 GMT":  time.Hour,
		"Sunday, 29-Nov-26 12:01:00 GMT": time.Minute, "Sun Nov 29 12:02:00 2026": 2 * time.Minute,
	} {
		if got := parseRetryAfter(text, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// FuzzResponse checks that no header and no body of a response gives a wait or a reason beyond the
// limits.
func FuzzResponse(f *testing.F) {
	f.Add("120", "http://user:pass@a/b", "body", 302)
	f.Add("Sun, 29 Nov 2026 12:00:30 GMT", "//169.254.169.254/",
		"\xff\x00\u202e"+strings.Repeat("é", 3000), 500)
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, after, location, body string, status int) {
		if d := parseRetryAfter(after, now); d < 0 || d > maxRetryAfter {
			t.Errorf("%q waits %v", after, d)
		}
		text := reason(status, http.Header{"Location": {location}}, []byte(body))
		if len(text) > maxReason || !utf8.ValidString(text) ||
			strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("the reason has %d bytes: %q", len(text), text)
		}
		value := escape(body)
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) ||
			strings.TrimSpace(value) != value {
			t.Errorf("%q is escaped as %q", body, value)
		}
	})
}
