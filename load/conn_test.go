package load

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// scripted is a server that reads a request and then does what the test says. It returns its URL
// and counts its connections.
func scripted(t *testing.T, answer func(w net.Conn, nth int)) (*url.URL, *atomic.Int32) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connections := new(atomic.Int32)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			in := bufio.NewReader(nc)
			for nth := 1; ; nth++ {
				r, err := http.ReadRequest(in)
				if err != nil {
					break
				}
				io.Copy(io.Discard, r.Body)
				answer(nc, nth)
			}
			nc.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return &url.URL{Scheme: "http", Host: listener.Addr().String(), Path: "/webhooks"}, connections
}

// Goal: every form of answer that HTTP/1.1 allows is parsed, no answer can exhaust the memory, and
// a connection is reused exactly when that is safe. Method: send two requests to a server that
// writes the bytes of its answers itself.
func TestAnswers(t *testing.T) {
	const ok = "HTTP/1.1 202 Accepted\r\nContent-Length: 17\r\n\r\n" + `{"requestId":"7"}`
	for _, test := range []struct {
		name, answer string
		status       int
		err          string
		connections  int32 // for two requests
	}{
		{"plain", ok, 202, "", 1},
		{"chunked", "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n" +
			`{"requestId":"7"}` + "\r\n0\r\n\r\n", 202, "", 1},
		{"interim answers", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: " +
			"x\r\n\r\n" +
			ok, 202, "", 1},
		{"no body", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", 1},
		{"to be closed", strings.Replace(ok, "\r\n", "\r\nConnection: close\r\n", 1), 202, "", 2},
		{"HTTP/1.0", strings.Replace(ok, "1.1", "1.0", 1), 202, "", 2},
		{"more than was asked for", ok + "HTTP/1.1 408 Request Timeout\r\n\r\n", 202, "", 2},
		{"switching protocols", "HTTP/1.1 101 Switching Protocols\r\n\r\n", 101, "Switching Protocols",
			2},
		{"not HTTP", "SSH-2.0-OpenSSH\r\n\r\n", 0, "outcome unknown: malformed HTTP", 2},
		{"longest", fmt.Sprintf("HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n%*s", maxAnswerBytes,
			maxAnswerBytes, ""), 202, "", 1},
		{"too long", fmt.Sprintf("HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n%*s", maxAnswerBytes+
			1, maxAnswerBytes+1, ""), 202, "incomplete answer: the answer is longer", 2},
		{"endless header", "HTTP/1.1 202 Accepted\r\nA: " + strings.Repeat("x", maxExchangeBytes), 0,
			"outcome unknown: connection lost", 2},
		{"endless interim answers", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", maxExchangeBytes/25+
			1), 0, "outcome unknown: connection lost", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			target, connections := scripted(t, func(w net.Conn, _ int) { io.WriteString(w, test.answer) })
			s := newSender(target, Credentials{}, time.Minute)
			defer s.close()
			for n := range 2 {
				a, _ := s.attempt(t.Context(), parsed(t, []byte(eventLine("m", "k", 1))))
				if a.Status != test.status || !strings.HasPrefix(a.Error, test.err) ||
					(a.Error == "") != (test.err == "") {
					t.Fatalf("request %d: status %d, error %q; want %d, %q", n+1, a.Status, a.Error, test.status,
						test.err)
				}
				if strings.Contains(test.answer, "requestId") && a.RequestID != "7" {
					t.Errorf("request id %q", a.RequestID)
				}
				if s.conn != nil && test.connections == 2 && s.conn.reusable() {
					t.Error("the connection would be used again")
				}
			}
			if got := connections.Load(); got != test.connections {
				t.Errorf("%d connections, want %d", got, test.connections)
			}
		})
	}
}

// Goal: an answer that breaks off before its status line is no answer. After the status line it
// counts.
func TestAnswerCutShort(t *testing.T) {
	for answer, want := range map[string]Attempt{
		"":                          {Error: "outcome unknown: connection lost"},
		"HTTP/1.1 202 Acc":          {Error: "outcome unknown: connection lost"},
		"HTTP/1.1 202 Accepted\r\n": {Error: "outcome unknown: connection lost"},
		"HTTP/1.1 202 Accepted\r\nX-Request-Id: 7\r\nContent-Length: 9\r\n\r\n{": {Status: 202,
			RequestID: "7", Error: "incomplete answer: unexpected EOF"},
	} {
		target, _ := scripted(t, func(w net.Conn, _ int) {
			io.WriteString(w, answer)
			w.Close()
		})
		s := newSender(target, Credentials{}, time.Minute)
		a, _ := s.attempt(t.Context(), parsed(t, []byte(eventLine("m", "k", 1))))
		s.close()
		if a.Status != want.Status || a.RequestID != want.RequestID || a.Error != want.Error {
			t.Errorf("answer %q: %+v, want %+v", answer, a, want)
		}
	}
}

// Goal: a rejection is read even if the server sends it before it has read the request. Method:
// send a body far larger than what the connection buffers to a server that answers after the
// header.
func TestEarlyRefusal(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}))
	defer server.Close()
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := newSender(target, Credentials{BearerKey: "k"}, time.Minute)
	defer s.close()
	ev := parsed(t, []byte(`{"messageId":"m","eventType":"t","x":"`+strings.Repeat("x", 8<<20)+`"}`))
	if a, _ := s.attempt(t.Context(), ev); a.Status != http.StatusRequestEntityTooLarge ||
		s.conn.reusable() {
		t.Errorf("attempt %+v", a)
	}
	if cap(s.request) > maxKeptBuffer {
		t.Error("a buffer of the body's size was kept")
	}
}

// Goal: a time-out differs from a target that is not there. In the second case nothing was sent.
func TestNoAnswer(t *testing.T) {
	target, _ := scripted(t, func(net.Conn, int) {})
	ev := parsed(t, []byte(eventLine("m", "k", 1)))
	s := newSender(target, Credentials{}, 20*time.Millisecond)
	if a, _ := s.attempt(t.Context(), ev); a.Error != "outcome unknown: no answer within 20ms" ||
		a.Status != 0 {
		t.Errorf("attempt %+v", a)
	}
	s.close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	s = newSender(&url.URL{Scheme: "http", Host: listener.Addr().String()}, Credentials{}, time.Minute)
	if a, _ := s.attempt(t.Context(), ev); !strings.HasPrefix(a.Error, "not sent: ") || a.Status != 0 {
		t.Errorf("attempt %+v", a)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a, _ := s.attempt(ctx, ev); a.Error != "not sent: context canceled" {
		t.Errorf("attempt %+v", a)
	}
}

// Goal: over https the server must authenticate before anything is sent.
func TestUntrustedCertificate(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a request arrived")
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains that the client hung up
	server.StartTLS()
	defer server.Close()
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := newSender(target, Credentials{}, time.Minute)
	a, _ := s.attempt(t.Context(), parsed(t, []byte(eventLine("m", "k", 1))))
	if !strings.HasPrefix(a.Error, "not sent: ") || !strings.Contains(a.Error, "certificate") {
		t.Errorf("attempt %+v", a)
	}
}

// Goal: the bearer key is sent if there is no secret to sign with, and only then.
func TestCredentialsOnTheWire(t *testing.T) {
	for _, test := range []struct {
		c         Credentials
		bearer    string
		signature string
	}{
		{Credentials{}, "", ""},
		{Credentials{BearerKey: "k"}, "Bearer k", ""},
		// The digest is from: printf '{"messageId":"m","eventType":"t"}' | openssl dgst -sha256 -hmac
		// secret
		{Credentials{BearerKey: "k", HMACSecret: "secret"}, "",
			"sha256=236d2fb93d7aafb147d25fbd55bf145a22e47afcb307932601d61005fd996c7e"},
	} {
		got := make(chan http.Header, 1)
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter,
			r *http.Request) {
			got <- r.Header
		}))
		cfg := Config{Input: strings.NewReader(`{"messageId":"m","eventType":"t"}`), Target: server.URL,
			Credentials: test.c}
		_, err := Replay(t.Context(), cfg)
		server.Close()
		if err != nil {
			t.Fatal(err)
		}
		if h := <-got; h.Get("Authorization") != test.bearer ||
			h.Get("X-Webhook-Signature") != test.signature {
			t.Errorf("%+v sends %v", test.c, h)
		}
	}
}
