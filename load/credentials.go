package load

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/hookgate/hookgate/internal/secret"
)

// ErrNoCredentials is returned by FindCredentials if there are none.
var ErrNoCredentials = errors.New("no credentials: set WEBHOOK_HMAC_SECRET or WEBHOOK_BEARER_KEY," +
	" or --data-dir for a gate on this machine")

// Credentials authenticate a sender. With a secret it signs each body. Otherwise it sends the key,
// or nothing if there is none.
type Credentials struct {
	HMACSecret string
	BearerKey  string
}

// FindCredentials returns the credentials of the default source: those in WEBHOOK_HMAC_SECRET or
// WEBHOOK_BEARER_KEY, as getenv returns them. If neither is set and the target is a loopback
// address, it reads those that a gate has made in dataDir. It never uses these for another machine.
func FindCredentials(getenv func(string) string, target, dataDir string) (Credentials, error) {
	var c Credentials
	var err1, err2 error
	c.HMACSecret, err1 = secret.Variable(getenv, "WEBHOOK_HMAC_SECRET")
	c.BearerKey, err2 = secret.Variable(getenv, "WEBHOOK_BEARER_KEY")
	if err := errors.Join(err1, err2); err != nil || c != (Credentials{}) {
		return c, err
	}
	u, err := url.Parse(target)
	if err != nil || !loopback(u.Hostname()) {
		return c, ErrNoCredentials
	}
	for name, to := range map[string]*string{"hmac_secret": &c.HMACSecret,
		"bearer_key": &c.BearerKey} {
		if *to, err = secret.ReadFile(filepath.Join(dataDir, "keys", name)); err != nil &&
			!errors.Is(err, fs.ErrNotExist) {
			return Credentials{}, fmt.Errorf("read credentials: %w", err)
		}
	}
	if c == (Credentials{}) {
		return c, fmt.Errorf("%w (there are none in %s)", ErrNoCredentials, dataDir)
	}
	return c, nil
}

func loopback(host string) bool {
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}

// check returns an error for a key that cannot be sent in a header. The error does not show the
// key.
func (c Credentials) check() error {
	if strings.ContainsFunc(c.BearerKey, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return errors.New("the bearer key contains control characters, which cannot be sent in a " +
			"header")
	}
	return nil
}

// Sign returns the value of X-Webhook-Signature for a body; empty without a secret.
func (c Credentials) Sign(body []byte) string { return c.signer()(body) }

// signer returns a function that signs bodies, for one goroutine. Without a secret the signature is
// empty.
func (c Credentials) signer() func(body []byte) string {
	if c.HMACSecret == "" {
		return func([]byte) string { return "" }
	}
	const scheme = "sha256="
	mac := hmac.New(sha256.New, []byte(c.HMACSecret))
	sum := make([]byte, 0, sha256.Size)
	text := make([]byte, 0, len(scheme)+2*sha256.Size)
	return func(body []byte) string {
		mac.Reset()
		mac.Write(body)
		text = hex.AppendEncode(append(text[:0], scheme...), mac.Sum(sum))
		return string(text)
	}
}
