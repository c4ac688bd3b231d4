package gate

import (
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/hookgate/hookgate/internal/httpserver"
)

// listeners are the listeners of a gate: one for everything, one for senders and one for the API,
// or none.
type listeners struct {
	public net.Listener // nil without Options.Listen
	admin  net.Listener // the same as public without Admin.Listen
}

// listen opens the listeners that the options name. The caller closes them.
func listen(o Options) (l listeners, err error) {
	if o.Listen != "" {
		if l.public, err = net.Listen("tcp", o.Listen); err != nil {
			return l, fmt.Errorf("listen: %w", err)
		}
	}
	l.admin = l.public
	if o.Admin.Listen == "" {
		return l, nil
	}
	if l.admin, err = net.Listen("tcp", o.Admin.Listen); err != nil {
		l.admin = l.public
		return l, errors.Join(fmt.Errorf("admin.listen: %w", err), l.Close())
	}
	return l, nil
}

func (l listeners) separate() bool { return l.admin != l.public }

// distinct returns the listeners, each once.
func (l listeners) distinct() (all []net.Listener) {
	if l.public != nil {
		all = append(all, l.public)
	}
	if l.separate() {
		all = append(all, l.admin)
	}
	return all
}

// Close closes the listeners.
func (l listeners) Close() error {
	var errs []error
	for _, listener := range l.distinct() {
		errs = append(errs, listener.Close())
	}
	return errors.Join(errs...)
}

// String returns the addresses, for people.
func (l listeners) String() string {
	switch {
	case l.admin == nil:
		return "no address"
	case !l.separate():
		return addressOf(l.public)
	}
	return fmt.Sprintf("%s (webhooks) and %s (admin)", addressOf(l.public), addressOf(l.admin))
}

// addressOf returns the address of a listener; "" if it is nil.
func addressOf(l net.Listener) string {
	if l == nil {
		return ""
	}
	return l.Addr().String()
}

// serve starts serving. The channel receives an error when a listener fails, and nil when the
// server is shut down. Without a listener the channel is nil.
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
	switch {
	case l.admin == nil:
		return nil
	case !l.separate():
		go one(l.public, httpserver.Everything)
		return ended
	case l.public != nil:
		go one(l.public, httpserver.PublicSide)
	}
	go one(l.admin, httpserver.AdminSide)
	return ended
}

// urlOf returns the base URL of a listener as seen from this machine; "" if it is nil.
func urlOf(l net.Listener, secure bool) string {
	if l == nil {
		return ""
	}
	scheme := "http"
	if secure {
		scheme = "https"
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("%s://127.0.0.1:%d", scheme, tcp.Port)
	}
	return scheme + "://" + l.Addr().String()
}
