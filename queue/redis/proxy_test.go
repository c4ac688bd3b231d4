package redis

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/hookgate/hookgate/queue/queuetest"
)

// proxy is a proxy between a queue and its server that fails like a network. It considers each call
// of a script a write.
type proxy struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup
	// fail, if set, breaks each connection that sends a write: with false before the server gets the
	// write, with true after the write took effect and before the answer comes back.
	fail atomic.Pointer[bool]

	mu    sync.Mutex // guards all below
	held  chan struct{}
	conns map[net.Conn]bool // nil when closed
}

func newProxy(t queuetest.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("proxy: %v", err)
	}
	p := &proxy{listener: l, target: target, conns: map[net.Conn]bool{}}
	p.running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.serve(client.(*net.TCPConn)) })
		}
	})
	return p
}

func (p *proxy) url() string { return "redis://" + p.listener.Addr().String() }

// close ends all connections.
func (p *proxy) close() {
	p.listener.Close()
	p.release()
	p.mu.Lock()
	for c := range p.conns {
		c.Close()
	}
	p.conns = nil
	p.mu.Unlock()
	p.running.Wait()
}

// hold lets nothing pass until release.
func (p *proxy) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = make(chan struct{})
}

func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held != nil {
		close(p.held)
		p.held = nil
	}
}

func (p *proxy) gate() {
	p.mu.Lock()
	held := p.held
	p.mu.Unlock()
	if held != nil {
		<-held
	}
}

// keep registers connections for close. It returns false if close was called before.
func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		return false
	}
	for _, c := range conns {
		p.conns[c] = true
	}
	return true
}

func (p *proxy) serve(client *net.TCPConn) {
	defer client.Close()
	conn, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	server := conn.(*net.TCPConn)
	defer server.Close()
	if !p.keep(client, server) {
		return
	}
	var swallow atomic.Bool
	var answers sync.WaitGroup
	answers.Go(func() {
		defer client.Close()
		p.copy(server, func(b []byte) bool {
			if swallow.Load() {
				return true
			}
			_, err := client.Write(b)
			return err == nil
		})
	})
	p.copy(client, func(b []byte) bool {
		when := p.fail.Load()
		failing := when != nil && bytes.Contains(b, []byte("EVAL"))
		if failing && !*when {
			client.Close()
			return false
		}
		swallow.Store(swallow.Load() || failing)
		_, err := server.Write(b)
		return err == nil && !failing
	})
	// The server answers all it has received, sees the end of the connection and closes it. By then
	// every write has taken effect.
	server.CloseWrite()
	answers.Wait()
}

func (p *proxy) copy(from io.Reader, to func([]byte) bool) {
	b := make([]byte, 1<<18)
	for {
		n, err := from.Read(b)
		p.gate()
		if n > 0 && !to(b[:n]) || err != nil {
			return
		}
	}
}
