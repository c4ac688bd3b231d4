package consumer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"time"
)

// maxBody bounds the body of a request in bytes; a gate stores smaller ones.
const maxBody = 64 << 20

// lastAnswers is how long a consumer that goes away waits for the answers that it has begun.
const lastAnswers = 10 * time.Second

// Push is a consumer to which the gate posts.
type Push struct {
	*Consumer
	// Secret is the secret of the subscription, and SenderSecret the HMAC secret of the senders. An
	// empty one is not checked.
	Secret, SenderSecret string

	address string
	server  *http.Server
	done    chan struct{} // closed when the server has ended
}

// Listen begins to take requests at an address. It returns the address, whose port may be 0.
func (p *Push) Listen(address string) (string, error) {
	if err := checkSecret(p.Secret); p.Secret != "" && err != nil {
		return "", fmt.Errorf("the secret of the subscription %w", err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	p.serve(l)
	return p.address, nil
}

func (p *Push) serve(l net.Listener) {
	p.address, p.done = l.Addr().String(), make(chan struct{})
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: time.Minute,
		ErrorLog: log.New(io.Discard, "", 0)} // connections that the gate breaks
	go func() {
		p.server.Serve(l) // its end is that of leaving
		close(p.done)
	}()
}

// Leave closes the listener and all connections. Attempts that are being worked on get no answer.
func (p *Push) Leave() {
	p.leave()
	ctx, cancel := context.WithTimeout(context.Background(), lastAnswers)
	defer cancel()
	if p.server.Shutdown(ctx) != nil {
		p.server.Close()
	}
	<-p.done
}

// Return listens again at the same address.
func (p *Push) Return() error {
	p.comeBack()
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		return fmt.Errorf("listen again: %w", err)
	}
	p.serve(l)
	return nil
}

// ServeHTTP implements http.Handler.
func (p *Push) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := Attempt{At: time.Now().UTC()}
	leaves := p.leaves()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	p.describe(&a, r.Header, body)
	if r.Method != http.MethodPost {
		http.Error(w, "a gate posts", http.StatusMethodNotAllowed)
		return
	}
	if err != nil {
		return // there was no whole request
	}
	var pause time.Duration
	a.Did, a.Status, pause = p.decide(&a)
	if pause > 0 {
		select {
		case <-time.After(pause):
		case <-leaves:
			a.Did, a.Status = Away, 0
		case <-r.Context().Done():
		}
	}
	if a.Did == Hung {
		select {
		case <-r.Context().Done():
		case <-leaves:
			a.Did = Away
		}
	}
	a.End = time.Now().UTC()
	defer func() { p.record(&a) }()
	if a.Status == 0 {
		a.Cut = true
		if a.Did == Reset {
			reset(w)
		}
		panic(http.ErrAbortHandler)
	}
	if a.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(a.RetryAfter)))
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(a.Status)
	err = http.NewResponseController(w).Flush()
	a.Cut = err != nil || r.Context().Err() != nil
}

// describe fills in what the gate says of an event.
func (p *Push) describe(a *Attempt, h http.Header, body []byte) {
	sum := sha256.Sum256(body)
	a.SHA256, a.Size = hex.EncodeToString(sum[:]), len(body)
	for name, to := range map[string]*string{
		"Webhook-Id": &a.WebhookID, "Webhook-Timestamp": &a.Timestamp,
		"Hookgate-Subscription": &a.Subscription, "Hookgate-Event-Id": &a.EventID,
		"Hookgate-Source": &a.Source, "Hookgate-Type": &a.Type, "Hookgate-Message-Id": &a.MessageID,
		"Hookgate-Key": &a.Key, "Hookgate-Received-At": &a.ReceivedAt,
		"Hookgate-Attempt": &a.Attempt, "Hookgate-Redelivery": &a.Redelivery,
		"Content-Type": &a.ContentType, "Content-Encoding": &a.ContentEncoding,
	} {
		*to = h.Get(name)
	}
	if p.Secret != "" {
		a.Signature = checkSignature(p.Secret, a.WebhookID, a.Timestamp, body,
			h.Get("Webhook-Signature"))
	}
	if p.SenderSecret != "" {
		a.SenderSignature = checkSender(p.SenderSecret, body, h.Get(senderHeader))
	}
	a.name(body)
}

// name takes the message id from the body if the gate did not give one.
func (a *Attempt) name(body []byte) {
	var envelope struct{ MessageID string }
	if a.MessageID == "" && json.Unmarshal(body, &envelope) == nil {
		a.MessageID = envelope.MessageID
	}
}

// reset closes a connection so that the other side sees a reset.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return // HTTP/2, which this server does not speak
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}
