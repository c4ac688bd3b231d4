package gate

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
)

const (
	amazonTimeout = 5 * time.Second
	// maxCertificates is how many certificates are kept; Amazon has one for each region, and a new one
	// now and then.
	maxCertificates = 64
	// maxFailures is how many URLs without a certificate are remembered, failureTime for how long.
	maxFailures, failureTime = 1024, 15 * time.Second
	// maxWaiting is how many requests wait for a certificate at a time. Each holds the memory of its
	// body.
	maxWaiting = 100
	// maxCertificateBytes is the largest file of a certificate, and maxChain how many certificates
	// lead from Amazon's to a root.
	maxCertificateBytes, maxChain = 64 << 10, 4
)

// amazonClient fetches the certificates that Amazon SNS signs with, and keeps them until they run
// out. A stranger who knows a topic can make it ask for any name of a certificate. So it asks
// seldom, each URL once at a time, and remembers failures. A URL that was asked for before has a
// rate of its own, so that names made up for one request do not keep the real one, which comes
// again, from being fetched.
type amazonClient struct {
	http    *http.Client
	roots   *x509.CertPool // nil: those of this machine
	first   *rate.Limiter  // for URLs that nobody has asked for
	again   *rate.Limiter  // for those that somebody has
	confirm *rate.Limiter
	flights singleflight.Group
	waiting atomic.Int64

	mu     sync.Mutex // guards what follows
	certs  map[string]*x509.Certificate
	failed map[string]failedFetch
}

// failedFetch is a URL from which there was no certificate.
type failedFetch struct {
	until time.Time // it is not fetched before that; zero: it was not fetched for want of the rate
	err   error
}

// newAmazonClient returns a client for all sources of a gate.
func newAmazonClient(transport http.RoundTripper) *amazonClient {
	return &amazonClient{
		http: &http.Client{Transport: transport, Timeout: amazonTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return errors.New("a redirection is not followed")
			}},
		first:   rate.NewLimiter(1, 10),
		again:   rate.NewLimiter(2, 10),
		confirm: rate.NewLimiter(1, 10),
		certs:   map[string]*x509.Certificate{},
		failed:  map[string]failedFetch{},
	}
}

var errTooManyFetches = errors.New("the gate asked Amazon for too much lately")

// Certificate implements admit.Amazon.
func (a *amazonClient) Certificate(url string) (*x509.Certificate, error) {
	now := time.Now()
	a.mu.Lock()
	cert, before := a.certs[url], a.failed[url]
	a.mu.Unlock()
	switch {
	case cert != nil && now.Before(cert.NotAfter):
		return cert, nil
	case now.Before(before.until):
		return nil, before.err
	}
	defer a.waiting.Add(-1)
	if a.waiting.Add(1) > maxWaiting {
		return nil, errors.New("too many requests wait for it")
	}
	fetched, err, _ := a.flights.Do(url, func() (any, error) {
		limiter := a.first
		if before.err != nil {
			limiter = a.again
		}
		if !limiter.Allow() {
			a.fail(url, failedFetch{err: errTooManyFetches})
			return nil, errTooManyFetches
		}
		cert, err := a.fetch(url, now)
		if err != nil {
			a.fail(url, failedFetch{now.Add(failureTime), err})
			return nil, err
		}
		a.keep(url, cert)
		return cert, nil
	})
	if err != nil {
		return nil, err
	}
	return fetched.(*x509.Certificate), nil
}

// fetch gets a certificate and verifies it up to a root. Amazon's file need not hold the
// certificates in between, so that they are fetched from where each says that its issuer's is.
func (a *amazonClient) fetch(from string, now time.Time) (*x509.Certificate, error) {
	text, err := a.get(from)
	if err != nil {
		return nil, err
	}
	var chain []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil && len(chain) < maxChain; block,
		rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, errors.New("the file is not PEM")
	}
	leaf := chain[0]
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return nil, fmt.Errorf("the certificate is valid from %v to %v", leaf.NotBefore, leaf.NotAfter)
	}
	if err := ofAmazonSNS(leaf, from); err != nil {
		return nil, err
	}
	options := x509.VerifyOptions{Roots: a.roots, Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, cert := range chain[1:] {
		options.Intermediates.AddCert(cert)
	}
	for {
		_, err := leaf.Verify(options)
		var unknown x509.UnknownAuthorityError
		if err == nil {
			return leaf, nil
		}
		last := chain[len(chain)-1]
		if !errors.As(err, &unknown) || len(chain) >= maxChain || len(last.IssuingCertificateURL) == 0 {
			return nil, err
		}
		issuer, err := a.issuer(last.IssuingCertificateURL[0])
		if err != nil {
			return nil, fmt.Errorf("certificate of the issuer: %w", err)
		}
		chain = append(chain, issuer)
		options.Intermediates.AddCert(issuer)
	}
}

// ofAmazonSNS checks that a certificate is for Amazon SNS in the region of the URL that it came
// from: for its host, or for a name of those that the AWS SDKs expect there.
func ofAmazonSNS(cert *x509.Certificate, from string) error {
	u, err := url.Parse(from)
	if err != nil {
		return err
	}
	region, domain, _ := strings.Cut(strings.TrimPrefix(u.Host, "sns."), ".")
	names := []string{u.Host, "sns." + domain, "sns-" + region + "." + domain, "sns-signing." +
		region + "." + domain}
	if strings.HasPrefix(region, "us-gov-") {
		names = append(names, "sns-us-gov-west-1."+domain)
	}
	for _, name := range names {
		if cert.VerifyHostname(name) == nil || cert.Subject.CommonName == name {
			return nil
		}
	}
	return fmt.Errorf("the certificate is for %v, not for Amazon SNS in %s", cert.DNSNames, region)
}

// issuerDomains are those of the authorities that issue Amazon's certificates.
var issuerDomains = []string{".amazontrust.com", ".digicert.com"}

// issuer fetches the certificate of an issuer. It comes in the clear, as everybody's does: a root
// must vouch for it.
func (a *amazonClient) issuer(from string) (*x509.Certificate, error) {
	u, err := url.Parse(from)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Port() != "" {
		return nil, fmt.Errorf("%q is not a URL to fetch it from", from)
	}
	for _, domain := range issuerDomains {
		if strings.HasSuffix(u.Host, domain) {
			der, err := a.get(from)
			if err != nil {
				return nil, err
			}
			return x509.ParseCertificate(der)
		}
	}
	return nil, fmt.Errorf("%s is not an authority of Amazon's", u.Host)
}

func (a *amazonClient) keep(url string, cert *x509.Certificate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.certs) >= maxCertificates {
		clear(a.certs)
	}
	a.certs[url] = cert
	delete(a.failed, url)
}

func (a *amazonClient) fail(url string, failure failedFetch) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.failed) >= maxFailures {
		clear(a.failed)
	}
	a.failed[url] = failure
}

// Confirm implements admit.Amazon.
func (a *amazonClient) Confirm(url string) error {
	if !a.confirm.Allow() {
		return errTooManyFetches
	}
	_, err := a.get(url)
	return err
}

func (a *amazonClient) get(url string) ([]byte, error) {
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
