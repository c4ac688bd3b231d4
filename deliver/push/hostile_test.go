package push

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// hostile starts a server that reads each request and then does what it likes with the connection.
// gone receives a value when such a connection has ended.
func hostile(t *testing.T, respond func(net.Conn)) (url string, gone chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone = make(chan struct{}, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { conn.Close(); gone <- struct{}{} }()
				r, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				io.Copy(io.Discard, r.Body)
				respond(conn)
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return "http://" + l.Addr().String(), gone
}

// untilClosed writes a text again and again, until the other side has closed the connection.
func untilClosed(conn net.Conn, text string, pause time.Duration) {
	for {
		if _, err := io.WriteString(conn, text); err != nil {
			return
		}
		time.Sleep(pause)
	}
}

// awaitClose waits until the other side has closed the connection.
func awaitClose(conn net.Conn) { io.Copy(io.Discard, conn) }

func reset(conn net.Conn) { conn.(*net.TCPConn).SetLinger(0) }

// TestHostileConsumers checks that no consumer can hold up or mislead a delivery. Each attempt
// returns with the right verdict, and the gate closes the connection. goleak finds what is left.
func TestHostileConsumers(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	// Only the consumers that never answer meet the time-out. The others have a minute, because the
	// machine may be busy.
	const never = 500 * time.Millisecond
	for _, c := range []struct {
		name    string
		respond func(net.Conn)
		want    hookgate.Answer
		reason  string // part of it
	}{
		{"endless body after 200", func(conn net.Conn) {
			io.WriteString(conn, ok+"\r\n")
			untilClosed(conn, strings.Repeat("x", 1000), 0)
		}, hookgate.Answer{Status: 200}, ""},
		{"endless body after 500", func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 500 no\r\n\r\nxxx")
			untilClosed(conn, strings.Repeat("x", 1000), 0)
		}, hookgate.Answer{Verdict: hookgate.VerdictFailed, Status: 500},
			"500 Internal Server Error: xxx"},
		{"endless chunk header", func(conn net.Conn) {
			io.WriteString(conn, ok+"Transfer-Encoding: chunked\r\n\r\n")
			untilClosed(conn, "0", 0)
		}, hookgate.Answer{Status: 200}, ""},
		{"body that trickles after 200", func(conn net.Conn) {
			io.WriteString(conn, ok+"Content-Length: 1000000\r\n\r\n")
			untilClosed(conn, "x", time.Millisecond)
		}, hookgate.Answer{Status: 200}, ""},
		{"body that trickles after 503", func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 503 no\r\nRetry-After: 9\r\nContent-Length: 1000\r\n\r\nx")
			untilClosed(conn, "x", time.Millisecond)
		}, hookgate.Answer{Verdict: hookgate.VerdictOutage, Status: 503, RetryAfter: 9 * time.Second},
			"503 Service Unavailable: x"},
		{"body that never comes", func(conn net.Conn) {
			io.WriteString(conn, ok+"Content-Length: 5\r\n\r\n")
			awaitClose(conn)
		}, hookgate.Answer{Status: 200}, ""},
		{"header of 1 MiB", func(conn net.Conn) {
			io.WriteString(conn, ok+"X: "+strings.Repeat("x", 1<<20)+"\r\n\r\n")
			awaitClose(conn)
		}, hookgate.Answer{Verdict: hookgate.VerdictOutage}, "response headers exceeded"},
		{"many headers", func(conn net.Conn) {
			io.WriteString(conn, ok)
			untilClosed(conn, "X: y\r\n", 0)
		}, hookgate.Answer{Verdict: hookgate.VerdictOutage}, "response headers exceeded"},
		{"header that trickles", func(conn net.Conn) {
			untilClosed(conn, ok+"X: ", time.Millisecond)
		}, hookgate.Answer{Verdict: hookgate.VerdictOutage}, "no answer within 500ms"},
		{"no answer", awaitClose, hookgate.Answer{Verdict: hookgate.VerdictOutage},
			"no answer within 500ms"},
		{"1xx without end", func(conn net.Conn) {
			untilClosed(conn, "HTTP/1.1 100 Continue\r\n\r\n", 0)
		}, hookgate.Answer{Verdict: hookgate.VerdictOutage}, ""},
		{"1xx, then 204", func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 x\r\n"+
				"Connection: close\r\n\r\n")
		}, hookgate.Answer{Status: 204}, ""},
		{"101", func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
			untilClosed(conn, "x", time.Millisecond)
		}, hookgate.Answer{Verdict: hookgate.VerdictFailed, Status: 101}, "101 Switching Protocols"},
		{"end before the response", func(net.Conn) {}, hookgate.Answer{Verdict: hookgate.VerdictOutage},
			"EOF"},
		{"reset before the response", reset, hookgate.Answer{Verdict: hookgate.VerdictOutage},
			"connection reset"},
		{"end in the header", func(conn net.Conn) { io.WriteString(conn, ok+"X: y\r\n") },
			hookgate.Answer{Verdict: hookgate.VerdictOutage}, "unexpected EOF"},
		{"end in the body after 200", func(conn net.Conn) {
			io.WriteString(conn, ok+"Content-Length: 100\r\n\r\nx")
		}, hookgate.Answer{Status: 200}, ""},
		{"reset in the body after 404", func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 404 x\r\nContent-Length: 100\r\n\r\nx")
			reset(conn)
		}, hookgate.Answer{Verdict: hookgate.VerdictFailed, Status: 404}, "404 Not Found"},
		{"another protocol", func(conn net.Conn) { io.WriteString(conn, "SSH-2.0-OpenSSH_9.2\r\n") },
			hookgate.Answer{Verdict: hookgate.VerdictOutage}, "malformed HTTP"},
		{"redirect to a metadata address", func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 307 x\r\nLocation: http://169.254.169.254/latest/secret\r\n"+
				"Content-Length: 0\r\nConnection: close\r\n\r\n")
		}, hookgate.Answer{Verdict: hookgate.VerdictFailed, Status: 307},
			"307 Temporary Redirect; the gate does not follow redirects (to 169.254.169.254)"},
		{"bomb that only looks compressed", func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 400 x\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n"+
				"Connection: close\r\n\r\nplain")
		}, hookgate.Answer{Verdict: hookgate.VerdictFailed, Status: 400}, "400 Bad Request: plain"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url, gone := hostile(t, c.respond)
			timeout := time.Minute
			if strings.HasPrefix(c.reason, "no answer") {
				timeout = never
			}
			consumer := open(t, Config{URL: url, Timeout: timeout})
			consumer.drainTime = 50 * time.Millisecond
			a := consumer.Deliver(t.Context(), delivery())
			text := a.Reason
			a.Reason = ""
			if a != c.want || !strings.Contains(text, c.reason) || len(text) > maxReason ||
				(text == "") != (a.Verdict == hookgate.VerdictDelivered) {
				t.Errorf("the answer is %+v %.200q", a, text)
			}
			<-gone
		})
	}
}

// TestRedirectsAreNotFollowed checks that each kind of redirect makes exactly one request.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var requests atomic.Int64
	url, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		var status int
		fmt.Sscan(r.URL.Path[1:], &status)
		w.Header().Set("Location", "/200")
		w.WriteHeader(status)
	})
	for i, status := range []int{301, 302, 303, 307, 308} {
		c := open(t, Config{URL: fmt.Sprintf("%s/%d", url, status)})
		a := c.Deliver(t.Context(), delivery())
		if a.Verdict != hookgate.VerdictFailed || a.Status != status || requests.Load() != int64(i+1) {
			t.Errorf("%d: %+v after %d requests", status, a, requests.Load())
		}
	}
}

// TestInterrupted checks that an attempt ends in each phase when the caller's context ends. Its
// answer is not that of a time-out.
func TestInterrupted(t *testing.T) {
	reached := make(chan struct{}, 10)
	url, gone := hostile(t, func(conn net.Conn) {
		reached <- struct{}{}
		awaitClose(conn)
	})
	c := open(t, Config{URL: url, Timeout: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-reached; cancel() }()
	if a := c.Deliver(ctx, delivery()); a.Verdict != hookgate.VerdictInterrupted {
		t.Errorf("during the response: %+v", a)
	}
	<-gone
	if a := c.Deliver(ctx, delivery()); a.Verdict != hookgate.VerdictInterrupted {
		t.Errorf("before the request: %+v", a)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if a := c.Deliver(ctx, delivery()); a.Verdict != hookgate.VerdictInterrupted {
		t.Errorf("the caller's own deadline: %+v", a)
	}
	// A consumer that has answered has decided, also if the caller gives up while the body comes.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	url, gone = hostile(t, func(conn net.Conn) {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
		cancel()
		awaitClose(conn)
	})
	c = open(t, Config{URL: url, Timeout: time.Hour})
	if a := c.Deliver(ctx, delivery()); a.Verdict != hookgate.VerdictDelivered &&
		a.Verdict != hookgate.VerdictInterrupted {
		t.Errorf("during the body: %+v", a)
	}
	<-gone
}

// TestRefusedConnection checks the answer if nobody listens.
func TestRefusedConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	c := open(t, Config{URL: "http://" + l.Addr().String() + "/hidden"})
	a := c.Deliver(t.Context(), delivery())
	if a.Verdict != hookgate.VerdictOutage || !strings.Contains(a.Reason, "connection refused") ||
		strings.Contains(a.Reason, "hidden") {
		t.Errorf("the answer is %+v", a)
	}
}
