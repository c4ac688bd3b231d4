package pgtest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Proxy forwards connections to a server whose address can change. It simulates an address that
// moves to another machine, and a network that stops in the middle of a message.
type Proxy struct {
	listener net.Listener
	done     sync.WaitGroup

	mu     sync.Mutex // guards all below
	target string
	conns  map[net.Conn]struct{}
	closed bool
	// room is how many bytes clients may send before the proxy holds them back. A negative room
	// means no limit.
	room int
	// released is closed while the proxy holds nothing back.
	released chan struct{}
}

// StartProxy starts a proxy in front of a server at host:port.
func StartProxy(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start proxy: %w", err)
	}
	p := &Proxy{listener: l, target: target, conns: map[net.Conn]struct{}{}, room: -1,
		released: make(chan struct{})}
	p.done.Go(p.accept)
	return p, nil
}

// URL returns the address of a database behind the proxy.
func (p *Proxy) URL(database string) string {
	return address(p.listener.Addr().(*net.TCPAddr).Port, database)
}

// Move breaks all connections and forwards new ones to another server.
func (p *Proxy) Move(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
	p.breakAll()
}

// HoldAfter makes the proxy hold back all that clients send after n more bytes, until Release.
func (p *Proxy) HoldAfter(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.room, p.released = bytes, make(chan struct{})
}

// Release forwards everything that was held back, and all that follows.
func (p *Proxy) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release()
}

func (p *Proxy) release() {
	if p.room >= 0 {
		p.room = -1
		close(p.released)
	}
}

// Close breaks all connections and accepts no more.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.release()
	p.breakAll()
	p.mu.Unlock()
	err := p.listener.Close()
	p.done.Wait()
	return err
}

func (p *Proxy) breakAll() {
	for c := range p.conns {
		_ = c.Close() // Close or Move breaks it
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.done.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	if !p.add(client, server, target) {
		return
	}
	defer p.remove(client, server)
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(server, &heldReader{p, client}) // either end may break it
		_ = server.Close()
	})
	both.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	both.Wait()
}

// add registers a pair of connections, unless the address has moved since.
func (p *Proxy) add(client, server net.Conn, target string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || target != p.target {
		return false
	}
	p.conns[client], p.conns[server] = struct{}{}, struct{}{}
	return true
}

func (p *Proxy) remove(client, server net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, server)
}

// heldReader reads the data that a client sends and the proxy forwards.
type heldReader struct {
	proxy  *Proxy
	client net.Conn
}

var errHeld = errors.New("the connection was held back until it broke")

func (r *heldReader) Read(b []byte) (int, error) {
	n, err := r.client.Read(b)
	if n == 0 {
		return n, err
	}
	p := r.proxy
	p.mu.Lock()
	held := p.room >= 0 && n > p.room
	if p.room >= 0 && !held {
		p.room -= n
	}
	released := p.released
	p.mu.Unlock()
	if held {
		<-released
		if p.isClosed() {
			return 0, errHeld
		}
	}
	return n, err
}

func (p *Proxy) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}
