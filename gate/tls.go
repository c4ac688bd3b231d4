package gate

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// TLSOptions is used if CertFile is set.
type TLSOptions struct {
	CertFile string `setting:"cert_file"`
	KeyFile  string `setting:"key_file"`
}

// certificateCheck is how often a handshake checks the files for changes.
const certificateCheck = time.Second

// certificate is a certificate in files. It is loaded again when they change; open connections keep
// the earlier one.
type certificate struct {
	files TLSOptions
	log   *slog.Logger

	mu      sync.Mutex // guards the fields below; a handshake takes far longer than it is held
	current *tls.Certificate
	stamp   stamp // of the files at the last load, which may have failed
	checked time.Time
}

// stamp identifies a version of the two files.
type stamp struct {
	certTime, keyTime time.Time
	certSize, keySize int64
}

// newTLS returns the TLS configuration of the listeners, or nil without a certificate.
func newTLS(files TLSOptions, log *slog.Logger) (*tls.Config, error) {
	switch {
	case files == TLSOptions{}:
		return nil, nil
	case files.CertFile == "" || files.KeyFile == "":
		return nil, errors.New("tls.cert_file and tls.key_file belong together: set both or neither")
	}
	c := &certificate{files: files, log: log}
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}, nil
}

// load loads the files, unless they are unchanged since the last load.
func (c *certificate) load() error {
	cert, err1 := os.Stat(c.files.CertFile)
	key, err2 := os.Stat(c.files.KeyFile)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	now := stamp{cert.ModTime(), key.ModTime(), cert.Size(), key.Size()}
	if now == c.stamp {
		return nil
	}
	loaded, err := tls.LoadX509KeyPair(c.files.CertFile, c.files.KeyFile)
	c.stamp = now
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", c.files.CertFile, c.files.KeyFile, err)
	}
	c.current = &loaded
	return nil
}

// get returns the certificate for a handshake. If the new files cannot be loaded, it is the earlier
// one.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.checked) >= certificateCheck {
		c.checked = now
		before := c.current
		if err := c.load(); err != nil {
			c.log.Error("cannot load the changed certificate; the gate keeps using the earlier one", "error",
				err)
		} else if c.current != before {
			c.log.Info("loaded the changed certificate", "file", c.files.CertFile, "not_after",
				c.current.Leaf.NotAfter)
		}
	}
	return c.current, nil
}
