package admit

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// addKey adds a secret or a public key, in the encoding of the rule.
func (s *signature) addKey(secret string) error {
	switch s.rule.Algorithm {
	case ed25519Algorithm:
		key, err := ed25519Key(secret, s.rule.SecretEncoding)
		if err != nil {
			return err
		}
		s.edKeys = append(s.edKeys, key)
	case ecdsaAlgorithm:
		key, err := parsePublicKey(secret)
		if err != nil {
			return err
		}
		ec, ok := key.(*ecdsa.PublicKey)
		if !ok || ec.Curve != elliptic.P256() {
			return errors.New("is not a public key of ECDSA with P-256")
		}
		s.ecKeys = append(s.ecKeys, ec)
	default:
		if isPublic(secret) {
			return errors.New("is a public key, which is no secret: this sender signs with HMAC")
		}
		key, err := decodeSecret(secret, s.rule.SecretEncoding, signingPrefix)
		if err != nil {
			return err
		}
		if len(key) == 0 {
			return errors.New("is empty after decoding")
		}
		s.hmacKeys = append(s.hmacKeys, key)
	}
	return nil
}

// ed25519Key parses a public key: 32 bytes in the encoding, or a form that parsePublicKey accepts.
func ed25519Key(secret, encoding string) (ed25519.PublicKey, error) {
	if raw, err := decodeSecret(secret, encoding, publicPrefix); err == nil &&
		len(raw) == ed25519.PublicKeySize {
		return ed25519.PublicKey(raw), nil
	}
	key, err := parsePublicKey(secret)
	if errors.Is(err, errPrivateKey) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("is not a public key of Ed25519: neither %d bytes in %s nor PEM",
			ed25519.PublicKeySize, encoding)
	}
	ed, ok := key.(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("is not a public key of Ed25519")
	}
	return ed, nil
}

var errPrivateKey = errors.New("is a private key: configure the public key," +
	" and leave the private key " +
	"with the sender")

// parsePublicKey parses a SubjectPublicKeyInfo in PEM or in bare base64.
func parsePublicKey(text string) (any, error) {
	if strings.Contains(text, "PRIVATE KEY-----") || strings.HasPrefix(text, privatePrefix) {
		return nil, errPrivateKey
	}
	der, err := base64.StdEncoding.DecodeString(text)
	if block, _ := pem.Decode(bytes.TrimSpace([]byte(text))); block != nil {
		der, err = block.Bytes, nil
	}
	if err != nil {
		return nil, errors.New("is not a public key in PEM or base64")
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("is not a public key (SubjectPublicKeyInfo)")
	}
	return key, nil
}
