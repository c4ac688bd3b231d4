package push

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLS are settings of https. All are optional.
type TLS struct {
	// CAFile has the only certificate authorities to trust, in PEM. Empty: those of the system.
	CAFile string
	// CertFile and KeyFile have the client certificate and its key in PEM. Each handshake reads them
	// again, so that they can be replaced while the gate runs.
	CertFile, KeyFile string
	// ServerName is the name in the server's certificate, if it is not the host of the URL.
	ServerName string
}

func (t TLS) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		text, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the certificate authorities: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s has no certificate in PEM", t.CAFile)
		}
	}
	if t.CertFile == "" && t.KeyFile == "" {
		return config, nil
	}
	if t.CertFile == "" || t.KeyFile == "" {
		return nil, errors.New("a client certificate needs its key: set both files or neither")
	}
	first, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if now, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile); err == nil {
			return &now, nil
		}
		return &first, nil // somebody is replacing the files
	}
	return config, nil
}
