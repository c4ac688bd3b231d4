package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestAmazonClient: a certificate is fetched once for many callers and kept; what is no certificate, redirects or fails is an error each time, and it
// does not ask without limit. The host is Amazon's, but the connection goes to a server of the test.
func TestAmazonClient(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := tlsConfig{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	writeCertificate(t, files, 77)
	good, err := os.ReadFile(files.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int64
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		switch r.URL.Path {
		case "/good.pem", "/":
			w.Write(good)
		case "/garbage.pem":
			w.Write([]byte("garbage"))
		case "/moved.pem":
			http.Redirect(w, r, "/good.pem", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
		},
		TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "example.com"},
	}
	defer transport.CloseIdleConnections()
	a := newAmazonClient(transport)
	const host = "https://sns.us-east-1.amazonaws.com"
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			cert, err := a.Certificate(host + "/good.pem")
			if err != nil || cert.SerialNumber.Int64() != 77 {
				t.Errorf("got %v, %v", cert, err)
			}
		})
	}
	group.Wait()
	if n := calls.Load(); n != 1 {
		t.Errorf("asked %d times for one certificate", n)
	}
	if err := a.Confirm(host + "/?Action=ConfirmSubscription"); err != nil {
		t.Error(err)
	}
	for path, words := range map[string]string{"/garbage.pem": "not PEM", "/moved.pem": "redirection", "/missing.pem": "404"} {
		if _, err := a.Certificate(host + path); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: error is %v", path, err)
		}
	}
	before := calls.Load()
	for range 50 {
		if _, err := a.Certificate(host + "/missing.pem"); err == nil {
			t.Error("a missing certificate is found")
		}
	}
	if n := calls.Load() - before; n > 20 {
		t.Errorf("asked %d times for what is not there", n)
	}
	if _, err := a.Certificate(host + "/good.pem"); err != nil {
		t.Errorf("what is kept needs no asking: %v", err)
	}
}

// TestAmazonIsAway: while Amazon does not answer no more than a few requests wait for a certificate; others are told at once, because each
// that waits has a place in flight that webhooks of all sources share.
func TestAmazonIsAway(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	a := newAmazonClient(roundTripper(func(r *http.Request) (*http.Response, error) {
		select {
		case asked <- struct{}{}:
		default: // another round, after the answer to the first
		}
		<-answer
		return nil, errors.New("no answer")
	}))
	var waiting sync.WaitGroup
	ended := make(chan error, 5*maxWaiting)
	for range 5 * maxWaiting {
		waiting.Go(func() {
			_, err := a.Certificate("https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem")
			ended <- err
		})
	}
	<-asked
	for range 4 * maxWaiting {
		select {
		case err := <-ended:
			if err == nil {
				t.Error("a certificate came from nowhere")
			}
		case <-time.After(20 * time.Second):
			t.Fatal("too many wait")
		}
	}
	close(answer)
	waiting.Wait()
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
