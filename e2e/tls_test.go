package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writeCertificate makes a certificate for 127.0.0.1 with a serial number, and returns a pool that
// trusts it.
func writeCertificate(t *testing.T, files certificateFiles, serial int64) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{files.CertFile: {Type: "CERTIFICATE", Bytes: der},
		files.KeyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	return pool
}

// TestTLS checks TLS from version 1.2, with HTTP/1.1 and HTTP/2. The gate loads a new certificate
// without a restart and without closing connections. If the new files are invalid, it keeps the
// previous certificate.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := certificateFiles{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	pool := writeCertificate(t, files, 1)
	g := startGate(t, startOptions{env: []string{"HOOKGATE_TLS_CERT_FILE=" + files.CertFile,
		"HOOKGATE_TLS_KEY_FILE=" + files.KeyFile}})
	address := strings.TrimPrefix(g.url, "http://")
	post := func(c *http.Client, id string) *http.Response {
		t.Helper()
		r, err := http.NewRequest(http.MethodPost, "https://"+address+"/webhooks",
			strings.NewReader(`{"messageId":"`+id+`","eventType":"t"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+g.key(bearerKeyName))
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			t.Fatalf("%s is answered %s", id, resp.Status)
		}
		return resp
	}
	client := func(pool *x509.CertPool, http2 bool) *http.Client {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool},
			ForceAttemptHTTP2: http2}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport, Timeout: waitFor}
	}
	one, two := client(pool, false), client(pool, true)
	if resp := post(one, "a"); resp.ProtoMajor != 1 {
		t.Errorf("HTTP/1.1 is answered in %s", resp.Proto)
	}
	if resp := post(two, "b"); resp.ProtoMajor != 2 {
		t.Errorf("HTTP/2 is answered in %s", resp.Proto)
	}
	if conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS11,
		MinVersion: tls.VersionTLS10}); err == nil {
		conn.Close()
		t.Error("TLS 1.1 is spoken")
	}
	// A request in the clear gets an answer that says so, and is not accepted.
	if resp, err := http.Post("http://"+address+"/webhooks", "application/json",
		bytes.NewReader([]byte("{}"))); err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("a request in the clear is answered %s", resp.Status)
		}
	}

	newer := writeCertificate(t, files, 2)
	serial := func() int64 {
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	g.await("the new certificate is in use", func() bool { return serial() == 2 })
	post(one, "c") // over the earlier connections, which trust only the old certificate
	post(two, "d")
	post(client(newer, true), "e")

	if err := os.WriteFile(files.CertFile, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.await("the gate says that the certificate cannot be read", func() bool {
		return serial() == 2 && strings.Contains(g.logs.String(), "keeps using the earlier one")
	})
	post(client(newer, true), "f")
}
