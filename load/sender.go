package load

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/tidwall/gjson"
)

// maxKeptBuffer is the largest buffer that a sender keeps for its next request.
const maxKeptBuffer = 64 << 10

// sender sends one request at a time, on its own connection. It is for one goroutine.
type sender struct {
	url     *url.URL
	head    string // the beginning of all requests
	timeout time.Duration
	// epoch is the origin of all times, so that they agree even if the clock of the machine is set.
	epoch time.Time
	keep  bool // the answers

	conn    *conn // nil before the first request
	request []byte
	answer  bytes.Buffer
}

func newSender(target *url.URL, c Credentials, timeout time.Duration) *sender {
	head := "POST " + target.RequestURI() + " HTTP/1.1\r\nHost: " + target.Host +
		"\r\nUser-Agent: hookgate-replay\r\nContent-Type: application/json\r\n"
	if c.HMACSecret == "" && c.BearerKey != "" {
		head += "Authorization: Bearer " + c.BearerKey + "\r\n"
	}
	return &sender{url: target, head: head, timeout: timeout, epoch: time.Now()}
}

// attempt sends ev once, and returns the outcome and the Retry-After of the answer. It follows no
// redirect and retries nothing: each request on the wire has its own Attempt.
func (s *sender) attempt(ctx context.Context, ev *event) (Attempt, time.Duration) {
	ev.attempts++
	sent := time.Now()
	if ev.attempts == 1 {
		ev.firstSent = sent
		if ev.due.IsZero() {
			ev.due = sent
		}
	}
	a := Attempt{
		Line: ev.line, MessageID: ev.messageID, EventType: ev.eventType,
		OrderingKey: ev.orderingKey, Sequence: ev.sequence, SHA256: ev.sha256, Gzip: ev.gzip,
		Kind:    ev.kind,
		Held:    ev.held || ev.waited,
		Attempt: ev.attempts, Due: s.steady(ev.due), Sent: s.steady(sent),
	}
	wait := s.exchange(ctx, ev, &a, sent.Add(s.timeout))
	a.LatencyUS = time.Since(ev.due).Microseconds()
	return a, wait
}

// steady returns a time according to epoch and the monotonic clock.
func (s *sender) steady(t time.Time) time.Time { return s.epoch.Add(t.Sub(s.epoch)).UTC() }

// exchange sends the request and copies the answer into a.
func (s *sender) exchange(ctx context.Context, ev *event, a *Attempt,
	deadline time.Time) time.Duration {
	if s.conn == nil || !s.conn.reusable() {
		s.close()
		c, err := dial(ctx, s.url, deadline)
		if err != nil {
			a.Error = "not sent: " + reason(ctx, err, s.timeout).Error()
			return 0
		}
		s.conn = c
	}
	resp, err := s.conn.exchange(s.encode(ev), &s.answer, deadline)
	if cap(s.request) > maxKeptBuffer {
		s.request = nil // the window bounds bodies only while they are in flight
	}
	if err != nil {
		err = reason(ctx, err, s.timeout)
	}
	if resp == nil {
		a.Error = "outcome unknown: " + err.Error()
		return 0
	}
	a.Status = resp.StatusCode
	a.RequestID = resp.Header.Get("X-Request-Id")
	s.readAnswer(a)
	if s.keep {
		a.Answer = &Answer{
			Type: resp.Header.Get("Content-Type"), RequestID: resp.Header.Get("X-Request-Id"),
			RetryAfter: resp.Header.Get("Retry-After"), Date: resp.Header.Get("Date"),
			Body: string(s.answer.Bytes()[:min(s.answer.Len(), maxAnswerBody)]),
		}
	}
	if err != nil {
		a.Error = "incomplete answer: " + err.Error()
	}
	return retryAfter(resp.Header, time.Now())
}

// encode returns the request for ev, which is valid until the next call.
func (s *sender) encode(ev *event) []byte {
	b := append(s.request[:0], s.head...)
	if ev.signature != "" {
		b = append(b, "X-Webhook-Signature: "...)
		b = append(b, ev.signature...)
		b = append(b, "\r\n"...)
	}
	b = append(b, ev.header...)
	if ev.gzip {
		b = append(b, "Content-Encoding: gzip\r\n"...)
	}
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, int64(len(ev.body)), 10)
	b = append(b, "\r\n\r\n"...)
	s.request = append(b, ev.body...)
	return s.request
}

// close closes the connection, if there is one.
func (s *sender) close() {
	if s.conn != nil {
		s.conn.close()
		s.conn = nil
	}
}

// readAnswer copies from a JSON answer what the ledger has. It ignores any other answer.
func (s *sender) readAnswer(a *Attempt) {
	if !a.Accepted() {
		a.Error = http.StatusText(a.Status)
	}
	if !validJSON(s.answer.Bytes()) {
		return
	}
	gjson.ParseBytes(s.answer.Bytes()).ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "requestId":
			a.RequestID = value.String()
		case "note":
			a.Note = value.String()
		case "firstRequestId":
			a.FirstRequestID = value.String()
		case "error":
			a.Error = value.String()
		}
		return true
	})
}
