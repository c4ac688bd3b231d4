package adminapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/guard"
)

// firstRead and largeBody are where package ingest changes how it reads a body.
const firstRead, largeBody = 4 << 10, 64 << 10

// TestBodyLimit sends bodies of exactly the limit and of one byte more, with and without
// Content-Length.
func TestBodyLimit(t *testing.T) {
	for _, limit := range []int{100, firstRead - 1, firstRead, firstRead + 1, 2 * firstRead, largeBody,
		largeBody + 1, 300_000} {
		q := &fakeQueue{}
		g := newGate(t, func(s *setup) {
			s.queue = q
			s.config.MaxBodyBytes = int64(limit)
		})
		for _, chunked := range []bool{false, true} {
			for _, size := range []int{limit, limit + 1, 2*limit + 10} {
				text := envelopeOf("m", size)
				body := io.Reader(strings.NewReader(text))
				if chunked {
					body = io.MultiReader(body) // the client cannot tell its length
				}
				before := len(q.deliveries())
				a := g.do(t, "POST", "/webhooks", body, "Authorization", "Bearer "+bearerKey)
				got := q.deliveries()[before:]
				if size > limit {
					checkRefusal(t, a.want(t, 413))
					if len(got) != 0 {
						t.Errorf("limit %d: %d bytes reached the queue, chunked %v", limit, size, chunked)
					}
					continue
				}
				a.want(t, 202)
				if len(got) != 1 || string(got[0].Body) != text {
					t.Errorf("limit %d: a body of %d bytes did not arrive as sent, chunked %v", limit, size,
						chunked)
				}
			}
		}
		if n := g.guard.Status().BodyMemory; n != 0 {
			t.Errorf("limit %d: %d bytes are still counted for bodies", limit, n)
		}
	}
}

// raw opens a connection, writes the text and returns the connection.
func (g *gate) raw(t *testing.T, text string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(within)))
	_, err = io.WriteString(conn, text)
	must(t, err)
	return conn.(*net.TCPConn)
}

// readAnswer reads one response from a raw connection.
func readAnswer(t *testing.T, conn net.Conn) *answer {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(t, err)
	return &answer{response.StatusCode, response.Header, text}
}

// rawHead is the head of a request with sound credentials.
func rawHead(framing string) string {
	return "POST /webhooks HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer " + bearerKey + "\r\n" +
		framing + "\r\n\r\n"
}

// TestTruncatedBody ends bodies before their framing says so, one of them where what arrived is a
// whole event.
func TestTruncatedBody(t *testing.T) {
	q := &fakeQueue{}
	g := newGate(t, func(s *setup) { s.queue = q })
	whole := envelope("m", "t", "")
	for name, text := range map[string]string{
		"half":        rawHead("Content-Length: 100") + strings.Repeat("x", 50),
		"whole event": rawHead("Content-Length: 100") + whole,
		"nothing":     rawHead("Content-Length: 100"),
		"last chunk": rawHead("Transfer-Encoding: chunked") + fmt.Sprintf("%x\r\n%s\r\n", len(whole),
			whole),
		"inside a chunk": rawHead("Transfer-Encoding: chunked") + fmt.Sprintf("%x\r\n%s", len(whole)+5,
			whole),
		"not a chunk": rawHead("Transfer-Encoding: chunked") + "zz\r\n" + whole,
	} {
		t.Run(name, func(t *testing.T) {
			conn := g.raw(t, text)
			must(t, conn.CloseWrite())
			a := readAnswer(t, conn).want(t, 400)
			checkRefusal(t, a)
			if !strings.Contains(a.errorText(t), "body") {
				t.Errorf("told %q", a.errorText(t))
			}
		})
	}
	if got := q.deliveries(); len(got) != 0 {
		t.Errorf("%d truncated deliveries reached the queue", len(got))
	}
	conn := g.raw(t, rawHead(fmt.Sprintf("Content-Length: %d", len(whole)))+whole)
	readAnswer(t, conn).want(t, 202) // the same by hand, but whole
}

// TestSlowBody sends half a body and then nothing, against a short ReadTimeout.
func TestSlowBody(t *testing.T) {
	q := &fakeQueue{}
	g := newGate(t, func(s *setup) {
		s.queue = q
		s.config.ReadTimeout = 100 * time.Millisecond
	})
	for _, framing := range []string{"Content-Length: 100\r\n\r\n" + envelope("m", "t", ""),
		"Transfer-Encoding: chunked\r\n\r\n5\r\n{\"mes"} {
		conn := g.raw(t, strings.TrimSuffix(rawHead(framing), "\r\n\r\n"))
		a := readAnswer(t, conn).want(t, 408)
		checkRefusal(t, a)
	}
	if got := q.deliveries(); len(got) != 0 {
		t.Errorf("%d slow deliveries reached the queue", len(got))
	}
}

// TestBodiesDoNotMix sends different bodies of different lengths at a time and compares each with
// what was appended.
func TestBodiesDoNotMix(t *testing.T) {
	var mu sync.Mutex
	got := map[string]string{}
	q := &fakeQueue{appended: func(_ context.Context, d *hookgate.Request) (hookgate.Receipt, error) {
		mu.Lock()
		defer mu.Unlock()
		got[d.MessageID] = string(d.Body)
		return hookgate.Receipt{}, nil
	}}
	g := newGate(t, func(s *setup) { s.queue = q })
	text := func(sender, i int) string {
		return envelopeOf(fmt.Sprintf("m-%d-%d", sender, i), 100+(i*7919+sender*104729)%90_000)
	}
	const senders, each = 8, 25
	var all sync.WaitGroup
	for sender := range senders {
		all.Go(func() {
			for i := range each {
				a, err := g.try("POST", "/webhooks", strings.NewReader(text(sender, i)), "Authorization",
					"Bearer "+bearerKey)
				if err != nil || a.status != 202 {
					t.Errorf("sender %d: %+v, %v", sender, a, err)
					return
				}
			}
		})
	}
	all.Wait()
	for sender := range senders {
		for i := range each {
			if id := fmt.Sprintf("m-%d-%d", sender, i); got[id] != text(sender, i) {
				t.Errorf("%s arrived with %d bytes that are not those sent", id, len(got[id]))
			}
		}
	}
	if n := g.guard.Status().BodyMemory; n != 0 {
		t.Errorf("%d bytes are still counted for bodies", n)
	}
}

// TestBodyMemory holds one large body in Append, which uses up the budget, and sends others
// meanwhile. Large ones are rejected, small ones are not, and afterwards all memory is released.
func TestBodyMemory(t *testing.T) {
	const size = 100_000 // a buffer of 128 KiB
	entered, leave := make(chan string), make(chan struct{})
	q := &fakeQueue{appended: func(_ context.Context, d *hookgate.Request) (hookgate.Receipt, error) {
		if d.MessageID == "holder" {
			entered <- d.MessageID
			<-leave
		}
		return hookgate.Receipt{}, nil
	}}
	g := newGate(t, func(s *setup) {
		s.queue = q
		s.guard = guard.New(guard.Config{BodyMemory: 260_000})
	})
	held := make(chan int, 1)
	go func() {
		a, err := g.try("POST", "/webhooks", strings.NewReader(envelopeOf("holder", size)),
			"Authorization", "Bearer "+bearerKey)
		if err != nil {
			t.Error(err)
			a = &answer{}
		}
		held <- a.status
	}()
	select {
	case <-entered:
	case <-time.After(within):
		t.Fatal("the first large body did not reach the queue")
	}
	if n := g.guard.Status().BodyMemory; n < size || n > 260_000 {
		t.Errorf("%d bytes are counted for a body of %d", n, size)
	}
	const others = 4
	put := make(chan *answer, others)
	for i := range others {
		go func() {
			a, err := g.try("POST", "/webhooks", strings.NewReader(envelopeOf(fmt.Sprint("large-", i),
				size)), "Authorization", "Bearer "+bearerKey)
			if err != nil {
				t.Error(err)
				a = &answer{}
			}
			put <- a
		}()
	}
	for range others {
		a := (<-put).want(t, 503)
		checkRefusal(t, a)
		if a.header.Get("Retry-After") != "2" || !strings.Contains(a.errorText(t), "bodies") {
			t.Errorf("Retry-After %q, told %q", a.header.Get("Retry-After"), a.errorText(t))
		}
	}
	g.post(t, envelopeOf("small", 60_000)).want(t, 202)
	close(leave)
	if status := <-held; status != 202 {
		t.Errorf("the body that was within the budget got %d", status)
	}
	if n := g.guard.Status().BodyMemory; n != 0 {
		t.Errorf("%d bytes are still counted for bodies", n)
	}
	go func() { <-entered }()
	g.post(t, envelopeOf("holder", size)).want(t, 202) // there is room again
	for _, d := range q.deliveries() {
		if strings.HasPrefix(d.MessageID, "large") {
			t.Errorf("%s was put off and yet appended", d.MessageID)
		}
	}
}

// TestLargeBodyCounterAfterFailures ends large bodies in all the ways there are; none may leave its
// size in the counter.
func TestLargeBodyCounterAfterFailures(t *testing.T) {
	q := &fakeQueue{appended: func(_ context.Context, d *hookgate.Request) (hookgate.Receipt, error) {
		if d.MessageID == "panic" {
			panic("in Append")
		}
		return hookgate.Receipt{}, context.Canceled
	}}
	g := newGate(t, func(s *setup) { s.queue = q })
	big := envelopeOf("m", 200_000)
	if a, err := g.try("POST", "/webhooks", strings.NewReader(envelopeOf("panic", 200_000)),
		"Authorization", "Bearer "+bearerKey); err == nil {
		t.Errorf("a panicking request was answered %d", a.status)
	}
	g.post(t, big).want(t, 503)
	g.post(t, big[:len(big)-1]).want(t, 400)
	g.do(t, "POST", "/webhooks", strings.NewReader(big), "X-Webhook-Signature", hmacHex("wrong", big)).
		want(t, 401)
	conn := g.raw(t, rawHead("Content-Length: 300000")+big)
	must(t, conn.CloseWrite())
	readAnswer(t, conn).want(t, 400)
	if n := g.guard.Status().BodyMemory; n != 0 {
		t.Errorf("%d bytes are still counted for bodies", n)
	}
}
