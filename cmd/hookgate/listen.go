package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/hookgate/hookgate/internal/httpserver"
)

// listeners are where a gate is reached: one for everything, or one for senders and one for people.
type listeners struct {
	public net.Listener
	admin  net.Listener // the same if there is only one
}

// listen opens what the configuration names. The caller closes it.
func listen(c config) (l listeners, err error) {
	if l.public, err = net.Listen("tcp", c.Listen); err != nil {
		return l, fmt.Errorf("listen: %w", err)
	}
	l.admin = l.public
	if c.Admin.Listen == "" {
		return l, nil
	}
	if l.admin, err = net.Listen("tcp", c.Admin.Listen); err != nil {
		l.public.Close()
		return l, fmt.Errorf("admin.listen: %w", err)
	}
	return l, nil
}

func (l listeners) separate() bool { return l.admin != l.public }

// Close closes both.
func (l listeners) Close() error {
	if !l.separate() {
		return l.public.Close()
	}
	return errors.Join(l.public.Close(), l.admin.Close())
}

// String says where the gate is reached.
func (l listeners) String() string {
	if !l.separate() {
		return l.public.Addr().String()
	}
	return fmt.Sprintf("%s (webhooks) and %s (admin)", l.public.Addr(), l.admin.Addr())
}

// serve serves until the server is shut down, or the first of them fails. The error is that, or
// nil.
func (l listeners) serve(s *httpserver.Server) <-chan error {
	ended := make(chan error, 2)
	one := func(listener net.Listener, side httpserver.Side) {
		err := s.Serve(listener, side)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		} else {
			err = fmt.Errorf("serve on %s: %w", listener.Addr(), err)
		}
		ended <- err
	}
	if !l.separate() {
		go one(l.public, httpserver.Everything)
		return ended
	}
	go one(l.public, httpserver.PublicSide)
	go one(l.admin, httpserver.AdminSide)
	return ended
}

// urlOf returns the base URL under which a listener is reached from this machine.
func urlOf(l net.Listener, secure bool) string {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("%s://127.0.0.1:%d", scheme, tcp.Port)
	}
	return scheme + "://" + l.Addr().String()
}
