package canary

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// within bounds the wait for something that must happen.
const within = 2 * time.Minute

// passing is a server that forwards everything to an upstream and records the outcome of each
// request.
type passing struct {
	*httptest.Server
	client   *http.Client
	outcomes chan Outcome
}

// pass starts a server that forwards everything to the URL.
func pass(t *testing.T, to string, change func(*Upstream)) *passing {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	upstream := Upstream{URL: u, Timeout: within, MaxConnections: 100,
		Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&upstream)
	}
	p := &passing{outcomes: make(chan Outcome, 1000)}
	proxy := newProxy(upstream)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "ours")
		o := proxy.Forward(w, r)
		p.outcomes <- o
		if o.Partial {
			panic(http.ErrAbortHandler)
		}
		if o.Failure != "" {
			w.WriteHeader(o.Status)
		}
	}))
	p.client = &http.Client{Transport: &http.Transport{DisableCompression: true,
		ExpectContinueTimeout: within}, Timeout: within}
	t.Cleanup(func() {
		p.client.CloseIdleConnections()
		p.Close()
		proxy.Close()
	})
	return p
}

// outcome returns the outcome of the next request.
func (p *passing) outcome(t *testing.T) Outcome {
	t.Helper()
	select {
	case o := <-p.outcomes:
		return o
	case <-time.After(within):
		t.Fatal("the request does not end")
		return Outcome{}
	}
}

// serve starts an upstream.
func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s
}

// TestUnchanged checks that method, path, query, host, header, framing and body reach the upstream
// as the sender sent them, and that status, header and body of the response come back unchanged.
func TestUnchanged(t *testing.T) {
	type seen struct {
		method, uri, host string
		header            http.Header
		length            int64
		body              []byte
	}
	got := make(chan seen, 1)
	packed := &bytes.Buffer{}
	zipped := gzip.NewWriter(packed)
	io.WriteString(zipped, strings.Repeat("packed ", 100))
	zipped.Close()
	upstream := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- seen{r.Method, r.RequestURI, r.Host, r.Header, r.ContentLength, body}
		h := w.Header()
		h.Set("Content-Encoding", "gzip")
		h["X-Twice"] = []string{"a", "b"}
		if r.URL.Query().Has("id") {
			h.Set("X-Request-Id", "theirs")
		}
		w.WriteHeader(http.StatusTeapot)
		w.Write(packed.Bytes())
	})
	p := pass(t, upstream.URL, nil)
	large := make([]byte, 3<<20)
	rand.Read(large)
	for _, test := range []struct {
		method, uri string
		body        []byte
		chunked     bool
	}{
		{"POST", "/webhooks", []byte(`{"a":1}`), false},
		{"POST", "/webhooks/a%2Fb/%20?b=2&a=1;x&%zz&id", large, false},
		{"POST", "/webhooks/github", large, true},
		{"POST", "/webhooks/github?", nil, false},
		{"GET", "/webhooks/meta?hub.challenge=1", nil, false},
		{"OPTIONS", "/webhooks/cloud", nil, false},
		{"PUT", "/webhooks", []byte("x"), true},
	} {
		body := io.Reader(bytes.NewReader(test.body))
		if test.chunked {
			body = io.MultiReader(body) // the client does not know its length
		}
		r, err := http.NewRequest(test.method, p.URL+test.uri, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "hooks.example.com"
		r.Header = http.Header{"Authorization": {"Bearer x"}, "X-Twice": {"1", "2"},
			"X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Host": {"outer"},
			"Forwarded": {"for=192.0.2.1"}, "Content-Type": {"application/json"}, "Accept": {"*/*"},
			"Connection": {"Upgrade, X-Hop"}, "Upgrade": {"websocket"},
			"X-Hop": {"gone"}, "User-Agent": {"sender/1"}}
		resp, err := p.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		s := <-got
		if s.method != test.method || s.uri != test.uri || s.host != "hooks.example.com" ||
			!bytes.Equal(s.body, test.body) {
			t.Errorf("%s %s reached the upstream as %s %s of %s, with %d of %d bytes", test.method, test.uri,
				s.method, s.uri, s.host, len(s.body), len(test.body))
		}
		if (s.length < 0) != test.chunked {
			t.Errorf("%s %s: the length is %d, sent in chunks: %t", test.method, test.uri, s.length,
				test.chunked)
		}
		wanted := r.Header.Clone()
		for _, hop := range []string{"Connection", "Upgrade", "X-Hop"} {
			wanted.Del(hop)
		}
		wanted["X-Forwarded-For"], wanted["X-Forwarded-Proto"] = []string{"192.0.2.1, 127.0.0.1"},
			[]string{"http"}
		s.header.Del("Content-Length")
		if fmt.Sprint(s.header) != fmt.Sprint(wanted) {
			t.Errorf("%s %s: the header is\n%v, want\n%v", test.method, test.uri, s.header, wanted)
		}
		id := "ours"
		if strings.HasSuffix(test.uri, "id") {
			id = "theirs"
		}
		if resp.StatusCode != http.StatusTeapot || !bytes.Equal(answer, packed.Bytes()) ||
			!slices.Equal(resp.Header["X-Twice"], []string{"a", "b"}) ||
			!slices.Equal(resp.Header["X-Request-Id"], []string{id}) {
			t.Errorf("%s %s: the answer is %s %v, %d of %d bytes", test.method, test.uri, resp.Status,
				resp.Header, len(answer), packed.Len())
		}
		if o := p.outcome(t); o.Status != http.StatusTeapot || o.Failure != "" {
			t.Errorf("%s %s: the outcome is %+v", test.method, test.uri, o)
		}
	}
}

// TestBasePath checks an upstream with a path of its own.
func TestBasePath(t *testing.T) {
	upstream := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w,
			r.RequestURI)
	})
	p := pass(t, upstream.URL+"/old", nil)
	resp, err := p.client.Post(p.URL+"/webhooks/a?b=1", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "/old/webhooks/a?b=1" {
		t.Errorf("the upstream got %s, %v", text, err)
	}
}

// TestStreams checks that the body is forwarded while it arrives, and the response while the
// upstream writes it.
func TestStreams(t *testing.T) {
	first, more := make(chan string, 1), make(chan struct{})
	upstream := serve(t, func(w http.ResponseWriter, r *http.Request) {
		in := bufio.NewReader(r.Body)
		line, _ := in.ReadString('\n')
		first <- line
		io.Copy(io.Discard, in)
		io.WriteString(w, "one\n")
		w.(http.Flusher).Flush()
		<-more
		io.WriteString(w, "two\n")
	})
	p := pass(t, upstream.URL, nil)
	body, writer := io.Pipe()
	go func() {
		io.WriteString(writer, "begin\n")
		if line := <-first; line != "begin\n" {
			t.Errorf("the upstream reads %q first", line)
		}
		io.WriteString(writer, "end\n")
		writer.Close()
	}()
	resp, err := p.client.Post(p.URL, "", body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out := bufio.NewReader(resp.Body)
	if line, err := out.ReadString('\n'); line != "one\n" {
		t.Errorf("the answer begins with %q, %v", line, err)
	}
	close(more)
	if line, err := out.ReadString('\n'); line != "two\n" {
		t.Errorf("the answer goes on with %q, %v", line, err)
	}
}

// TestExpect checks that a sender that waits for 100 Continue sends its body if the upstream wants
// it, and does not if the upstream rejects the request first.
func TestExpect(t *testing.T) {
	upstream := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refused" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		io.Copy(w, r.Body)
	})
	p := pass(t, upstream.URL, nil)
	for path, status := range map[string]int{"/taken": 200, "/refused": 401} {
		read := false
		body := readerFunc(func(b []byte) (int, error) {
			if read {
				return 0, io.EOF
			}
			read = true
			return copy(b, "body"), nil
		})
		r, err := http.NewRequest("POST", p.URL+path, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Expect", "100-continue")
		resp, err := p.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != status || read != (status == 200) || read && string(text) != "body" {
			t.Errorf("%s got %s %q, and the body was sent: %t", path, resp.Status, text, read)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// TestAway checks upstreams that are unreachable, do not respond, close the connection before or
// in the middle of the response, or do not speak HTTP. Each is a failure of its own kind and never
// a 2xx, and no request is sent twice.
func TestAway(t *testing.T) {
	hangs := make(chan struct{})
	requests := make(chan string, 100)
	upstream := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		requests <- r.URL.Path
		switch r.URL.Path {
		case "/hangs":
			<-hangs
		case "/breaks":
			panic(http.ErrAbortHandler)
		case "/half":
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/chunk":
			io.WriteString(w, "chunk")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	})
	t.Cleanup(func() { close(hangs) })
	garbage, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { garbage.Close() })
	go func() {
		for {
			conn, err := garbage.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "garbage\r\n\r\n")
			conn.Close()
		}
	}()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, test := range []struct {
		upstream, path string
		status         int
		failure        Failure
		begun          bool
	}{
		{"http://" + closed.Addr().String(), "/", 502, Unreachable, false},
		{"http://" + garbage.Addr().String(), "/", 502, Broken, false},
		{upstream.URL, "/hangs", 503, TimedOut, false},
		{upstream.URL, "/breaks", 502, Broken, false},
		{upstream.URL, "/half", 200, Broken, true},
		{upstream.URL, "/chunk", 200, Broken, true},
	} {
		p := pass(t, test.upstream, func(u *Upstream) { u.Timeout = 500 * time.Millisecond })
		for _, key := range []string{"", "once"} {
			r, err := http.NewRequest("POST", p.URL+test.path, strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			if key != "" {
				r.Header.Set("Idempotency-Key", key)
			}
			resp, err := p.client.Do(r)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if o := p.outcome(t); o.Status != test.status || o.Failure != test.failure ||
				o.Partial != test.begun || o.Err == nil {
				t.Errorf("%s: the outcome is %+v", test.path, o)
			}
			if test.begun != (err != nil) || !test.begun && resp.StatusCode != test.status {
				t.Errorf("%s: the sender got %v, %v", test.path, resp, err)
			}
		}
	}
	for range 8 {
		<-requests
	}
	if n := len(requests); n != 0 {
		t.Errorf("%d requests were sent again", n)
	}
}

// TestSenderGone checks that the upstream is not at fault if the sender closes the connection, in
// its body or before it has the response.
func TestSenderGone(t *testing.T) {
	reached := make(chan struct{}, 1)
	upstream := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		reached <- struct{}{}
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	p := pass(t, upstream.URL, nil)
	for _, sent := range []string{"whole", "ha"} {
		conn, err := net.Dial("tcp", p.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n%s", sent)
		<-reached
		conn.Close()
		if o := p.outcome(t); o.Failure != Sender || o.Partial {
			t.Errorf("after %q the outcome is %+v", sent, o)
		}
	}
}

// TestSlowSender checks that the time that the sender takes for its body does not count against
// the upstream.
func TestSlowSender(t *testing.T) {
	upstream := serve(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	p := pass(t, upstream.URL, func(u *Upstream) { u.Timeout = 400 * time.Millisecond })
	body, writer := io.Pipe()
	go func() {
		for n := range 5 {
			<-time.After(200 * time.Millisecond)
			fmt.Fprint(writer, n)
		}
		writer.Close()
	}()
	resp, err := p.client.Post(p.URL, "", body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); string(text) != "01234" || resp.StatusCode != 200 {
		t.Errorf("the answer is %s %q, %v", resp.Status, text, err)
	}
}

// TestBusy checks that requests beyond the limit are rejected at once, and accepted again when
// there is room.
func TestBusy(t *testing.T) {
	reached, release := make(chan struct{}, 10), make(chan struct{})
	upstream := serve(t, func(http.ResponseWriter, *http.Request) {
		reached <- struct{}{}
		<-release
	})
	p := pass(t, upstream.URL, func(u *Upstream) { u.MaxConnections = 2 })
	post := func() int {
		resp, err := p.client.Post(p.URL, "", nil)
		if err != nil {
			t.Error(err)
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	answered := make(chan int, 2)
	for range 2 {
		go func() { answered <- post() }()
		<-reached
	}
	if status := post(); status != http.StatusServiceUnavailable {
		t.Errorf("a third request got %d", status)
	}
	if o := p.outcome(t); o.Failure != Busy {
		t.Errorf("the outcome is %+v", o)
	}
	close(release)
	for range 2 {
		if status := <-answered; status != 200 {
			t.Errorf("a request got %d", status)
		}
	}
	if status := post(); status != 200 {
		t.Errorf("then a request got %d", status)
	}
}

// TestRefusedEarly checks that a response that the upstream sends before it has read the body
// reaches the sender, over HTTP/2 too, and is no failure.
func TestRefusedEarly(t *testing.T) {
	upstream := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	})
	u, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := newProxy(Upstream{URL: u, Timeout: within, MaxConnections: 10,
		Logger: slog.New(slog.DiscardHandler)})
	defer proxy.Close()
	outcomes := make(chan Outcome, 1)
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter,
		r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("the sender speaks %s", r.Proto)
		}
		o := proxy.Forward(w, r)
		if o.Failure != "" {
			w.WriteHeader(o.Status)
		}
		outcomes <- o
	}))
	front.EnableHTTP2 = true
	front.StartTLS()
	defer front.Close()
	client := front.Client()
	client.Timeout = within
	body, writer := io.Pipe()
	defer writer.Close()
	go io.WriteString(writer, "the beginning of a body that never ends")
	resp, err := client.Post(front.URL, "", body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if o := <-outcomes; resp.StatusCode != http.StatusRequestEntityTooLarge || o.Failure != "" ||
		o.Status != resp.StatusCode {
		t.Errorf("the sender got %s, and the outcome is %+v", resp.Status, o)
	}
}

// TestInterimAnswers checks that a 1xx response reaches the sender and does not change the final
// response.
func TestInterimAnswers(t *testing.T) {
	upstream := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</x>")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusOK)
	})
	p := pass(t, upstream.URL, nil)
	resp, err := p.client.Post(p.URL+"/webhooks", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if id := resp.Header.Get("X-Request-Id"); id != "ours" || resp.StatusCode != http.StatusOK {
		t.Errorf("the sender gets %s with the request id %q", resp.Status, id)
	}
}

// TestAnswerStalls checks that an upstream that stops in the middle of its response is given up
// after the same time as one that does not respond.
func TestAnswerStalls(t *testing.T) {
	end := make(chan struct{})
	upstream := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "20")
		io.WriteString(w, "some")
		http.NewResponseController(w).Flush()
		<-end
	})
	defer close(end)
	p := pass(t, upstream.URL, func(u *Upstream) { u.Timeout = 200 * time.Millisecond })
	resp, err := p.client.Post(p.URL+"/webhooks", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the sender takes %q for the whole answer", body)
	}
	if o := p.outcome(t); o.Failure != TimedOut || !o.Partial || o.Status != http.StatusOK {
		t.Errorf("the outcome is %+v", o)
	}
}

// TestGateCookies checks that the upstream, which may be another port of the gate's host, neither
// gets nor sets the cookies of the gate's dashboard. All other cookies pass unchanged.
func TestGateCookies(t *testing.T) {
	got := make(chan []string, 1)
	upstream := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header["Cookie"]
		w.Header()["Set-Cookie"] = []string{"theirs=1; Path=/", "hookgate_ab12=evil; Path=/",
			"__Host-hookgate_ab12=evil; Secure", " HOOKGATE_x=1"}
	})
	p := pass(t, upstream.URL, nil)
	for _, c := range []struct{ sent, want []string }{
		{nil, nil},
		{[]string{"a=1;b=2 ; c"}, []string{"a=1;b=2 ; c"}},
		{[]string{"a=1; hookgate_ab12=secret; b=2"}, []string{"a=1; b=2"}},
		{[]string{"__Host-hookgate_ab12=secret"}, nil},
		{[]string{"hookgate_ab12=secret; a=1", "b=2"}, []string{"a=1", "b=2"}},
		{[]string{"xhookgate_=1"}, []string{"xhookgate_=1"}},
	} {
		r, err := http.NewRequest(http.MethodPost, p.URL+"/webhooks", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header["Cookie"] = c.sent
		resp, err := p.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if cookies := <-got; !slices.Equal(cookies, c.want) {
			t.Errorf("of %q the upstream gets %q", c.sent, cookies)
		}
		if set := resp.Header["Set-Cookie"]; !slices.Equal(set, []string{"theirs=1; Path=/"}) {
			t.Errorf("the upstream sets %q", set)
		}
		p.outcome(t)
	}
}
