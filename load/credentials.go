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
	"os"
	"path/filepath"
	"strings"
)

// ErrNoCredentials is returned by FindCredentials when there are none.
var ErrNoCredentials = errors.New("no credentials: set WEBHOOK_HMAC_SECRET or WEBHOOK_BEARER_KEY," +
	" or for a gate on this machine name its data directory")

// Credentials are how a sender proves who it is. With a secret it signs each body; else it
// shows the key; with neither it sends nothing.
type Credentials struct {
	HMACSecret string
	BearerKey  string
}

// FindCredentials takes the credentials for the default source from WEBHOOK_HMAC_SECRET or
// WEBHOOK_BEARER_KEY as getenv gives them, the first of several separated by commas. If neither is
// set and the target is a loopback address it reads those that a gate made for itself in dataDir;
// they are never offered to another machine.
func FindCredentials(getenv func(string) string, target, dataDir string) (Credentials, error) {
	c := Credentials{
		HMACSecret: first(getenv("WEBHOOK_HMAC_SECRET")),
		BearerKey:  first(getenv("WEBHOOK_BEARER_KEY")),
	}
	if c != (Credentials{}) {
		return c, nil
	}
	u, err := url.Parse(target)
	if err != nil || !loopback(u.Hostname()) {
		return c, ErrNoCredentials
	}
	for name, to := range map[string]*string{"hmac_secret": &c.HMACSecret, "bearer_key": &c.BearerKey} {
		b, err := os.ReadFile(filepath.Join(dataDir, "keys", name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Credentials{}, fmt.Errorf("read credentials: %w", err)
		}
		*to = first(string(b))
	}
	if c == (Credentials{}) {
		return c, fmt.Errorf("%w (there are none in %s)", ErrNoCredentials, dataDir)
	}
	return c, nil
}

func first(list string) string {
	s, _, _ := strings.Cut(strings.TrimSpace(list), ",")
	s, _, _ = strings.Cut(s, "\n")
	return strings.TrimSpace(s)
}

func loopback(host string) bool {
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}

// check says what is wrong with a key that is to stand in a header, without showing it.
func (c Credentials) check() error {
	if strings.ContainsFunc(c.BearerKey, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return errors.New("the bearer key holds control characters, which cannot be sent in a header")
	}
	return nil
}

// signer returns a function for one goroutine that signs a body; without a secret the
// signature is empty.
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
