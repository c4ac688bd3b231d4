package load

import (
	"io"
	"net"
	"testing"
	"time"
)

// Goal: a connection that the server closed while it was idle is not used again, so that no request
// is lost. Method: a server that hangs up after each answer without announcing it.
func TestClosedWhileIdle(t *testing.T) {
	closed := make(chan struct{})
	target, connections := scripted(t, func(w net.Conn, _ int) {
		io.WriteString(w, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
		w.Close()
		closed <- struct{}{}
	})
	s := newSender(target, Credentials{}, time.Minute)
	defer s.close()
	for range 5 {
		if a, _ := s.attempt(t.Context(), parsed(t, []byte(eventLine("m", "k", 1)))); a.Status != 202 {
			t.Errorf("attempt %+v", a)
		}
		<-closed
		for deadline := time.Now().Add(time.Minute); s.conn.reusable(); {
			if time.Now().After(deadline) {
				t.Fatal("the close goes unnoticed")
			}
		}
	}
	if n := connections.Load(); n != 5 {
		t.Errorf("%d connections, want 5", n)
	}
}
