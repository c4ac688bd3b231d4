package push

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver/egress"
	"github.com/hookgate/hookgate/internal/certtest"
)

// TestConnectionsAreReused checks that deliveries one after the other share a connection, failed
// ones too, and that as many as the concurrency stay open.
func TestConnectionsAreReused(t *testing.T) {
	const concurrency = 8
	var opened atomic.Int64
	var meet sync.WaitGroup // until all requests of a round have arrived
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter,
		r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/together" {
			meet.Done()
			meet.Wait()
		} else {
			w.WriteHeader(500)
		}
		io.WriteString(w, strings.Repeat("x", 10_000))
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	one := open(t, Config{URL: server.URL})
	for range 20 {
		one.Deliver(t.Context(), delivery())
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("20 deliveries opened %d connections", n)
	}
	one.CloseIdleConnections()

	opened.Store(0)
	many := open(t, Config{URL: server.URL + "/together", Concurrency: concurrency})
	for range 3 {
		meet.Add(concurrency)
		var round sync.WaitGroup
		for range concurrency {
			round.Go(func() {
				if a := many.Deliver(t.Context(), delivery()); a.Verdict != hookgate.VerdictDelivered {
					t.Errorf("the answer is %+v", a)
				}
			})
		}
		round.Wait()
	}
	if n := opened.Load(); n != concurrency {
		t.Errorf("3 rounds of %d opened %d connections", concurrency, n)
	}
}

// TestClosedIdleConnection checks that a server which closes an idle connection when the next
// request arrives gets that request again on another one. A new connection is not repeated.
func TestClosedIdleConnection(t *testing.T) {
	var connections, requests atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 2 {
			panic(http.ErrAbortHandler) // closes the connection
		}
	})}
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	c := open(t, Config{URL: "http://" + l.Addr().String()})
	for i := range 2 {
		if a := c.Deliver(t.Context(), delivery()); a.Verdict != hookgate.VerdictDelivered {
			t.Errorf("delivery %d: %+v", i+1, a)
		}
	}
	if connections.Load() != 2 || requests.Load() != 3 {
		t.Errorf("%d connections, %d requests", connections.Load(), requests.Load())
	}
	c.CloseIdleConnections()
	requests.Store(1)
	if a := c.Deliver(t.Context(), delivery()); a.Verdict != hookgate.VerdictOutage {
		t.Errorf("on a new connection: %+v", a)
	}
}

// TestTLS checks HTTP/2, a private CA, client certificates and the errors of TLS.
func TestTLS(t *testing.T) {
	certs, err := certtest.Make(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter,
		r *http.Request) {
		if r.ProtoMajor != 2 || len(r.TLS.PeerCertificates) != 1 {
			w.WriteHeader(400)
		}
	}))
	pair, err := tls.LoadX509KeyPair(certs.Cert, certs.Key)
	if err != nil {
		t.Fatal(err)
	}
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair},
		ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	client := TLS{CAFile: certs.CA, CertFile: certs.Cert, KeyFile: certs.Key}
	for _, c := range []struct {
		name, url string
		tls       TLS
		reason    string
	}{
		{"right", server.URL, client, ""},
		{"unknown CA", server.URL, TLS{CertFile: certs.Cert, KeyFile: certs.Key}, "unknown authority"},
		{"another name", server.URL, TLS{CAFile: certs.CA, CertFile: certs.Cert, KeyFile: certs.Key,
			ServerName: "example.com"}, "example.com"},
		{"no client certificate", server.URL, TLS{CAFile: certs.CA}, "e"}, // its text varies
		{"http to https", strings.Replace(server.URL, "https", "http", 1), TLS{}, "400 Bad Request"},
	} {
		a := open(t, Config{URL: c.url, TLS: c.tls}).Deliver(t.Context(), delivery())
		if (a.Verdict == hookgate.VerdictDelivered) != (c.reason == "") ||
			!strings.Contains(a.Reason, c.reason) ||
			a.Status == 0 && a.Verdict != hookgate.VerdictOutage {
			t.Errorf("%s: %+v", c.name, a)
		}
	}
	plain, _ := serve(t, nil)
	a := open(t, Config{URL: strings.Replace(plain, "http", "https", 1)}).Deliver(t.Context(),
		delivery())
	if a.Verdict != hookgate.VerdictOutage || a.Reason == "" {
		t.Errorf("https to http: %+v", a)
	}
	for _, mistake := range []TLS{{CertFile: certs.Cert}, {KeyFile: certs.Key}, {CAFile: certs.Key},
		{CertFile: certs.Key, KeyFile: certs.Cert}, {CAFile: "/no/such/file"}} {
		if _, err := New(Config{Name: "x", URL: "https://a/", TLS: mistake}); err == nil ||
			!strings.Contains(err.Error(), "tls: ") {
			t.Errorf("%+v: %v", mistake, err)
		}
	}
}

// TestClientCertificateIsReplaced checks that a new connection uses the certificate that is in the
// files then, and the first one while they cannot be read.
func TestClientCertificateIsReplaced(t *testing.T) {
	first, err1 := certtest.Make(t.TempDir())
	second, err2 := certtest.Make(t.TempDir())
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	var shown [][]byte
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter,
		r *http.Request) {
		shown = append(shown, r.TLS.PeerCertificates[0].Raw)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE",
		Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	files := TLS{CAFile: ca, CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key")}
	write := func(from certtest.Files) {
		for to, path := range map[string]string{files.CertFile: from.Cert, files.KeyFile: from.Key} {
			text, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(to, text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	write(first)
	c := open(t, Config{URL: server.URL, TLS: files})
	deliver := func() {
		t.Helper()
		c.CloseIdleConnections()
		if a := c.Deliver(t.Context(), delivery()); a.Verdict != hookgate.VerdictDelivered {
			t.Fatalf("the answer is %+v", a)
		}
	}
	deliver()
	write(second)
	deliver()
	os.Remove(files.KeyFile)
	deliver()
	for i, f := range []certtest.Files{first, second, first} {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			t.Fatal(err)
		}
		if string(shown[i]) != string(pair.Certificate[0]) {
			t.Errorf("delivery %d has another certificate", i+1)
		}
	}
}

// nameServer is a DNS server whose answers a test sets.
type nameServer struct {
	net.PacketConn
	mu        sync.Mutex
	addresses []string // of any name
	code      dnsmessage.RCode
	silent    bool
}

func startNameServer(t *testing.T) (*nameServer, *net.Resolver) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{PacketConn: conn}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer := s.answer(buffer[:n]); answer != nil {
				conn.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return s, &net.Resolver{PreferGo: true,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			asking, err := d.DialContext(ctx, "udp", conn.LocalAddr().String())
			if err == nil { // a look-up that was given up goes on until its own time-out
				t.Cleanup(func() { asking.Close() })
			}
			return asking, err
		}}
}

func (s *nameServer) set(addresses []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addresses = addresses
}

func (s *nameServer) fail(code dnsmessage.RCode, silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.code, s.silent = code, silent
}

func (s *nameServer) answer(query []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var m dnsmessage.Message
	if s.silent || m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	m.Response, m.RCode, m.Additionals = true, s.code, nil
	q := m.Questions[0]
	for _, text := range s.addresses {
		addr := netip.MustParseAddr(text)
		head := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, Type: q.Type}
		switch {
		case q.Type == dnsmessage.TypeA && addr.Is4():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head,
				Body: &dnsmessage.AResource{A: addr.As4()}})
		case q.Type == dnsmessage.TypeAAAA && addr.Is6():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head,
				Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
		}
	}
	answer, err := m.Pack()
	if err != nil {
		return nil
	}
	return answer
}

// TestAddressIsCheckedWhenDialled checks that a name leads nowhere that the policy forbids: neither
// at the first look-up nor when its answer changes, as in DNS rebinding. Of several addresses only
// the allowed ones are used.
func TestAddressIsCheckedWhenDialled(t *testing.T) {
	url, _ := serve(t, nil)
	names, resolver := startNameServer(t)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	name := "http://consumer.test:" + port
	for _, step := range []struct {
		egress    egress.Policy
		addresses []string
		reason    string
	}{
		{egress.Any, []string{"127.0.0.1"}, ""},
		{egress.Any, []string{"169.254.169.254"}, "not sent: 169.254.169.254 is an address of a cloud's"},
		{egress.Any, []string{"169.254.169.254", "127.0.0.1"}, ""},
		{egress.Any, []string{"::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"}, "never connects"},
		{egress.Any, []string{"fe80::1"}, "link-local"}, {egress.Any, []string{"0.0.0.0"}, "unspecified"},
		{egress.Private, []string{"127.0.0.1"}, ""},
		{egress.Private, []string{"8.8.8.8"}, "a public address, and egress is private"},
		{egress.Public, []string{"127.0.0.1"}, "a loopback address, and egress is public"},
		{egress.Public, []string{"10.0.0.1", "::1"}, "egress is public"},
	} {
		names.set(step.addresses)
		c := open(t, Config{URL: name, Egress: step.egress, resolver: resolver})
		a := c.Deliver(t.Context(), delivery())
		if (a.Verdict == hookgate.VerdictDelivered) != (step.reason == "") ||
			a.Verdict != hookgate.VerdictDelivered && a.Verdict != hookgate.VerdictFailed ||
			!strings.Contains(a.Reason, step.reason) {
			t.Errorf("%s %v: %+v", step.egress, step.addresses, a)
		}
	}
	// the same consumer, whose name changes
	c := open(t, Config{URL: name, resolver: resolver})
	for _, step := range []struct {
		address string
		want    hookgate.Verdict
	}{{"127.0.0.1", hookgate.VerdictDelivered}, {"169.254.169.254", hookgate.VerdictFailed},
		{"127.0.0.1", hookgate.VerdictDelivered}} {
		names.set([]string{step.address})
		c.CloseIdleConnections()
		if a := c.Deliver(t.Context(), delivery()); a.Verdict != step.want {
			t.Errorf("%s: %+v", step.address, a)
		}
	}
}

// TestNoProxy checks that a proxy of the environment is not used. It would connect to any address.
func TestNoProxy(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	url, _ := serve(t, nil)
	names, resolver := startNameServer(t)
	names.set([]string{"127.0.0.1"})
	// A proxy is never used for loopback addresses, but it would be for a name.
	c := open(t, Config{URL: strings.Replace(url, "127.0.0.1", "consumer.test", 1),
		resolver: resolver})
	// net/http reads the environment once, so another test may have been earlier.
	if a := c.Deliver(t.Context(), delivery()); a.Verdict != hookgate.VerdictDelivered ||
		c.transport.Proxy != nil {
		t.Errorf("the answer is %+v", a)
	}
}

// TestResolverFails checks that a name which does not exist is the consumer's outage, and any other
// failure of the resolver ours.
func TestResolverFails(t *testing.T) {
	names, resolver := startNameServer(t)
	deliver := func() hookgate.Answer {
		return open(t, Config{URL: "http://consumer.test.:1/", Timeout: 600 * time.Millisecond,
			resolver: resolver}).Deliver(t.Context(), delivery())
	}
	names.fail(dnsmessage.RCodeNameError, false)
	if a := deliver(); a.Verdict != hookgate.VerdictOutage ||
		!strings.Contains(a.Reason, "no such host") {
		t.Errorf("no such name: %+v", a)
	}
	names.fail(dnsmessage.RCodeServerFailure, false)
	if a := deliver(); a.Verdict != hookgate.VerdictOwn {
		t.Errorf("server failure: %+v", a)
	}
	names.fail(0, true)
	if a := deliver(); a.Verdict != hookgate.VerdictOwn || a.Reason == "" {
		t.Errorf("silent server: %+v", a)
	}
	names.Close()
	if a := deliver(); a.Verdict != hookgate.VerdictOwn {
		t.Errorf("no server: %+v", a)
	}
}
