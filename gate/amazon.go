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
	// maxCertificates bounds the cached certificates. Amazon uses one per region and replaces it now
	// and then.
	maxCertificates = 64
	// maxFailures bounds the cached failures, failureTime is how long one is kept.
	maxFailures, failureTime = 1024, 15 * time.Second
	// maxWaiting bounds the requests that wait for a certificate, because each holds its body in
	// memory.
	maxWaiting = 100
	// maxCertificateBytes bounds a certificate file, maxChain the length of the chain to a root.
	maxCertificateBytes, maxChain = 64 << 10, 4
)

// amazonClient implements admit.Amazon: it fetches and caches the certificates of Amazon SNS.
//
// A stranger who knows a topic can send URLs of certificates that do not exist. The client
// therefore limits its rate, fetches a URL once at a time, and caches failures. A URL that failed
// before has a rate of its own: the real URL comes again, invented ones do not, so they cannot keep
// it from being fetched.
type amazonClient struct {
	http    *http.Client
	roots   *x509.CertPool // nil: the roots of this machine
	first   *rate.Limiter  // for URLs that were not requested before
	again   *rate.Limiter  // for URLs that were
	confirm *rate.Limiter
	flights singleflight.Group
	waiting atomic.Int64

	mu     sync.Mutex // guards the fields below
	certs  map[string]*x509.Certificate
	failed map[string]failedFetch
}

// failedFetch is the failure to fetch a URL.
type failedFetch struct {
	until time.Time // no new attempt before; zero: there was no attempt, because of the rate
	err   error
}

// newAmazonClient returns a client for all sources of a gate.
func newAmazonClient(transport http.RoundTripper) *amazonClient {
	return &amazonClient{
		http: &http.Client{Transport: transport, Timeout: amazonTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return errors.New("redirects are not followed")
			}},
		first:   rate.NewLimiter(1, 10),
		again:   rate.NewLimiter(2, 10),
		confirm: rate.NewLimiter(1, 10),
		certs:   map[string]*x509.Certificate{},
		failed:  map[string]failedFetch{},
	}
}

var errTooManyFetches = errors.New("too many requests to Amazon: retry later")

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
		return nil, errors.New("too many requests wait for the certificate: retry later")
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

// fetch fetches a certificate and verifies it up to a root. If Amazon's file lacks intermediate
// certificates, fetch takes each from the URL that the certificate before it names.
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
		return nil, errors.New("the certificate file is not PEM")
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

// ofAmazonSNS returns an error if a certificate does not belong to Amazon SNS in the region of the
// URL that it came from. It permits the host of the URL and the names that the AWS SDKs permit.
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

// issuerDomains are the domains of the authorities that issue Amazon's certificates.
var issuerDomains = []string{".amazontrust.com", ".digicert.com"}

// issuer fetches the certificate of an issuer. Such URLs use plain HTTP; the caller verifies the
// certificate up to a root.
func (a *amazonClient) issuer(from string) (*x509.Certificate, error) {
	u, err := url.Parse(from)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Port() != "" {
		return nil, fmt.Errorf("%q is not a URL to fetch a certificate from", from)
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
	return nil, fmt.Errorf("%s does not issue certificates for Amazon", u.Host)
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
		return nil, fmt.Errorf("the server answers %s", resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxCertificateBytes))
}
