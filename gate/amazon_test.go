package gate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// authority issues certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// issue makes a certificate with a new key. Without an issuer the certificate signs itself.
func (by *authority) issue(t *testing.T, template x509.Certificate) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.BasicConstraintsValid = true
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	template.NotBefore = template.NotAfter.Add(-2 * time.Hour)
	parent, signer := &template, key
	if by != nil {
		parent, signer = by.certificate, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{made, key}
}

func (by *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: by.certificate.Raw}))
}

// amazonOf returns a client whose server has these files by URL, and counts the calls.
func amazonOf(roots *x509.CertPool, files map[string]string, calls *atomic.Int64) *amazonClient {
	a := newAmazonClient(roundTripper(func(r *http.Request) (*http.Response, error) {
		calls.Add(1)
		answer := &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Header: http.Header{},
			Request: r, Body: http.NoBody}
		text, ok := files[r.URL.String()]
		switch {
		case !ok:
			answer.StatusCode, answer.Status = http.StatusNotFound, "404 Not Found"
		case strings.HasPrefix(text, "http"):
			answer.StatusCode, answer.Header = http.StatusFound, http.Header{"Location": {text}}
		default:
			answer.Body = io.NopCloser(strings.NewReader(text))
		}
		return answer, nil
	}))
	a.roots = roots
	return a
}

// TestAmazonCertificates: the client accepts a certificate of Amazon SNS in the region of its URL,
// with a chain to a root whose issuers are in the file or fetched. It rejects any other, and
// fetches issuers only from the known authorities.
func TestAmazonCertificates(t *testing.T) {
	t.Parallel()
	const host, issuerURL = "https://sns.us-east-1.amazonaws.com",
		"http://crt.r2m01.amazontrust.com/r2m01.cer"
	ca := x509.Certificate{IsCA: true, KeyUsage: x509.KeyUsageCertSign,
		Subject: pkix.Name{CommonName: "root"}}
	root := (*authority)(nil).issue(t, ca)
	ca.Subject.CommonName = "issuer"
	issuer := root.issue(t, ca)
	roots := x509.NewCertPool()
	roots.AddCert(root.certificate)
	leaf := func(by *authority, issuedAt string, names ...string) *authority {
		template := x509.Certificate{DNSNames: names, Subject: pkix.Name{CommonName: "leaf"}}
		if issuedAt != "" {
			template.IssuingCertificateURL = []string{issuedAt}
		}
		return by.issue(t, template)
	}
	good := leaf(issuer, issuerURL, "sns.amazonaws.com")
	expired := x509.Certificate{DNSNames: []string{"sns.amazonaws.com"},
		NotAfter: time.Now().Add(-time.Minute)}
	files := map[string]string{
		issuerURL:                           string(issuer.certificate.Raw),
		"http://evil.example/issuer.cer":    string(issuer.certificate.Raw),
		"http://amazontrust.com.evil/i.cer": string(issuer.certificate.Raw),
		host + "/fetched.pem":               good.pem(),
		host + "/chain.pem": leaf(issuer, "", "sns.us-east-1.amazonaws.com").pem() +
			issuer.pem(),
		host + "/optin.pem": leaf(issuer, issuerURL,
			"sns-signing.us-east-1.amazonaws.com").pem(),
		host + "/garbage.pem":  "garbage",
		host + "/moved.pem":    host + "/fetched.pem",
		host + "/self.pem":     leaf(nil, "", "sns.amazonaws.com").pem(),
		host + "/noissuer.pem": leaf(issuer, "", "sns.amazonaws.com").pem(),
		host + "/evil.pem": leaf(issuer, "http://evil.example/issuer.cer",
			"sns.amazonaws.com").pem(),
		host + "/alike.pem": leaf(issuer, "http://amazontrust.com.evil/i.cer",
			"sns.amazonaws.com").pem(),
		host + "/bucket.pem": leaf(issuer, issuerURL, "*.s3.amazonaws.com",
			"evil.example").pem(),
		host + "/region.pem":  leaf(issuer, issuerURL, "sns.eu-west-1.amazonaws.com").pem(),
		host + "/expired.pem": issuer.issue(t, expired).pem() + issuer.pem(),
	}
	for path, words := range map[string]string{
		"/fetched.pem": "", "/chain.pem": "", "/optin.pem": "", "/garbage.pem": "not PEM",
		"/moved.pem": "redirects", "/missing.pem": "404",
		"/self.pem": "unknown authority", "/noissuer.pem": "unknown authority",
		"/evil.pem": "does not issue certificates for Amazon", "/alike.pem": "does not issue" +
			" certificates for Amazon",
		"/bucket.pem": "not for Amazon SNS", "/region.pem": "not for Amazon SNS",
		"/expired.pem": "is valid from",
	} {
		var calls atomic.Int64
		cert, err := amazonOf(roots, files, &calls).Certificate(host + path)
		switch {
		case words == "" && (err != nil || cert == nil):
			t.Errorf("%s: %v", path, err)
		case words != "" && (err == nil || !strings.Contains(err.Error(), words)):
			t.Errorf("%s: error is %v, want %q", path, err, words)
		}
		if n := calls.Load(); n > 2 {
			t.Errorf("%s: asked %d times", path, n)
		}
	}
}

// TestAmazonIsAskedSeldom: the client fetches a certificate once for many callers and caches it. It
// does not fetch a URL again soon after a failure. Invented URLs do not keep it from fetching the
// real one when that comes again.
func TestAmazonIsAskedSeldom(t *testing.T) {
	t.Parallel()
	const host = "https://sns.us-east-1.amazonaws.com"
	root := (*authority)(nil).issue(t, x509.Certificate{IsCA: true, KeyUsage: x509.KeyUsageCertSign,
		DNSNames: []string{"sns.amazonaws.com"}})
	roots := x509.NewCertPool()
	roots.AddCert(root.certificate)
	files := map[string]string{host + "/good.pem": root.pem(), host + "/late.pem": root.pem(), host +
		"/": "confirmed"}
	var calls atomic.Int64
	a := amazonOf(roots, files, &calls)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if cert, err := a.Certificate(host + "/good.pem"); err != nil || !cert.Equal(root.certificate) {
				t.Errorf("got %v, %v", cert, err)
			}
		})
	}
	group.Wait()
	if n := calls.Swap(0); n != 1 {
		t.Errorf("asked %d times for one certificate", n)
	}
	for range 50 {
		if _, err := a.Certificate(host + "/missing.pem"); err == nil {
			t.Error("a missing certificate is found")
		}
	}
	if n := calls.Swap(0); n != 1 {
		t.Errorf("asked %d times for what is not there", n)
	}
	for i := range 500 {
		if _, err := a.Certificate(fmt.Sprintf("%s/made-up-%d.pem", host, i)); err == nil {
			t.Error("a certificate that is not there is found")
		}
	}
	if n := calls.Load(); n > 20 {
		t.Errorf("asked %d times for names that strangers made up", n)
	}
	if _, err := a.Certificate(host + "/late.pem"); !errors.Is(err, errTooManyFetches) {
		t.Errorf("the first time: %v", err)
	}
	if _, err := a.Certificate(host + "/late.pem"); err != nil {
		t.Errorf("the second time: %v", err)
	}
	if err := a.Confirm(host + "/"); err != nil {
		t.Error(err)
	}
	if len(a.failed) > maxFailures {
		t.Errorf("%d failures are remembered", len(a.failed))
	}
}

// TestAmazonIsAway: while Amazon does not answer, only a limited number of requests wait for a
// certificate. Others fail at once, because a waiting request uses a place in flight that all
// sources share.
func TestAmazonIsAway(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	a := newAmazonClient(roundTripper(func(*http.Request) (*http.Response, error) {
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
		case <-time.After(2 * time.Minute):
			t.Fatal("too many wait")
		}
	}
	close(answer)
	waiting.Wait()
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
