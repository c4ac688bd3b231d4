package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
)

const (
	amazonTimeout = 5 * time.Second
	// maxCertificates is how many certificates are kept; Amazon has one for each region, and a new one now and then.
	maxCertificates = 64
	// maxWaiting is how many requests wait for a certificate at a time. Each has a place in flight, which other sources need too.
	maxWaiting = 100
	// maxCertificateBytes is the largest file of a certificate.
	maxCertificateBytes = 64 << 10
)

// amazonClient fetches the certificates that Amazon SNS signs with, and keeps them until they run out. Who is not authentic can
// make it ask, so that it asks seldom: more than a few certificates at a time must wait, as must what has failed.
type amazonClient struct {
	http    *http.Client
	limiter *rate.Limiter
	flights singleflight.Group
	waiting atomic.Int64

	mu    sync.Mutex // guards certs
	certs map[string]*x509.Certificate
}

// amazon is shared by all sources.
var amazon = newAmazonClient(http.DefaultTransport)

func newAmazonClient(transport http.RoundTripper) *amazonClient {
	return &amazonClient{
		http: &http.Client{Transport: transport, Timeout: amazonTimeout, CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("a redirection is not followed")
		}},
		limiter: rate.NewLimiter(1, 10),
		certs:   map[string]*x509.Certificate{},
	}
}

// Certificate implements admit.Amazon.
func (a *amazonClient) Certificate(url string) (*x509.Certificate, error) {
	a.mu.Lock()
	cert := a.certs[url]
	a.mu.Unlock()
	if cert != nil && time.Now().Before(cert.NotAfter) {
		return cert, nil
	}
	defer a.waiting.Add(-1)
	if a.waiting.Add(1) > maxWaiting {
		return nil, errors.New("too many requests wait for it")
	}
	fetched, err, _ := a.flights.Do(url, func() (any, error) {
		body, err := a.get(url)
		if err != nil {
			return nil, err
		}
		block, _ := pem.Decode(body)
		if block == nil {
			return nil, errors.New("what is there is not PEM")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if now := time.Now(); now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
			return nil, fmt.Errorf("the certificate is valid from %v to %v", cert.NotBefore, cert.NotAfter)
		}
		a.keep(url, cert)
		return cert, nil
	})
	if err != nil {
		return nil, err
	}
	return fetched.(*x509.Certificate), nil
}

func (a *amazonClient) keep(url string, cert *x509.Certificate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.certs) >= maxCertificates {
		clear(a.certs)
	}
	a.certs[url] = cert
}

// Confirm implements admit.Amazon.
func (a *amazonClient) Confirm(url string) error {
	_, err := a.get(url)
	return err
}

func (a *amazonClient) get(url string) ([]byte, error) {
	if !a.limiter.Allow() {
		return nil, errors.New("there were too many questions to Amazon lately")
	}
	resp, err := a.http.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it is answered %s", resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxCertificateBytes))
}
