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

// certificateCheck is how often the files of a certificate are looked at.
const certificateCheck = time.Second

// certificate is a certificate in files that is read again when they change. Connections that are
// open stay as they are.
type certificate struct {
	files TLSOptions
	log   *slog.Logger

	mu      sync.Mutex // guards what follows; a handshake costs far more than what is done under it
	current *tls.Certificate
	stamp   stamp // of the files that were read last, whether or not they could be used
	checked time.Time
}

// stamp tells versions of the two files apart.
type stamp struct {
	certTime, keyTime time.Time
	certSize, keySize int64
}

// newTLS returns the configuration of a listener, or nil if there is no certificate.
func newTLS(files TLSOptions, log *slog.Logger) (*tls.Config, error) {
	switch {
	case files == TLSOptions{}:
		return nil, nil
	case files.CertFile == "" || files.KeyFile == "":
		return nil, errors.New("tls.cert_file and tls.key_file belong together: set both or none")
	}
	c := &certificate{files: files, log: log}
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}, nil
}

// load reads the files, unless they are those that were read last.
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

// get returns the certificate for a handshake. One that cannot be read leaves the one before in
// use.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.checked) >= certificateCheck {
		c.checked = now
		before := c.current
		if err := c.load(); err != nil {
			c.log.Error("the certificate cannot be read again; the one before stays in use", "error", err)
		} else if c.current != before {
			c.log.Info("certificate read again", "file", c.files.CertFile, "not_after",
				c.current.Leaf.NotAfter)
		}
	}
	return c.current, nil
}
