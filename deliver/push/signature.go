package push

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// The limits of a secret, in bytes. Standard Webhooks recommends 24 to 64.
const minSecret, maxSecret = 16, 1024

// parseSecret returns the key that a secret stands for, as the libraries of Standard Webhooks read
// it. Its errors do not show the secret.
func parseSecret(text string) ([]byte, error) {
	key, raw := strings.CutPrefix(text, "raw:")
	secret := []byte(key)
	if !raw {
		text = strings.TrimPrefix(text, "v1,")
		bare, prefixed := strings.CutPrefix(text, "whsec_")
		switch {
		case !prefixed && (strings.HasPrefix(text, "whsk_") || strings.HasPrefix(text, "whpk_")):
			return nil, errors.New("is an Ed25519 key: use a secret that begins with whsec_")
		case bare == "":
			return nil, errors.New("is empty")
		}
		var err error
		if secret, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(bare, "=")); err != nil {
			return nil, errors.New(`is not base64: write whsec_ and base64, or "raw:" and the key itself`)
		}
	}
	if len(secret) < minSecret || len(secret) > maxSecret {
		return nil, errors.New("must have " + strconv.Itoa(minSecret) + " to " +
			strconv.Itoa(maxSecret) + " bytes; Standard Webhooks recommends 24 to 64")
	}
	return secret, nil
}

// signer signs with one secret.
type signer struct{ macs sync.Pool }

// mac is the state of one signature.
type mac struct {
	hash hash.Hash
	text []byte
}

func newSigner(text string) (*signer, error) {
	secret, err := parseSecret(text)
	if err != nil {
		return nil, err
	}
	return &signer{sync.Pool{New: func() any { return &mac{hash: hmac.New(sha256.New, secret)} }}}, nil
}

// append appends a signature, "v1," and base64, of {id}.{timestamp}.{body} to dst.
func (s *signer) append(dst []byte, id, timestamp string, body []byte) []byte {
	m := s.macs.Get().(*mac)
	defer s.macs.Put(m)
	m.hash.Reset()
	m.text = append(append(append(append(m.text[:0], id...), '.'), timestamp...), '.')
	m.hash.Write(m.text)
	m.hash.Write(body)
	m.text = m.hash.Sum(m.text[:0])
	return base64.StdEncoding.AppendEncode(append(dst, "v1,"...), m.text)
}

// sign sets the headers of Standard Webhooks for an attempt that begins now.
func (c *Consumer) sign(h http.Header, id string, body []byte) {
	timestamp := strconv.FormatInt(c.now().Unix(), 10)
	values := []string{id, timestamp, ""}
	h["Webhook-Id"], h["Webhook-Timestamp"] = values[0:1:1], values[1:2:2]
	if len(c.signers) == 0 {
		return
	}
	var room [128]byte
	signatures := room[:0]
	for i, s := range c.signers {
		if i > 0 {
			signatures = append(signatures, ' ')
		}
		signatures = s.append(signatures, id, timestamp, body)
	}
	values[2] = string(signatures)
	h["Webhook-Signature"] = values[2:3:3]
}
