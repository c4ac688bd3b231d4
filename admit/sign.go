package admit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Sign turns a request into one that the sender of this kind would send. It adds credentials to the
// header or the body, and the headers that identify an event unless r has them. It signs with the
// first secret or, if the kind verifies with public keys, with the private key. r.Time is the time
// of the signature.
func Sign(name string, o Options, key crypto.Signer, r *Request) error {
	k, ok := kinds[name]
	if !ok {
		return fmt.Errorf("source kind %q is unknown", name)
	}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	places := o.Places.over(k.Places)
	for _, text := range slices.Concat(places.MessageID[0], places.EventType[0]) {
		if p, err := parsePlace(text); err == nil && p.kind == placeHeader &&
			r.Header.Get(p.header) == "" {
			r.Header.Set(p.header, "test-"+strings.ToLower(rand.Text()))
		}
	}
	switch {
	case k.Open:
		return nil
	case k.uses.noSecrets:
		return fmt.Errorf("only the sender of %s has the key to sign with", name)
	case k.uses.bearerKeys && len(o.Secrets) == 0 && len(o.BearerKeys) > 0:
		r.Header.Set("Authorization", "Bearer "+o.BearerKeys[0])
		return nil
	case len(o.Secrets) == 0 && key == nil:
		return errNoCredentials
	case k.sign != nil:
		return k.sign(o, r)
	}
	rule := k.rule
	switch name {
	case "hmac":
		rule = o.Signature
	case "envelope":
		rule = envelopeRule
	case "bearer", "cloudevents":
		return signToken(r, "Authorization", "Bearer "+o.Secrets[0])
	case "basic":
		return signToken(r, "Authorization", "Basic "+
			base64.StdEncoding.EncodeToString([]byte(o.Secrets[0])))
	case "okta":
		return signToken(r, "Authorization", o.Secrets[0])
	case "api_key":
		if o.Header == "" {
			o.Header = DefaultKeyHeader
		}
		return signToken(r, o.Header, o.Secrets[0])
	case "telegram":
		return signToken(r, telegramHeader, o.Secrets[0])
	case "gitlab":
		if !strings.HasPrefix(o.Secrets[0], "whsec_") {
			return signToken(r, gitLabHeader, o.Secrets[0])
		}
		rule = standardRule("webhook")
		r.Header.Set("Webhook-Id", "test-"+strings.ToLower(rand.Text()))
	case "standard_webhooks", "svix":
		if key != nil {
			rule = asymmetricRule(rule)
		}
	}
	return rule.sign(o, key, r)
}

func signToken(r *Request, header, value string) error {
	r.Header.Set(header, value)
	return nil
}

// sign sets the header of the signature and the timestamp.
func (r Rule) sign(o Options, key crypto.Signer, req *Request) error {
	r, err := r.withDefaults()
	if err != nil {
		return err
	}
	at, err := parseTimestampPlace(r)
	if err != nil {
		return err
	}
	t, err := parseTemplate(r.Signed, r.Timestamp != "")
	if err != nil {
		return err
	}
	timestamp := formatTime(req.Time, r.TimestampUnit)
	if at.header != "" {
		req.Header.Set(at.header, timestamp)
	}
	if at.json != nil {
		if err := setMember(req, at.json[0][0], timestamp); err != nil {
			return err
		}
	}
	text := appendPieces(nil, t.before, req, calledURL(o.PublicURL, req.Query), timestamp)
	if t.body {
		text = append(text, req.Body...)
	}
	text = appendPieces(text, t.after, req, calledURL(o.PublicURL, req.Query), timestamp)
	sum, err := r.sum(o, key, text)
	if err != nil {
		return err
	}
	value := r.Prefix.first()
	if r.Encoding == "hex" {
		value += hex.EncodeToString(sum)
	} else {
		value += base64.StdEncoding.EncodeToString(sum)
	}
	if at.element != "" {
		value = at.element + timestamp + r.Separator + value
	}
	req.Header.Set(r.Header, value)
	return nil
}

// setMember sets a member of the body, a JSON object, to a number.
func setMember(r *Request, name, number string) error {
	var body map[string]json.RawMessage
	if err := json.Unmarshal(r.Body, &body); err != nil || body == nil {
		return fmt.Errorf("the body must be a JSON object, so that %s can be added", name)
	}
	body[name] = json.RawMessage(number)
	var err error
	r.Body, err = json.Marshal(body)
	return err
}

// sum returns the signature of a text.
func (r Rule) sum(o Options, key crypto.Signer, text []byte) ([]byte, error) {
	switch r.Algorithm {
	case ed25519Algorithm:
		if private, ok := key.(ed25519.PrivateKey); ok {
			return ed25519.Sign(private, text), nil
		}
		return nil, errors.New("this kind signs with Ed25519: pass its private key")
	case ecdsaAlgorithm:
		if private, ok := key.(*ecdsa.PrivateKey); ok {
			digest := sha256.Sum256(text)
			return ecdsa.SignASN1(rand.Reader, private, digest[:])
		}
		return nil, errors.New("this kind signs with ECDSA: pass its private key")
	}
	if len(o.Secrets) == 0 {
		return nil, errNoCredentials
	}
	secret, err := decodeSecret(o.Secrets[0], r.SecretEncoding, signingPrefix)
	if err != nil {
		return nil, fmt.Errorf("secret 1 %w", err)
	}
	mac := hmac.New(hashes[r.Algorithm], secret)
	mac.Write(text)
	return mac.Sum(nil), nil
}

func formatTime(t time.Time, unit string) string {
	switch unit {
	case "ms":
		return strconv.FormatInt(t.UnixMilli(), 10)
	case "rfc3339":
		return t.UTC().Format(time.RFC3339)
	}
	return strconv.FormatInt(t.Unix(), 10)
}

// ParsePrivateKey parses a private key for Sign: PKCS #8 in PEM, or the 32 bytes of an Ed25519 seed
// in hex.
func ParsePrivateKey(text string) (crypto.Signer, error) {
	if seed, err := hex.DecodeString(strings.TrimSpace(text)); err == nil &&
		len(seed) == ed25519.SeedSize {
		return ed25519.NewKeyFromSeed(seed), nil
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("private key is neither PEM nor the hexadecimal seed of an Ed25519 key")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("private key is not PKCS #8: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("private key cannot sign")
	}
	return signer, nil
}
